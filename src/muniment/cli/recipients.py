"""`muniment recipients`: who may open encrypted backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.backup.recipients import add_recipients, recipients_of, remove_recipient
from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import Dest, KeyOptions, Output, path_of
from muniment.cli.output import count_text
from muniment.cli.report import Row, facts, listed, row
from muniment.errors import InvalidInput
from muniment.security.keyring import Protection


def list_recipients(dest: Dest, *, out: Output) -> None:
    """Show who may open the encrypted backups in a folder, and how many of them.

    A passphrase is known by the first letters of its salt, a key by an id. No key is needed for this, and so it is only
    what the files say: whoever may write them can have written it.

    $ muniment recipients list /mnt/backups/shop
    """
    rows = [
        row(each.name, count_text(len(each.backups), "backup"), name=each.name, backups=list(each.backups))
        for each in recipients_of(dest)
    ]
    out.emit(f"The backups in {dest} are encrypted for", [facts(folder=str(dest)), listed("recipients", rows)])


def add(
    dest: Dest,
    *,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="RECIPIENT", help="This public key; may be repeated."),
    ] = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option("--new-passphrase-file", parser=path_of, metavar="FILE", help="The passphrase in this file."),
    ] = None,
    new_key_file: Annotated[
        Path | None, typer.Option("--new-key-file", parser=path_of, metavar="FILE", help="The key in this file.")
    ] = None,
    encryption: KeyOptions,
    opening: OpeningOptions,
    out: Output,
) -> None:
    """Let others open all encrypted backups in a folder too, without writing the backups anew.

    It takes something that opens them now. Backups that are taken later with a passphrase or a key of these are for the
    same; who backs up for recipients alone names them all. When it is interrupted, some
    of the backups have the new recipients and others not yet; do the same again.

    $ muniment recipients add /mnt/backups/shop --identity mine.identity --recipient muniment-recipient-a6rx…
    $ muniment recipients add /mnt/backups/shop --passphrase-file old.txt --new-passphrase-file new.txt
    """
    new = Protection.of(passphrase_file=new_passphrase_file, key_file=new_key_file, recipients=recipient or ())
    if not new.recipients:
        raise InvalidInput(
            "nobody to add was named", "give --recipient, --new-passphrase-file or --new-key-file, any of them"
        )
    changed = add_recipients(dest, new, opening.keyring(encryption))
    out.emit(f"Added to {count_text(len(changed), 'backup')} in {dest}", [_changed(dest, changed)])


def remove(
    dest: Dest,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who, as `muniment recipients list` shows it.")],
    *,
    encryption: KeyOptions,
    opening: OpeningOptions,
    out: Output,
) -> None:
    """Let somebody open none of the backups in a folder any more, without writing the backups anew.

    Who has opened one may have kept its data key, and a copy of the folder opens as it did: where that matters, take a
    full backup for those who remain, named with --recipient, and delete the old ones. It takes something that opens the
    backups now. The last recipient of a backup is not removed.

    $ muniment recipients remove /mnt/backups/shop passphrase-88a4b23d --identity mine.identity
    """
    changed = remove_recipient(dest, name, opening.keyring(encryption))
    out.emit(f"Removed from {count_text(len(changed), 'backup')} in {dest}", [_changed(dest, changed)])


def _changed(dest: Path, changed: list[str]) -> Row:
    return Row({"folder": str(dest), "changed": changed}, [("changed", name) for name in changed])
