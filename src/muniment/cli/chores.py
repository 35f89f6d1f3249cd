"""`verify`, `rehearse`, `expire`, `merge` and `copy` of backups that a server keeps: it does them, and is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import JobOutput, KeyOptions, Keys, ServerOptions
from muniment.cli.remote import followed, going_on
from muniment.cli.report import Row, facts, row
from muniment.client import DocumentStore, RemoteJob
from muniment.client.schedules import Accepting
from muniment.errors import InvalidInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chore:
    """A job of a server with backups, and what is to be said of it."""

    what: str
    server: ServerOptions
    keys: Keys
    out: JobOutput

    def done(
        self, begin: Callable[[DocumentStore], RemoteJob], summary: type[T], *, wait: bool = False
    ) -> tuple[T, list[Row], float]:
        """What it came to, what is said of the job itself, and how long it took.

        With --nowait it is said that it has begun, and the command ends.

        Raises what it failed with, as it does where the backups are in a folder here.
        """
        assert self.server.url is not None
        with self.keys.store(self.server.url) as store, going_on(self.what, store):
            job = begin(store)
            if self.server.nowait and not wait:
                rows = [facts(url=store.url), row("operation", str(job.id), operation=job.id), facts(state="running")]
                self.out.emit(f"{store.url} has begun {self.what}", rows)
                raise typer.Exit
            status = followed(job, store, self.out).status
            assert status is not None
            about = facts(url=store.url, operation=job.id, state=status.state, messages=status.messages)
            return msgspec.convert(status.result, summary), [about], status.seconds or 0.0


def accepting(opening: OpeningOptions, encryption: KeyOptions) -> Accepting:
    """Which backups the server is to take; raises `InvalidInput` for a secret, since it has its own."""
    encryption.check_for_server()
    keyring = opening.for_server()
    return {"require_signature": keyring.signers, "allow_clear": keyring.allow_clear}


def check_here(given: dict[str, Any], hint: str) -> None:
    """Raises `InvalidInput` for an option that says something, where a server takes none of these."""
    for option, value in given.items():
        if value:
            raise InvalidInput(f"{option} is for backups in a folder or store, and not for those of a server", hint)
