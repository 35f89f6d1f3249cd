"""Who asks: what a page in somebody's browser may not have this server do.

A page of any site can send requests to a server that its reader's machine reaches. The browser names the page (Origin)
and the server that the page believes to talk to (Host, which is the page's own name when its name was bound to another
address), and without asking it sends only what a form could. All that a page cannot say is enough to know others by.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from typing import Any, Final

from muniment.raven3.headers import REQUEST, VERSION
from muniment.server.wire import Refused
from muniment.settings import Settings, is_loopback

READING: Final = frozenset({"GET", "HEAD"})

_BY_FORM: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
_TYPE: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+)\s*(;.*)?", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:/?#@\[\]\s]+)(?::\d{0,5})?", re.IGNORECASE)
_ANYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 (an address to compare with)


class Origin:
    """The names that a server is asked by, and the pages that may ask it."""

    def __init__(self, settings: Settings) -> None:
        self._host = settings.host.lower()
        self._names = {_plain(name) for name in settings.host_names}
        self._pages = {page.lower().rstrip("/") for page in settings.page_origins}
        self._known: set[str] = set()
        if not is_loopback(self._host):
            self._names.add(_plain(socket.gethostname()))

    def check(self, headers: Any) -> None:
        """Raises `Refused` for a request to another name (403), of another site's page (403), or without Host (400)."""
        hosts: list[str] = headers.get_all("host")
        if len(hosts) != 1:
            raise Refused(400, f"the request has {len(hosts)} Host headers", "send one, with the name of this server")
        host = hosts[0]
        if host not in self._known:
            self._check_host(host)
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(origin.lower(), host):
            raise Refused(
                403,
                f"a page of {origin} may not use this server",
                "if it is to, start the server with --page-origin and the page's scheme, name and port",
            )
        if origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site") and _embeds(headers):
            raise Refused(403, "a page of another site may not use this server", "open the address by itself")

    def _check_host(self, host: str) -> None:
        match = _HOST.fullmatch(host)
        name = _plain(match[1]) if match else ""
        if not name or not (name in self._names or name == self._host or self._is_listened_on(name)):
            raise Refused(
                403,
                f"this server is not {host!r}",
                "ask it by the address that it listens on, or start it with --host-name for each name that it has",
            )
        if len(self._known) < 1000:
            self._known.add(host)

    def _is_listened_on(self, name: str) -> bool:
        """Whether a name leads here whatever a name server says: pages that were bound to an address have names."""
        if name == "localhost":
            return is_loopback(self._host) or self._host in _ANYWHERE
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        if self._host in _ANYWHERE:
            return True
        return address.is_loopback and is_loopback(self._host)

    def _is_ours(self, origin: str, host: str) -> bool:
        if origin in self._pages:
            return True
        scheme, separator, place = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and place == host.lower()


def _embeds(headers: Any) -> bool:
    """Whether it is for an image, a script or a frame in a page, and not a link, which shows what it leads to."""
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) != ("navigate", "document")


def check_deliberate(headers: Any, method: str, path: str) -> None:
    """Raises `Refused` (403) for what changes something and could have been sent by a form of any page."""
    if VERSION in headers or REQUEST in headers:
        return
    given = headers.get("content-type")
    if given is not None and method not in READING and not _by_form(given):
        return
    how = f"with the header `{REQUEST.title()}: 1`"
    if method not in READING:
        how = f"with `Content-Type: application/json` (or another type that no form has), or {how}"
    sent = f" of the type {given!r}" if given else ""
    raise Refused(
        403, f"{method} {path}{sent} could come from a page in a browser, so it is not done", f"send it {how}"
    )


@lru_cache(256)
def _by_form(content_type: str) -> bool:
    match = _TYPE.fullmatch(content_type)
    return match is None or match[1].lower() in _BY_FORM


def _plain(name: str) -> str:
    return name.lower().strip("[]").rstrip(".")
