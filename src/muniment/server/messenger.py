"""Telling others what is wrong with backups, when it is over, and how jobs go: by webhooks, mail and chat, and pings.

Each address has a queue and a thread of its own, so that one that does not answer keeps no other waiting. No work waits
for any of them, and what cannot be sent is a line of the log. Which addresses there are is for the server's settings
alone to say, since it is the server that calls them. Their paths may hold secrets, so only their hosts are ever told.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import Full, Queue
from time import monotonic, time
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from muniment.backup.alerts import Alert, Severity
from muniment.document import rfc3339
from muniment.errors import unreadable
from muniment.later import Later
from muniment.server.operations import Operation
from muniment.settings import InvalidSetting, Settings
from muniment.telling import log
from muniment.version import VERSION

if TYPE_CHECKING:
    import apprise
    import httpx
else:
    apprise, httpx = Later("apprise"), Later("httpx")

SIGNATURE: Final = "Muniment-Signature"
MOST: Final = 1000  # messages that wait for one address
PAUSES: Final = (1.0, 5.0, 25.0)  # seconds, before it is tried again
TIMEOUT: Final = 10.0
STOP_SECONDS: Final = 2.0

_AGAIN: Final = frozenset({408, 425, 429})
_PLACES: Final = re.compile(r"\{(.*?)\}")
_SUFFIXES: Final = {"started": "/start", "completed": "", "faulted": "/fail", "canceled": "/fail"}
_Send: TypeAlias = Callable[[], None]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is sent: that something is wrong, or is so no longer."""

    event: Literal["alert", "recovered"]
    time: str
    server: str
    condition: str
    severity: Severity
    database: str
    destination: str
    text: str


class Undelivered(Exception):
    """It was not taken; `again` says whether it may be later."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Address:
    """Somebody who is told things in their order; `name` has nothing secret in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._queue: Queue[_Send | None] = Queue(MOST)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def tell(self, send: _Send) -> None:
        """Have this sent as soon as it can be. Any thread may call it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"muniment tells {self.name}", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(send)
        except Full:
            log(f"{self.name} was not told something: {MOST:,} messages wait for it already")

    def _run(self) -> None:
        while send := self._queue.get():
            self._deliver(send)

    def _deliver(self, send: _Send) -> None:
        for pause in (*PAUSES, None):
            try:
                send()
            except Undelivered as error:
                if pause is None or not error.again or self._stopping.wait(pause):
                    log(f"{self.name} was not told something: {error}")
                    return
            except Exception as error:
                log(f"{self.name} was not told something: unexpected error: {type(error).__name__}")
                return
            else:
                return

    def stop(self, until: float) -> None:
        """Send what waits, if that can be done by this time (`monotonic`)."""
        if self._thread is not None:
            try:
                self._queue.put_nowait(None)
            except Full:
                return
            self._thread.join(max(until - monotonic(), 0))
            self._stopping.set()


class Messenger:
    """Whoever the settings name. Raises `InvalidSetting` for what cannot be an address."""

    def __init__(self, settings: Settings, server: str) -> None:
        self._server = server
        self._secret = _secret(settings.alert_webhook_secret_file)
        self._hooks = [(_address("webhook", url), url) for url in settings.alert_webhooks]
        self._pings = [(_address("ping", url), url) for url in settings.ping_urls]
        for url in settings.ping_urls:
            if unknown := set(_PLACES.findall(url)) - {"database", "job"}:
                raise InvalidSetting(
                    f"ping-urls has {{{min(unknown)}}}", "there are {database} and {job}, the name and what is done"
                )
        self._chats = list(_chats(settings.alert_apprise_file))
        self._client = (
            httpx.Client(timeout=TIMEOUT, follow_redirects=False, headers={"User-Agent": f"Muniment/{VERSION}"})
            if self._hooks or self._pings
            else None
        )

    def alerts(self, begun: Iterable[Alert], over: Iterable[Alert]) -> None:
        """These have come, and those are over."""
        for alert in begun:
            self._say("alert", alert)
        for alert in over:
            self._say("recovered", alert)

    def _say(self, kind: Literal["alert", "recovered"], alert: Alert) -> None:
        event = Event(
            event=kind,
            time=rfc3339(datetime.now(UTC)),
            server=self._server,
            condition=alert.condition,
            severity=alert.severity,
            database=alert.database,
            destination=alert.destination,
            text=alert.text,
        )
        log(f"{event.event}: {event.severity}: {event.database}: {event.condition}: {event.text}")
        body = msgspec.json.encode(event)
        for address, url in self._hooks:
            address.tell(partial(self._post, url, body, "application/json"))
        for address, service in self._chats:
            address.tell(partial(_notify, service, event))

    def job(self, operation: Operation, outcome: str) -> None:
        """A job has started or ended: of a backup all pings are told, of others those that have `{job}` in them."""
        job = operation.job
        text = str(job.error) if job.error else f"{job.what} of {operation.database} {outcome}"
        for address, url in self._pings:
            if job.what == "backup" or "{job}" in url:
                target = _ping(url, operation.database, job.what, _SUFFIXES[outcome])
                address.tell(partial(self._post, target, text.encode()[:10_000], "text/plain; charset=utf-8"))

    def _post(self, url: str, body: bytes, type: str) -> None:
        assert self._client is not None
        headers = {"Content-Type": type}
        if self._secret and type == "application/json":
            headers[SIGNATURE] = signature(self._secret, body, int(time()))
        try:
            with self._client.stream("POST", url, content=body, headers=headers) as answer:
                status = answer.status_code
        except httpx.HTTPError as error:
            raise Undelivered(str(error) or type_name(error), again=True) from error
        if not 200 <= status < 300:
            raise Undelivered(f"it answered {status}", again=status in _AGAIN or status >= 500)

    def stop(self) -> None:
        """Send what waits, within a short time."""
        until = monotonic() + STOP_SECONDS
        for address, _ in (*self._hooks, *self._pings, *self._chats):
            address.stop(until)


def signature(secret: bytes, body: bytes, at: int) -> str:
    """What proves to whoever has the secret that this body was sent by us at this time (seconds since 1970)."""
    return f"t={at},v1={hmac.new(secret, b'%d.' % at + body, hashlib.sha256).hexdigest()}"


def type_name(error: Exception) -> str:
    """The name of its class."""
    return type(error).__name__


def _address(what: str, url: str) -> Address:
    try:
        parts = urlsplit(url)
        there = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        parts, there = urlsplit(""), None
    if not there:
        raise InvalidSetting(f"the address of a {what} is no URL (it is not repeated here)", "write https://HOST/PATH")
    return Address(f"the {what} at {parts.hostname}")


def _ping(url: str, database: str, job: str, suffix: str) -> str:
    parts = urlsplit(url)
    path = parts.path.replace("{database}", quote(database, safe="")).replace("{job}", quote(job, safe=""))
    return urlunsplit(parts._replace(path=path.rstrip("/") + suffix))


def _secret(file: str) -> bytes:
    found = _text(file, "name a file with what webhooks are signed with").strip() if file else ""
    if file and not found:
        raise InvalidSetting(f"{file} is empty", "put the secret that webhooks are signed with into it")
    return found.encode()


def _chats(file: str) -> Iterator[tuple[Address, apprise.Apprise]]:
    """Those that the lines of the file name, which are URLs of apprise."""
    if not file:
        return
    if find_spec("apprise") is None:
        raise InvalidSetting("alert-apprise-file needs apprise, which is not here", "pip install 'muniment[alerts]'")
    logging.getLogger("apprise").addHandler(logging.NullHandler())  # its own lines name whole URLs
    logging.getLogger("apprise").propagate = False
    text = _text(file, "name a file with a URL of apprise on each line")
    for number, line in enumerate(text.splitlines(), 1):
        if (url := line.strip()) and not url.startswith("#"):
            service = apprise.Apprise()
            if not service.add(url):
                raise InvalidSetting(
                    f"line {number} of {file} is no URL that apprise knows (it is not repeated here)",
                    "write one like mailto://USER:PASSWORD@HOST?to=WHOM; see apprise's documentation",
                )
            yield Address(f"the {url.partition(':')[0]} address in line {number} of {file}"), service


def _notify(service: apprise.Apprise, event: Event) -> None:
    kind = "success" if event.event == "recovered" else {"warning": "warning", "critical": "failure"}[event.severity]
    title = f"Muniment: {event.database}: {event.condition}{' is over' if event.event == 'recovered' else ''}"
    where = f"\n{event.destination}" if event.destination else ""
    if not service.notify(body=f"{event.text}{where}\n{event.server}", title=title, notify_type=kind):
        raise Undelivered("apprise could not send it", again=True)


def _text(file: str, hint: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unreadable(file, error, hint) from error


def check_addresses(settings: Settings) -> None:
    """Raises what is wrong with the addresses in the settings: `InvalidSetting`, or that a file cannot be read."""
    Messenger(settings, "")
