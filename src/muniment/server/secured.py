"""`SecuredSettings` of databases, and the keys among them: they are kept only as the server's master key wraps them.

Wrapped text may be seen: in answers, exports and backups of the system database. It opens with the master key alone,
which is in a file outside the data folder, and only for the database and the setting that it was wrapped for.
"""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from muniment.document import fold
from muniment.errors import InvalidInput, NotFound, WrongKey
from muniment.raven3.encryption import ALGORITHM, BUNDLE, BUNDLES, KEY, SECURED, is_encrypted, setting_named
from muniment.security.data_key import derived, sealed, unsealed
from muniment.security.encryption import Algorithm, EncryptionKey, algorithm_in, key_in, new_key, read_key, write_key

NEXT_KEY: Final = "Muniment/Encryption/NextKey"  # while a key is rotated: the database has this one, or the other
NEXT_ALGORITHM: Final = "Muniment/Encryption/NextAlgorithm"
_WRAPPED: Final = "wrapped by muniment:"
_LOST: Final = (
    "bring back the file that belongs to this data folder, or name it: --master-key-file; what it has wrapped cannot"
    " be had without it"
)


class MasterKey:
    """The key of a server, in a file that is made when it is first needed; `used` says whether one was needed before.

    Raises `WrongKey` when the file is missing that something was wrapped with, and for what another one has wrapped.
    """

    def __init__(self, file: Path, used: Callable[[], bool]) -> None:
        self.file = file
        self._used = used
        self._lock = threading.Lock()
        self._key: bytes | None = None

    def wrap(self, database: str, setting: str, text: str) -> str:
        """The text as it may be kept."""
        return _WRAPPED + b64encode(sealed(self._secret(), text.encode(), _bound(database, setting))).decode()

    def unwrap(self, database: str, setting: str, wrapped: str) -> str:
        """What was wrapped for this setting of this database."""
        text = None
        with suppress(ValueError):
            data = b64decode(wrapped.removeprefix(_WRAPPED), validate=True)
            text = unsealed(self._secret(), data, _bound(database, setting))
        if not wrapped.startswith(_WRAPPED) or text is None:
            raise WrongKey(f"{setting} of the database {database} was not wrapped with the key in {self.file}", _LOST)
        return text.decode()

    def _secret(self) -> bytes:
        with self._lock:
            if self._key is None:
                self._key = derived(self._read().secret, "secured settings")
            return self._key

    def _read(self) -> EncryptionKey:
        try:
            return read_key(self.file)
        except NotFound as error:
            if self._used():
                raise WrongKey(f"the master key of this server is missing: {self.file}", _LOST) from error
        key = new_key()
        write_key(self.file, key)
        return key


def _bound(database: str, setting: str) -> bytes:
    return f"{fold(database)}\0{setting.lower()}".encode()


def secured_settings(document: Any) -> dict[str, str]:
    """The wrapped settings in a database's document."""
    found = document.get(SECURED) if isinstance(document, dict) else None
    return {name: value for name, value in (found or {}).items() if isinstance(value, str)}


def is_wrapped(value: Any) -> bool:
    """Whether some master key has wrapped this."""
    return isinstance(value, str) and value.startswith(_WRAPPED)


def has_secrets(document: Any) -> bool:
    """Whether a master key was needed for this document."""
    return bool(secured_settings(document))


def is_rotating(document: Any) -> bool:
    """Whether the database may have either of two keys."""
    return any(name.lower() == NEXT_KEY.lower() for name in secured_settings(document))


def wrapped(master: MasterKey, database: str, given: dict[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
    """The document as it may be kept; secured settings that it does not name stay as they are at `present`.

    Raises `InvalidInput` for a key that is none, or that would not go with the bundle, or with how the database is.
    """
    check_places(given)
    secured = given.get(SECURED)
    if secured is not None and not isinstance(secured, dict):
        raise InvalidInput(f"{SECURED} is not an object", f'send {{"{SECURED}": {{"{KEY}": "…"}}}}')
    kept = secured_settings(present)
    for setting, value in (secured or {}).items():
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidInput(f"{setting} in {SECURED} is not a text", "give a text")
        spelled = next((name for name in kept if name.lower() == setting.lower()), setting)
        if is_wrapped(value):
            master.unwrap(database, spelled, value)
            kept[spelled] = value
        elif spelled not in kept or master.unwrap(database, spelled, kept[spelled]) != value:
            kept[spelled] = master.wrap(database, spelled, value)
    document = {**given, SECURED: kept} if kept else {name: value for name, value in given.items() if name != SECURED}
    _check(master, database, document, present)
    return document


def is_secret(setting: str) -> bool:
    """Whether a setting of this name is kept only as the master key wraps it."""
    return setting.lower() in (KEY.lower(), NEXT_KEY.lower())


def check_places(given: dict[str, Any]) -> None:
    """Raises `InvalidInput` for secrets in places from where they would not be wrapped."""
    for name in given:
        if name != SECURED and name.lower() == SECURED.lower():
            raise InvalidInput(f"{name} is not a member of a database's document", f"write it {SECURED}")
    settings = given.get("Settings")
    for name in settings if isinstance(settings, dict) else ():
        if is_secret(name):
            raise InvalidInput(f"{KEY} is among the Settings, which are kept in clear", f"put it into {SECURED}")


def _check(master: MasterKey, database: str, document: dict[str, Any], present: dict[str, Any] | None) -> None:
    keys, encrypted = keys_of(master, database, document), is_encrypted(document)
    if encrypted and not keys:
        raise InvalidInput(
            f"{BUNDLES} has {BUNDLE}, and there is no {KEY} in {SECURED}",
            "give 32 bytes in base64: `muniment encryption generate-key FILE` makes them",
        )
    if keys and not encrypted:
        raise InvalidInput(f"there is a {KEY}, and {BUNDLES} does not have {BUNDLE}", f'add "{BUNDLES}": "{BUNDLE}"')
    if present is not None and keys[:1] != keys_of(master, database, present)[:1]:
        raise InvalidInput(
            f"the database {database} exists, and its key is not changed by its document",
            "rotate the key: POST /admin/encryption/rotate?database=NAME",
        )


def keys_of(master: MasterKey, database: str, document: dict[str, Any]) -> list[EncryptionKey]:
    """The key of a database, and the one that it may have got meanwhile; none when it is not encrypted."""
    secured = secured_settings(document)
    texts = {name: master.unwrap(database, name, value) for name, value in secured.items()}
    settings = document.get("Settings")
    return _keys_in({**(settings if isinstance(settings, dict) else {}), **texts})


def key_in_settings(master: MasterKey, database: str, secured: Mapping[str, str]) -> EncryptionKey | None:
    """The key among the secured settings of a request, wrapped or not."""
    texts = {name: master.unwrap(database, name, text) if is_wrapped(text) else text for name, text in secured.items()}
    return next(iter(_keys_in(texts)), None)


def _keys_in(texts: Mapping[str, Any]) -> list[EncryptionKey]:
    keys = []
    for key, algorithm in ((KEY, ALGORITHM), (NEXT_KEY, NEXT_ALGORITHM)):
        if text := setting_named(texts, key):
            named = setting_named(texts, algorithm)
            keys.append(key_in(text, algorithm_in(named) if named else Algorithm.AEGIS, where=key))
    return keys


def with_key(
    master: MasterKey,
    database: str,
    document: dict[str, Any],
    key: EncryptionKey,
    next_key: EncryptionKey | None = None,
) -> dict[str, Any]:
    """The document of the database when it has this key, or may have the next one already."""
    ours = {name.lower() for name in (KEY, ALGORITHM, NEXT_KEY, NEXT_ALGORITHM)}
    texts = {KEY: key.text, ALGORITHM: key.algorithm.value}
    if next_key:
        texts |= {NEXT_KEY: next_key.text, NEXT_ALGORITHM: next_key.algorithm.value}
    kept = {name: value for name, value in secured_settings(document).items() if name.lower() not in ours}
    return {**document, SECURED: {**kept, **{name: master.wrap(database, name, text) for name, text in texts.items()}}}
