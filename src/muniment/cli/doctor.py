"""`muniment doctor`: is everything here as it should be?"""

from __future__ import annotations

import shlex
from typing import Annotated, Final

import msgspec
import typer

from muniment.cli.options import KeyOptions, Keys, Output, path_of
from muniment.cli.output import count_text
from muniment.cli.report import Row, listed
from muniment.cli.status import addressed, new_folder
from muniment.doctor import WANTED, Finding, exit_code, of_folder, of_machine, of_recoverability, worst
from muniment.errors import MunimentError, ServerUnavailable
from muniment.raven3.names import SYSTEM
from muniment.storage.location import is_address

_SAID: Final = {
    "ok": "all is well",
    "warning": "it works, and there is something to do",
    "problem": "there is a problem",
}


def doctor(
    place: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|URL", help="The folder of a database or of backups, or a server's URL."),
    ] = None,
    *,
    encryption: KeyOptions,
    keys: Keys,
    out: Output,
) -> None:
    """Look whether everything is as it should be, and say what to do: ok, warning or problem, a line each.

    It looks at versions, limits, the disk (what it is, how long fsync takes there, what room it has), the clock, the
    database with its history, and its last backup, verification and rehearsal. Of a server it looks at the databases
    that it serves, and at what failed there. Only the machine is looked at if nothing is named. Nothing is changed; a
    small file is written into the folder and removed. The exit code is 0 unless there is a problem, and then says which
    kind it is.

    $ muniment doctor shop
    $ muniment doctor http://127.0.0.1:8080/databases/shop
    $ muniment doctor shop --json | jq '.findings[] | select(.state != "ok")'
    """
    if place is not None and "://" in place and not is_address(place):
        encryption.check_for_server()
        found = _of_server(place, keys)
    else:
        keys.check_unused()
        folder = None if place is None else path_of(place)
        found = list(of_machine() if folder is None else of_folder(folder, encryption.key()))
        if folder is not None:
            where = shlex.join(
                [str(folder), *(["--key-file", str(encryption.key_file)] if encryption.key_file else [])]
            )
            new = "Backups" if is_address(str(place)) else new_folder(folder)
            found = [_addressed(each, where, shlex.quote(new)) for each in found]
    state = worst(found)
    wrong = count_text(sum(each.state != "ok" for each in found), "finding") + " of "
    headline = f"{place or 'This machine'}: {_SAID[state]} ({wrong if state != 'ok' else ''}{len(found)})"
    out.emit(headline, [Row({"place": place, "state": state}), listed("findings", [_row(each) for each in found])])
    if code := exit_code(found):
        raise typer.Exit(code)


def _row(found: Finding) -> Row:
    lines = [(f"{found.state:7}  {found.name}", found.text)]
    if found.advice:
        lines.append(("", f"→ {found.advice}"))
    return Row(msgspec.to_builtins(found), lines)


def _addressed(found: Finding, where: str, new: str) -> Finding:
    """The same with whole commands in it."""
    text, advice = (addressed(each, where, new).replace(" … ", f" {where} ") for each in (found.text, found.advice))
    return msgspec.structs.replace(found, text=text, advice=advice)


def _of_server(url: str, keys: Keys) -> list[Finding]:
    found = []
    with keys.store(url) as store:
        named = store.name != SYSTEM
        names = [store.name] if named else [SYSTEM, *store.admin.databases()]
        address = store.url
    found.append(Finding(name="server", state="ok", text=f"{address} answers"))
    for name in names:
        try:
            with keys.store(address, name) as store:
                told = of_recoverability(store.admin.recoverability(), store.admin.alerts(WANTED), named=not named)
                where = shlex.join(["--url", address, "--database", name])
                found += [_addressed(each, where, f"Backups/{shlex.quote(name.strip('<>'))}") for each in told]
        except ServerUnavailable:
            raise  # nothing can be said of it
        except MunimentError as error:
            code = type(error).exit_code
            text = f"{name}: {error.message}"
            found.append(Finding(name="database", state="problem", text=text, advice=error.hint, exit_code=code))
    return found
