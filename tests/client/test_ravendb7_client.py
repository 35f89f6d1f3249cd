"""RavenDB's client of today, PyPI's ravendb 7.2, uses our server; each step is looked at in the database.

The steps are in `ravendb7_program.py`, which runs once, in an environment of its own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.client import DocumentStore
from muniment.document import Document
from tests.client.environment import python_with

PROGRAM = Path(__file__).with_name("ravendb7_program.py")


class Program:
    """The program while it runs, and the database that it uses, seen by our own client."""

    def __init__(self, url: str, store: DocumentStore) -> None:
        self.url = url
        self.store = store
        self._process = subprocess.Popen(
            [python_with("ravendb7"), PROGRAM, url, store.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def told(self, step: str, *arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([step, *arguments]) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def does(self, step: str, *arguments: Any) -> Any:
        """What a step gives."""
        told = self.told(step, *arguments)
        assert "error" not in told, told
        return told["result"]

    def fails(self, step: str, error: str, *words: str) -> None:
        """A step fails with this exception of the client's, and these words in it."""
        told = self.told(step)
        assert told.get("error") == error, told
        for word in words:
            assert word in told["message"], told

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(30) == 0


@pytest.fixture(scope="module")
def program(url: str) -> Iterator[Program]:
    python_with("ravendb7")
    with DocumentStore(url, "seven") as store:
        store.admin.create_database("seven")
        program = Program(url, store)
        try:
            yield program
        finally:
            program.close()


def stored(program: Program, id: str) -> Document:
    document = program.store.get(id)
    assert document is not None
    return document


def body(program: Program, id: str) -> Any:
    document = program.store.get(id)
    return document and document.json()


def test_documents(program: Program) -> None:
    store = program.store
    ids, vector = program.does("store_users")
    assert ids == ["users/1-A", "users/2-A"]
    first, second, own, hilo = (stored(program, id) for id in (*ids, "users/Ärger/ü?&=+", "Raven/Hilo/users"))
    assert vector == f"A:{first.etag}-{store.statistics().lineage}"
    assert first.changed == second.changed == own.changed  # of one transaction
    assert first.json() == {"name": "Zoë ½ & 100%", "age": 31, "friend": None}
    assert first.collection == own.collection == "Users"
    assert first.metadata["Raven-Python-Type"].endswith("User")
    assert second.metadata["Owner"] == {"of": ["this", 1]}
    assert second.metadata["Own-Raven-Entity-Name"] == "a word of its own"
    assert hilo.json() == {"Max": 32}

    one, several, none, same, collection, type, modified = program.does("load_users")
    assert one == ["users/1-A", "Zoë ½ & 100%", 31]
    assert several == [["users/2-A", "Bob", 42], ["users/Ärger/ü?&=+", "Ärger", 5]]
    assert none is None
    assert same
    assert collection == "Users"
    assert type == first.metadata["Raven-Python-Type"]
    assert modified[:26] == first.changed.isoformat()[:26]
    assert program.does("load_many_users") == [one]

    assert program.does("change_user") == [["this", 1], "a word of its own"]
    changed = stored(program, "users/2-A")
    assert changed.json()["age"] == 43
    assert changed.metadata == second.metadata
    assert changed.changed > second.changed

    assert program.does("include_friend") == [one, 0]
    assert program.does("load_by_prefix") == [["users/1-A", "users/2-A", "users/Ärger/ü?&=+"], ["users/2-A"]]
    assert program.does("conditional_load") == [[True, False], None, one, True]
    assert program.does("cached_load")[-2:] == [304, 304]


def test_of_two_changes_to_a_document_one_fails(program: Program) -> None:
    program.fails("conflict", "ConcurrencyException", "users/1-A")
    assert body(program, "users/1-A")["age"] == 32
    assert body(program, "users/never") is None
    program.fails("conflict_of_new_ones", "ConcurrencyException", "users/1-A")
    assert body(program, "users/1-A")["age"] == 32


def test_deletion(program: Program) -> None:
    assert program.does("delete_user") is None
    assert body(program, "users/2-A") is None
    assert body(program, "users/1-A")


def test_ids_with_a_number_of_the_server(program: Program) -> None:
    assert program.does("numbered_ids") == ["members/1", "members/2"]
    assert body(program, "members/2")["name"] == "second"


def test_documents_of_clients_of_ravendb_3(program: Program) -> None:
    program.store.put("users/of-3", {"name": "Of 3", "age": 3}, {"Raven-Entity-Name": "Users", "Owner": "me"})
    assert program.does("read_other_documents") == [["users/of-3", "Of 3", 3], "Users", "me", False]


def test_what_is_refused_is_named(program: Program) -> None:
    program.fails("cluster_transaction", "RavenException", "ClusterWide")
    program.fails("patch", "RavenException", "PATCH", "not supported")
    program.fails("counters", "RavenException", "counters", "not supported")
    program.fails("missing_database", "DatabaseDoesNotExistException", "nowhere")
    assert body(program, "users/never") is None
