"""Muniment: a document database whose reason to exist is backup and restore that can be trusted."""

from muniment.attachment import Attachment
from muniment.backup.selection import Selection
from muniment.client import AsyncDocumentStore, DocumentStore
from muniment.command import Delete, Put
from muniment.database import DocumentDatabase, Statistics
from muniment.document import Document
from muniment.errors import MunimentError
from muniment.maintenance import BackupOperation, BackupStatus, MaintenanceActions
from muniment.page import Page
from muniment.progress import Progress
from muniment.rehearsal import rehearse
from muniment.session import Session
from muniment.smuggler.options import SmugglerOptions
from muniment.storage.base import Written
from muniment.version import VERSION

__all__ = [
    "AsyncDocumentStore",
    "Attachment",
    "BackupOperation",
    "BackupStatus",
    "Delete",
    "Document",
    "DocumentDatabase",
    "DocumentStore",
    "MaintenanceActions",
    "MunimentError",
    "Page",
    "Progress",
    "Put",
    "Selection",
    "Session",
    "SmugglerOptions",
    "Statistics",
    "Written",
    "__version__",
    "rehearse",
]

__version__ = VERSION
