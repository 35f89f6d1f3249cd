"""Databases on a server: the same documents, sessions and errors as the embedded database, over HTTP."""

from muniment.client.attachments import AsyncRemoteAttachment, RemoteAttachment
from muniment.client.jobs import JobStatus
from muniment.client.operations import AsyncRemoteJob, Operation, RemoteJob
from muniment.client.session import AsyncSession
from muniment.client.store import AsyncDocumentStore, DocumentStore
from muniment.client.wire import split_url

__all__ = [
    "AsyncDocumentStore",
    "AsyncRemoteAttachment",
    "AsyncRemoteJob",
    "AsyncSession",
    "DocumentStore",
    "JobStatus",
    "Operation",
    "RemoteAttachment",
    "RemoteJob",
    "split_url",
]
