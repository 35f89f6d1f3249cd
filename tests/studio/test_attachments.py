"""Attachments on the page, and documents and attachments as they were in backups."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

from axe_core_python.selenium import Axe
from selenium.webdriver.common.by import By

from tests.cli.process import muniment
from tests.server.running import Database, Server
from tests.studio.browser import Page, browsing, needs_browser, saved
from tests.waiting import until

pytestmark = needs_browser

HOSTILE = "<script>document.title='caught'</script>"
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c6360000000020001"
    "e221bc330000000049454e44ae426082"
)


def _saved(folder: Path, name: str) -> bytes:
    """A file that the browser has saved."""
    file = saved(folder, name)
    content = file.read_bytes()
    file.unlink()
    return content


def _labelled(page: Page, label: str) -> None:
    page.click("", f"[aria-label^='{label}']")


def test_attachments_are_added_shown_saved_replaced_removed_and_put_back(
    server: Server, shop: Database, tmp_path: Path
) -> None:
    (sent := tmp_path / "sent").mkdir()
    (kept := tmp_path / "kept").mkdir()
    shop.put("orders/1", b'{"n":1}')
    shop.put("orders/1/2", b"{}")
    shop.request("PUT", "/static/of-another?owner=orders/1/2", content=b"x")

    def stored(name: str) -> bytes | None:
        answer = shop.get(f"/static/{name}", params={"owner": "orders/1"})
        return answer.content if answer.status_code == 200 else None

    def add(name: str, content: bytes) -> None:
        (sent / name).write_bytes(content)
        page.field("Add one").send_keys(str(sent / name))

    with browsing(server.url, downloads=str(kept)) as page:
        page.open(f"{shop.name}/document?id=orders/1")
        page.click("Attachments", "summary")
        page.see("p", "It has none.")
        add("photo a%b.png", PICTURE)
        page.see("li", "photo a%b.png")
        add("note.html", HOSTILE.encode())
        page.see("li", "note.html")
        assert (stored("photo a%25b.png"), stored("note.html")) == (PICTURE, HOSTILE.encode())
        assert "of-another" not in page.text
        _labelled(page, "Show note.html")
        page.see("pre", HOSTILE)
        _labelled(page, "Show photo a%b.png")
        image = page.see("img.attachment")
        assert image.get_attribute("alt") == "photo a%b.png"
        assert not Axe().run(page.driver)["violations"]
        assert not shop.backup(tmp_path / "b")["Faulted"]
        add("note.html", b"changed")
        page.see("dialog", "Replace note.html?")
        page.click("Cancel", "dialog button")
        assert stored("note.html") == HOSTILE.encode()
        add("note.html", b"changed")
        page.click("Replace", "dialog button")
        page.see("li", "note.html 7 bytes")
        assert stored("note.html") == b"changed"
        _labelled(page, "Save note.html")
        assert _saved(kept, "note.html") == b"changed"
        _labelled(page, "Remove photo a%b.png")
        page.click("Remove", "dialog button")
        until(lambda: stored("photo a%25b.png") is None)
        page.miss("photo a%b.png 70 bytes")
        assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
        page.click("Look for older ones")
        page.see("ol.attachments li", "photo a%b.png removed")
        _labelled(page, "Save note.html of")  # the latest
        assert _saved(kept, "note.html") == b"changed"
        _labelled(page, "Put back photo a%b.png of")
        page.see("ul.attachments li", "photo a%b.png")
        assert stored("photo a%25b.png") == PICTURE
        assert not Axe().run(page.driver)["violations"]
        shop.request("DELETE", "/docs/orders/1")
        page.open(f"{shop.name}/document?id=orders/1")
        page.click("Attachments", "summary")
        page.click("Look for older ones")
        page.see("ol.attachments li", "note.html stored")
        assert "caught" not in page.driver.title
        assert all("409" in message for message in page.console()), page.console()


def test_any_two_versions_are_compared_and_one_is_put_back(page: Page, shop: Database, tmp_path: Path) -> None:
    for number in range(3):
        shop.put("orders/1", b'{"n":%d.10}' % number)
        assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    shop.put("orders/1", b'{"n":3.10}')
    page.open(f"{shop.name}/document?id=orders/1")
    page.click("Look in the log")
    page.see("li", "now")
    for label, etag in (("Compare", 1), ("with", 2)):
        chosen = page.field(label)
        next(each for each in chosen.find_elements(By.TAG_NAME, "option") if each.text.endswith(f"etag {etag}")).click()
    page.click("Compare these two")
    page.see(".difference .before", '"n": 0.10')
    page.see(".difference .after", '"n": 1.10')
    backs = page.driver.find_elements(By.XPATH, "//button[starts-with(., 'Put back the one of')]")
    assert len(backs) == 2
    backs[1].click()
    page.see("pre", '"n": 1.10')
    assert shop.get("/docs/orders/1").content == b'{"n":1.10}'


def test_a_moment_is_saved_as_a_dump_without_a_restore(server: Server, shop: Database, tmp_path: Path) -> None:
    shop.put("orders/1", b'{"n":1.10}', **{"Raven-Entity-Name": "Orders"})
    shop.put("others/1", b"{}", **{"Raven-Entity-Name": "Others"})
    assert not shop.backup(tmp_path / "b")["Faulted"]
    shop.put("orders/1", b'{"n":2}', **{"Raven-Entity-Name": "Orders"})
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    with browsing(server.url, downloads=str(tmp_path)) as page:
        page.open(f"{shop.name}/restore")
        page.see("p", "will be read")
        page.driver.execute_script("delete window.showSaveFilePicker")  # a dialog of the system, which nobody clicks
        page.click("", "rect.moments")
        page.see("p", "1 backup,")
        page.choose("A part of it")
        page.enter("Collections", "Orders")
        page.choose("A dump on this computer")
        page.choose("lines of JSON")
        page.click("As a command", "summary")
        command = shlex.split(page.see("pre", "muniment smuggler out").text)
        page.click("Go on")
        page.see(".good", "is complete")
        [line] = _saved(tmp_path, f"{shop.name}.ndjson").splitlines()
        assert b"1.10" in line
        assert b"orders/1" in line
        told = muniment(*command[1:], cwd=tmp_path)
        assert told.code == 0, told
        assert line == (tmp_path / "moment.ndjson").read_bytes().rstrip()
        page.enter("Ids of documents", "others/1")
        page.choose("RavenDB 4 to 7")
        page.click("Go on")
        page.see(".good", f"{shop.name}.ravendbdump is complete")
        dump = json.loads(gzip.decompress(_saved(tmp_path, f"{shop.name}.ravendbdump")))
        assert [each["@metadata"]["@id"] for each in dump["Docs"]] == ["orders/1", "others/1"]
        page.enter("Ids of documents", "others/9")
        page.click("Go on")
        page.see(".problem", "no document 'others/9'")
        assert all("404" in said for said in page.console())
        assert not page.console()
    exports = [each for each in server.client.get("/operations").json() if shop.name in each["Description"]][:3]
    assert {each["Description"] for each in exports} == {f"export from backups of {shop.name}"}
    assert [each["Status"] for each in exports] == ["Faulted", "Completed", "Completed"]
