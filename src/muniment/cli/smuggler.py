"""`muniment smuggler`: documents from and to other databases, named after RavenDB's tool for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, TypeAlias
from urllib.parse import urlsplit

import typer

from muniment.cli.dumps import carried_rows, exported_rows, imported_rows
from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import (
    ITS_KEYS,
    Database,
    JobOutput,
    KeyOptions,
    Keys,
    SecondKeys,
    check_stays_here,
    path_of,
)
from muniment.cli.output import aside
from muniment.cli.point import PartOptions, PointOptions
from muniment.cli.report import facts, text_of
from muniment.cli.smuggler_options import CarriedOptions, Continuation, FailOnUnknown, KeepExtensions, StartEtag
from muniment.durable import cannot_write
from muniment.errors import InvalidInput, StorageFailure
from muniment.progress import Progress
from muniment.smuggler.options import Compression, Format

if TYPE_CHECKING:
    from muniment.security.encryption import EncryptionKey
    from muniment.security.keyring import Keyring

Create: TypeAlias = Annotated[bool, typer.Option("--create", metavar="", help="Make the database, if there is none.")]

DEFAULT: Final[Format] = "ravendbdump"
STREAM: Final = "-"
CLOSED_PIPE: Final = 141  # what a shell says of a program that SIGPIPE has ended


def smuggler_out(
    source: Annotated[
        str, typer.Argument(metavar="URL|FOLDER", help="A server, the folder of a database, or one with backups.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to write, `-` for stdout.")],
    *,
    database: Database = None,
    moment: PointOptions,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="ravendbdump, ravendump, ndjson or parquet; if not given, what FILE ends in.",
        ),
    ] = None,
    compression: Annotated[
        Compression | None,
        typer.Option("--compression", metavar="NAME", help="gzip, zstd or none; gzip for a dump if not given."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Replace FILE, when the new one is complete.")
    ] = False,
    incremental: Annotated[
        bool,
        typer.Option("--incremental", metavar="", help="Into the folder FILE, what changed since the last time."),
    ] = False,
    for_ravendb: Annotated[
        bool,
        typer.Option(
            "--for-ravendb",
            metavar="",
            help="Leave the documents for which RavenDB refuses a dump out of FILE, into another one beside it.",
        ),
    ] = False,
    part: PartOptions,
    carried: CarriedOptions,
    start_document_etag: StartEtag = None,
    encryption: KeyOptions,
    opening: OpeningOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Export a database, or a moment in backups, into a file that RavenDB and others read.

    The export is the state of one moment, whatever is written meanwhile; its etag and time are said. The end of FILE
    says what it is: .ravendbdump (RavenDB 4 to 7), .ravendump (2 and 3), .ndjson, .ndjson.gz, .ndjson.zst
    or .parquet. FILE appears when it is complete and on disk, or not at all. Backups are read and proven as in a
    restore, but nothing is restored.

    With `-` the dump goes to stdout, as .ravendbdump unless --format says otherwise, and what is said goes to stderr.

    $ muniment smuggler out shop shop.ravendbdump
    $ muniment smuggler out http://127.0.0.1:8080 shop.ndjson.zst --database shop
    $ muniment smuggler out /mnt/backups/shop shop.ravendump --at 2026-11-22T17:18:03Z
    $ muniment smuggler out /mnt/backups/shop part.ravendbdump --collection Orders --id-prefix users/
    $ muniment smuggler out shop - --compression zstd | ssh elsewhere muniment smuggler in copy -
    """
    _check_used(source, keys)
    key, keyring = _opening(source, encryption, opening)
    options = carried.options(start_document_etag, part=part)
    if incremental and (file == STREAM or overwrite):
        raise InvalidInput("an incremental export goes into a folder, as a new file", "name a folder")
    if for_ravendb and (file == STREAM or incremental):
        raise InvalidInput("--for-ravendb writes two files", "name a file, and leave out --incremental")
    if file == STREAM and out.json:
        raise InvalidInput("stdout cannot have both the dump and --json", "write the dump to a file")
    from muniment.smuggling import export_for_ravendb  # here: its HTTP client loads longer than most commands run
    from muniment.smuggling import source as opened_source

    progress = Progress()
    with (
        opened_source(
            source,
            database,
            point=moment.point(),
            key=key,
            keyring=keyring,
            connect=keys.store,
        ) as opened,
        _destination(file) as destination,
        out.job(progress),
    ):
        asked: dict[str, Any] = {"compression": compression, "options": options, "progress": progress}
        if incremental:
            exported = opened.export_incremental(file, format=format, **asked)
        elif for_ravendb:
            exported = export_for_ravendb(opened, file, format=format, overwrite=overwrite, **asked)
        else:
            shape = format or (DEFAULT if file == STREAM else None)
            exported = opened.export(destination, format=shape, overwrite=overwrite, **asked)
    headline = f"Exported {source} to {exported.file or (file if incremental else 'stdout')}"
    rows = [facts(source=source), *exported_rows(exported, options)]
    if file != STREAM:
        out.emit(headline, rows)
    elif not out.quiet:
        aside().file.write(text_of(headline, rows))


@contextmanager
def _destination(file: str) -> Iterator[str | BinaryIO]:
    if file != STREAM:
        yield file
        return
    if sys.stdout.isatty():
        raise InvalidInput("a dump cannot be shown on a terminal", "name a file, or pipe it into another program")
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        yield stream
        stream.close()
    except BrokenPipeError:  # as any program ends whose reader has gone away, and not with 0: the dump is not complete
        raise SystemExit(CLOSED_PIPE) from None
    except StorageFailure as error:
        if isinstance(error.__cause__, BrokenPipeError):
            raise SystemExit(CLOSED_PIPE) from None
        raise
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        with suppress(OSError):
            stream.close()


def _dump(file: str) -> str | BinaryIO:
    if file != STREAM:
        return file
    if sys.stdin is None or sys.stdin.isatty():
        raise InvalidInput("stdin has no dump to read", "pipe a dump into it, or name a file")
    return sys.stdin.buffer


def smuggler_in(
    target: Annotated[str, typer.Argument(metavar="URL|FOLDER", help="A server, or the folder of a database.")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A .ravendbdump or .ravendump, .ndjson or .parquet, a folder of dumps, `-` for stdin."
        ),
    ],
    *,
    database: Database = None,
    create: Create = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", metavar="", help="Refuse a FILE that is not a folder.")
    ] = False,
    backup: Annotated[
        str | None, typer.Option("--backup", metavar="NAME", help="Which of RavenDB's backups in the folder FILE.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="NAME|TIME", help="The last file in the folder FILE to import.")
    ] = None,
    id_field: Annotated[
        str | None, typer.Option("--id-field", metavar="MEMBER", help="For plain objects: the member that is the id.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="NAME", help="For plain objects: their collection.")
    ] = None,
    carried: CarriedOptions,
    continuation_token: Continuation = None,
    fail_on_unknown: FailOnUnknown = False,
    keep_extensions: KeepExtensions = False,
    encryption: KeyOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Import a dump that RavenDB (2 to 7) or Muniment has exported into a database.

    Documents keep their bytes, metadata, collection and last-modified time; a document with the same id is replaced.
    What the dump holds and Muniment has no place for is counted and named, not left out in silence. It is written in
    whole transactions: after an interruption, importing the same dump again completes it, and so does
    --continuation-token with what the error names. Of a folder of incremental exports, all are imported in their order,
    and so are the full and the incremental backups of RavenDB 4 to 7, of which FILE may also be the folder above.
    NDJSON and Parquet come in as they are written here, with the members id, document, collection and metadata, or as
    plain objects with --id-field and --collection. Once a server has the whole dump, Ctrl-C waits for its answer.

    $ muniment smuggler in shop northwind.ravendbdump --create
    $ muniment smuggler in http://127.0.0.1:8080 northwind.ravendbdump --database shop
    $ muniment smuggler in shop orders.ndjson.gz --id-field OrderNo --collection Orders
    $ muniment smuggler in shop /var/lib/ravendb/backups --create --until 2026-11-27T06:36:03
    $ muniment smuggler in shop exports --negative-metadata-filter=@id=Raven/Replication/Destinations
    $ zcat shop.ravendump | muniment smuggler in copy - --create --transform-file anonymous.js
    """
    _check_used(target, keys)
    key, _ = _opening(target, encryption)
    options = carried.options(None, continuation_token, fail_on_unknown, keep_extensions)
    if incremental and not Path(file).is_dir():
        raise InvalidInput(f"{file} is not a folder", "give the folder that incremental exports were written to")
    from muniment.smuggling import import_from  # here too
    from muniment.smuggling import target as opened_target

    progress = Progress()
    with (
        out.job(progress),
        opened_target(target, database, create=create, key=key, connect=keys.store) as opened,
    ):
        part = {"backup": backup, "until": until, "id_field": id_field, "collection": collection}
        imported = import_from(_dump(file), opened, options=options, progress=progress, **part)
        fingerprint = opened.statistics().fingerprint
    rows = [facts(database=target, dump=file), *imported_rows(imported, fingerprint, options)]
    out.emit(f"Imported {'stdin' if file == STREAM else file} into {target}", rows)


def smuggler_between(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A server, the folder of a database, or one with backups.")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A server, or the folder of a database.")],
    *,
    database: Annotated[
        str | None, typer.Option("--database", metavar="NAME", help="The database on the server SOURCE.")
    ] = None,
    database2: Annotated[
        str | None, typer.Option("--database2", metavar="NAME", help="The database on the server TARGET.")
    ] = None,
    moment: PointOptions,
    create: Create = False,
    part: PartOptions,
    carried: CarriedOptions,
    start_document_etag: StartEtag = None,
    fail_on_unknown: FailOnUnknown = False,
    encryption: KeyOptions,
    opening: OpeningOptions,
    key_file2: Annotated[
        Path | None,
        typer.Option("--key-file2", parser=path_of, metavar="FILE", help="The key of TARGET, if it is encrypted."),
    ] = None,
    keys: Keys,
    second_keys: SecondKeys,
    out: JobOutput,
) -> None:
    """Bring documents from one database, or a moment in backups, into another one, without a file in between.

    It is the state of one moment of the source. In the target a document with the same id is replaced, and all others
    stay. After an interruption, doing it again completes it.

    $ muniment smuggler between http://127.0.0.1:8080 http://127.0.0.1:8081 --database shop --database2 copy
    $ muniment smuggler between shop http://127.0.0.1:8080 --database2 shop --create
    $ muniment smuggler between /mnt/backups/shop copy --create --metadata-filter=Raven-Entity-Name=Orders
    """
    key, keyring = _opening(source, encryption, opening)
    if key_file2 and "://" in target:
        check_stays_here(["--key-file2"], ITS_KEYS)
    options = carried.options(start_document_etag, None, fail_on_unknown, part=part)
    if "://" not in source + target and Path(source).resolve() == Path(target).resolve():
        raise InvalidInput(f"{source} and {target} are the same database", "name another one to bring it into")
    target_keys = _keys_of_target(source, target, keys, second_keys)
    from muniment.security.encryption import given_key  # here too
    from muniment.smuggling import between as move
    from muniment.smuggling import source as opened_source
    from muniment.smuggling import target as opened_target

    progress = Progress()
    point = moment.point()
    with (
        out.job(progress),
        opened_source(source, database, point=point, key=key, keyring=keyring, connect=keys.store) as origin,
        opened_target(
            target,
            database2,
            create=create,
            flag="--database2",
            key=given_key(None, key_file2),
            connect=target_keys.store,
        ) as opened,
    ):
        exported, imported = move(origin, opened, options=options, progress=progress)
        fingerprint = opened.statistics().fingerprint
    rows = [facts(source=source, target=target), *carried_rows(exported, imported, fingerprint, options)]
    out.emit(f"Brought {source} into {target}", rows)


def _check_used(place: str, keys: Keys) -> None:
    if "://" not in place:
        keys.check_unused()


def _opening(
    place: str, encryption: KeyOptions, opening: OpeningOptions | None = None
) -> tuple[EncryptionKey | None, Keyring]:
    """The key of a database in a folder, and what opens the backups there; a server is sent nothing of that."""
    from muniment.security.keyring import NO_KEYS  # here: completing a line needs none of it

    if "://" in place:
        encryption.check_for_server()
        return None, opening.for_server() if opening else NO_KEYS
    return encryption.key(), opening.keyring(encryption) if opening else NO_KEYS


def _keys_of_target(source: str, target: str, keys: Keys, second: SecondKeys) -> Keys:
    """Those to ask the target with: a server does not see those of another one."""
    _check_used(target, second)
    if "://" not in source:
        _check_used("" if second.given else target, keys)
    another = "://" in source and urlsplit(source)[:2] != urlsplit(target)[:2]
    return second if second.given or another else keys
