"""What a server has while it runs, besides its connections."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final

from muniment.server.answered import Answered
from muniment.server.audit import FILE, Audit
from muniment.server.bodies import Bodies
from muniment.server.callers import Callers
from muniment.server.completions import Completions
from muniment.server.hooks import Hooks
from muniment.server.local import Local
from muniment.server.messenger import Messenger
from muniment.server.old_clients import OldClients
from muniment.server.operations import Operations
from muniment.server.origin import Origin
from muniment.server.scheduler import Scheduler
from muniment.server.seats import Seats
from muniment.server.tenants import Databases
from muniment.server.watch import Watch
from muniment.settings import Settings

QUERIES: Final = 16  # at a time; others wait


class ServerState:
    """The settings, databases, jobs and counts of a server: what handlers and the application share."""

    def __init__(self, settings: Settings, databases: Databases, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self.settings = settings
        self.databases = databases
        self.audit = Audit(databases.data_dir / FILE)
        self.callers = Callers(settings.anonymous, databases.system.database)
        self.old_clients = OldClients(self.callers, databases.master) if settings.oauth_api_key else None
        self.local = Local(databases.data_dir, url)
        self.origin = Origin(settings)
        self.bodies = Bodies(settings.body_memory << 20, settings.body_seconds)
        self.operations = Operations(settings.jobs, self.audit, Hooks(settings.hooks_file))
        self.scheduler = Scheduler(settings, databases, self.operations)
        self.completions = Completions(loop)
        self.uploads = ThreadPoolExecutor(settings.uploads, "muniment upload")
        self.queries = ThreadPoolExecutor(QUERIES, "muniment query")
        self.reads = ThreadPoolExecutor(QUERIES, "muniment read")
        self.uploading = Seats(settings.uploads, "large attachments")
        self.transfers = Seats(settings.transfers, "dumps")
        self.restoring: str | None = None
        self.slowly = Answered()
        self.at_once: list[Answered] = []
        self.messenger = Messenger(settings, url)
        self.watch = Watch(databases, settings, self.messenger.alerts, self.scheduler.failures)
        self.scheduler.on_end = self.watch.changed
        self.operations.observers.append(self.messenger.job)
        self.operations.observers.append(lambda operation, _: self.watch.changed(operation.database))
        self.started = monotonic()
        self.active = 0
        self.stopping = False

    @property
    def answered(self) -> Answered:
        """What was answered, whichever way."""
        return sum(self.at_once, self.slowly)
