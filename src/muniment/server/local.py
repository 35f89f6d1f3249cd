"""How a client shows that it runs on the server's machine as somebody who may read the server's own files.

At each start the server writes a new secret into a file of its data folder that only its own user can read. An answer
that refuses a folder names that file to a client on the same machine; who sends what is in it has the rights of the
server's user anyway. A process behind a proxy or a tunnel cannot, though its connection comes from this machine.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from muniment.raven3.headers import LOCAL
from muniment.settings import is_loopback
from muniment.telling import telling

FILE: Final = "muniment.local"


class Local:
    """The secret of a server that serves at this address."""

    def __init__(self, data_dir: Path, url: str) -> None:
        self.path = data_dir / FILE
        self._secret = secrets.token_hex(32)
        self._offered = False
        with telling(f"in {self.path}, how clients on this machine show that they may name any folder,"):
            self._write(url)
            self._offered = True

    def _write(self, url: str) -> None:
        unnamed = self.path.with_name(f"{FILE}.{os.getpid()}")
        unnamed.unlink(missing_ok=True)
        try:
            descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"Url": url, "Secret": self._secret}, file)
            unnamed.replace(self.path)
        except OSError:
            unnamed.unlink(missing_ok=True)
            raise

    def is_known_to(self, headers: Any) -> bool:
        """Whether a request shows that its client has read the secret."""
        given = headers.get(LOCAL)
        return given is not None and hmac.compare_digest(given.encode(), self._secret.encode())

    def offer(self, client: str) -> list[tuple[str, str]]:
        """The header that tells a client of this machine where the secret is."""
        host = client.rpartition(":")[0].strip("[]")
        return [(LOCAL, str(self.path))] if self._offered and is_loopback(host) and str(self.path).isascii() else []

    def forget(self) -> None:
        """No secret is valid any more."""
        with telling(f"that {self.path} is not valid any more"):
            self.path.unlink(missing_ok=True)
