"""What object stores say when something is wrong, in words that tell what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Final, Literal

from muniment.errors import StorageFailure

Doing = Literal["read", "write", "list", "delete"]

_code = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)|x-ms-error-code: (\w+)")
_status = re.compile(r"non-2xx status code: (\d+)")
_ENDPOINTS: Final[Mapping[str, str]] = {"az": "AZURE_STORAGE_ENDPOINT", "gs": "GOOGLE_BASE_URL"}
_CREDENTIALS: Final = (
    "the store does not accept the credentials",
    ("check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or those of your store: see docs/object-stores.md"),
)
_REGION: Final = "the bucket is in another region", "set AWS_REGION to the region of the bucket"
_CLOCK: Final = "the clock of this machine differs too much from the store's", "set the clock, best by NTP"
_BUCKET: Final = "there is no such bucket", "make the bucket first, or check its name and the endpoint"
_BUSY: Final = "the store is overloaded or out of order", "try again later"
_KNOWN: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed"), _CREDENTIALS
    ),
    "ExpiredToken": ("the credentials have expired", "get new ones"),
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"), _REGION
    ),
    "RequestTimeTooSkewed": _CLOCK,
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound"), _BUCKET),
    **dict.fromkeys(("SlowDown", "InternalError", "ServiceUnavailable", "ServerBusy"), _BUSY),
    "ObjectLocked": ("the object is locked", "wait until its lock has expired"),
}
_REFUSED: Final[Mapping[Doing, str]] = {
    "read": "nobody with these credentials may read there",
    "write": "nobody with these credentials may write there, or not over what is there",
    "list": "nobody with these credentials may list what is there",
    "delete": "nobody with these credentials may delete there, or it is locked",
}


@contextmanager
def mapped_store_errors(place: PurePath, doing: Doing) -> Iterator[None]:
    """Within it, what a store says becomes `FileNotFoundError`, `FileExistsError`, or a `StorageFailure` of this place.

    A bucket that is missing is a `StorageFailure` too, so that nobody takes it for one that is empty.
    """
    try:
        yield
    except FileNotFoundError as error:
        if error.errno is not None:
            raise
        if (code := _code_in(str(error))) in _KNOWN:
            raise _failure(place, doing, str(error)) from None
        raise FileNotFoundError(errno.ENOENT, f"there is no such object ({code or 'not found'})", str(place)) from None
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        if type(error).__name__ in ("AlreadyExistsError", "PreconditionError"):
            raise FileExistsError(errno.EEXIST, "it exists", str(place)) from None
        raise _failure(place, doing, str(error)) from None  # the store's own words can have what is secret in them


def _code_in(said: str) -> str:
    found = _code.search(said)
    return next(filter(None, found.groups()), "") if found else ""


def _failure(place: PurePath, doing: Doing, said: str) -> StorageFailure:
    code, status = _code_in(said), _status.search(said)
    verb = {"read": "read", "write": "written", "list": "listed", "delete": "deleted"}[doing]
    told = f"{place} could not be {verb}"
    if code in _KNOWN:
        why, hint = _KNOWN[code]
    elif "redirect without LOCATION" in said:
        why, hint = _REGION
    elif "169.254." in said or "metadata" in said.lower():
        why = "no credentials were found, in the environment or in files"
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or those of your store: see docs/object-stores.md"
    elif status and status[1] in ("401", "403"):
        why, hint = _REFUSED[doing], "give these credentials that right, or use others"
    elif status and status[1] in ("429", "500", "502", "503", "504"):
        why, hint = _BUSY
    elif status:
        why, hint = "the store does not do what was asked of it", "check that it is a store of this kind"
    elif "response body" in said:
        why, hint = "the answer broke off", "check the network, and try it again"
    elif "error sending request" in said or "onnect" in said or "imeout" in said or "timed out" in said:
        named = _ENDPOINTS.get(place.parts[0][:-1], "AWS_ENDPOINT_URL")
        why, hint = "the store cannot be reached", f"check the network and the endpoint ({named})"
    else:
        why, hint = _first_words(said), "check the endpoint, the bucket and the credentials"
    code = code or (f"status {status[1]}" if status else "")
    return StorageFailure(f"{told}: {why}" + (f" ({code})" if code else ""), hint)


def _first_words(said: str) -> str:
    """The beginning of what was said, without a query, which can have a signature in it."""
    line = said.split("\n", 1)[0].split("<?xml", 1)[0]
    return re.sub(r"\?\S+", "", line)[:200].rstrip(": ")
