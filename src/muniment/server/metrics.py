"""The figures of a server for Prometheus: collected when they are asked for, of what is open and known already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import accumulate, islice
from math import nan
from time import time
from typing import TYPE_CHECKING, Final, TypeAlias

from muniment.backup.recoverability import DestinationState, room_in
from muniment.errors import DatabaseClosed
from muniment.later import Later
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.server.answered import BOUNDS
from muniment.server.state import ServerState
from muniment.storage.base import Storage
from muniment.telling import log
from muniment.version import VERSION

if TYPE_CHECKING:
    import prometheus_client as prometheus
    from prometheus_client import core
else:
    prometheus, core = Later("prometheus_client"), Later("prometheus_client.core")

MOST: Final = 1000  # databases with figures of their own, so that there is an end to labels
MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
Metric: TypeAlias = "core.Metric"


class Metrics:
    """The registry of one server: another one in the same process has its own."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._registry = prometheus.CollectorRegistry(auto_describe=False)
        prometheus.ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return prometheus.generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        yield from self._requests()
        yield from self._jobs()
        yield from self._databases()
        yield from self._backups()
        yield from self._alerts()

    def _requests(self) -> Iterator[Metric]:
        server, answered = self._server, self._server.answered
        info = core.GaugeMetricFamily("muniment_build_info", "Which version this is.", labels=["version"])
        info.add_metric([VERSION], 1)
        yield info
        requests = core.CounterMetricFamily(
            "muniment_http_requests", "Requests that were answered.", labels=["method", "status"]
        )
        for (method, status), count in list(answered.counts.items()):
            requests.add_metric([method, str(status)], count)
        yield requests
        sums = list(accumulate(answered.within))
        buckets = [*zip(map(str, BOUNDS), sums, strict=False), ("+Inf", sums[-1])]
        yield core.HistogramMetricFamily(
            "muniment_http_request_seconds", "How soon they began to be answered.", buckets, answered.seconds
        )
        yield _gauge("muniment_http_requests_active", "Requests that are being answered.", server.active)
        yield _counter("muniment_log_lines_unwritten", "Lines of the log that could not be written.", log.unwritten)
        yield _counter(
            "muniment_audit_lines_unwritten", "Lines of the audit that could not be written.", server.audit.unwritten
        )

    def _jobs(self) -> Iterator[Metric]:
        operations = self._server.operations
        jobs = core.CounterMetricFamily("muniment_jobs", "Jobs that have ended.", labels=["job", "outcome"])
        for (what, outcome), count in list(operations.ended.items()):
            jobs.add_metric([what, outcome], count)
        yield jobs
        failures = core.CounterMetricFamily("muniment_job_failures", "Why jobs failed.", labels=["job", "reason"])
        for (what, reason), count in list(operations.failures.items()):
            failures.add_metric([what, reason], count)
        yield failures
        turns = operations.turns
        yield _gauge("muniment_jobs_running", "Backups, restores and compactions that run.", turns.running)
        yield _gauge("muniment_jobs_waiting", "Those that wait for their turn.", turns.waiting)

    def _databases(self) -> Iterator[Metric]:
        databases = self._server.databases
        opened = [*databases.open.values(), databases.system]
        yield _gauge("muniment_databases_open", "Databases that are open.", len(databases.open))
        figures = [
            _Family("documents", "Documents."),
            _Family("attachments", "Attachments."),
            _Family("content_bytes", "Bytes of bodies and contents."),
            _Family("file_bytes", "Bytes that its files take."),
            _Family("free_bytes", "How much more can be written where its files are."),
            _Family("etag", "The last etag: how many changes there ever were."),
            _Family("commits", "Transactions that its log holds."),
            _Family("writes_waiting", "Jobs that wait for its writer."),
            _Family("frozen", "Whether its files stand still for a tool that copies them."),
        ]
        for tenant in islice(opened, MOST):
            with suppress(DatabaseClosed):
                for family, value in zip(figures, _of_storage(tenant.database.storage), strict=True):
                    family.add(value, tenant.name)
        yield from (family.metric for family in figures)

    def _backups(self) -> Iterator[Metric]:
        families: dict[str, _Family] = {}
        now = time()
        for known in islice(list(self._server.watch.known.values()), MOST):
            for state in known.found.destinations:
                for name, about, value in _figures(state, now):
                    if name not in families:
                        families[name] = _Family(name, about, "destination")
                    families[name].add(value, known.found.name, state.destination)
        yield from (family.metric for family in families.values())

    def _alerts(self) -> Iterator[Metric]:
        wrong = core.GaugeMetricFamily(
            "muniment_alert", "What is wrong with backups.", labels=["database", "destination", "condition", "severity"]
        )
        for alert in self._server.watch.alerts[: MOST * 4]:
            wrong.add_metric([alert.database, alert.destination, alert.condition, alert.severity], 1)
        yield wrong


def _of_storage(storage: Storage) -> tuple[float, ...]:
    snapshot = storage.snapshot()
    found = snapshot.fingerprint
    return (
        found.count(DOCUMENT),
        found.count(ATTACHMENT),
        found.size(DOCUMENT) + found.size(ATTACHMENT),
        storage.file_bytes,
        nan if (room := room_in(storage.folder)) is None else room,
        snapshot.etag,
        snapshot.rows.bytes,
        storage.waiting,
        storage.frozen is not None,
    )


class _Family:
    """Figures of databases, one for each, or one for each of its destinations."""

    def __init__(self, name: str, about: str, *more: str) -> None:
        self.metric = core.GaugeMetricFamily(f"muniment_database_{name}", about, labels=["database", *more])

    def add(self, value: float, *labels: str) -> None:
        self.metric.add_metric(labels, value)


def _figures(state: DestinationState, now: float) -> Iterator[tuple[str, str, float]]:
    """What is known of a destination, by its name, with what it means."""
    yield "backups", "Backups of it there.", state.backups
    yield "backup_problems", "What is wrong there.", len(state.problems)
    yield "destination_reachable", "Whether the destination is there.", state.there
    if state.room is not None:
        yield "destination_free_bytes", "How much can be written there.", state.room
    if last := state.last_backup:
        at = _seconds(last.completed)
        yield "backup_timestamp_seconds", "When the last backup was complete.", at
        yield "backup_age_seconds", "How long ago that was.", max(now - at, 0)
        yield "backup_bytes", "What the last backup takes.", last.size
        yield "backup_seconds", "How long the last backup took.", last.seconds
        yield "backup_etag", "The last etag that the last backup holds.", last.etag
    if state.restorable:
        first, last_span = state.restorable[0], state.restorable[-1]
        if first.first.time:
            yield "restorable_from_timestamp_seconds", "The first moment to restore to.", _seconds(first.first.time)
        if end := last_span.until or last_span.last.time:
            yield "restorable_to_timestamp_seconds", "Until when its states can be restored.", _seconds(end)
    for what, proof in (("verification", state.last_verification), ("rehearsal", state.last_rehearsal)):
        if proof:
            yield f"{what}_timestamp_seconds", f"When the last {what} ended.", _seconds(proof.completed)
            yield f"{what}_seconds", f"How long the last {what} took.", proof.seconds
            yield f"{what}_failed", f"Whether the last {what} found something wrong.", proof.problem is not None


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _gauge(name: str, about: str, value: float) -> Metric:
    return core.GaugeMetricFamily(name, about, value)


def _counter(name: str, about: str, value: float) -> Metric:
    return core.CounterMetricFamily(name, about, value)
