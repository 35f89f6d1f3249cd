"""The man pages of the wheel, made of the help of each command: `hatch_build.py` has them written when it is built."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any


def pages() -> Iterator[tuple[str, str]]:
    """The name and the text of each page."""
    from typer.main import get_command

    from muniment.cli import app
    from muniment.version import VERSION

    root: Any = get_command(app)
    yield from _below(root, ["muniment"], VERSION)


def _below(command: Any, path: list[str], version: str) -> Iterator[tuple[str, str]]:
    found = {name: each for name, each in sorted(getattr(command, "commands", {}).items()) if not each.hidden}
    yield "-".join(path), "".join(_page(command, path, found, version))
    for name, each in found.items():
        yield from _below(each, [*path, name], version)


def _page(command: Any, path: list[str], found: dict[str, Any], version: str) -> Iterator[str]:
    name = "-".join(path)
    help = inspect.cleandoc(command.help or "")
    yield f'.TH "{name.upper()}" 1 "" "muniment {version}" "Muniment"\n'
    yield f".SH NAME\n{_text(name)} \\- {_text(_first(help))}\n"
    takes = [_asked(each) for each in command.params if each.param_type_name == "argument"]
    more = "COMMAND" if found else " ".join(takes)
    yield f".SH SYNOPSIS\n.B {_text(' '.join(path))}\n[OPTIONS] {_text(more)}\n"
    yield f".SH DESCRIPTION\n{_body(help)}"
    params = [each for each in command.params if not getattr(each, "hidden", False)]
    for title, kind in (("ARGUMENTS", "argument"), ("OPTIONS", "option")):
        rows = [each for each in params if each.param_type_name == kind]
        if rows:
            yield f".SH {title}\n" + "".join(map(_option, rows))
    if found:
        yield ".SH COMMANDS\n"
        for called, each in found.items():
            about = _first(inspect.cleandoc(each.get_short_help_str(200) if not each.help else each.help))
            yield f".TP\n.BR {_text(f'{name}-{called}')} (1)\n{_text(about)}\n"
    if command.epilog:
        yield f".SH NOTES\n.nf\n{_lines(inspect.cleandoc(command.epilog))}.fi\n"
    if len(path) > 1:
        yield f".SH SEE ALSO\n.BR {_text('-'.join(path[:-1]))} (1)\n"


def _first(help: str) -> str:
    return help.partition("\n\n")[0].replace("\n", " ").removesuffix(".")


def _asked(argument: Any) -> str:
    """An argument as the line of usage has it: in brackets where it may be left out."""
    name: str = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(each: Any) -> str:
    names = ", ".join(each.opts) if each.param_type_name == "option" else (each.metavar or each.name.upper())
    value = f" {each.metavar}" if each.param_type_name == "option" and each.metavar else ""
    return f".TP\n.B {_text(names + value)}\n{_text(' '.join((getattr(each, 'help', None) or '').split()))}\n"


def _body(help: str) -> str:
    """Paragraphs; lines that begin with a dollar are examples, and stay as they are."""
    said = []
    for paragraph in help.split("\n\n"):
        example = paragraph.startswith("$ ")
        said.append(f".PP\n.nf\n{_lines(paragraph)}.fi\n" if example else f".PP\n{_lines(paragraph)}")
    return "".join(said)


def _lines(text: str) -> str:
    return "".join(f"{_text(line)}\n" for line in text.split("\n"))


def _text(text: str) -> str:
    """Text as roff takes it: nothing in it is a request, and a hyphen is one, so that options can be copied."""
    plain = re.sub(r"\\(?=\[)", "", text).replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{plain}" if plain.startswith(".") else plain
