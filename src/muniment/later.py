"""Modules of others that take long to load and that few processes need: each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from muniment.errors import InvalidInput


class Later:
    """Stands for a module. To a type checker it should be the module itself.

    What uses one of an `extra` that is not installed raises `InvalidInput`.
    """

    def __init__(self, name: str, extra: str | None = None, needs: str | None = None) -> None:
        """`needs` is what it imports of the extra, if it is not of that itself."""
        self._name = name
        self._extra = extra
        self._needs = needs or name.partition(".")[0]

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = import_module(self._name)
        except ImportError as error:
            if self._extra is None:
                raise
            raise InvalidInput(
                f"{self._needs} is needed for this, which is not installed",
                f"pip install 'muniment[{self._extra}]'",
            ) from error
        value = getattr(module, attribute)
        setattr(self, attribute, value)  # which is found without coming here from now on
        return value
