"""How RavenDB says that a database is encrypted: a bundle among its settings, and a key among its secured settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from muniment.security.encryption import EncryptionKey

SECURED: Final = "SecuredSettings"
KEY: Final = "Raven/Encryption/Key"
ALGORITHM: Final = "Raven/Encryption/Algorithm"
BUNDLES: Final = "Raven/ActiveBundles"
BUNDLE: Final = "Encryption"


def secured_settings_of(key: EncryptionKey) -> dict[str, str]:
    """The secured settings of a database with this key, in clear."""
    return {KEY: key.text, ALGORITHM: key.algorithm.value}


def is_encrypted(document: Mapping[str, Any]) -> bool:
    """Whether the bundle is active."""
    settings = document.get("Settings")
    bundles = setting_named(settings if isinstance(settings, dict) else {}, BUNDLES)
    return BUNDLE.lower() in (part.strip().lower() for part in (bundles or "").split(";"))


def with_bundle(settings: Mapping[str, Any], *, encrypted: bool) -> dict[str, Any]:
    """The settings with the bundle, or without it."""
    found = {name: value for name, value in settings.items() if name.lower() != BUNDLES.lower()}
    named = (setting_named(settings, BUNDLES) or "").split(";")
    bundles = [part for part in named if part.strip() and part.strip().lower() != BUNDLE.lower()]
    bundles += [BUNDLE] if encrypted else []
    return {**found, BUNDLES: ";".join(bundles)} if bundles else found


def setting_named(settings: Mapping[str, Any], name: str) -> str | None:
    """The setting of this name, in any case."""
    found = (value for key, value in settings.items() if key.lower() == name.lower())
    return next((value for value in found if isinstance(value, str)), None)
