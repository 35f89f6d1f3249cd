"""The options of `muniment smuggler`, in the words of RavenDB's Smuggler: said once, for all of its commands."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from muniment.cli.options import path_of
from muniment.cli.point import PartOptions
from muniment.smuggler.options import SmugglerOptions

_PAIR: Final = "PATH=VALUE"

StartEtag: TypeAlias = Annotated[
    str | None,
    typer.Option("--start-document-etag", metavar="ETAG", help="Only documents that changed after this etag."),
]
Continuation: TypeAlias = Annotated[
    str | None,
    typer.Option("--continuation-token", metavar="TOKEN", help="Go on where the import that named it stopped."),
]
FailOnUnknown: TypeAlias = Annotated[
    bool,
    typer.Option("--fail-on-unknown", metavar="", help="Fail at a section that Muniment has no place for."),
]
KeepExtensions: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--keep-extensions",
        metavar="",
        help="Keep counters, time series, compare-exchange, revisions, … for exports to give back.",
    ),
]


@dataclass(frozen=True, slots=True)
class CarriedOptions:
    """What is carried, and how."""

    operate_on_types: Annotated[
        str | None,
        typer.Option(
            "--operate-on-types",
            metavar="NAMES",
            help="What to carry: one or more of Documents,Attachments,Identities,Indexes,DatabaseRecord, …",
        ),
    ] = None
    filter: Annotated[
        list[str],
        typer.Option("--filter", metavar=_PAIR, help="Only documents with this value; may be repeated."),
    ] = field(default_factory=list)
    negative_filter: Annotated[
        list[str], typer.Option("--negative-filter", metavar=_PAIR, help="Only documents without this value.")
    ] = field(default_factory=list)
    metadata_filter: Annotated[
        list[str], typer.Option("--metadata-filter", metavar=_PAIR, help="Only with this value in the metadata.")
    ] = field(default_factory=list)
    negative_metadata_filter: Annotated[
        list[str], typer.Option("--negative-metadata-filter", metavar=_PAIR, help="Only without it in the metadata.")
    ] = field(default_factory=list)
    transform: Annotated[
        str | None,
        typer.Option("--transform", metavar="SCRIPT", help="JavaScript: function(doc) { return doc; }"),
    ] = None
    transform_file: Annotated[
        Path | None, typer.Option("--transform-file", parser=path_of, metavar="FILE", help="The same, from a file.")
    ] = None
    exclude_expired: Annotated[
        bool, typer.Option("--excludeexpired", metavar="", help="Leave out documents that have expired.")
    ] = False
    ignore_errors: Annotated[
        bool,
        typer.Option("--ignore-errors-and-continue", metavar="", help="Pass over what has errors, and name it."),
    ] = False
    limit: Annotated[int | None, typer.Option("--limit", metavar="NUMBER", help="At most so many documents.")] = None
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="NUMBER", help="How many documents are written at once.")
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option("--timeout", metavar="MS", min=1, help="How long all of it may take; no limit if not given."),
    ] = None

    def options(
        self,
        start_document_etag: str | None = None,
        continuation: str | None = None,
        fail_on_unknown: bool = False,
        keep_extensions: bool = False,
        part: PartOptions | None = None,
    ) -> SmugglerOptions:
        """The same for the library; raises `InvalidInput` for what makes no sense."""
        given: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        given |= {"start_document_etag": start_document_etag, "continuation": continuation}
        given["timeout"] = None if self.timeout is None else self.timeout / 1000
        if self.batch_size is None:
            del given["batch_size"]
        given |= {"fail_on_unknown": fail_on_unknown, "keep_extensions": keep_extensions}
        if part is not None:
            given |= {"collections": part.collection, "ids": part.id, "prefixes": part.id_prefix}
        return SmugglerOptions.of(**given)
