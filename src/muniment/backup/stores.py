"""The object stores that can be reached, and what lets us in: from the environment or files, never from an address.

The variables are those that the stores' own programs take: see docs/object-stores.md. `obstore` reads them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from muniment.errors import InvalidInput
from muniment.later import Later
from muniment.settings import is_confidential

if TYPE_CHECKING:
    import obstore.store as stores
else:
    stores = Later("obstore.store", extra="s3")

SCHEMES: Final[Mapping[str, str]] = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}
RETRY_SECONDS: Final = "MUNIMENT_STORE_RETRY_SECONDS"
MANY_TIMES: Final = 1_000_000
_OURS: Final = ("AWS_", "AZURE_", "GOOGLE_", RETRY_SECONDS)
_ENDPOINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
_IN_PROFILE: Final[Mapping[str, str]] = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}


def store(scheme: str, bucket: str) -> Any:
    """The bucket or container of this name, which may begin with a profile and `@`.

    Raises `InvalidInput` when `obstore` is not installed, the profile is not there, or what is sent could be read on
    its way: plain http is for this machine only.
    """
    held = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_OURS)))
    profile, _, name = bucket.rpartition("@")
    return _store(scheme, name, profile, held)


@lru_cache(64)
def _store(scheme: str, bucket: str, profile: str, held: tuple[tuple[str, str], ...]) -> Any:
    environment = dict(held)
    config = _profile(profile or environment.get("AWS_PROFILE", ""), environment) if scheme == "s3" else {}
    if profile and scheme != "s3":
        raise InvalidInput(f"{scheme}:// has no profiles, and {profile!r} is given as one", "leave it out")
    if not profile and "AWS_ACCESS_KEY_ID" in environment:
        config = {}  # the environment counts before files
    endpoint = config.get("endpoint") or next(filter(None, map(environment.get, _ENDPOINTS[scheme])), None)
    if endpoint and not is_confidential(endpoint):
        raise InvalidInput(
            f"the store is at {_without_secret(endpoint)}: whoever is between here and there would read what is sent",
            "use https; plain http is for this machine only",
        )
    if scheme == "s3" and endpoint:
        config["endpoint"] = endpoint
    kind = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}[scheme]
    seconds = _retry_seconds(environment)
    return kind(
        bucket,
        config=config,
        client_options={
            "allow_http": bool(endpoint and urlsplit(endpoint).scheme == "http") or _emulated(environment),
            "connect_timeout": timedelta(seconds=5),
            "read_timeout": timedelta(seconds=120),
            "timeout": timedelta(minutes=15),  # for a part over a slow line
            "user_agent": "muniment",
        },
        retry_config={
            "max_retries": MANY_TIMES if seconds else 0,  # the time decides
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    )


def _emulated(environment: Mapping[str, str]) -> bool:
    return environment.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true")


def _retry_seconds(environment: Mapping[str, str]) -> float:
    text = environment.get(RETRY_SECONDS, "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 86_400:
        raise InvalidInput(f"{RETRY_SECONDS} is {text!r}", "give seconds, from 0 to 86400")
    return seconds


def _without_secret(endpoint: str) -> str:
    there = urlsplit(endpoint)
    return f"{there.scheme}://{there.hostname or ''}"


def _profile(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What the files of the AWS command line say for this profile; the default one may be missing."""
    home = Path.home() / ".aws"
    credentials = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    config = Path(environment.get("AWS_CONFIG_FILE") or home / "config")
    found: dict[str, str] = {}
    there = False
    for path, section in ((config, f"profile {name}" if name else "default"), (credentials, name or "default")):
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} cannot be read: {type(error).__name__}", "write it as AWS does") from None
        for each in dict.fromkeys((section, name or "default")):
            if parser.has_section(each):
                there = True
                found |= {ours: parser[each][theirs] for theirs, ours in _IN_PROFILE.items() if theirs in parser[each]}
    if name and not there:
        raise InvalidInput(
            f"there is no profile {name!r} in {credentials} or {config}", "write it there, or name another"
        )
    return found
