"""Which error of ours a status of HTTP means, where nothing else says it."""

from __future__ import annotations

from typing import Final

from muniment import errors
from muniment.errors import MunimentError

KINDS: Final[dict[int, type[MunimentError]]] = {
    400: errors.InvalidInput,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.InvalidInput,
    408: errors.Busy,
    409: errors.Conflict,
    412: errors.Unauthorized,  # RavenDB's 401 for clients that have a key
    413: errors.InvalidDocument,
    414: errors.InvalidInput,
    422: errors.InvalidDocument,
    429: errors.Busy,
    431: errors.InvalidInput,
    502: errors.ServerUnavailable,
    503: errors.Busy,
    504: errors.ServerUnavailable,
    507: errors.StorageFailure,
}


def kind_of(status: int, *, challenge: bool) -> type[MunimentError] | None:
    """The class of this status; `challenge` says that there is a header `WWW-Authenticate`."""
    if status == 403 and challenge:
        return errors.AccessDenied  # RFC 6750: another key could do it
    return KINDS.get(status)
