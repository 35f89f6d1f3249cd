"""The JSON Schema of what each command prints with `--json`, made of the tables of the page on it and of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.backup.listing import Listing
from muniment.backup.recoverability import Recoverability
from muniment.backup.summary import ExpirySummary

PAGE: Final = Path(__file__).with_name("json-output.md")
_STRUCTS: Final = {
    "inspect": Listing,
    "status": Recoverability,
    "expire": ExpirySummary,
}
_MEMBER: Final = re.compile(r"`(\w+)`(?: ([a-z ]+))?")
_GROUPS: Final = ("databases", "encryption", "identity", "keys", "recipients", "schedule", "smuggler")
_PLAIN: Final = ("string", "integer", "number", "boolean", "object", "null")


def commands() -> list[tuple[str, list[str]]]:
    """The command lines on the page, and the members that it says each has."""
    return _commands("command") + of_server()


def of_server() -> list[tuple[str, list[str]]]:
    """Those among them that ask a server."""
    return _commands("command of a server")


def _commands(head: str) -> list[tuple[str, list[str]]]:
    rows = _rows(PAGE.read_text(encoding="utf-8"), f"| {head} | members |")
    return [(line.strip("`"), _names(members)) for line, members in rows]


def schema() -> dict[str, Any]:
    """The schema of every command's answer, in `$defs` by the name that `named` gives a command line."""
    text = PAGE.read_text(encoding="utf-8")
    objects = {name: _object(members) for name, members in _rows(text, "| object | members |")}
    types = {name: type for names, type, _ in _rows(text, "| member | type | meaning |") for name in _names(names)}
    odd = {
        (command, name.strip("`")): type
        for lines, name, type in _rows(text, "| command | member | type |")
        for command in lines.replace("`", "").split(", ")
    }
    structs, found = msgspec.json.schema_components(_STRUCTS.values(), ref_template="#/$defs/{name}")
    found |= {f"object {name}": value for name, value in objects.items()}
    found["error"] = _of({name: _type("string") for name in ("error", "hint", "type")})
    for line, members in commands():
        command = named(line)
        if command in _STRUCTS:
            found[command] = structs[list(_STRUCTS).index(command)]
        else:
            found[command] = _of({name: _type(odd.get((command, name)) or types[name]) for name in members})
    refs = [{"$ref": f"#/$defs/{name}"} for name in ("error", *sorted({named(line) for line, _ in commands()}))]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What muniment prints with --json",
        "anyOf": refs,
        "$defs": dict(sorted(found.items())),
    }


def named(line: str) -> str:
    """A command line without its arguments, but for the options that make something else of it."""
    words = shlex.split(line)
    first = 2 if words[0] in _GROUPS else 1
    modes = ["--dry-run", "--on-conflict"] if words[0] == "restore" else []
    told = [mode for mode in modes if any(word.startswith(mode) for word in words)]
    return " ".join([*words[:first], *told])


def _rows(text: str, head: str) -> list[list[str]]:
    """The rows of the table with this head."""
    body = text.partition(head)[2].partition("\n\n")[0].strip().split("\n")[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in body]


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def _object(members: str) -> dict[str, Any]:
    return _of({name: _type(type) for name, type in _MEMBER.findall(members)})


def _of(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _type(text: str) -> dict[str, Any]:
    """`string or null`, `array of strings`, `object of integers`, or the name of an object."""
    if text.endswith(" or null"):
        return {"anyOf": [_type(text.removesuffix(" or null")), {"type": "null"}]}
    if text.startswith("array of "):
        return {"type": "array", "items": _type(text.removeprefix("array of "))}
    if text.startswith("object of "):
        return {"type": "object", "additionalProperties": _type(text.removeprefix("object of "))}
    plain = text.removesuffix("s")
    return {"type": plain} if plain in _PLAIN else {"$ref": f"#/$defs/object {text}"}
