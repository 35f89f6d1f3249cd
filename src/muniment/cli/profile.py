"""What a user does not want to say each time: the server, and the key for it, from the environment or from a file.

A flag wins over the environment, and that over the file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from muniment.errors import InvalidInput, unreadable

URL: Final = "MUNIMENT_URL"
PROFILE: Final = "MUNIMENT_PROFILE"
FILE: Final = "MUNIMENT_CLIENT_CONFIG"
LOCAL: Final = "http://127.0.0.1:8080"


class Profile(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A server, and what it is asked with; the key goes to this server alone."""

    url: str | None = None
    api_key_file: str = ""
    ca_file: str = ""
    client_certificate: str = ""


class _File(Profile, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """The file: a profile without a name, and others with one, of which `profile` is the usual one."""

    profile: str | None = None
    profiles: dict[str, Profile] = {}


def address_or_none() -> str | None:
    """The server that the environment or the file names."""
    return os.environ.get(URL) or profile().url


def address() -> str:
    """The same, or the usual address on this machine."""
    return address_or_none() or LOCAL


@cache
def profile() -> Profile:
    """The profile that is meant; an empty one where there is no file. Raises `InvalidInput` for one that is wrong."""
    name, path = os.environ.get(PROFILE), _path()
    found = _read(path) if path else _File()
    name = name or found.profile
    if name is None:
        return found
    if name not in found.profiles:
        known = ", ".join(found.profiles) or "there is none yet"
        where = path or "the file of the command line"
        raise InvalidInput(f"{where} has no profile {name!r}", f"name one of its profiles: {known}")
    return found.profiles[name]


def _path() -> Path | None:
    """Where the file is, None where there is none; one that is named has to be there."""
    if named := os.environ.get(FILE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    with suppress(RuntimeError, OSError):  # a user without a home, or one that may not be entered
        path = (Path(folder) if Path(folder).is_absolute() else Path.home() / ".config") / "muniment" / "client.toml"
        if path.exists():
            return path
    return None


def _read(path: Path) -> _File:
    hint = "it may have url, api-key-file, ca-file, client-certificate, profile, and the same in [profiles.NAME]"
    import tomllib  # here: most have no such file

    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(given, _File)
    except OSError as error:
        raise unreadable(str(path), error, f"see that you may read it, or name another in {FILE}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path} cannot be understood: {error}", hint) from error
