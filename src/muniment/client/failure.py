"""What an answer that is not a success means: the error of ours that the server had, with its message and hint."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from muniment import errors
from muniment.client.wire import Request, Response
from muniment.errors import ConcurrencyConflict, MunimentError
from muniment.raven3.etags import etag_number
from muniment.raven3.headers import LOADING
from muniment.raven3.statuses import kind_of

_HINTS: Final = {401: "give a key that the server knows: --api-key or MUNIMENT_API_KEY, in Python api_key="}


def failure(request: Request, response: Response) -> MunimentError:
    """The error that an answer tells of."""
    told = _members(response.body)
    hint = str(told.get("Hint") or "") or _HINTS.get(response.status, "")
    message = _message(told, hint) or f"the server answered {response.status} to {request.method} {request.target}"
    if response.status == 409 and "ActualETag" in told:
        return _conflict(request, told, message, hint)
    return _kind(response, told, message)(message, hint)


def _members(body: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(told, str):
        return {"Error": told}
    return told if isinstance(told, dict) else {}


def _message(told: dict[str, Any], hint: str) -> str:
    text = told.get("Message") or told.get("Error")
    return text.removesuffix(hint).strip() if isinstance(text, str) else ""


def _conflict(request: Request, told: dict[str, Any], message: str, hint: str) -> MunimentError:
    try:
        expected, actual = etag_number(told["ExpectedETag"]), etag_number(told["ActualETag"])
    except (KeyError, ValueError, AttributeError):
        return errors.Conflict(message, hint)
    named = (id for id in request.subjects if len(request.subjects) == 1 or message.startswith(repr(id)))
    return ConcurrencyConflict(next(named, ""), expected, actual)


def _kind(response: Response, told: dict[str, Any], message: str) -> type[MunimentError]:
    if known := error_class(told.get("Kind")):
        return known
    if response.status == 503 and "could not find" in message.lower() and LOADING not in response.headers:
        return errors.DatabaseNotFound
    return kind_of(response.status, challenge="WWW-Authenticate" in response.headers) or MunimentError


def error_class(name: object) -> type[MunimentError] | None:
    """The class of `muniment.errors` that has this name and is made of a message and a hint."""
    found = getattr(errors, name, None) if isinstance(name, str) else None
    if isinstance(found, type) and issubclass(found, MunimentError) and found is not ConcurrencyConflict:
        return found
    return None
