"""Pings of a command: a URL is told that something has begun, was done or has failed, as healthchecks and its like take
it, which notice that nothing comes. Telling never decides: an address that does not answer changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import typer

from muniment.cli.outcome import explained
from muniment.cli.output import aside
from muniment.errors import InvalidInput
from muniment.later import Later

if TYPE_CHECKING:
    import httpx
else:
    httpx = Later("httpx")

TIMEOUT: Final = 5.0
PAUSES: Final = (1.0, None)  # seconds, before it is tried again
_MOST: Final = 10_000


@contextmanager
def pinged(url: str | None) -> Iterator[None]:
    """Tell this URL how it goes with what is done within it; raises `InvalidInput` for what is no URL."""
    if url is None:
        yield
        return
    parts = _parts(url)
    _tell(parts, "/start")
    try:
        yield
    except BaseException as error:
        if isinstance(error, typer.Exit):
            _tell(parts, "/fail" if error.exit_code else "", f"exit code {error.exit_code}")
        else:
            _tell(parts, "/fail", explained(error).message)
        raise
    _tell(parts, "")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise InvalidInput("--ping-url is no URL (it is not repeated here, as it may be secret)", "write https://HOST/PATH")


def _tell(parts: SplitResult, suffix: str, text: str = "") -> None:
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix))
    said = ""
    for pause in PAUSES:
        try:
            answer = httpx.post(url, content=text.encode()[:_MOST], timeout=TIMEOUT, follow_redirects=False)
            if answer.is_success:
                return
            said = f"it answered {answer.status_code}"
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
        if pause:
            sleep(pause)
    aside().print(f"note: the ping at {parts.hostname} was not told: {said}", markup=False)
