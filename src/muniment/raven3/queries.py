"""What requests ask for in their query strings: each member is a parameter, by its name there."""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Meta, field

from muniment.limits import Limits
from muniment.raven3.names import DEFAULT_PAGE, MAX_PAGE


class Query(msgspec.Struct, frozen=True, rename="kebab"):
    """The names of parameters compare without case, and what is not known is not looked at."""


@cache
def parameters(type: type[Query]) -> dict[str, tuple[str, Any]]:
    """The attribute of each parameter and the type of its value, by its name in lower case."""
    fields = msgspec.structs.fields(type)
    return {each.encode_name.lower(): (each.name, _kind(each.type)) for each in fields}


def _kind(annotated: Any) -> Any:
    plain = get_args(annotated)[0]  # each is Annotated, with what it means
    return get_args(plain)[0] if isinstance(plain, UnionType) else get_origin(plain) or plain


class Page(Query, frozen=True):
    """So many, after so many."""

    start: Annotated[int, Meta(ge=0, description="How many to pass over.")] = 0
    size: Annotated[int, Meta(ge=0, description=f"How many to answer, at most {MAX_PAGE:,}.")] = field(
        name="pageSize", default=DEFAULT_PAGE
    )


class Listed(Page, frozen=True):
    """A page of what begins so, or of what has changed."""

    prefix: Annotated[str | None, Meta(description="Those whose ids begin so, in the order of their ids.")] = field(
        name="startsWith", default=None
    )
    etag: Annotated[str | None, Meta(description="Those after this etag, in the order of their etags.")] = None


class DocumentsListed(Listed, frozen=True):
    """A page of documents, or one."""

    id: Annotated[str | None, Meta(description="Only the document with this id, as `docs/{id}` answers it.")] = None
    matches: Annotated[
        str | None, Meta(description="What follows the prefix is like one of these: `a*|b?`, with `*` and `?`.")
    ] = None
    exclude: Annotated[str | None, Meta(description="What follows the prefix is like none of these.")] = None
    skip_after: Annotated[str | None, Meta(description="Only ids after this one.")] = field(
        name="skipAfter", default=None
    )
    collection: Annotated[str | None, Meta(description="Only those of this collection, without `startsWith`.")] = None
    metadata_only: Annotated[bool, Meta(description="Of each, only its metadata.")] = False
    transformer: Annotated[str | None, Meta(description="There are none: refused.")] = None


class DocumentsStreamed(DocumentsListed, frozen=True):
    """Documents: all of them, unless a page is asked for."""

    size: Annotated[int, Meta(ge=0, description="How many to answer.")] = field(name="pageSize", default=1 << 62)
    transformer: Annotated[str | None, Meta(description="There are none.")] = None


class AttachmentsListed(Listed, frozen=True):
    """A page of attachments, or one."""

    key: Annotated[str | None, Meta(description="Only the attachment with this key.")] = None
    owner: Annotated[str | None, Meta(description="The document that it was stored with.")] = None


class AttachmentOf(Query, frozen=True):
    """Whose attachment."""

    owner: Annotated[
        str | None, Meta(description="The document that it is stored with; the key is then a name among its own.")
    ] = None


class DocumentsIncluding(Query, frozen=True):
    """What to answer with the documents."""

    include: Annotated[list[str], Meta(description="A path in the documents to ids of others: `Lines,Product`.")] = []
    metadata_only: Annotated[bool, Meta(description="Of each, only its metadata.")] = False
    transformer: Annotated[str | None, Meta(description="There are none.")] = None


class DocumentsWanted(DocumentsIncluding, frozen=True):
    """Which documents."""

    id: Annotated[list[str], Meta(description="The id of a document.")] = []


class IndexAsked(Page, frozen=True):
    """What to find by an index of RavenDB 3."""

    query: Annotated[str, Meta(description="In Lucene's syntax: `Name:ren* AND Freight_Range:[Dx1 TO Dx9}`.")] = ""
    sort: Annotated[list[str], Meta(description="A field to sort by, `-` before it if descending.")] = []
    fetch: Annotated[list[str], Meta(description="Only this field of each document.")] = []
    include: Annotated[list[str], Meta(description="A path in the documents to ids of others.")] = []
    operator: Annotated[str, Meta(description="`AND` if clauses with nothing between them must all hold.")] = "OR"
    default_field: Annotated[str | None, Meta(description="The field of terms without one.")] = field(
        name="defaultField", default=None
    )
    metadata_only: Annotated[bool, Meta(description="Of each, only its metadata.")] = False
    distinct: Annotated[bool, Meta(description="Of fetched fields that are the same, one.")] = False
    transformer: Annotated[str | None, Meta(description="There are none.")] = field(
        name="resultsTransformer", default=None
    )
    highlight: Annotated[
        list[str], Meta(description="A field to show what is searched for in: `Notes:128,2`, of 128 characters, two.")
    ] = []
    before: Annotated[list[str], Meta(description="The mark before what is searched for; `<b>` if there is none.")] = (
        field(name="preTags", default=[])
    )
    after: Annotated[list[str], Meta(description="The mark after it.")] = field(name="postTags", default=[])
    debug: Annotated[str | None, Meta(description="`entries` for what a kept index has of each document.")] = None
    definition: Annotated[str, Meta(description="`yes` for the definition of the index.")] = ""


class TermsWanted(Query, frozen=True):
    """The values of which field."""

    name: Annotated[str, Meta(description="The field.")] = field(name="field", default="")
    after: Annotated[str, Meta(description="Only those after this one.")] = field(name="fromValue", default="")
    size: Annotated[int, Meta(ge=0, description=f"How many to answer, at most {MAX_PAGE:,}.")] = field(
        name="pageSize", default=DEFAULT_PAGE
    )


class ScriptAsked(Query, frozen=True):
    """How to run a script."""

    test: Annotated[bool, Meta(description="Only answer what it makes of the document.")] = False


class BulkInserted(Query, frozen=True):
    """How documents come, and what to do with those that are there already."""

    overwrite: Annotated[bool, Meta(description="Store them in place of those that there are; else that is 409.")] = (
        field(name="overwriteExisting", default=False)
    )
    check_for_updates: Annotated[bool, Meta(description="The same, as older clients say it.")] = field(
        name="checkForUpdates", default=False
    )
    skip_unchanged: Annotated[bool, Meta(description="The same, and store nothing where nothing would change.")] = (
        field(name="skipOverwriteIfUnchanged", default=False)
    )
    check_references: Annotated[bool, Meta(description="Changes nothing: an index is never behind.")] = field(
        name="checkReferencesInIndexes", default=False
    )
    operation_id: Annotated[str, Meta(description="The client's own name for it, which is not looked at.")] = field(
        name="operationId", default=""
    )
    format: Annotated[str, Meta(description="`bson` or `json`.")] = "bson"
    compression: Annotated[str, Meta(description="Of each segment: `gzip` or `none`.")] = "gzip"
    op: Annotated[str, Meta(description="`generate-single-use-auth-token` for a token instead.")] = ""
    no_op: Annotated[str, Meta(description="Anything, and nothing is done.")] = ""


class IndexStreamed(IndexAsked, frozen=True):
    """What to find by an index of RavenDB 3: all of it, unless a page is asked for."""

    size: Annotated[int, Meta(ge=0, description="How many to answer.")] = field(name="pageSize", default=1 << 62)


class IndexesListed(Page, frozen=True):
    """A page of indexes."""

    names_only: Annotated[bool, Meta(description="Of each, only its name.")] = field(name="namesOnly", default=False)


class OperationWanted(Query, frozen=True):
    """Which job."""

    id: Annotated[str | None, Meta(description="Its number.")] = None


class StatusWanted(OperationWanted, frozen=True):
    """Which job, and what of it."""

    changes: Annotated[bool, Meta(description="Of a comparison, all ids that differ too.")] = False


class LimitsWanted(Query, frozen=True):
    """How fast a job may be, and when; what is not said stays as it is, without a limit at the beginning."""

    read_rate: Annotated[str | None, Meta(description="Bytes to read in a second: `20MB`, or `none` for no limit.")] = (
        None
    )
    write_rate: Annotated[str | None, Meta(description="Bytes to write or upload in a second: `5MB`, `none`.")] = None
    niceness: Annotated[int | None, Meta(description="How far to stand back for others: 0 to 19.")] = None
    hours: Annotated[str | None, Meta(description="When to go on, by the server's clock: `22:00-06:00`, `none`.")] = (
        None
    )

    def on(self, limits: Limits) -> Limits:
        """These limits, changed by what is said; raises `InvalidInput`."""
        return limits.changed(self.read_rate, self.write_rate, self.niceness, self.hours)


class OperationLimits(LimitsWanted, frozen=True):
    """What limits which job is to have."""

    id: Annotated[str | None, Meta(description="Its number.")] = None


class BackupOptions(LimitsWanted, frozen=True):
    """What kind of backup."""

    incremental: Annotated[bool, Meta(description="Only what changed since the last backup in this folder.")] = False
    new_chain: Annotated[bool, Meta(description="Begin anew where backups are remembered and none is there.")] = False
    skip_damaged: Annotated[bool, Meta(description="Leave out what is damaged in the database.")] = False
    include_encryption_key: Annotated[
        bool, Meta(description="Keep the key of an encrypted database in its backup, as RavenDB does.")
    ] = False
    in_clear: Annotated[bool, Meta(description="Back up an encrypted database so that anybody can read it.")] = False


class BackupsListed(Query, frozen=True):
    """Where backups are."""

    location: Annotated[str, Meta(description="A folder of the server's machine.")] = ""


class VersionsWanted(Query, frozen=True):
    """Of which document."""

    id: Annotated[str, Meta(description="Its id.")] = ""
    etag: Annotated[int | None, Meta(description="Only the version with this number, and with its content.")] = None
    lineage: Annotated[str | None, Meta(description="Only versions of this history of the database.")] = None


class AttachmentVersionsWanted(Query, frozen=True):
    """Of which document."""

    owner: Annotated[str, Meta(description="Its id.")] = ""


class AttachmentVersion(Query, frozen=True):
    """Which version of an attachment."""

    etag: Annotated[int, Meta(description="Its number.")] = 0
    lineage: Annotated[str, Meta(description="The history of the database, where several have this number.")] = ""


class RestoreOptions(LimitsWanted, frozen=True):
    """How to restore."""

    defrag: Annotated[bool, Meta(description="Write the new database without gaps.")] = False


class CompactionWanted(Query, frozen=True):
    """Which database to compact."""

    database: Annotated[str, Meta(description="Its name.")] = ""


class AlertsWanted(Query, frozen=True):
    """After how long what is wrong; as the server's settings say, where it is not told here."""

    older: Annotated[str | None, Meta(description="That there was no backup: `25h`.")] = None
    unverified: Annotated[str | None, Meta(description="That no backup was verified: `7d`.")] = None
    unrehearsed: Annotated[str | None, Meta(description="That no backup was rehearsed: `30d`.")] = None


class FreezeWanted(Query, frozen=True):
    """For how long to freeze."""

    timeout: Annotated[str, Meta(description="After how long it thaws by itself: `60s`, `10m`, at most `24h`.")] = "60s"


class ThawWanted(Query, frozen=True):
    """Which freeze to end."""

    freeze: Annotated[str | None, Meta(description="Only this one, by its id.")] = None


class Deletion(Query, frozen=True):
    """What to delete of a database."""

    hard_delete: Annotated[bool, Meta(description="Its files too.")] = False


class Deletions(Deletion, frozen=True):
    """Which databases to delete."""

    ids: Annotated[list[str], Meta(description="The name of a database.")] = []


class Toggle(Query, frozen=True):
    """What to make of a database."""

    disabled: Annotated[bool, Meta(description="Whether it is to be disabled; otherwise it is enabled.")] = field(
        name="isSettingDisabled", default=False
    )


class RunsListed(Page, frozen=True):
    """Which runs of schedules."""

    database: Annotated[str | None, Meta(description="Those of this database.")] = None
    schedule: Annotated[str | None, Meta(description="Those of this schedule.")] = None


class AuditListed(Page, frozen=True):
    """A page of the audit log, the latest first."""


class DatabasesListed(Page, frozen=True):
    """A page of databases."""

    additional: Annotated[bool, Meta(description="What is known of each, and not its name alone.")] = field(
        name="getAdditionalData", default=False
    )


class Smuggled(Query, frozen=True):
    """The options that imports and exports have; a name that does not exist is an error."""

    operate_on_types: Annotated[str | None, Meta(description="`Documents,Attachments`: what to bring over.")] = None
    filter: Annotated[list[str], Meta(description="`Path=Value,Value`: only documents with one of these values.")] = []
    negative_filter: Annotated[list[str], Meta(description="`Path=Value`: only documents with none of these.")] = []
    metadata_filter: Annotated[list[str], Meta(description="The same of their metadata.")] = []
    negative_metadata_filter: Annotated[list[str], Meta(description="The same of their metadata.")] = []
    transform: Annotated[str | None, Meta(description="A script: `function(doc) { return doc; }`.")] = None
    exclude_expired: Annotated[bool, Meta(description="No documents that have expired.")] = field(
        name="excludeexpired", default=False
    )
    ignore_errors: Annotated[bool, Meta(description="Pass over items that cannot be carried.")] = field(
        name="ignore-errors-and-continue", default=False
    )
    limit: Annotated[int | None, Meta(description="At most so many documents.")] = None
    batch_size: Annotated[int | None, Meta(description="How many to write at once.")] = None
    timeout: Annotated[int | None, Meta(description="How many milliseconds all of it may take.")] = None


class Imported(Smuggled, frozen=True):
    """How to import."""

    continuation: Annotated[str | None, Meta(description="Go on where an import stopped at its limit.")] = field(
        name="continuation-token", default=None
    )
    fail_on_unknown: Annotated[bool, Meta(description="Fail at a section that there is no place for.")] = False
    keep_extensions: Annotated[bool, Meta(description="Keep counters, time series and so on for exports.")] = False


class PartExported(Smuggled, frozen=True):
    """Which part to export."""

    start_document_etag: Annotated[str | None, Meta(description="Only what changed after this etag.")] = None
    for_ravendb: Annotated[
        str | None, Meta(description="`without` the documents for which RavenDB refuses a dump, or `only` these.")
    ] = None
    collections: Annotated[list[str], Meta(description="What is in this collection, or named by these two:")] = field(
        name="collection", default=[]
    )
    ids: Annotated[list[str], Meta(description="The document with this id.")] = field(name="id", default=[])
    prefixes: Annotated[list[str], Meta(description="Documents whose ids begin so.")] = field(
        name="id-prefix", default=[]
    )


class ExportedMoment(PartExported, frozen=True):
    """What of a moment to export, and as what."""

    format: Annotated[str | None, Meta(description="`ravendbdump`, `ravendump`, `ndjson` or `parquet`.")] = None
    compression: Annotated[str | None, Meta(description="`gzip`, `zstd` or `none`.")] = None


class Exported(ExportedMoment, frozen=True):
    """What to export, and as what."""

    incremental: Annotated[bool, Meta(description="Only what changed since the dump that these name:")] = False
    database_id: Annotated[str | None, Meta(description="The database of the last dump.")] = None
    lineage: Annotated[str | None, Meta(description="The history of the last dump.")] = None
    after_etag: Annotated[int | None, Meta(description="The etag of the last dump.")] = None
    lost_file: Annotated[str | None, Meta(description="The file of the last dump, when it is gone.")] = None
