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

    Where the dataclass has a `suffix`, their names end in it.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    def run(**given: Any) -> None:
        typed = _typed(given.pop(_CONTEXT))
        for name, group in groups.items():
            members = get_type_hints(group)
            given[name] = group(
                **{
                    each.name: typed if members[each.name] is Typed else given.pop(f"{name}_{each.name}")
                    for each in fields(group)
                }
            )
        command(**given, **{name: typed for name, hint in hints.items() if hint is Typed})

    def parameters() -> Iterator[Parameter]:
        yield Parameter(_CONTEXT, Parameter.KEYWORD_ONLY, annotation=typer.Context)
        for parameter in signature(command).parameters.values():
            group = groups.get(parameter.name)
            if group is None:
                if hints[parameter.name] is not Typed:
                    yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
                continue
            members = get_type_hints(group, include_extras=True)
            for field in fields(group):
                if members[field.name] is not Typed:
                    yield Parameter(
                        f"{parameter.name}_{field.name}",
                        Parameter.KEYWORD_ONLY,
                        default=_default(field),
                        annotation=_suffixed(members[field.name], getattr(group, "suffix", "")),
                    )

    run.__doc__ = command.__doc__
    run.__signature__ = Signature(list(parameters()))  # type: ignore[attr-defined]
    return run


def _typed(context: typer.Context) -> Typed:
    return Typed(
        option
        for each in context.command.params
        if (source := context.get_parameter_source(each.name or "")) and source.name == "COMMANDLINE"
        for option in each.opts
    )


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
