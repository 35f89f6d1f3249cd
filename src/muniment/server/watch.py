"""What is known of the backups of a server's databases, and what is wrong with them: looked at from time to time.

No database is opened for it. What was known of one that was closed since is kept, for its backups only grow older.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TypeAlias

import msgspec

from muniment.backup.alerts import Alert, Failure, Overdue, Policy, alerts, failed
from muniment.backup.recoverability import Recoverability, room_in
from muniment.document import fold
from muniment.duration import duration_of
from muniment.errors import DatabaseClosed
from muniment.server.tenants import Databases, Tenant
from muniment.settings import Settings
from muniment.telling import telling

LOOK_SECONDS: Final = 5.0
FILE: Final = "alerts.json"
Subject: TypeAlias = tuple[str, str, str]
AGAIN_SECONDS: Final = 600.0  # to read all manifests again, where no job has changed them


@dataclass(slots=True)
class Known:
    """What is known of the backups of a database with this id, since when, and how the last one failed if it did."""

    id: str
    found: Recoverability
    failure: Failure | None
    looked: float


class Watch:
    """The alerts of a server. `tell` is given those that have come, and those that are over."""

    def __init__(
        self,
        databases: Databases,
        settings: Settings,
        tell: Callable[[Iterable[Alert], Iterable[Alert]], object] = lambda begun, over: None,
        failures: Callable[[], Iterable[tuple[str, Failure | Overdue]]] = tuple,
    ) -> None:
        """`failures` gives what failed by schedules or is late, with the databases."""
        self.known: dict[str, Known] = {}
        self.policy = policy_of(settings)
        self._databases = databases
        self._tell = tell
        self._failures = failures
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._path = databases.data_dir / FILE
        self._alerts = self._told()

    @property
    def alerts(self) -> list[Alert]:
        """What is wrong now, as it was found when it was last looked."""
        return list(self._alerts.values())

    def changed(self, name: str) -> None:
        """A job of this database has ended: its backups are to be looked at again. Any thread may call it."""
        self._changed.add(fold(name))
        if self._loop is not None:
            with suppress(RuntimeError):  # the server has stopped
                self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Look at all of it again and again, and at once when a job has ended."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            with telling("what is wrong with backups"):
                await asyncio.to_thread(self.look)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)

    def look(self) -> None:
        """Look at the backups of what is open, where that is due, and tell what has changed."""
        tenants = {fold(tenant.name): tenant for tenant in (*self._databases.open.values(), self._databases.system)}
        for key, tenant in tenants.items():
            known, id = self.known.get(key), tenant.database.storage.identity.database_id
            old = known is None or known.id != id or monotonic() - known.looked > AGAIN_SECONDS
            if old or key in self._changed:
                self._changed.discard(key)
                with telling(f"how the backups of {tenant.name} are,"), suppress(DatabaseClosed):
                    found = tenant.database.maintenance.recoverability()
                    self.known[key] = Known(id, found, tenant.backup.failure(), monotonic())
        for key in self.known.keys() - tenants.keys():
            if self._databases.document(key) is None:
                del self.known[key]
        wrong = [alert for key, known in self.known.items() for alert in self._of(known, tenants.get(key))]
        for name, failure in self._failures():
            wrong += failed(name, [failure])
        self._compare({alert.subject: alert for alert in wrong})

    def failures_of(self, tenant: Tenant) -> list[Failure | Overdue]:
        """What failed of a database when it was done last, and what should have ended."""
        own = tenant.backup.failure()
        scheduled = [failure for name, failure in self._failures() if fold(name) == fold(tenant.name)]
        return [own, *scheduled] if own else scheduled

    def _of(self, known: Known, tenant: Tenant | None) -> list[Alert]:
        found = known.found
        if tenant is not None:
            if tenant.is_system and not found.destinations:
                return []  # who never backs it up has not asked for that
            found = _now(found, tenant)
        return alerts(found, self.policy, datetime.now(UTC), [known.failure] if known.failure else [])

    def _compare(self, now: dict[Subject, Alert]) -> None:
        before = self._alerts
        kept = {subject: alert for subject, alert in before.items() if subject not in now and self._waits(alert)}
        begun = [alert for subject, alert in now.items() if subject not in before]
        over = [alert for subject, alert in before.items() if subject not in now and subject not in kept]
        self._alerts = kept | now
        if begun or over:
            self._tell(begun, over)
            with telling(f"in {self._path}, what is wrong,"):
                unnamed = self._path.with_name(f"{FILE}.new")
                unnamed.write_bytes(msgspec.json.encode(self.alerts))
                unnamed.replace(self._path)

    def _waits(self, alert: Alert) -> bool:
        """Whether it was told before the server was started again, and nobody has used its database since."""
        scheduled = alert.condition.endswith("-failed") and alert.destination
        unused = fold(alert.database) not in self.known and self._databases.document(alert.database) is not None
        return unused and not scheduled

    def _told(self) -> dict[Subject, Alert]:
        """What was wrong when the server ended."""
        with suppress(OSError, msgspec.MsgspecError):
            return {alert.subject: alert for alert in msgspec.json.decode(self._path.read_bytes(), type=list[Alert])}
        return {}


def policy_of(settings: Settings, **asked: str | None) -> Policy:
    """What the settings ask for, or a request in place of that; raises `InvalidInput`."""
    said = {
        "older": settings.alert_if_older,
        "unverified": settings.alert_if_unverified,
        "unrehearsed": settings.alert_if_unrehearsed,
        **{name: text for name, text in asked.items() if text},
    }
    return Policy(**{name: duration_of(text, name) for name, text in said.items() if text})


def _now(found: Recoverability, tenant: Tenant) -> Recoverability:
    """The same for a database that has changed since, with the room that there is now."""
    etag = tenant.database.last_etag
    states = [
        msgspec.structs.replace(state, changes_since=max(etag - state.last_backup.etag, 0))
        if state.last_backup and state.changes_since is not None
        else state
        for state in found.destinations
    ]
    return msgspec.structs.replace(found, etag=etag, destinations=states, room=room_in(tenant.database.storage.folder))
