"""Jobs of a server with backups that are there: verifying, rehearsing, merging, copying and expiring them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from muniment.backup.child import copy_in_child
from muniment.backup.copying import Copied
from muniment.backup.expire import Expired, expire
from muniment.backup.job import Job, with_hint
from muniment.backup.moment import NEWEST, RestorePoint
from muniment.backup.repository import Backup
from muniment.backup.retention import Policy
from muniment.backup.summary import BackupSummary, CopySummary, ExpirySummary, VerificationSummary
from muniment.backup.verify import Verified
from muniment.maintenance import MaintenanceActions
from muniment.rehearsal import Rehearsal, rehearse
from muniment.security.keyring import Keyring, Protection
from muniment.server.places import check_unmoved
from muniment.settings import Settings
from muniment.storage.base import system_clock

Told: TypeAlias = Callable[[Any], dict[str, Any]]


def verification(source: Path, keyring: Keyring, point: RestorePoint = NEWEST) -> tuple[Job[Any], Told]:
    """Read and check all backups in a folder, or what a restore of a moment that is named would read."""

    def work(job: Job[Verified]) -> Verified:
        check_unmoved(source)
        return MaintenanceActions.verify(source, point=point, keyring=keyring, progress=job.progress)

    def told(done: Verified) -> dict[str, Any]:
        return _plain(VerificationSummary.proven(done))

    return _job("verification", source, work), told


def rehearsal(settings: Settings, place: Path, source: Path, keyring: Keyring, **named: Any) -> tuple[Job[Any], Told]:
    """Really restore a moment of the backups in a folder into a new one in `place`, look at it, and delete it again."""

    def work(job: Job[Rehearsal]) -> Rehearsal:
        check_unmoved(source)
        return rehearse(
            source,
            place=place,
            keyring=keyring,
            progress=job.progress,
            in_child=True,
            script=settings.rehearsal_script,
            **named,
        )

    def told(done: Rehearsal) -> dict[str, Any]:
        return _plain(done.summary())

    return _job("rehearsal", source, work), told


def expiry(
    source: Path, policy: Policy, grace: int, keyring: Keyring, *, dry_run: bool = False
) -> tuple[Job[Any], Told]:
    """Let the backups in a folder expire that a policy does not keep."""

    def work(job: Job[Expired]) -> Expired:
        check_unmoved(source)
        return expire(
            source,
            policy,
            grace=grace,
            dry_run=dry_run,
            clock=system_clock,
            keyring=keyring,
            progress=job.progress,
        )

    def told(done: Expired) -> dict[str, Any]:
        return _plain(ExpirySummary.of(done))

    return _job("expiry", source, work), told


def merging(
    source: Path, through: str, keyring: Keyring, protection: Protection, *, delete_merged: bool
) -> tuple[Job[Any], Told]:
    """Make one full backup out of the chain that ends with the backup `through`."""

    def work(job: Job[Backup]) -> Backup:
        check_unmoved(source)
        return MaintenanceActions.merge(
            source,
            through,
            delete_merged=delete_merged,
            keyring=keyring,
            protection=protection,
            progress=job.progress,
            in_child=True,
        )

    def told(merged: Backup) -> dict[str, Any]:
        return _plain(BackupSummary.of(merged))

    return _job("merge", source, work), told


def copying(source: Path, destination: Path, keyring: Keyring, *, repair: bool) -> tuple[Job[Any], Told]:
    """Bring the backups in a folder to another place, or heal what is damaged there."""

    def work(job: Job[Copied]) -> Copied:
        check_unmoved(source, destination)
        return copy_in_child(source, destination, repair=repair, keyring=keyring, progress=job.progress)

    def told(done: Copied) -> dict[str, Any]:
        return _plain(CopySummary.of(done))

    return _job("copy", source, work), told


def _plain(summary: msgspec.Struct) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(summary)
    return told


def _job(what: str, source: Path, work: Callable[[Job[Any]], Any]) -> Job[Any]:
    job = Job[Any](what, work, partial(_closing, what, source))
    job.say(f"Started the {what} of {source}")
    return job


def _closing(what: str, source: Path, job: Job[Any]) -> Iterator[str]:
    yield f"The {what} of {source} failed because: {with_hint(job.error)}" if job.error else f"The {what} completed"
