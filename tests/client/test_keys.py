"""The keys of a server, from Python in both faces; what was done with them is in its audit log, without a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentStore
from muniment.client import AsyncDocumentStore
from muniment.errors import AccessDenied, Conflict, InvalidInput, NotFound, Unauthorized
from muniment.security.keys import PREFIX
from tests.client.serving import blocking
from tests.server.running import running

TOKEN = "ping-token"


def test_keys_are_made_disabled_and_given_other_secrets(tmp_path: Path) -> None:
    with running(tmp_path / "data", ping_urls=f"http://127.0.0.1:1/{TOKEN}/{{database}}") as server:
        with DocumentStore(server.url) as store:
            assert store.keys.all() == []
            boss = store.keys.add("boss", ["admin"]).api_key
            assert isinstance(boss, str)
        with pytest.raises(Unauthorized), DocumentStore(server.url) as store:
            store.keys.all()
        with blocking(lambda: AsyncDocumentStore(server.url, api_key=boss)) as store:
            _changed(store.keys, server.url)
        known = {"Authorization": f"Bearer {boss}"}
        audit = server.client.get("/admin/audit?pageSize=50", headers=known)
        told = [(each["what"], each["outcome"], each.get("key"), each.get("subject")) for each in audit.json()]
        assert told[-2] == ("key stored", "completed", None, f"{PREFIX}boss")
        assert ("key stored", "faulted", "boss", f"{PREFIX}nightly") in told
        assert server.client.get("/admin/audit?start=1&pageSize=2", headers=known).json() == audit.json()[1:3]
        assert boss.partition("/")[2] not in audit.text
        settings = server.client.get("/admin/settings", headers=known)
        by_name = {each["Name"]: each for each in settings.json()}
        assert by_name["ping-urls"]["Value"] == "http://127.0.0.1/…"
        assert TOKEN not in settings.text
        assert (by_name["jobs"]["Value"], by_name["jobs"]["Default"]) == ("4", True)
        (server.data_dir / "audit.jsonl").write_bytes(b'no line\n{"time":"t","what":"w","outcome":"o"}\n{"time":')
        assert [each["what"] for each in server.client.get("/admin/audit", headers=known).json()] == ["w"]
        (server.data_dir / "audit.jsonl").unlink()
        assert server.client.get("/admin/audit", headers=known).json() == []


def _changed(keys: Any, url: str) -> None:
    made = keys.add("nightly", ["backup"], ["shop"], backup_roots=["/mnt"])
    assert (made.rights, made.databases, made.backup_roots) == (["backup"], ["shop"], ["/mnt"])

    def is_let_in(key: str) -> bool:
        try:
            with DocumentStore(url, api_key=key) as store:
                store.keys.all()
        except AccessDenied as error:  # which is also what nobody in particular is told
            return not isinstance(error, Unauthorized)
        return True

    assert is_let_in(made.api_key)
    with pytest.raises(Conflict):
        keys.add("Nightly", ["read"])
    assert not keys.disable("nightly").enabled
    assert not is_let_in(made.api_key)
    assert keys.enable("nightly").enabled
    assert is_let_in(made.api_key)
    rotated = keys.rotate("nightly")
    assert is_let_in(rotated.api_key)
    assert not is_let_in(made.api_key)
    assert [(each.name, each.enabled) for each in keys.all()] == [("boss", True), ("nightly", True)]
    with pytest.raises(InvalidInput):
        keys.add("other", ["dance"])
    with pytest.raises(NotFound):
        keys.disable("none")
    with pytest.raises(Conflict):
        keys.add("nightly", ["read"])
