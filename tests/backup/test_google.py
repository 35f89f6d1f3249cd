"""Backups in Google Cloud Storage, as far as it can be had here: its protocol of XML is that of S3 but for its headers.

So SeaweedFS answers what the client for Google asks, with one header put in the place of another on the way. That is
the client's side alone; nothing here has ever spoken to Google.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.destination import place_of, put_new, sizes_in
from muniment.backup.repository import backups
from muniment.errors import StorageFailure
from tests.backup.state import live, opened, state_of
from tests.fault_proxy import Proxy, Rule, faulty
from tests.object_store import OPEN, ObjectStore

# Generation 0 is that of no object. That nobody in particular asks is told by an empty token.
HEADERS = {"x-goog-if-generation-match": ("If-None-Match", "*"), "authorization": ("X-Nobody", "")}


@pytest.fixture
def google(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What is asked in Google's words."""
    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    put_new(place_of(f"s3://{OPEN}/there"), b"yes")  # which makes the bucket
    account = tmp_path / "account.json"
    with faulty(object_store.endpoint, HEADERS) as proxy:
        nobody = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        account.write_text(json.dumps({"gcs_base_url": proxy.endpoint, "disable_oauth": True, **nobody}))
        monkeypatch.setenv("GOOGLE_BASE_URL", proxy.endpoint)
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
        yield proxy


def test_a_chain_is_taken_and_read(small: DocumentDatabase, google: Proxy, tmp_path: Path) -> None:
    place = f"gs://{OPEN}/{uuid.uuid4().hex}/shop"
    small.put_attachment("large", Random(1).randbytes(20_000_000))
    full = small.maintenance.start_backup(place).wait()
    assert any("uploadId=" in request for request in google.asked)  # a large one is sent in parts
    small.put("more", {})
    more = small.maintenance.start_backup(place, incremental=True).wait()
    assert list(backups(place)) == [full, more]
    with pytest.raises(FileExistsError):
        put_new(full.folder / "manifest.json", b"another")
    MaintenanceActions.verify(place)
    restored = MaintenanceActions.restore(place, tmp_path / "restored")
    with opened(restored.folder) as again:
        assert live(state_of(again)) == live(state_of(small))
    google.rules.append(Rule("GET", (403, "AccessDenied"), times=99))
    with pytest.raises(StorageFailure, match="nobody with these credentials may"):
        backups(place)
    google.rules.clear()
    MaintenanceActions.merge(place, more.name, delete_merged=True)
    assert not [name for name in sizes_in(place_of(place)) if name.startswith((full.name, more.name))]
