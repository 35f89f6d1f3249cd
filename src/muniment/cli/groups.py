"""Options that belong together: a dataclass for each group, whose fields are the options as typer takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_type_hints


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command for typer: in place of each parameter that is a dataclass stand the options that are its fields.

    Where the dataclass has a `suffix`, their names end in it.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(f"{name}_{field.name}") for field in fields(group)})
        command(**given)

    def parameters() -> Iterator[Parameter]:
        for parameter in signature(command).parameters.values():
            group = groups.get(parameter.name)
            if group is None:
                yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
                continue
            members = get_type_hints(group, include_extras=True)
            for field in fields(group):
                yield Parameter(
                    f"{parameter.name}_{field.name}",
                    Parameter.KEYWORD_ONLY,
                    default=_default(field),
                    annotation=_suffixed(members[field.name], getattr(group, "suffix", "")),
                )

    run.__doc__ = command.__doc__
    run.__signature__ = Signature(list(parameters()))  # type: ignore[attr-defined]
    return run


def _suffixed(hint: Any, suffix: str) -> Any:
    option = copy(hint.__metadata__[0])
    if suffix:  # typer has the first name of an option in place of its default
        option.default = f"{option.default}{suffix}"
        option.param_decls = tuple(f"{name}{suffix}" for name in option.param_decls)
    return Annotated[hint.__origin__, option]


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return Parameter.empty if field.default is MISSING else field.default
