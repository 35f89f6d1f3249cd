"""`muniment encryption`: keys of encrypted databases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.options import (
    AlgorithmOption,
    Database,
    JobOutput,
    KeyOptions,
    Keys,
    Output,
    PlainHttp,
    Url,
    folder_or_url,
    path_of,
)
from muniment.cli.output import size_text
from muniment.cli.report import facts, row
from muniment.cli.state import encryption_row
from muniment.errors import InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.security.encryption import Algorithm, given_key, new_key, read_key, write_key


def generate_key(
    file: Annotated[Path, typer.Argument(parser=path_of, metavar="FILE", help="A new file.")], *, out: Output
) -> None:
    """Write a new key into a new file that only you can read.

    It is 32 bytes in base64, as RavenDB's Raven/Encryption/Key. Whoever has it can read what is encrypted with it, and
    nobody can without: keep it apart from the database and from its backups, and in two places.

    $ muniment encryption generate-key shop.key
    """
    write_key(file, new_key())
    out.emit(f"Wrote a new key into {file}", [facts(key_file=str(file))])


def rotate(
    place: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|URL", help="The folder of the database, or URL/databases/NAME of a server."),
    ] = None,
    *,
    encryption: KeyOptions,
    new_key_file: Annotated[
        Path | None,
        typer.Option("--new-key-file", parser=path_of, metavar="FILE", help="The key that it is to have."),
    ] = None,
    algorithm: AlgorithmOption = Algorithm.AEGIS,
    in_clear: Annotated[
        bool, typer.Option("--in-clear", metavar="", help="It is to have none: anybody can read it.")
    ] = False,
    url: Url = None,
    database: Database = None,
    plain_http: PlainHttp = False,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Give a database another key, its first one, or none.

    Nobody may have it open. It is rewritten beside itself with the new key, which needs as much room again, and takes
    the old one's place when every document is proven to be the same. If that is interrupted, even by a power failure,
    the database is whole and has either the old key or the new one: keep both until this command has ended. Backups
    that were taken before are as they were.

    With a URL a server does it, which knows the old key, to a database that is encrypted; nobody can use that
    meanwhile. The new key goes there over https, or to this machine.

    $ muniment encryption generate-key new.key
    $ muniment encryption rotate safe --key-file shop.key --new-key-file new.key
    $ muniment encryption rotate shop --new-key-file new.key --algorithm ChaCha20
    $ muniment encryption rotate http://127.0.0.1:8080/databases/safe --new-key-file new.key
    """
    folder, url = folder_or_url(place, url)
    if url is not None:
        _rotate_on_server(url, database, encryption, new_key_file, algorithm, in_clear, plain_http, keys, out)
        return
    keys.check_unused()
    if database is not None or plain_http:
        raise InvalidInput("--database and --plain-http are for the databases of a server", "give --url URL too")
    if folder is None:
        raise InvalidInput("no database was named", "give the FOLDER of one, or --url URL and --database NAME")
    if in_clear == (new_key_file is not None):
        raise InvalidInput("no new key was named", "give one of --new-key-file and --in-clear")
    key, other, progress = encryption.key(), given_key(None, new_key_file, algorithm), Progress()
    if key is None and other is None:
        raise InvalidInput("no key was given that it has now", "give --key-file")
    with out.job(progress):
        before, after = MaintenanceActions.rotate_key(folder, key=key, new_key=other, progress=progress)
    rows = [
        facts(database=str(folder), file_bytes_before=before, file_bytes=after),
        encryption_row(other),
        row("file", size_text(after)),
    ]
    out.emit(f"{folder} has {'another key' if key and other else 'a key' if other else 'no key'} now", rows)


def _rotate_on_server(
    url: str,
    database: str | None,
    encryption: KeyOptions,
    new_key_file: Path | None,
    algorithm: Algorithm,
    in_clear: bool,
    plain_http: bool,
    keys: Keys,
    out: JobOutput,
) -> None:
    if in_clear or encryption.given:
        raise InvalidInput(
            "--key-file and --in-clear are for the databases of folders", "leave it out: the server knows the key"
        )
    if new_key_file is None:
        raise InvalidInput("no new key was named", "give --new-key-file")
    from muniment.cli.remote import rotate_on_server  # here: its HTTP client loads longer than most commands run

    key = read_key(new_key_file, algorithm)
    rotate_on_server(keys.store(url, database), key, out, plain_http=plain_http)
