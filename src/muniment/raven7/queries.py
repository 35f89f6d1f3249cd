"""What requests of RavenDB 4 and later ask for in their query strings, each member by its name there."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from muniment.raven3.names import DEFAULT_PAGE
from muniment.raven3.queries import Page, Query


class Named(Query, frozen=True):
    """Which database."""

    name: Annotated[str | None, Meta(description="Its name.")] = None


class DocumentNamed(Query, frozen=True):
    """Which document."""

    id: Annotated[str | None, Meta(description="Its id.")] = None


class DocumentsWanted(Query, frozen=True):
    """Which documents, by their ids or by prefix, and what to answer with them."""

    id: Annotated[list[str], Meta(description="The id of a document.")] = []
    include: Annotated[list[str], Meta(description="A path in the documents to ids of others.")] = []
    prefix: Annotated[str | None, Meta(description="Those whose ids begin so, in the order of their ids.")] = field(
        name="startsWith", default=None
    )
    matches: Annotated[
        str | None, Meta(description="What follows the prefix is like one of these: `a*|b?`, with `*` and `?`.")
    ] = None
    exclude: Annotated[str | None, Meta(description="What follows the prefix is like none of these.")] = None
    start_after: Annotated[str | None, Meta(description="Only ids after this one.")] = field(
        name="startAfter", default=None
    )
    start: Annotated[int, Meta(ge=0, description="How many to pass over.")] = 0
    size: Annotated[int, Meta(ge=0, description="How many to answer.")] = field(name="pageSize", default=DEFAULT_PAGE)
    metadata_only: Annotated[bool, Meta(description="Of each, only its metadata.")] = field(
        name="metadataOnly", default=False
    )
    counter: Annotated[list[str], Meta(description="There are no counters: refused.")] = []
    timeseries: Annotated[list[str], Meta(description="There are no time series: refused.")] = []
    cmpxchg: Annotated[list[str], Meta(description="There is no compare-exchange: refused.")] = []


class DocumentsStreamed(Query, frozen=True):
    """Which documents: all, or by prefix."""

    prefix: Annotated[str, Meta(description="Those whose ids begin so, in the order of their ids.")] = field(
        name="startsWith", default=""
    )
    matches: Annotated[str | None, Meta(description="What follows the prefix is like one of these.")] = None
    exclude: Annotated[str | None, Meta(description="What follows the prefix is like none of these.")] = None
    start_after: Annotated[str | None, Meta(description="Only ids after this one.")] = field(
        name="startAfter", default=None
    )
    start: Annotated[int, Meta(ge=0, description="How many to pass over.")] = 0
    size: Annotated[int | None, Meta(description="How many to answer at most.")] = field(name="pageSize", default=None)
    format: Annotated[str | None, Meta(description="Only `jsonl` is possible.")] = None


class AttachmentNamed(DocumentNamed, frozen=True):
    """Which attachment of which document."""

    name: Annotated[str | None, Meta(description="Its name.")] = None
    content_type: Annotated[str | None, Meta(description="What it is.")] = field(name="contentType", default=None)
    remote_at: Annotated[str | None, Meta(description="Nothing is kept elsewhere: refused.")] = field(
        name="remoteAt", default=None
    )


class NextRange(Query, frozen=True):
    """For which ids numbers are wanted."""

    tag: Annotated[str, Meta(description="What the ids begin with: `orders`.")] = ""
    separator: Annotated[str, Meta(description="What follows it; only `/` is possible.")] = field(
        name="identityPartsSeparator", default="/"
    )


class ReturnedRange(Query, frozen=True):
    """Which numbers were not used."""

    tag: Annotated[str, Meta(description="What the ids begin with: `orders`.")] = ""
    end: Annotated[int, Meta(description="The last number that the client was given.")] = 0
    last: Annotated[int, Meta(description="The last number that it has used.")] = 0


class OperationWanted(Query, frozen=True):
    """Which job."""

    id: Annotated[str | None, Meta(description="Its number.")] = None


class Smuggled(Query, frozen=True):
    """As which job."""

    operation_id: Annotated[str | None, Meta(description="A number from `operations/next-operation-id`.")] = field(
        name="operationId", default=None
    )


class Inserted(Query, frozen=True):
    """As which job, and what to do with documents that are there already."""

    id: Annotated[str | None, Meta(description="A number from `operations/next-operation-id`.")] = None
    skip_unchanged: Annotated[bool, Meta(description="Store nothing where nothing would change.")] = field(
        name="skipOverwriteIfUnchanged", default=False
    )


class QueryStreamed(Query, frozen=True):
    """How to answer a stream."""

    format: Annotated[str | None, Meta(description="Only `jsonl` is possible.")] = None


class Queried(Query, frozen=True):
    """How to answer a query."""

    metadata_only: Annotated[bool, Meta(description="Of each document, only its metadata.")] = field(
        name="metadataOnly", default=False
    )
    debug: Annotated[str | None, Meta(description="Nothing of indexes can be shown: refused.")] = None


class ByQuery(Query, frozen=True):
    """How documents that a query finds are changed."""

    allow_stale: Annotated[bool, Meta(description="Changes nothing: an index is never behind.")] = field(
        name="allowStale", default=False
    )
    stale_timeout: Annotated[str | None, Meta(description="Changes nothing either.")] = field(
        name="staleTimeout", default=None
    )
    most_a_second: Annotated[str | None, Meta(description="Not looked at.")] = field(name="maxOpsPerSec", default=None)
    details: Annotated[bool, Meta(description="Not answered.")] = False


class PatchAsked(DocumentNamed, frozen=True):
    """Which document, and how to patch it."""

    skip_mismatch: Annotated[bool, Meta(description="Nothing is wrong when it is not as `If-Match` says.")] = field(
        name="skipPatchIfChangeVectorMismatch", default=False
    )
    debug: Annotated[bool, Meta(description="Answer the document as it was, too.")] = False
    test: Annotated[bool, Meta(description="Only answer what it would be: refused.")] = False


class IndexesListed(Page, frozen=True):
    """Which definitions."""

    name: Annotated[str | None, Meta(description="Only this one.")] = None
    names_only: Annotated[bool, Meta(description="Their names alone.")] = field(name="namesOnly", default=False)


class IndexesNamed(Query, frozen=True):
    """Which indexes: all, unless some are named."""

    name: Annotated[list[str], Meta(description="The name of an index.")] = []


class TermsWanted(Query, frozen=True):
    """The values of which field of which index."""

    index: Annotated[str, Meta(description="The name of the index.")] = field(name="name", default="")
    name: Annotated[str, Meta(description="The field.")] = field(name="field", default="")
    after: Annotated[str, Meta(description="Only those after this one.")] = field(name="fromValue", default="")
    size: Annotated[int, Meta(ge=0, description="How many to answer.")] = field(name="pageSize", default=1024)


class DatabasesListed(Page, frozen=True):
    """A page of databases."""

    names_only: Annotated[bool, Meta(description="Their names alone.")] = field(name="namesOnly", default=False)
    name: Annotated[str | None, Meta(description="Only this one.")] = None
