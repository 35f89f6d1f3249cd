"""Who had what done is in a file, whatever became of it; and what cannot be written there stops nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from muniment.security.keys import Key, new_key
from tests.server.running import Server, running


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]


def test_jobs_keys_and_databases_with_who_and_what_became_of_it(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        shop = server.create("shop")
        shop.fill(10)
        (admin, admins), (nightly, nightlys) = new_key("admin", ["admin"]), new_key("nightly", ["backup"])
        server.client.put(f"/docs/{admin.id}", content=admin.encoded())
        server.client.headers["Authorization"] = f"Bearer {admins}"
        commands = [{"Method": "PUT", "Key": nightly.id, "Document": json.loads(nightly.encoded())}]
        assert server.client.post("/bulk_docs", json=commands).status_code == 200
        expected = {"If-None-Match": "01000000-0000-0001-0000-00000000FFFF"}
        assert server.client.delete(f"/docs/{nightly.id}", headers=expected).status_code == 409
        dump = shop.get("/smuggler/export").content
        assert shop.request("POST", "/smuggler/import", content=dump).status_code == 200
        assert shop.request("POST", "/smuggler/import", content=b"no dump").status_code == 400
        server.client.headers["Authorization"] = f"Bearer {nightlys}"
        assert not shop.backup(tmp_path / "b")["Faulted"]
        server.client.headers["Authorization"] = f"Bearer {admins}"
        assert not server.restore(BackupLocation=str(tmp_path / "b"), DatabaseName="copy")["Faulted"]
        server.client.delete("/admin/databases/copy?hard-delete=true")
        found = lines(server)
        told = [(each["what"], each["outcome"], each.get("key"), each.get("database") or each.get("subject"))
                for each in found]  # fmt: skip
        assert told == [
            ("server", "started", None, None),
            ("database stored", "completed", None, "Raven/Databases/shop"),
            ("key stored", "completed", None, admin.id),
            ("key stored", "completed", "admin", nightly.id),
            ("key deleted", "faulted", "admin", nightly.id),
            ("export", "started", "admin", "shop"),
            ("export", "completed", "admin", "shop"),
            ("import", "started", "admin", "shop"),
            ("import", "completed", "admin", "shop"),
            ("import", "started", "admin", "shop"),
            ("import", "faulted", "admin", "shop"),
            ("backup", "started", "nightly", "shop"),
            ("backup", "completed", "nightly", "shop"),
            ("restore", "started", "admin", "copy"),
            ("restore", "completed", "admin", "copy"),
            ("database deleted", "completed", "admin", "Raven/Databases/copy"),
        ]
        assert all(each["source"] == "127.0.0.1" for each in found[1:])
        assert [each.get("error") is not None for each in found] == [outcome == "faulted" for _, outcome, _, _ in told]
        text = (server.data_dir / "audit.jsonl").read_text()
        assert not any(secret in text for secret in (admins.partition("/")[2], nightlys.partition("/")[2], "argon2"))
        assert (server.data_dir / "audit.jsonl").stat().st_mode & 0o777 == 0o600
        before = len(found)
    with running(tmp_path / "data") as again:
        assert len(lines(again)) == before + 1  # nothing was taken from it


def test_a_file_that_cannot_be_written_is_told_of_and_stops_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        shop = server.create("shop")
        (server.data_dir / "audit.jsonl").unlink()
        (server.data_dir / "audit.jsonl").mkdir()
        assert not shop.backup(tmp_path / "b")["Faulted"]
        key, text = new_key("app", ["admin"])
        assert server.client.put(f"/docs/{key.id}", content=key.encoded()).status_code == 201
        headers = {"Authorization": f"Bearer {text}"}
        assert server.client.get("/admin/stats", headers=headers).json()["UnwrittenAuditLines"] == 3
        assert server.log().count("audit.jsonl could not be written") == 3
        assert '"what":"backup","outcome":"completed"' in server.log()  # what it lacks
        assert text.partition("/")[2] not in server.log()


def test_the_file_may_be_moved_away(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        (server.data_dir / "audit.jsonl").rename(tmp_path / "old.jsonl")
        server.create("shop")
        assert [line["what"] for line in lines(server)] == ["database stored"]


def test_a_disabled_key_is_known_by_who_disabled_it(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        key, text = new_key("app", ["admin"])
        headers = {"Authorization": f"Bearer {text}"}
        server.client.put(f"/docs/{key.id}", content=key.encoded())
        disabled = Key(key.name, key.hash, key.rights, enabled=False)
        assert server.client.put(f"/docs/{key.id}", content=disabled.encoded(), headers=headers).status_code == 201
        assert lines(server)[-1] | {"time": ""} == {
            "time": "",
            "what": "key stored",
            "outcome": "completed",
            "subject": "Raven/ApiKeys/app",
            "key": "app",
            "source": "127.0.0.1",
        }
        assert server.client.get("/databases", headers=headers).status_code == 401


def test_keys_and_databases_that_an_import_brings_are_told_of_too(tmp_path: Path) -> None:
    key, _ = new_key("app", ["read"])
    documents: list[tuple[str, Any]] = [
        ("raven/databases/shop", {"Settings": {"Raven/DataDir": "~/shop"}}),
        (key.id, json.loads(key.encoded())),
        ("other/1", {}),
    ]
    bad = ("Raven/ApiKeys/none", {"Name": "none"})

    def dump(*documents: tuple[str, Any], deleted: tuple[str, ...] = ()) -> bytes:
        docs = [{**body, "@metadata": {"@id": id}} for id, body in documents]
        sections = {"Docs": docs, "Attachments": [], "DocsDeletions": [{"Key": id} for id in deleted]}
        return gzip.compress(json.dumps(sections).encode())

    with running(tmp_path / "data") as server:
        admin, text = new_key("admin", ["admin"])
        server.client.put(f"/docs/{admin.id}", content=admin.encoded())
        server.client.headers["Authorization"] = f"Bearer {text}"
        before = len(lines(server))
        assert server.client.post("/smuggler/import", content=dump(*documents)).status_code == 200
        assert server.client.post("/smuggler/import", content=dump(documents[1], bad)).status_code == 400
        assert server.client.post("/smuggler/import", content=dump(deleted=(key.id,))).status_code == 200
        told = [
            (each["what"], each["outcome"], each.get("key"), each.get("subject")) for each in lines(server)[before:]
        ]
        assert told == [
            ("import", "started", "admin", None),
            ("database stored", "completed", "admin", "raven/databases/shop"),
            ("key stored", "completed", "admin", key.id),
            ("import", "completed", "admin", None),
            ("import", "started", "admin", None),
            ("key stored", "unknown", "admin", key.id),
            ("key stored", "faulted", "admin", bad[0]),
            ("import", "faulted", "admin", None),
            ("import", "started", "admin", None),
            ("key deleted", "completed", "admin", key.id),
            ("import", "completed", "admin", None),
        ]
