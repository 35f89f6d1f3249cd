"""What a server was told, and what was done with it: its settings and its audit log, without anything secret."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from muniment.raven3.messages import SettingListed
from muniment.raven3.names import MAX_PAGE
from muniment.raven3.queries import AuditListed
from muniment.server.request import Request
from muniment.server.wire import Response, json_response
from muniment.settings import Value, table

_WITH_SECRETS: Final = ("alert-webhooks", "ping-urls")


async def settings(request: Request) -> Response:
    """The settings that the server was started with. Of files with secrets only the names are told."""
    now = request.server.settings
    return json_response(
        [
            SettingListed(row.name, _text(row.name, value), value == row.default, row.description)
            for row in table()
            for value in [getattr(now, row.name.replace("-", "_"))]
        ]
    )


def _text(name: str, value: Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(_host(each) if name in _WITH_SECRETS else each for each in value)
    if value == Path():
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"


async def audit(request: Request) -> Response:
    """Who had what done: the lines of the audit log, the latest first."""
    asked = request.asked(AuditListed)
    found = await asyncio.to_thread(request.server.audit.latest, asked.start, min(asked.size, MAX_PAGE))
    return json_response(found)
