"""Backups in Azure's blob storage, as Azurite has it, which `make build/azurite/ready` brings where node is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.repository import backups
from muniment.errors import StorageFailure
from tests.backup.state import live, opened, state_of
from tests.ports import held_ports
from tests.waiting import PATIENCE

ACCOUNT = "devstoreaccount1"  # Azurite's, whose key everybody knows
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "backups"
OURS = Path(__file__).parents[2] / "build/azurite/node_modules/.bin"


@pytest.fixture
def azurite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A container of its own Azurite: a prefix in it."""
    program = shutil.which("azurite-blob", path=f"{OURS}{os.pathsep}{os.environ['PATH']}")
    if program is None or shutil.which("node") is None:
        pytest.skip("Azurite is not there: `make build/azurite/ready` brings it where node and npm are")
    with held_ports(1) as [port]:
        options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(tmp_path / "azurite")]
        process = subprocess.Popen([program, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)])
        try:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            _wait(process, port)
            _make_container(endpoint)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            monkeypatch.setenv("MUNIMENT_STORE_RETRY_SECONDS", f"{PATIENCE:.0f}")
            yield f"az://{CONTAINER}/{uuid.uuid4().hex}/shop"
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=5)):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _make_container(endpoint: str) -> None:
    date = format_datetime(datetime.now(UTC), usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": "2020-10-02"}
    signed = "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed += f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    request = Request(f"{endpoint}/{CONTAINER}?restype=container", method="PUT", headers=headers)
    with closing(urlopen(request, timeout=30)) as answer:
        assert answer.status == 201


def test_a_chain_is_taken_and_read(small: DocumentDatabase, azurite: str, tmp_path: Path) -> None:
    full = small.maintenance.start_backup(azurite).wait()
    small.put("more", {})
    more = small.maintenance.start_backup(azurite, incremental=True).wait()
    assert list(backups(azurite)) == [full, more]
    MaintenanceActions.verify(azurite)
    restored = MaintenanceActions.restore(azurite, tmp_path / "restored")
    with opened(restored.folder) as again:
        assert live(state_of(again)) == live(state_of(small))
    with pytest.raises(StorageFailure, match=r"there is no such bucket \(ContainerNotFound\)"):
        backups("az://nothing/shop")
