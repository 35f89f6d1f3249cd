"""What an export or import is asked to carry, in the words of RavenDB's Smuggler."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from muniment.document import encode
from muniment.errors import InvalidInput, unreadable
from muniment.smuggler.filter import AnyOf, Filter

Format = Literal["ravendbdump", "ravendump", "ndjson", "parquet"]
Compression = Literal["gzip", "zstd", "none"]

DOCUMENTS: Final = "Documents"
ATTACHMENTS: Final = "Attachments"
IDENTITIES: Final = "Identities"
KEPT_TYPES: Final = frozenset({DOCUMENTS, ATTACHMENTS, IDENTITIES})
# Kept as documents, so that an export can give them back: they mean nothing here.
WITHOUT_MEANING: Final = frozenset({"Indexes", "Transformers", "DatabaseRecord"})
# The same, if that is asked for.
EXTENSIONS: Final = frozenset(
    """
    RevisionDocuments Counters CounterGroups TimeSeries TimeSeriesDeletedRanges CompareExchange
    CompareExchangeTombstones Subscriptions ReplicationHubCertificates
    """.split()
)
# What else some version of RavenDB can carry: Muniment cannot store it.
OTHER_TYPES: Final = frozenset(
    """
    RemoveAnalyzers IndexesHistory Conflicts Tombstones LegacyDocumentDeletions LegacyAttachmentDeletions
    LegacyAttachments
    """.split()
)

BATCH_DOCUMENTS: Final = 1000
MAX_BATCH_DOCUMENTS: Final = 100_000
MAX_SCRIPT_BYTES: Final = 1 << 20

_COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}
_FORMATS: Final[dict[str, Format]] = {
    ".ravendbdump": "ravendbdump",
    ".ravendump": "ravendump",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
_KNOWN: Final = KEPT_TYPES | WITHOUT_MEANING | EXTENSIONS | OTHER_TYPES
_spelling = {name.lower(): name for name in _KNOWN}
_guid = re.compile(r"\w{8}-\w{4}-\w{4}-([0-9a-fA-F]{4})-([0-9a-fA-F]{12})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmugglerOptions:
    """What to carry and how; checked when it is made, so that a mistake is reported before anything is read.

    `types` are the kinds to carry, None for everything. A document is carried if it meets all `filters`; then
    `transform`, a JavaScript function, may change it or leave it out. `exclude_expired` leaves out documents whose
    expiration date has passed when the work begins. `limit` is the most documents to carry, `timeout` the seconds for
    all of it. `ignore_errors` skips and counts items that cannot be carried; `fail_on_unknown` makes a section that
    Muniment cannot store an error. `keep_extensions` keeps, in an import, what means nothing here (counters, time
    series, compare-exchange values, revisions, …), for exports to give back. `continuation` is the token of an import
    that stopped, and `start_etag` the etag after which an export begins. `for_ravendb` leaves out of a `.ravendbdump`
    the documents for which RavenDB refuses the whole ("without"), or carries only these ("only").
    """

    types: frozenset[str] | None = None
    filters: tuple[Filter | AnyOf, ...] = ()
    transform: str | None = None
    exclude_expired: bool = False
    ignore_errors: bool = False
    fail_on_unknown: bool = False
    limit: int | None = None
    batch_size: int = BATCH_DOCUMENTS
    timeout: float | None = None
    continuation: str | None = None
    start_etag: int = 0
    keep_extensions: bool = False
    for_ravendb: Literal["without", "only"] | None = None

    def __post_init__(self) -> None:
        """Raises `InvalidInput` for an invalid value."""
        unknown = (self.types or frozenset()) - _KNOWN
        if unknown:
            names = ", ".join(sorted(KEPT_TYPES))
            raise InvalidInput(f"{min(unknown)!r} is not a type of items in a dump", f"name some of {names}")
        _check("limit", self.limit, 1, 1 << 62, "documents")
        _check("batch size", self.batch_size, 1, MAX_BATCH_DOCUMENTS, "documents")
        _check("timeout", self.timeout, 0.001, 10**9, "seconds")
        _check("start etag", self.start_etag, 0, (1 << 63) - 1)
        if self.for_ravendb not in (None, "without", "only"):
            raise InvalidInput(f"for_ravendb cannot be {self.for_ravendb!r}", "give without or only")
        if self.transform is not None and not self.transform.strip():
            raise InvalidInput("the transform script is empty", "write function(doc) { return doc; }")
        if self.transform is not None and len(self.transform) > MAX_SCRIPT_BYTES:
            raise InvalidInput(f"the transform script has more than {MAX_SCRIPT_BYTES:,} characters", "shorten it")

    @classmethod
    def of(
        cls,
        *,
        operate_on_types: str | Iterable[str] | None = None,
        filter: Iterable[str] = (),
        negative_filter: Iterable[str] = (),
        metadata_filter: Iterable[str] = (),
        negative_metadata_filter: Iterable[str] = (),
        transform: str | None = None,
        transform_file: str | os.PathLike[str] | None = None,
        start_document_etag: str | int | None = None,
        collections: Iterable[str] = (),
        ids: Iterable[str] = (),
        prefixes: Iterable[str] = (),
        **others: Any,
    ) -> Self:
        """From the arguments of RavenDB's command line; `others` are members of this class.

        Types are separated by commas; an etag may be a number or in RavenDB 3's form. Where `collections`, `ids` or
        `prefixes` of ids are named, a document has to be in one of them, too.
        """
        if transform is not None and transform_file is not None:
            raise InvalidInput("there are two transforms", "give --transform or --transform-file, not both")
        filters = [
            Filter(text, on_metadata=on_metadata, negative=negative)
            for texts, on_metadata, negative in (
                (filter, False, False),
                (negative_filter, False, True),
                (metadata_filter, True, False),
                (negative_metadata_filter, True, True),
            )
            for text in texts
        ]
        return cls(
            types=_types(operate_on_types),
            filters=(*filters, *AnyOf.of(collections, ids, prefixes)),
            transform=transform if transform_file is None else _script(Path(transform_file)),
            start_etag=_etag(start_document_etag),
            **others,
        )

    @property
    def choice(self) -> str:
        """What tells an export that carries one part of a database from one that carries another, or changes it."""
        filters = [
            [each.collections, each.ids, each.prefixes]
            if isinstance(each, AnyOf)
            else [each.text, each.on_metadata, each.negative]
            for each in self.filters
        ]
        types = None if self.types is None else sorted(self.types)
        chosen = [types, filters, self.transform, self.exclude_expired, self.for_ravendb]
        return sha256(encode(chosen)).hexdigest()

    @property
    def carried(self) -> frozenset[str]:
        """Which of "Documents", "Attachments" and "Identities" are carried."""
        return KEPT_TYPES if self.types is None else self.types & KEPT_TYPES

    @property
    def takes_all_documents(self) -> bool:
        """Whether an import carries all documents from the beginning on, as they are."""
        chosen = self.filters or self.transform is not None or self.exclude_expired or self.limit is not None
        return DOCUMENTS in self.carried and not chosen and self.continuation is None

    def gives_back(self, section: str) -> bool:
        """Whether an export carries what was kept of this section."""
        return self.types is None or section in self.types

    @property
    def kept_sections(self) -> frozenset[str]:
        """Which sections an import keeps as documents."""
        kept = WITHOUT_MEANING | EXTENSIONS if self.keep_extensions else WITHOUT_MEANING
        return kept if self.types is None else kept & self.types

    @property
    def meaningless(self) -> list[str]:
        """Types that were asked for but have no effect on an import, since Muniment does not store them."""
        return sorted((self.types or frozenset()) - KEPT_TYPES - self.kept_sections)

    def expects(self, section: str) -> bool:
        """Whether these options ask for this section of a dump, so that leaving it out must be reported."""
        if self.types is None:
            return True
        name = _spelling.get(section.partition("/")[0].lower())
        return name is None or name in self.types


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The form of an export, and which `part` of the database is in it; checked when it is made.

    With `overwrite`, an existing file is replaced once the new one is complete.
    """

    format: Format
    compression: Compression
    part: SmugglerOptions = field(default_factory=SmugglerOptions)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises `InvalidInput` for an export that cannot be written."""
        if self.format not in get_args(Format):
            raise InvalidInput(
                f"{self.format!r} is not a format of exports", f"name one of {', '.join(get_args(Format))}"
            )
        if self.compression not in get_args(Compression):
            raise InvalidInput(f"{self.compression!r} is not a compression of exports", "name gzip, zstd or none")
        if self.part.for_ravendb and self.format != "ravendbdump":
            raise InvalidInput(f"{self.format} is not for RavenDB 4 to 7", "export as ravendbdump")
        if self.part.continuation is not None:
            raise InvalidInput("an export cannot be continued: each is one state", "leave out the continuation token")

    @classmethod
    def of(
        cls,
        destination: object,
        format: Format | None = None,
        compression: Compression | None = None,
        options: SmugglerOptions | None = None,
        *,
        overwrite: bool = False,
    ) -> Self:
        """With the given format, or that of the file's extension; raises `InvalidInput` when neither names one.

        Dumps are compressed with gzip, which every RavenDB reads, and NDJSON if its name ends in `.gz` or `.zst`.
        """
        path = Path(destination) if isinstance(destination, str | Path) else Path()
        by_name = _COMPRESSIONS.get(path.suffix.lower())
        suffix = Path(path.stem).suffix if by_name else path.suffix
        found = format or _FORMATS.get(suffix.lower())
        if found is None:
            raise InvalidInput(
                f"{path if path.name else 'a stream'} does not say which format to write",
                f"end the name in one of {', '.join(_FORMATS)}, or name the format",
            )
        usual: Compression = "gzip" if found in ("ravendbdump", "ravendump") else "none"
        return cls(found, compression or by_name or usual, options or SmugglerOptions(), overwrite)

    @classmethod
    def incremental(
        cls,
        format: Format | None = None,
        compression: Compression | None = None,
        options: SmugglerOptions | None = None,
    ) -> Self:
        """The options of an incremental export; raises what `check_incremental` does."""
        asked = cls.of(None, format or "ravendbdump", compression, options)
        asked.check_incremental()
        return asked

    def check_incremental(self) -> None:
        """Raises `InvalidInput` unless an incremental export can have these options."""
        if self.format not in ("ravendbdump", "ravendump"):
            hint = "export incrementally as ravendbdump or ravendump"
            raise InvalidInput(f"{self.format} has no place for deletions", hint)
        if self.part.for_ravendb == "only":
            raise InvalidInput("what RavenDB refuses is no incremental export", "export it into a file of its own")
        if self.part.start_etag or self.part.limit is not None:
            raise InvalidInput(
                "an incremental export begins where the last one ended, and has no limit",
                "leave out the start etag and the limit",
            )


def _check(what: str, value: float | None, least: float, most: int, unit: str = "") -> None:
    if value is not None and not (type(value) in (int, float) and least <= value <= most):
        last = {1 << 62: "2^62", (1 << 63) - 1: "2^63-1"}.get(most, f"{most:,}")
        hint = f"give {least:g} to {last} {unit}" if unit else f"give a whole number from {least:g} to {last}"
        raise InvalidInput(f"the {what} cannot be {value!r}", hint)


def _types(given: str | Iterable[str] | None) -> frozenset[str] | None:
    if given is None:
        return None
    names = given.split(",") if isinstance(given, str) else given
    types = frozenset(_spelling.get(name.strip().lower(), name.strip()) for name in names if name.strip())
    return types or None


def _script(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise unreadable(path, error, "give the path of a script") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not UTF-8 text: {error}", "save the script as UTF-8") from error


def _etag(given: str | int | None) -> int:
    if given is None or isinstance(given, int):
        return given or 0
    found = _guid.fullmatch(given.strip().strip('"'))
    if found:
        return (int(found[1], 16) << 48) + int(found[2], 16)
    if given.strip().isascii() and given.strip().isdigit():
        return int(given)
    raise InvalidInput(f"{given!r} is not an etag", "give a number, or 01000000-0000-0001-0000-000000000004")
