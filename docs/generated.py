"""Pages that are made of the code when the site is built: every command, and every public name of Python.

mkdocs calls `on_files` (`mkdocs.yml`). Links to files outside `docs/` lead to their text in the repository's own pages.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

import muniment
from docs import json_schema
from muniment.cli import app
from muniment.client.databases import BothAdministrations
from muniment.client.keys import BothKeys
from muniment.client.operations import BothOperations
from muniment.client.schedules import BothSchedules

_PARTS = {"admin": BothAdministrations, "keys": BothKeys, "operations": BothOperations, "schedules": BothSchedules}


def on_files(files: Files, config: Any) -> Files:
    """Add what is generated to the pages."""
    files.append(File.generated(config, "reference/commands.md", content="".join(_commands())))
    files.append(File.generated(config, "reference/python.md", content="".join(_python())))
    schema = json.dumps(json_schema.schema(), indent=2)
    files.append(File.generated(config, "reference/json-schema.json", content=schema))
    for picture in _pictures():
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=str(picture)))
    return files


def _pictures() -> list[Path]:
    """How the page looked in its tests: none unless `make screenshots` was called."""
    return sorted((Path(__file__).parents[1] / "build" / "screenshots").glob("*.png"))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show pictures of the page, and leave only the words of links to files of the checkout, outside the site."""
    if page.file.src_uri == "studio.md":
        markdown += "".join(f"\n\n![{each.stem}](images/{each.name})" for each in _pictures())
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", markdown)


def _commands() -> Iterator[str]:
    yield "# Commands\n\nWhat `muniment --help` and the help of each command say.\n"
    yield from _below(typer.main.get_command(app), "muniment", 2)


def _below(command: Any, name: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    for each in command.list_commands(context):
        found = command.get_command(context, each)
        if found is None or found.hidden:
            continue
        path = f"{name} {each}"
        yield f"\n{'#' * level} {path}\n\n{_text(found.help or '')}\n"
        if hasattr(found, "list_commands"):
            yield from _below(found, path, level + 1)
        else:
            yield from _options(found)


def _text(help: str) -> str:
    lines = inspect.cleandoc(help).replace("\\[", "[").split("\n")
    return "\n".join(f"    {line}" if line.startswith("$ ") else line for line in lines)


def _options(command: Any) -> Iterator[str]:
    rows = [each for each in command.params if not getattr(each, "hidden", False)]
    if rows:
        yield "\n| argument or option | meaning |\n|---|---|\n"
    for each in rows:
        names = ", ".join(each.opts) if each.param_type_name == "option" else (each.metavar or each.name.upper())
        said = " ".join((getattr(each, "help", "") or "").split()).replace("|", "\\|")
        yield f"| `{names}` | {said} |\n"


def _python() -> Iterator[str]:
    yield "# Python\n\nWhat `import muniment` has; all else may change.\n"
    for name in sorted(muniment.__all__, key=str.lower):
        thing = getattr(muniment, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            members = "\n    options:\n      members: false" if issubclass_of_error(thing) else ""
            yield f"\n::: {thing.__module__}.{thing.__qualname__}{members}\n"

    yield "\n## What a store has\n\nThe same with `AsyncDocumentStore`, awaited.\n"
    for name, of_store in _PARTS.items():
        yield f"\n### store.{name}\n\n::: {of_store.__module__}.{of_store.__qualname__}\n    options:\n"
        yield "      show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: 4\n"


def issubclass_of_error(thing: Any) -> bool:
    """Whether it is an error, whose members are all alike."""
    return inspect.isclass(thing) and issubclass(thing, Exception)
