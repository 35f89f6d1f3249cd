"""The JSON of requests and answers. What a member means is told where its name does not."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from muniment.backup.recoverability import DestinationState
from muniment.backup.retention import Policy
from muniment.backup.runs import Run
from muniment.backup.schedule import Schedule, Task
from muniment.indexes import IndexFacts
from muniment.patching import PatchCommand
from muniment.query.plan import Plan
from muniment.raven3.names import BUILD, MAX_PAGE, PRODUCT
from muniment.scripting import Script

Etag: TypeAlias = Annotated[str, Meta(description="An etag as RavenDB writes it: a GUID with the number at its end.")]
Time: TypeAlias = Annotated[str, Meta(description="UTC, in ISO 8601 with seven digits of a second.")]
Object: TypeAlias = dict[str, Any]


class Message(msgspec.Struct, rename="pascal"):
    """An object whose members begin with capitals, as RavenDB's do."""


class Error(Message):
    """What failed, what to do next, and of what kind it is: the name of an error in Muniment's documentation."""

    url: str
    error: Annotated[str, Meta(description="What failed, and in a line of its own the hint.")]
    hint: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    message: Annotated[str, Meta(description="What failed, alone.")] | UnsetType = UNSET
    actual_etag: Etag | UnsetType = field(name="ActualETag", default=UNSET)
    actual_etag_too: Etag | UnsetType = field(name="ActualEtag", default=UNSET)
    expected_etag: Etag | UnsetType = field(name="ExpectedETag", default=UNSET)


Refusal: TypeAlias = Error | Annotated[str, Meta(description="The error's text, in the member where RavenDB has it.")]


class Accepted(Message):
    """A job has begun: `operation/status` tells how it stands."""

    operation_id: int | None = None


class Stored(Message):
    """A document was stored."""

    key: Annotated[str, Meta(description="Its id.")]
    etag: Etag = field(name="ETag")


class Documents(Message):
    """Documents by their ids; each has a member `@metadata`."""

    results: Annotated[list[Object | None], Meta(description="In the order asked for; null for what does not exist.")]
    includes: Annotated[list[Object], Meta(description="The documents that these refer to by the paths asked for.")]


class Wanted(Message, forbid_unknown_fields=True):
    """A query: a text in RavenDB's language with its parameters, or a tree. See docs/queries.md."""

    rql: str | None = None
    parameters: Annotated[Object, Meta(description="The values of `$name` in the text.")] = {}
    query: Annotated[Object | None, Meta(description="The tree, `muniment.query.model.Query` as JSON.")] = None
    skip: Annotated[int, Meta(ge=0, description="How many results to skip.")] = 0
    take: Annotated[int, Meta(ge=0, description="How many to return at most; 1,024 is the limit.")] = MAX_PAGE


class QueryResults(Message):
    """What a query found: documents, each with a member `@metadata`, or what it selects or groups."""

    results: list[Object]
    includes: Annotated[list[Object], Meta(description="The documents that these refer to by the paths asked for.")]
    total_results: Annotated[int, Meta(description="The total number of matches.")]
    plan: Annotated[Plan, Meta(description="How it was answered.")]
    highlightings: Annotated[
        dict[str, dict[str, list[str]]] | UnsetType,
        Meta(description="Pieces of texts with what was searched for, by the names of fields and by ids."),
    ] = UNSET


class IndexShown(Message):
    """An index."""

    index: Annotated[msgspec.Raw, Meta(description="The definition, as it was given.")]


class IndexMade(Message):
    """An index that is kept."""

    index: Annotated[str, Meta(description="Its name.")]


class IndexesMade(Message):
    """Indexes that are kept."""

    indexes: Annotated[list[str], Meta(description="Their names.")]


class IndexReset(Message):
    """An index that was to be filled anew: it is never behind."""

    reset: Annotated[str, Meta(description="Its name.")]


class IndexDefined(Message):
    """An index to keep."""

    name: str
    definition: Annotated[msgspec.Raw, Meta(description="`Map` or `Maps`, and what else RavenDB has.")]


class IndexListed(IndexFacts, frozen=True):
    """An index: one that is defined, with its definition, or one that queries have made (`automatic`).

    `ready`: it answers queries; otherwise `progress` is how much of it has been built, from 0 to 1. `used` is when it
    was made or last answered one, to an hour. `faults` are documents that it could not read, and has without the field.
    `problem` is why queries cannot ask it by its name.
    """

    definition: Annotated[msgspec.Raw | UnsetType, Meta(description="As it was given.")] = UNSET


class Command(Message):
    """A document to store, patch or delete, if it has this etag; all zeros stand for one that must not exist."""

    method: Annotated[str, Meta(description="`PUT`, `PATCH`, `EVAL` or `DELETE`.")]
    key: Annotated[str | None, Meta(description="The id; without one, PUT makes one.")] = None
    etag: Etag | None = None
    document: msgspec.Raw | UnsetType = UNSET
    metadata: msgspec.Raw | UnsetType = UNSET
    additional_data: Annotated[msgspec.Raw, Meta(description="Repeated in the answer.")] | UnsetType = UNSET
    patches: Annotated[list[PatchCommand] | None, Meta(description="Of a PATCH: the changes.")] = None
    patches_if_missing: Annotated[
        list[PatchCommand] | None, Meta(description="Of a PATCH: what makes the document, if there is none.")
    ] = None
    patch: Annotated[Script | None, Meta(description="Of an EVAL: the script.")] = None
    patch_if_missing: Annotated[
        Script | None, Meta(description="Of an EVAL: what makes the document, if there is none.")
    ] = None


class SeveralWanted(Message):
    """A request in another: its address below the database, and its query string."""

    url: str
    query: str | None = None
    method: str | None = None
    content: str | None = None
    headers: dict[str, str | None] | None = None


class SeveralAnswer(Message):
    """The answer of one."""

    status: int
    headers: dict[str, str]
    result: msgspec.Raw


class Patched(Message):
    """A document was patched."""

    patched: bool = True
    debug: Annotated[Object | None, Meta(description="What a script has told, in `Info`.")] = None
    document: Annotated[msgspec.Raw, Meta(description="What a script makes of it, if only asked.")] | UnsetType = UNSET


class CommandResult(Message):
    """What became of a command."""

    key: str
    method: str = ""
    etag: Etag | None = None
    metadata: msgspec.Raw | UnsetType | None = UNSET
    deleted: Annotated[bool | None, Meta(description="Of a DELETE: whether there was such a document.")] = None
    additional_data: msgspec.Raw | UnsetType | None = UNSET
    patch_result: Annotated[
        str | None, Meta(description="Of a PATCH: `Patched`, or `DocumentDoesNotExists` if there was nothing to patch.")
    ] = None
    existed: Annotated[bool | None, Meta(description="Whether there was one before.")] = None


class AttachmentListed(Message):
    """What is known of an attachment."""

    key: str
    etag: Etag
    size: Annotated[int, Meta(description="In bytes.")]
    metadata: msgspec.Raw
    sha256: str = ""
    owner: Annotated[str | None, Meta(description="The id of the document it was stored with.")] = None
    name: str = ""


class DatabaseStatistics(Message):
    """What is in a database."""

    last_doc_etag: Etag
    count_of_documents: int
    count_of_attachments: int
    database_id: str
    lineage: str
    collections: Annotated[dict[str, int], Meta(description="How many documents each has.")]
    bytes: Annotated[int, Meta(description="Of the documents and attachments that there are.")]
    file_bytes: int
    last_changed: Time
    fingerprint: str
    last_backup: Time | None = None
    changes_since_backup: int | None = None
    last_attachment_etag: Etag = ""
    name: str = ""
    storage_engine: str = ""
    count_of_indexes: int = 0
    count_of_result_transformers: int = 0
    in_memory_indexing_queue_sizes: list[int] = []
    approximate_task_count: int = 0
    stale_indexes: list[str] = []
    count_of_stale_indexes_excluding_disabled_and_abandoned: int = 0
    current_number_of_parallel_tasks: int = 0
    indexes: list[Object] = []
    errors: list[Object] = []
    prefetches: list[Object] = []
    supports_dtc: bool = False
    is64_bit: bool = field(name="Is64Bit", default=True)
    database_transaction_version_size_in_mb: int = field(name="DatabaseTransactionVersionSizeInMB", default=-1)


class LoadedDatabase(Message):
    """A database that is open."""

    name: str
    last_activity: Time
    transactional_storage_allocated_size: int
    transactional_storage_allocated_size_humane_size: str
    total_database_size: int
    total_database_humane_size: str
    count_of_documents: int
    count_of_attachments: int
    index_storage_size: int = 0
    metrics: None = None
    storage_stats: None = None


class Memory(Message, omit_defaults=True):
    """The memory of the server's process, where the system tells it."""

    resident_set_size_in_bytes: int | UnsetType = UNSET
    database_cache_size_in_mb: int | UnsetType = field(name="DatabaseCacheSizeInMB", default=UNSET)
    total_process_memory_size: int | UnsetType = UNSET


class ServerStatistics(Message):
    """What a server does."""

    total_number_of_requests: int
    uptime: str
    memory: Memory
    unwritten_log_lines: Annotated[int, Meta(description="How many lines its log could not take.")]
    unwritten_audit_lines: Annotated[int, Meta(description="How many lines its audit log could not take.")]
    loaded_databases: list[LoadedDatabase]
    loaded_file_systems: list[Object] = []
    server_name: str = "muniment"


class OperationState(Message):
    """How far a job is. What only some kinds of jobs tell is missing from the others."""

    documents: int
    attachments: int
    bytes: int
    seconds: float
    waiting: bool
    position: Annotated[int | None, Meta(description="Its position among the waiting jobs.")]
    progress: Annotated[str, Meta(description="What it is doing.")]
    total_documents: int | None = None
    total_bytes: int | None = None
    error: str | None = None
    hint: str | None = None
    kind: str | None = None
    result: Annotated[Object | None, Meta(description="What an import or export did, or what a backup holds.")] = None
    difference: (
        Annotated[Object, Meta(description="Of a restore into a database: how many documents and attachments differ.")]
        | UnsetType
    ) = UNSET
    written: int | UnsetType = UNSET
    etag: Annotated[int, Meta(description="Of the transaction of a restore into a database.")] | UnsetType | None = (
        UNSET
    )


class OperationStatus(Message):
    """How a job stands."""

    id: int
    completed: Annotated[bool, Meta(description="Whether it has ended: completed, failed or cancelled.")]
    faulted: bool
    canceled: bool
    state: OperationState
    exception: str | None = None
    operation_progress: None = None
    changes: Annotated[list[Object], Meta(description="All ids that differ.")] | UnsetType | None = UNSET


class OperationListed(Message):
    """A job that a server does or has done."""

    id: int
    status: str = ""
    task_type: str = ""
    description: str | None = None
    exception_text: str | None = None
    exception: None = None
    start_time: Time = ""


class DatabaseListed(Message):
    """A database of a server."""

    name: str
    disabled: bool
    indexing_disabled: bool = False
    reject_clients_enabled: bool = False
    cluster_wide: bool = False
    bundles: list[str] = []
    is_admin_current_tenant: bool = True


class BuildVersion(Message):
    """Which version a server is, in RavenDB's terms and Muniment's."""

    product_version: str = PRODUCT
    build_version: str = BUILD


class AccessToken(msgspec.Struct):
    """What may be sent in the place of a key for a while, in the words of RFC 6749."""

    access_token: str
    expires_in: Annotated[int, Meta(description="Seconds.")]
    token_type: str = "Bearer"


class SingleToken(Message):
    """What opens a database once, in the header `Single-Use-Auth-Token`."""

    token: str


class OldToken(Message):
    """What RavenDB's old clients send, as it is, in the place of a key for a while."""

    body: Annotated[str, Meta(description="JSON: `UserId`, `AuthorizedDatabases`, `Issued`.")]
    signature: Annotated[str, Meta(description="The token.")]


class OldTokenRefusal(msgspec.Struct):
    """Why there is no token, in the words of RFC 6749."""

    error: str
    error_description: str


class Health(Message):
    """Whether a server answers."""

    status: Literal["live", "ready", "stopping"]


class BackupWanted(Message):
    """A backup into a folder of the server's machine."""

    backup_location: str = ""
    database_document: Annotated[
        Object | None, Meta(description="To be kept in the backup; without it, the one that the server has.")
    ] = None
    recipients: Annotated[
        list[str] | None, Meta(description="Public keys to encrypt it for; without them, those of the settings.")
    ] = None
    in_clear: Annotated[
        bool, Meta(description="Write it unencrypted, even if the database or earlier backups are encrypted.")
    ] = False
    also_to: Annotated[
        list[str] | None, Meta(description="Further places: each has a chain of its own, and what fails is told.")
    ] = None


class Frozen(Message):
    """A database whose files stand still, or stood still until now, and the state that they hold."""

    id: Annotated[str, Meta(description="Of this freeze.")]
    database: str
    folder: Annotated[str, Meta(description="Where its files are, on the server's machine.")]
    etag: Annotated[int, Meta(description="The last etag, as a number.")]
    fingerprint: str
    since: Time
    until: Annotated[Time, Meta(description="When it ends by itself; or when it has ended.")]


class MomentWanted(Message, omit_defaults=True):
    """A moment of the backups in a folder of the server's machine, the newest when none is named; whole, or parts."""

    backup_location: str = ""
    at: Annotated[str | None, Meta(description="The state at this time, in ISO 8601 with a zone.")] = None
    etag: Annotated[int | None, Meta(description="The state after the transaction of this etag.")] = None
    backup: Annotated[str | None, Meta(description="The state at the end of the backup in this folder.")] = None
    lineage: Annotated[str | None, Meta(description="Of which history, by the first letters of its id.")] = None
    collections: list[str] | None = None
    ids: list[str] | None = None
    require_signature: Annotated[
        list[str] | None, Meta(description="Public keys of which one must have signed each backup.")
    ] = None
    allow_clear: Annotated[
        bool | None, Meta(description="Also backups in clear, where the server has what opens encrypted ones.")
    ] = None
    id_prefixes: list[str] | None = None
    copies: Annotated[
        list[str] | None, Meta(description="Other places with these backups: what is damaged here is read from there.")
    ] = None


class RestoreWanted(MomentWanted):
    """A restore into a new database."""

    database_name: Annotated[str | None, Meta(description="Without it, the one that the backup has kept.")] = None
    database_location: str | None = None
    defrag: bool | None = None
    restore_start_timeout: Annotated[int | None, Meta(description="Seconds to wait for another restore.")] = None
    generate_new_database_id: bool | None = None
    secured_settings: Annotated[
        dict[str, str] | None, Meta(description="`Raven/Encryption/Key` among them encrypts the new database.")
    ] = None


class RotationWanted(Message):
    """Another key for an encrypted database."""

    key: Annotated[str, Meta(description="32 bytes in base64.")]
    algorithm: Annotated[str | None, Meta(description="`AEGIS`, `ChaCha20` or `AES-256`; as it is now.")] = None

    def __repr__(self) -> str:
        return "RotationWanted(…)"


class RestoreIntoWanted(MomentWanted):
    """A restore into a database that goes on being used, or a comparison with it."""

    on_conflict: Literal["skip", "overwrite", "fail"] | None = None
    dry_run: Annotated[bool, Meta(description="Only compare.")] = False
    other_database: Annotated[bool, Meta(description="Allow backups of another database.")] = False


class KeptVersion(msgspec.Struct, omit_defaults=True):
    """A version of a document: `deleted` is its deletion."""

    etag: int
    lineage: str
    time: Annotated[str, Meta(description="When it was stored, RFC 3339.")]
    bytes: Annotated[int, Meta(description="Of its body.")]
    current: Annotated[bool, Meta(description="Whether this is the current version.")]
    logged: Annotated[
        bool, Meta(description="Whether the database itself has it, as the current version or in its history.")
    ]
    backups: Annotated[list[str], Meta(description="The backups that hold it.")]
    deleted: bool = False
    metadata: msgspec.Raw | UnsetType = UNSET
    document: msgspec.Raw | UnsetType = UNSET


class Versions(msgspec.Struct):
    """The versions of a document, oldest first; `notes` tell of backups that could not be read."""

    id: str
    versions: list[KeptVersion]
    notes: list[str]


class KeptAttachment(msgspec.Struct):
    """A version of an attachment that backups hold, or the database itself."""

    key: Annotated[str, Meta(description="What it is asked for by, with its etag and lineage.")]
    name: Annotated[str, Meta(description="What its document calls it.")]
    etag: int
    lineage: str
    time: Annotated[str, Meta(description="When it was stored, RFC 3339.")]
    bytes: Annotated[int, Meta(description="Of its content.")]
    backups: Annotated[list[str], Meta(description="The backups that hold it.")]
    deleted: Annotated[bool, Meta(description="It is its deletion.")]
    current: Annotated[bool, Meta(description="It is the present one.")]
    logged: Annotated[bool, Meta(description="The database has it itself, the present one or one in its history.")]


class AttachmentVersions(msgspec.Struct):
    """The versions of a document's attachments, oldest first; `notes` tell of backups that could not be read."""

    versions: list[KeptAttachment]
    notes: list[str]


class PlannedFile(msgspec.Struct):
    """A file that a restore reads."""

    name: str
    rows: int
    bytes: int


class PlannedBackup(msgspec.Struct):
    """A backup that a restore reads."""

    backup: str
    kind: str
    files: list[PlannedFile]


class PlannedRestore(msgspec.Struct):
    """What a restore would read, and the transaction at which it would stop."""

    source: str
    name: str
    database_id: str
    etag: int
    time: str
    rows: int
    file_bytes: int
    backups: list[PlannedBackup]
    notes: list[str]


class ChoreWanted(Message, omit_defaults=True):
    """Something to do with the backups in a folder of the server's machine."""

    backup_location: str = ""
    database: Annotated[str | None, Meta(description="Under whose name the job is listed; it changes nothing.")] = None
    require_signature: Annotated[
        list[str] | None, Meta(description="Public keys of which one must have signed each backup.")
    ] = None
    allow_clear: Annotated[
        bool | None, Meta(description="Also backups in clear, where the server has what opens encrypted ones.")
    ] = None


class VerificationWanted(ChoreWanted):
    """Which moment is to be proven; of a verification it is all of the backups when none is named."""

    at: Annotated[str | None, Meta(description="The state at this time, in ISO 8601 with a zone.")] = None
    etag: Annotated[int | None, Meta(description="The state after the transaction of this etag.")] = None
    backup: Annotated[str | None, Meta(description="The state at the end of the backup in this folder.")] = None
    lineage: Annotated[str | None, Meta(description="Of which history, by the first letters of its id.")] = None


class RehearsalWanted(VerificationWanted):
    """A rehearsal of the newest moment, or of one that is named."""

    query: Annotated[
        str | None, Meta(description="SQL over the documents; the rehearsal fails unless its answer is true.")
    ] = None


class CopyWanted(ChoreWanted):
    """Where the backups are to be brought; what is there already stays as it is."""

    destination: str = ""
    repair: Annotated[
        bool, Meta(description="Also check the files that are already there, and rewrite damaged ones.")
    ] = False


class MergeWanted(ChoreWanted):
    """Which chain to make one full backup of; the old ones stay, unless they are to be deleted."""

    through: Annotated[str, Meta(description="The folder of the last backup to merge, an incremental one.")] = ""
    delete_merged: Annotated[bool, Meta(description="Then delete the backups that the new one replaces.")] = False


class ExpiryWanted(ChoreWanted):
    """Which backups to keep; what is not kept goes when it was marked for the time of grace."""

    policy: Policy = Policy()
    grace: str = "24h"
    dry_run: Annotated[bool, Meta(description="Only say what would be done with each backup, and why.")] = False


class ScheduleListed(Message):
    """A schedule, when each of its tasks is due next, and the next five times of each, all by its clock."""

    name: str
    schedule: Schedule
    due: dict[Task, str]
    times: dict[Task, list[str]]
    notes: Annotated[
        list[str], Meta(description="After it was stored: what is wrong with its place as it is now.")
    ] = []


class DestinationListed(Message):
    """A place with the backups of a database, and the schedules that back it up there.

    `State` is as in `backups`; null where nothing is known yet, since nobody has used the database since the server
    began.
    """

    destination: str
    database: str
    schedules: list[str]
    state: DestinationState | None


class ScheduleAction(Message, omit_defaults=True):
    """What to do with a schedule now."""

    action: Literal["run", "pause", "resume"]
    task: Annotated[Task | None, Meta(description="Of `run`: which task, its first one if none is named.")] = None
    database: Annotated[str | None, Meta(description="Of `run`: for this database alone.")] = None
    until: Annotated[str | None, Meta(description="Of `pause`: when it ends, in ISO 8601 with a zone.")] = None


class KeyListed(Message):
    """A key, without its secret."""

    name: str
    enabled: bool
    created: str | None = None
    rights: list[str] = []
    databases: Annotated[list[str], Meta(description="Those that it is for; `*` is all, and the server itself.")] = []
    data_roots: Annotated[list[str], Meta(description="Only databases below these folders.")] = []
    backup_roots: Annotated[list[str], Meta(description="Only backups below these folders.")] = []
    old_clients: Annotated[bool, Meta(description="Also for RavenDB's clients with OAuth.")] = False


class KeyMade(KeyListed):
    """The key as it is now, and its secret if that is new."""

    api_key: (
        Annotated[str, Meta(description="What its holder sends, `NAME/SECRET`: kept nowhere, and answered once.")]
        | UnsetType
    ) = UNSET


class KeyWanted(Message):
    """A key to make."""

    name: str
    rights: list[str]
    databases: Annotated[list[str], Meta(description="All, and the server itself, if none is named.")] = []
    data_roots: list[str] = []
    backup_roots: list[str] = []
    old_clients: bool = False


class KeyAction(Message):
    """What to do with a key."""

    action: Literal["enable", "disable", "rotate"]


class SettingListed(Message):
    """A setting of the server, and what it is now."""

    name: str
    value: Annotated[str, Meta(description="As text; of a URL no more than its host, since the rest may be a secret.")]
    default: Annotated[bool, Meta(description="Whether it is so by default.")]
    description: str


class ScheduleDone(Message):
    """The schedule, and what was begun."""

    schedule: ScheduleListed
    runs: list[Run]
