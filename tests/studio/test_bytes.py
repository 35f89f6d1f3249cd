"""What the page reads and stores again has every byte that it had, and what it was shown is what is done."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from tests.cli.process import muniment
from tests.sampled import some
from tests.server.running import Database, Server
from tests.studio.browser import Page, needs_browser

pytestmark = needs_browser

AWKWARD = (
    b'{"a":1.10,"a":2,"\\u0041":"\\ud800","big":1234567890123456789012345678901234567890,"__proto__":{"z":1, "z":2},'
    b'"\\u005f":1e400, "@metadata2":-0.0}'
)
ODD = ["a%b", "a#b?c&d", "a+b c", "\u00fcn\u00ef/\u00e7\U0001f600", "A/%2F", "a\"b'c", "x/../y"]


def _put(shop: Database, id: str, body: bytes, metadata: str = '{"Raven-Entity-Name":"Odd"}') -> None:
    command = b'[{"Method":"PUT","Key":%s,"Document":%s,"Metadata":%s}]'
    content = command % (json.dumps(id).encode(), body, metadata.encode())
    assert shop.request("POST", "/bulk_docs", content=content).status_code == 200


def _stored(shop: Database, id: str) -> bytes:
    """The body as it is stored, with its metadata at its end."""
    answer = shop.get("/queries", params={"id": id}).content
    return answer.removeprefix(b'{"Results":[').removesuffix(b'],"Includes":[]}')


def test_an_edit_keeps_every_byte_that_it_does_not_touch(page: Page, shop: Database) -> None:
    _put(shop, "odd/1", AWKWARD, '{"Raven-Entity-Name":"Odd","Twice":1.10,"Twice":2}')
    page.open(f"{shop.name}/document?id=odd/1")
    assert '"a": 1.10,' in page.see("pre", '"a": 2').text
    page.click("Edit")
    page.click("Metadata", "form summary")
    area = page.field("Metadata")
    area.send_keys(Keys.CONTROL, Keys.HOME)
    area.send_keys(Keys.DELETE, '{"Mine":1,')
    page.click("Store")
    page.see("button", "Delete")
    stored = _stored(shop, "odd/1")
    assert stored.startswith(AWKWARD.removesuffix(b"}"))
    assert b'"Mine":1,' in stored
    assert b'"Twice": 1.10,' in stored
    page.click("Edit")
    area = page.field("Content of odd/1")
    area.send_keys(Keys.CONTROL, Keys.HOME)
    area.send_keys(Keys.DELETE, '{"new":1.0,')
    page.click("Store")
    page.see("pre", '"new": 1.0')
    stored = _stored(shop, "odd/1")
    for text in (
        b'"a": 1.10',
        b'"a": 2',
        b'"\\u0041": "\\ud800"',
        b"1234567890123456789012345678901234567890",
        b'"z": 2',
        b"1e400",
    ):
        assert text in stored, stored


def test_a_version_comes_back_with_every_byte_under_the_id_that_it_had(
    page: Page, shop: Database, tmp_path: Path
) -> None:
    _put(shop, "Odd/1", AWKWARD, '{"Raven-Entity-Name":"Odd","Twice":1.10,"Twice":2}')
    assert not shop.backup(tmp_path / "b")["Faulted"]
    assert shop.request("DELETE", "/docs/Odd/1").status_code == 204
    page.open(f"{shop.name}/document?id=oDD/1")
    page.click("Put this one back")
    page.see("button", "Delete")
    stored = _stored(shop, "odd/1")
    assert stored.startswith(AWKWARD.removesuffix(b"}"))
    assert b'"Twice":1.10,"Twice":2' in stored
    assert b'"@id":"Odd/1"' in stored


def test_documents_with_any_id_are_shown_and_deleted(page: Page, shop: Database) -> None:
    for id in [*ODD, "y"]:
        _put(shop, id, b'{"of":%s}' % json.dumps(id).encode())
    for id in ODD:
        page.open(f"{shop.name}/documents?collection=Odd")
        page.click(id, "tbody th a")
        page.see("h1", id)
        page.see("pre", '"of"')
        page.click("Delete")
        page.click("Delete", "dialog button")
        page.see("h2", "Collections")
        assert shop.get("/queries", params={"id": id}).json()["Results"] in ([], [None])
    assert json.loads(_stored(shop, "y"))["of"] == "y"


def test_what_was_written_is_there_after_another_view(page: Page, shop: Database) -> None:
    _put(shop, "odd/1", b'{"a":1}')
    page.open(f"{shop.name}/document?id=odd/1")
    page.click("Edit")
    page.enter("Content of odd/1", '{"a":"long work"}')
    page.click("Backups", "nav a")
    page.see("h1", "backups")
    _put(shop, "odd/1", b'{"a":"another"}')
    page.driver.back()
    page.click("Edit on")
    page.see("p", "had written before")
    page.click("Store")
    page.see(".problem", "Somebody else has changed it")
    assert json.loads(_stored(shop, "odd/1"))["a"] == "another"
    assert any("409" in message for message in page.console())
    page.click("Store mine over it")
    page.see("pre", "long work")
    assert json.loads(_stored(shop, "odd/1"))["a"] == "long work"


def test_only_what_was_shown_is_written(page: Page, shop: Database, tmp_path: Path) -> None:
    """Changing a step after the difference was shown takes the difference away; a newer backup changes nothing."""
    for id in ("odd/1", "odd/2"):
        _put(shop, id, b'{"a":"first"}')
    assert not shop.backup(tmp_path / "b")["Faulted"]
    for id in ("odd/1", "odd/2"):
        _put(shop, id, b'{"a":"second"}')
    page.open(f"{shop.name}/restore")
    page.see("p", "will be read")
    page.choose("A part of it")
    page.enter("Ids of documents", "odd/1")
    page.click("Go on")
    page.see("button", "Write 1 change")
    page.enter("Ids of documents", "odd/2")
    page.miss("Write 1 change")
    page.click("Go on")
    page.see("li", "odd/2")
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    page.click("Write 1 change")
    page.see(".good", "1 change")
    assert json.loads(_stored(shop, "odd/1"))["a"] == "second"
    assert json.loads(_stored(shop, "odd/2"))["a"] == "first"


def test_the_newest_state_is_of_the_history_that_the_database_has(
    page: Page, server: Server, shop: Database, tmp_path: Path
) -> None:
    """Also when a copy of it has gone on into the same folder of backups."""
    _put(shop, "odd/1", b'{"a":"ours"}')
    location = str(tmp_path / "b")
    assert not shop.backup(location)["Faulted"]
    copied = Database(server, f"{shop.name}-copy")
    assert not server.restore(BackupLocation=location, DatabaseName=copied.name)["Faulted"]
    _put(copied, "odd/1", b'{"a":"theirs"}')
    assert not copied.backup(location, incremental="true")["Faulted"]
    _put(shop, "odd/1", b'{"a":"lost"}')
    page.open(f"{shop.name}/restore")
    page.see("p", "etag 1;")
    page.click("Go on")
    page.click("odd/1", "li button")
    page.see(".difference .after", "ours")
    page.click("Write 1 change")
    page.see(".good", "1 change")
    assert json.loads(_stored(shop, "odd/1"))["a"] == "ours"


def test_a_moment_is_clicked_and_typed_and_the_command_does_the_same(
    page: Page, server: Server, shop: Database, tmp_path: Path
) -> None:
    _put(shop, "odd/1", b'{"a":"first"}')
    assert not shop.backup(tmp_path / "b")["Faulted"]
    _put(shop, "odd/1", b'{"a":"second"}')
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    _put(shop, "odd/1", b'{"a":"third"}')
    page.open(f"{shop.name}/restore")
    page.see("p", "2 backups")
    page.click("", "rect.moments")
    page.see("p", "1 backup,")
    assert page.driver.find_element("css selector", "line.chosen").get_attribute("visibility") == "visible"
    page.click("Go on")
    page.click("odd/1", "li button")
    page.see(".difference .after", '"a": "first"')
    page.click("As a command", "summary")
    dry = shlex.split(page.see("pre", "muniment restore").text)
    told = muniment(*dry[1:])
    assert told.code == 0, told
    assert "Odd" in told.text
    done = muniment(*[word for word in dry[1:] if word != "--dry-run"], "--yes")
    assert done.code == 0, done
    assert json.loads(_stored(shop, "odd/1"))["a"] == "first"
    page.choose("A new database")
    new = shlex.split(page.see("pre", "muniment restore").text)
    assert "--dry-run" not in new
    assert muniment(*new[1:]).code == 0
    assert server.client.get(f"/databases/{shop.name}-restored/docs/odd/1").json()["a"] == "first"
    page.driver.execute_script(
        "const [i] = document.querySelectorAll('input[type=datetime-local]'); i.value = '2001-01-01T10:00:00';"
        "i.dispatchEvent(new Event('change'))"
    )
    page.see("p.problem", "cannot be restored")
    assert any("40" in message or "42" in message for message in page.console())


@some(1)
@pytest.mark.parametrize("format", ["RavenDB 4 to 7", "lines of JSON"])
def test_the_commands_for_backups_and_exports_work(page: Page, shop: Database, tmp_path: Path, format: str) -> None:
    _put(shop, "odd/1", b'{"a":"first"}')
    page.open(f"{shop.name}/backups")
    page.enter("Folder of the server's machine", str(tmp_path / "a b"))
    page.click("As a command", "summary")
    told = muniment(*shlex.split(page.see("pre", "muniment backup").text)[1:])
    assert told.code == 0, told
    assert list((tmp_path / "a b").glob("*.full"))
    page.open(f"{shop.name}/move")
    page.choose(format)
    page.choose("A part of it")
    page.enter("Collections", "Odd")
    page.click("As a command", "summary")
    told = muniment(*shlex.split(page.see("pre", "muniment smuggler").text)[1:], cwd=tmp_path)
    assert told.code == 0, told
    assert [file for file in tmp_path.iterdir() if file.name.startswith(shop.name)]
