"""The version of this software, which manifests carry."""

from typing import Final

VERSION: Final = "0.1.0"
