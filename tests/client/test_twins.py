"""The asynchronous classes have what the others have, with the same parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from muniment import Session
from muniment.client import (
    AsyncDocumentStore,
    AsyncRemoteAttachment,
    AsyncRemoteJob,
    AsyncSession,
    DocumentStore,
    RemoteAttachment,
    RemoteJob,
)
from muniment.client.databases import Administration, AsyncAdministration
from muniment.client.indexes import AsyncIndexes, Indexes
from muniment.client.keys import AsyncKeys, Keys
from muniment.client.operations import AsyncOperations, Operations
from muniment.client.schedules import AsyncSchedules, Schedules
from muniment.database import DocumentDatabase
from muniment.indexes import Indexes as Embedded

TWINS = [
    (DocumentStore, AsyncDocumentStore),
    (Session, AsyncSession),
    (Administration, AsyncAdministration),
    (Operations, AsyncOperations),
    (Schedules, AsyncSchedules),
    (Keys, AsyncKeys),
    (Indexes, AsyncIndexes),
    (RemoteJob, AsyncRemoteJob),
    (RemoteAttachment, AsyncRemoteAttachment),
]


def parameters(owner: type, name: str) -> list[tuple[str, object, object]]:
    value = inspect.getattr_static(owner, name)
    function: Any = value.fget if isinstance(value, property) else value
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_twins(one: type, other: type) -> None:
    assert public(one) == public(other)
    for name in public(one):
        assert parameters(one, name) == parameters(other, name), name


def test_a_store_is_what_the_embedded_database_is() -> None:
    shared = "get get_many put delete batch by_prefix by_etag open_session next_id statistics close".split()
    shared += "put_attachment get_attachment delete_attachment attachments".split()
    shared += "export export_incremental import_dump".split()
    for name in shared:
        assert parameters(DocumentStore, name) == parameters(DocumentDatabase, name), name
    assert public(Indexes) == public(Embedded)
    for name in public(Indexes):
        assert parameters(Indexes, name) == parameters(Embedded, name), name
