"""Options that belong together: a dataclass for each group, whose fields are the options as typer takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final, get_type_hints

import typer

_CONTEXT: Final = "context"


class Typed(frozenset[str]):
    """The options that stand on the command line; what the environment alone says is meant for all commands.

    A parameter or a field of this type is no option: it is filled in.
    """


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command for typer: in place of each parameter that is a dataclass stand the options that are its fields.

    A field may be such a group itself. Where the dataclass has a `suffix`, the names of its options end in it.
    """
    hints = get_type_hints(command, include_extras=True)

    def run(**given: Any) -> None:
        typed = _typed(given.pop(_CONTEXT))
        command(**{name: _value(name, hint, given, typed) for name, hint in hints.items() if name != "return"})

    def parameters() -> Iterator[Parameter]:
        yield Parameter(_CONTEXT, Parameter.KEYWORD_ONLY, annotation=typer.Context)
        for parameter in signature(command).parameters.values():
            yield from _options(parameter.name, hints[parameter.name], parameter.default)

    run.__doc__ = command.__doc__
    run.__signature__ = Signature(list(parameters()))  # type: ignore[attr-defined]
    return run


def _value(name: str, hint: Any, given: dict[str, Any], typed: Typed) -> Any:
    """What a parameter or field is, of what typer gives."""
    if hint is Typed:
        return typed
    if not is_dataclass(hint):
        return given[name]
    members = get_type_hints(hint, include_extras=True)
    values = {
        each.name: _value(f"{name}_{each.name}", members[each.name], given, typed) for each in fields(hint) if each.init
    }
    group: Any = hint
    return group(**values)


def _options(name: str, hint: Any, default: Any, suffix: str = "") -> Iterator[Parameter]:
    """The options that stand for a parameter or field."""
    if hint is Typed:
        return
    if not is_dataclass(hint):
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=_suffixed(hint, suffix))
        return
    members = get_type_hints(hint, include_extras=True)
    for each in fields(hint):
        inner = getattr(hint, "suffix", suffix)
        yield from _options(f"{name}_{each.name}", members[each.name], _default(each), inner)


def _typed(context: typer.Context) -> Typed:
    return Typed(
        option
        for each in context.command.params
        if (source := context.get_parameter_source(each.name or "")) and source.name == "COMMANDLINE"
        for option in each.opts
    )


def _suffixed(hint: Any, suffix: str) -> Any:
    if not suffix:
        return hint
    option = copy(hint.__metadata__[0])
    option.default = f"{option.default}{suffix}"  # where typer has the first name of an option
    option.param_decls = tuple(f"{name}{suffix}" for name in option.param_decls)
    return Annotated[hint.__origin__, option]


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return Parameter.empty if field.default is MISSING else field.default
