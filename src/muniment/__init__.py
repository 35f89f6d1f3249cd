"""Muniment: a document database whose reason to exist is backup and restore that can be trusted.

What it offers is loaded when it is first asked for: a program, and each of its child processes, waits for no more than
it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from muniment.version import VERSION

if TYPE_CHECKING:
    from muniment.attachment import Attachment
    from muniment.backup.retention import Policy
    from muniment.backup.selection import Selection
    from muniment.client import AsyncDocumentStore, DocumentStore
    from muniment.command import Delete, Put
    from muniment.database import DocumentDatabase
    from muniment.document import Document
    from muniment.errors import MunimentError
    from muniment.finding import DocumentQuery, Results, field
    from muniment.indexes import IndexField
    from muniment.maintenance import BackupOperation, BackupStatus, MaintenanceActions
    from muniment.page import Page
    from muniment.progress import Progress
    from muniment.rehearsal import rehearse
    from muniment.security.keyring import Keyring, Protection
    from muniment.security.recipients import Key, Passphrase, read_recipient
    from muniment.session import Session
    from muniment.smuggler.options import SmugglerOptions
    from muniment.statistics import Statistics
    from muniment.storage.base import Written

__all__ = [
    "AsyncDocumentStore",
    "Attachment",
    "BackupOperation",
    "BackupStatus",
    "Delete",
    "Document",
    "DocumentDatabase",
    "DocumentQuery",
    "DocumentStore",
    "IndexField",
    "Key",
    "Keyring",
    "MaintenanceActions",
    "MunimentError",
    "Page",
    "Passphrase",
    "Policy",
    "Progress",
    "Protection",
    "Put",
    "Results",
    "Selection",
    "Session",
    "SmugglerOptions",
    "Statistics",
    "Written",
    "__version__",
    "field",
    "read_recipient",
    "rehearse",
]

__version__ = VERSION

_MODULES = {
    "AsyncDocumentStore": "muniment.client",
    "Attachment": "muniment.attachment",
    "BackupOperation": "muniment.maintenance",
    "BackupStatus": "muniment.maintenance",
    "Delete": "muniment.command",
    "Document": "muniment.document",
    "DocumentDatabase": "muniment.database",
    "DocumentQuery": "muniment.finding",
    "DocumentStore": "muniment.client",
    "IndexField": "muniment.indexes",
    "Key": "muniment.security.recipients",
    "Keyring": "muniment.security.keyring",
    "MaintenanceActions": "muniment.maintenance",
    "MunimentError": "muniment.errors",
    "Page": "muniment.page",
    "Passphrase": "muniment.security.recipients",
    "Policy": "muniment.backup.retention",
    "Progress": "muniment.progress",
    "Protection": "muniment.security.keyring",
    "Put": "muniment.command",
    "Results": "muniment.finding",
    "Selection": "muniment.backup.selection",
    "Session": "muniment.session",
    "SmugglerOptions": "muniment.smuggler.options",
    "Statistics": "muniment.statistics",
    "Written": "muniment.storage.base",
    "field": "muniment.finding",
    "read_recipient": "muniment.security.recipients",
    "rehearse": "muniment.rehearsal",
}


if not TYPE_CHECKING:  # or a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
