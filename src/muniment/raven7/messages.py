"""The JSON of requests and answers of RavenDB 4 and later. What a member means is told where its name does not."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from muniment.raven3.messages import Message, Object, Time
from muniment.raven7.documents import AttachmentShown
from muniment.raven7.json_patch import Step
from muniment.raven7.names import BUILD, FULL_VERSION, NODE, PRODUCT

ChangeVector: TypeAlias = Annotated[str, Meta(description="`A:ETAG-LINEAGE`.")]
Names: TypeAlias = list[str]


class Failure(Message):
    """What failed, as these clients read it: `Type` is the class of an exception of theirs."""

    url: str
    type: str
    message: Annotated[str, Meta(description="What failed, alone.")]
    error: Annotated[str, Meta(description="What failed, and in a line of its own the hint.")]
    hint: str | UnsetType = UNSET
    kind: Annotated[str, Meta(description="The name of an error in Muniment's documentation.")] | UnsetType = UNSET
    actual_change_vector: ChangeVector | UnsetType | None = UNSET
    expected_change_vector: ChangeVector | UnsetType | None = UNSET


class Node(Message):
    """A server that has a database."""

    url: str
    database: str | None = None
    cluster_tag: str = NODE
    server_role: Literal["Member"] = "Member"


class Topology(Message):
    """The servers that have a database: this one."""

    nodes: list[Node]
    etag: int = 1


class Members(Message):
    """The servers of a cluster: this one."""

    members: Annotated[dict[str, str], Meta(description="Their addresses, by their tags.")]
    all_nodes: dict[str, str]
    topology_id: str
    promotables: dict[str, str] = {}
    watchers: dict[str, str] = {}
    last_node_id: str = NODE
    etag: int = 1


class ClusterTopology(Message):
    """Which server leads: this one."""

    topology: Members
    leader: str = NODE
    node_tag: str = NODE
    current_state: str = "Leader"
    current_term: int = 1
    etag: int = 1
    status: Object = {}


class Version(Message):
    """Which version a server is, in RavenDB's terms and Muniment's."""

    product_version: str = PRODUCT
    build_version: int = BUILD
    commit_hash: str = ""
    full_version: str = FULL_VERSION


class Documents(Message):
    """Documents, each with a member `@metadata`; null for what does not exist."""

    results: list[Object | None]
    includes: Annotated[dict[str, Object | None], Meta(description="What these refer to, by its id.")]
    next_page_start: int | UnsetType = UNSET


class Ids(Message):
    """Which documents are wanted."""

    ids: list[str | None]


class Stored(Message):
    """A document was stored."""

    id: str
    change_vector: ChangeVector


class PatchScript(Message):
    """A script that changes a document, and the values of its `args`."""

    script: str
    values: dict[str, Any] | None = None


class JsonPatch(Message):
    """Changes to a document, as in RFC 6902."""

    operations: list[Step]


class PatchWanted(Message):
    """The script for a document, and another for when there is none, which gets an empty one."""

    patch: PatchScript
    patch_if_missing: PatchScript | None = None


class PatchDone(Message):
    """What became of a patch."""

    status: Annotated[str, Meta(description="`Patched`, `Created` or `NotModified`.")]
    modified_document: Object | None = None
    change_vector: str | None = None
    last_modified: Time | None = None
    collection: str | None = None
    original_document: Object | None = None
    debug: Object | None = None


class Patched(Message):
    """A document that is patched among others."""

    id: str
    change_vector: str | None = None


class Command(Message):
    """Something to do in a transaction."""

    type: Annotated[
        str,
        Meta(description="`PUT`, `DELETE`, `PATCH`, `BatchPATCH`, `JsonPatch`, `AttachmentPUT`, `…DELETE` …"),
    ]
    id: str | None = None
    change_vector: Annotated[
        str | None, Meta(description="What it must have now; empty: it must not exist; null: whatever it has.")
    ] = None
    document: msgspec.Raw | UnsetType = UNSET
    id_prefixed: Annotated[bool | None, Meta(description="Of a DELETE: all documents whose ids begin so.")] = None
    name: Annotated[str | None, Meta(description="Of an attachment.")] = None
    content_type: str | None = None
    destination_id: str | None = None
    destination_name: str | None = None
    remote_parameters: Object | None = None
    patch: PatchScript | None = None
    patch_if_missing: PatchScript | None = None
    create_if_missing: Annotated[
        msgspec.Raw | UnsetType, Meta(description="Of a `PATCH`: what is stored where there is no document.")
    ] = UNSET
    json_patch: JsonPatch | None = None
    ids: Annotated[list[Patched] | None, Meta(description="Of a `BatchPATCH`.")] = None
    return_document: Annotated[bool | None, Meta(description="Of a patch: answer the document too.")] = None
    tracked_entities: Annotated[
        dict[str, str | None] | None, Meta(description="Of `BatchTrackChanges`: what must have stayed as it is.")
    ] = None


class Batch(Message):
    """A transaction."""

    commands: list[Command] = []
    transaction_mode: str | None = None


class Done(Message):
    """What became of the commands of a transaction."""

    results: list[Object]
    transaction_index: int | None = None


class Range(Message):
    """Numbers for new ids, which are `PREFIX`, the number, a dash and `ServerTag`."""

    prefix: str
    low: int
    high: int
    last_size: int
    last_range_at: Time
    server_tag: str = NODE


class AttachmentStored(AttachmentShown):
    """An attachment was stored."""

    change_vector: ChangeVector
    document_id: str


class Size(Message):
    """How much there is."""

    size_in_bytes: int
    humane_size: str


class DatabaseStatistics(Message):
    """What is in a database."""

    last_doc_etag: int
    last_database_etag: int
    count_of_documents: int
    count_of_attachments: int
    count_of_unique_attachments: int
    database_change_vector: ChangeVector
    database_id: str
    size_on_disk: Size
    is64_bit: bool = field(name="Is64Bit", default=True)
    pager: str = ""
    indexes: list[Object] = []
    count_of_indexes: int = 0
    count_of_revision_documents: int = 0
    count_of_documents_conflicts: int = 0
    count_of_tombstones: int = 0
    count_of_conflicts: int = 0
    count_of_counter_entries: int = 0
    count_of_time_series_segments: int = 0
    last_indexing_time: None = None
    temp_buffers_size_on_disk: Size = field(default_factory=lambda: Size(0, "0 MB"))
    number_of_transaction_merger_queue_operations: int = 0


class CollectionStatistics(Message):
    """How many documents each collection has."""

    count_of_documents: int
    collections: dict[str, int]
    count_of_conflicts: int = 0


class OperationNumber(Message):
    """The number of a job that is to begin."""

    id: int
    node_tag: str = NODE


class OperationStatus(Message):
    """How a job stands; of one that failed, `Result` says why."""

    status: Annotated[str, Meta(description="`InProgress`, `Completed`, `Canceled` or `Faulted`.")]
    progress: Object | None = None
    result: Object | None = None


class Started(Message):
    """A job has begun: `operations/state` tells how it stands."""

    operation_id: int
    operation_node_tag: str = NODE
    responsible_node: str = NODE


class Local(Message):
    """A folder of the server's machine."""

    folder_path: str | None = None
    disabled: bool | None = None
    get_backup_configuration_script: Object | None = None


class BackupWanted(Message):
    """A backup into a folder of the server's machine. No other place, and no key, may be named."""

    backup_type: str | None = None
    local_settings: Local | None = None
    s3_settings: Object | None = field(name="S3Settings", default=None)
    glacier_settings: Object | None = None
    azure_settings: Object | None = None
    ftp_settings: Object | None = None
    google_cloud_settings: Object | None = None
    backup_encryption_settings: Object | None = None
    snapshot_settings: Object | None = None
    retention_policy: Object | None = None


class RestoreWanted(Message):
    """A restore of the newest state in a folder of the server's machine into a new database."""

    database_name: str | None = None
    backup_location: str = ""
    type: str | None = None
    data_directory: str | None = None
    last_file_name_to_restore: str | None = None
    encryption_key: str | None = None
    backup_encryption_settings: Object | None = None
    disable_ongoing_tasks: bool | None = None
    skip_indexes: bool | None = None


class DatabaseNames(Message):
    """The names of databases."""

    databases: list[str | Object]


class DatabaseRecord(Message):
    """What a new database is to be. Of what else a record may say, nothing is here, so it is refused."""

    database_name: str | None = None
    settings: dict[str, str | None] | None = None
    disabled: bool | None = None
    encrypted: bool | None = None


class Stamp(Message):
    """When it was decided where a database is: never, for there is one server."""

    index: int = 0
    term: int = 1
    leaders_ticks: int = 0


class DatabaseTopology(Message):
    """On which servers a database is: on this one."""

    members: list[str] = field(default_factory=lambda: [NODE])
    promotables: list[str] = []
    rehabs: list[str] = []
    demotion_reasons: dict[str, str] = {}
    promotables_status: dict[str, str] = {}
    replication_factor: int = 1
    dynamic_nodes_distribution: bool = False
    stamp: Stamp = field(default_factory=Stamp)
    database_topology_id_base64: str = field(name="DatabaseTopologyIdBase64", default="")
    priority_order: list[str] = []


class DatabaseStored(Message):
    """A database was made."""

    name: str
    raft_command_index: int
    topology: DatabaseTopology = field(default_factory=DatabaseTopology)
    nodes_added_to: list[str] = []


class DatabaseShown(Message):
    """What a database is."""

    database_name: str
    settings: dict[str, str]
    disabled: bool
    encrypted: bool
    etag: int
    topology: DatabaseTopology = field(default_factory=DatabaseTopology)


class Deletion(Message):
    """Databases to delete."""

    database_names: Names
    hard_delete: bool | None = None
    from_nodes: Names | None = None
    time_to_wait_for_confirmation: str | None = None


class Deleted(Message):
    """Databases were deleted."""

    raft_command_index: int
    pending_deletes: Names = []


class Toggling(Message):
    """Databases to disable or enable."""

    database_names: Names


class Toggled(Message):
    """What became of a database."""

    name: str
    disabled: bool
    success: bool
    reason: str | None = None


class AllToggled(Message):
    """What became of each database."""

    status: list[Toggled]


class QueryWanted(Message):
    """A query in RQL. Members that only say how an index is to be used are not looked at."""

    query: str | None = None
    query_parameters: dict[str, Any] | None = None
    start: int | None = None
    page_size: int | None = None


class UpdateWanted(Message):
    """Which documents to patch, and how: `from Orders where … update { this.x = 1 }`."""

    query: QueryWanted


class IndexesWanted(Message):
    """Definitions of indexes, which are kept exactly as they are."""

    indexes: list[Object]


class IndexMade(Message):
    """A definition that is kept."""

    index: str
    raft_command_index: int = 0


class IndexesMade(Message):
    """Definitions that are kept."""

    results: list[IndexMade]


class IndexesShown(Message):
    """Definitions, or their names, or what is told of the indexes."""

    results: list[Object | str]


class Terms(Message):
    """The values that documents have in a field."""

    terms: list[str]
    result_etag: int
    index_name: str


class IndexesRunning(Message):
    """How indexes stand."""

    indexes: list[Object]
    status: str = "Running"


class IndexChanged(Message):
    """Whether a definition is another one than that of this name."""

    changed: bool


class QueryResult(Message):
    """What a query has found."""

    results: list[Object]
    includes: dict[str, Object | None]
    total_results: int
    index_name: str
    duration_in_ms: int
    long_total_results: int
    skipped_results: int = 0
    included_paths: list[str] | None = None
    is_stale: bool = False
    index_timestamp: Time | None = None
    last_query_time: Time | None = None
    result_etag: int = 0
    node_tag: str = NODE


class Inner(Message):
    """A request in another."""

    url: str
    query: str | None = None
    method: str | None = None
    headers: dict[str, str | None] | None = None
    content: msgspec.Raw | UnsetType = UNSET


class Several(Message):
    """Requests that are answered together."""

    requests: list[Inner]


class InnerAnswer(Message):
    """The answer of one."""

    status_code: int
    headers: dict[str, str]
    result: msgspec.Raw


class SeveralAnswers(Message):
    """The answers, in the order of the requests."""

    results: list[InnerAnswer]


class ImportWanted(Message):
    """What to carry of a dump. What a member says of things that are not kept here is not looked at."""

    operate_on_types: Annotated[str | None, Meta(description="`Documents, Attachments`: what to carry.")] = None
    include_expired: bool | None = None
    include_archived: Annotated[bool | None, Meta(description="Only true is possible.")] = None
    transform_script: Annotated[str | None, Meta(description="`function(doc) { return doc; }`.")] = None
    collections: Annotated[list[str], Meta(description="Only these; none means all.")] = []
    encryption_key: Annotated[str | None, Meta(description="None is taken.")] = None
    skip_corrupted_data: bool | None = None


class ExportWanted(ImportWanted):
    """What to write into a dump."""

    compression_algorithm: Annotated[str | None, Meta(description="`Gzip` or `Zstd`.")] = None
