"""What people do on the page, each with its result looked for in the database."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
from axe_core_python.selenium import Axe
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from muniment.security.keys import new_key
from tests.ports import held_ports
from tests.server.running import Database, Server, running
from tests.shared import shared
from tests.studio.browser import Page, browsing, needs_browser

pytestmark = needs_browser

ORDER = b'{"Company":"companies/1","Freight":1.10,"Number":123456789012345678901234567890,"Lines":[{"a":1},{"b":[]}]}'
HOSTILE = "<img src=x onerror=document.title='caught'>"


def _order(shop: Database, body: bytes = ORDER, id: str = "orders/1") -> None:
    answer = shop.request("PUT", f"/docs/{id}", content=body, headers={"Raven-Entity-Name": "Orders"})
    assert answer.status_code == 201


def _body(shop: Database, id: str = "orders/1") -> Any:
    return json.loads(shop.get(f"/docs/{id}").content)


def test_the_root_sends_a_browser_to_the_page(server: Server) -> None:
    answer = httpx.get(server.url + "/", follow_redirects=True, verify=False)
    assert str(answer.url).endswith("/studio/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert httpx.get(f"{server.url}/studio/..%2Fapi.js", verify=False).status_code == 404
    etag = answer.headers["etag"]
    assert httpx.get(f"{server.url}/studio/", headers={"If-None-Match": etag}, verify=False).status_code == 304


def test_it_is_small_and_asks_nobody_else(server: Server, page: Page, shop: Database) -> None:
    page.open(f"{shop.name}/documents")
    page.see("nav h2", "Collections")
    asked = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => [e.name, e.transferSize])"
    )
    assert asked
    assert all(name.startswith(server.url) for name, _ in asked)
    files = Path(__file__).parents[2] / "src/muniment/server/studio"
    preloaded = re.findall('modulepreload" href="/studio/([^"]+)"', (files / "index.html").read_text())
    assert {*preloaded, "main.js"} == {file.name for file in files.glob("*.js")}  # all at once, not one after another
    assert sum(file.stat().st_size for file in files.iterdir()) < 250_000


def test_from_a_dump_to_an_order_that_is_back(server: Server, page: Page, tmp_path: Path) -> None:
    """Somebody who has never seen it: a dump, a backup, a deleted order, and that order again."""
    dump, name = shared(), f"northwind{tmp_path.name[-1]}"
    page.open()
    page.enter("Name", name)
    page.click("Create")
    page.see("label", "A dump of RavenDB")
    page.drop(dump)
    page.see(".good", "Imported 1,059 documents and 17 attachments")
    page.click("Back it up now")
    page.click("Back up now", "button")
    page.see(".good", "The backup is complete: full (first)")
    page.picture("backups")
    before = server.client.get(f"/databases/{name}/docs/orders/830-A").content
    page.click("Documents", "nav a")
    page.click("Orders", "nav a")
    page.enter("Id, or how it begins", "orders/830-A")
    page.click("Find")
    page.click("orders/830-A", "th a")
    page.click("Delete")
    page.click("Delete", "dialog button")
    page.see("h2", "Collections")
    assert server.client.get(f"/databases/{name}/docs/orders/830-A").status_code == 404
    page.enter("Id, or how it begins", "orders/830-A")
    page.click("Find")
    page.click("in the backups")
    page.see("button", "Put this one back")
    page.picture("versions")
    page.click("Put this one back")
    page.see("pre", "companies/65-A")
    page.picture("document")
    after = server.client.get(f"/databases/{name}/docs/orders/830-A")
    assert after.content == before
    assert after.headers["raven-entity-name"] == "Orders"
    page.open()
    page.see(".card", name)
    page.picture("databases")


def test_a_document_is_shown_and_kept_as_it_is_written(page: Page, shop: Database) -> None:
    _order(shop)
    page.open(f"{shop.name}/document?id=orders/1")
    shown = page.see("pre", "Freight").text
    assert '"Freight": 1.10' in shown
    assert "123456789012345678901234567890" in shown
    page.click("Edit")
    area = page.field("Content of orders/1")
    area.send_keys(Keys.CONTROL, Keys.END)
    area.send_keys(Keys.LEFT, Keys.BACKSPACE, ',"New":2.50}', Keys.DELETE)
    page.click("Store")
    page.see("pre", '"New": 2.50')
    stored = shop.get("/docs/orders/1")
    assert all(text in stored.content for text in (b"1.10", b"2.50", b"123456789012345678901234567890"))
    assert stored.headers["raven-entity-name"] == "Orders"


def test_what_is_no_json_is_not_stored(page: Page, shop: Database) -> None:
    _order(shop)
    page.open(f"{shop.name}/document?id=orders/1")
    page.click("Edit")
    page.enter("Content of orders/1", '{"a": tru}')
    page.click("Store")
    page.see(".problem", "line 1, column 7")
    assert shop.get("/docs/orders/1").content == ORDER


def test_two_who_edit_one_document(page: Page, shop: Database) -> None:
    _order(shop)
    page.open(f"{shop.name}/document?id=orders/1")
    page.click("Edit")
    page.enter("Content of orders/1", '{"By":"me"}')
    _order(shop, b'{"By":"another"}')
    page.click("Store")
    page.see(".problem", "Somebody else has changed it")
    page.see(".difference .before", "another")
    assert _body(shop) == {"By": "another"}
    assert any("409" in message for message in page.console())  # the browser tells of every such answer
    page.click("Store mine over it")
    page.see("pre", '"By": "me"')
    assert _body(shop) == {"By": "me"}


def test_hostile_documents_stay_text(page: Page, server: Server, shop: Database) -> None:
    _order(shop, json.dumps({HOSTILE: HOSTILE}).encode(), id=f"x/{HOSTILE}".replace("/", "%2F"))
    shop.request("PUT", "/docs/y", content=b"{}", headers={"Raven-Entity-Name": HOSTILE})
    page.open(f"{shop.name}/documents")
    page.see("nav a", HOSTILE)
    page.click(f"x/{HOSTILE}", "th a")
    page.see("pre", HOSTILE)
    assert "caught" not in page.driver.title
    assert not page.driver.find_elements(By.CSS_SELECTOR, "main img")


def test_an_attachment_cannot_act_as_a_page(server: Server, shop: Database) -> None:
    headers = {"Content-Type": "text/html"}
    assert shop.request("PUT", "/static/evil.html", content=b"<script>1</script>", headers=headers).status_code == 201
    told = shop.get("/static/evil.html").headers
    assert told["content-security-policy"] == "sandbox; default-src 'none'"
    assert told["x-content-type-options"] == "nosniff"


def test_a_moment_is_restored_into_the_database_and_as_another(
    page: Page, server: Server, shop: Database, tmp_path: Path
) -> None:
    _order(shop)
    _order(shop, id="orders/2")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    _order(shop, b'{"Company":"changed"}')
    shop.request("DELETE", "/docs/orders/2")
    page.open(f"{shop.name}/restore")
    page.see("p", "will be read")
    page.choose("A part of it")
    page.enter("Ids of documents", "orders/1")
    page.click("Go on")
    page.see("li", "will be as it was")
    page.click("orders/1", "li button")
    page.see(".difference .before", "changed")
    page.picture("restore")
    page.click("Write 1 change")
    page.see(".good", "1 change")
    assert _body(shop)["Freight"] == 1.1
    assert shop.get("/docs/orders/2").status_code == 404
    page.open("restore")
    page.enter("Folder with the backups", str(tmp_path / "b"))
    page.click("Open")
    page.enter("Name of the new database", f"{shop.name}-again")
    page.click("Restore", "section button.main")
    page.see(".good", "was made and is proven")
    assert server.client.get(f"/databases/{shop.name}-again/docs/orders/2").content == ORDER


def test_documents_are_found_by_what_is_in_them(page: Page, shop: Database) -> None:
    for number in range(30):
        _order(shop, b'{"Company":"companies/%d","Freight":%d.10}' % (number % 2, number), id=f"orders/{number}")
    page.open(f"{shop.name}/query")
    page.enter("Query", "from Orders where Company = 'companies/1' order by Freight desc")
    page.click("Ask")
    page.see("p", "1 to 15 of 15 results")
    assert page.see(".results li:nth-child(1) a").text == "orders/29"
    assert '"Freight": 29.10' in page.see(".results li:nth-child(1) pre").text
    page.enter("Query", "from Orders where where")
    page.click("Ask")
    page.see(".problem", "")
    assert any("400" in message or "422" in message for message in page.console())


def test_a_state_is_proven_and_a_chain_is_merged(page: Page, shop: Database, tmp_path: Path) -> None:
    _order(shop)
    assert not shop.backup(tmp_path / "b")["Faulted"]
    _order(shop, id="orders/2")
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    _order(shop, id="orders/3")
    assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    page.open(f"{shop.name}/backups")
    page.click("", "a[aria-label^='incremental backup']")  # the first of the two
    page.click("Verify this state")
    page.see(".good", "All that a restore of it would need is there and undamaged: 2 backups")
    page.click("Rehearse this state")
    page.see(".good", "It can be recovered: the state of")
    page.click("Merge through this one")
    page.see(".good", "Merged and proven")
    assert len(list((tmp_path / "b").glob("*.full"))) == 2


def test_backups_are_proven_and_old_ones_go(page: Page, shop: Database, tmp_path: Path) -> None:
    for number in range(3):
        _order(shop, b'{"Number":%d}' % number)
        assert not shop.backup(tmp_path / "b")["Faulted"]
    page.open(f"{shop.name}/backups")
    page.click("Verify", "main button")
    page.see(".good", "All that a restore would need is there and undamaged: 3 backups")
    page.click("Rehearse", "main button")
    page.see(".good", "It can be recovered")
    assert list((tmp_path / "b").glob("rehearsal-*.json"))
    page.click("Let old backups go")
    page.enter("The last", "1")
    page.click("Show what would go")
    page.see(".good li", "remove")
    assert len(list((tmp_path / "b").glob("*.full"))) == 3
    page.click("Let these go")
    page.see(".good", "marked")


def test_a_schedule_is_made_run_paused_and_removed(page: Page, server: Server, shop: Database, tmp_path: Path) -> None:
    page.open("schedules")
    page.click("New schedule")
    page.enter("Name", "often")
    page.enter("Folder or address", str(tmp_path / "scheduled"))
    page.enter("Databases", shop.name)
    page.enter("Full backups", "never")
    page.click("Store")
    page.see(".problem", "never")
    page.enter("Full backups", "0 1 * * *")
    page.click("Store")
    page.see(".card h2", "often")
    [told] = server.client.get("/admin/schedules").json()
    assert told["Schedule"]["Databases"] == [shop.name]
    assert told["Schedule"]["Full"] == "0 1 * * *"
    page.click("Run now", ".card button")
    page.see("tbody td", "completed")
    assert list((tmp_path / "scheduled").glob("*.full"))
    page.click("Pause", ".card button")
    page.see(".card .problem", "Paused")
    assert server.client.get("/admin/schedules/often").json()["Schedule"]["Paused"]
    page.open()
    page.see(".card", shop.name)
    page.open("schedules")
    page.click("Remove", ".card button")
    page.click("Remove", "dialog button")
    page.see(".empty", "There is no schedule")
    assert server.client.get("/admin/schedules").json() == []
    assert any("400" in message or "422" in message for message in page.console())


def test_the_same_by_keyboard_alone(server: Server, page: Page, tmp_path: Path) -> None:
    """Tab, Enter, Space and letters; the file is the one that the dialog of the system would give."""
    dump, name = shared(), f"keyboard{tmp_path.name[-1]}"
    page.open()
    page.see("label", "Name")
    page.tab_to("Name")
    page.typed(name, Keys.ENTER)
    page.see("h1", "import, export")
    page.tab_to("A dump of RavenDB").send_keys(str(dump))
    page.see(".good", "Imported 1,059 documents and 17 attachments")
    page.tab_to("Back it up now")
    page.typed(Keys.ENTER)
    page.see("h2", "Back up now")
    page.tab_to("Back up now")
    page.typed(Keys.SPACE)
    page.see(".good", "The backup is complete: full (first)")
    before = server.client.get(f"/databases/{name}/docs/orders/830-A").content
    page.tab_to("Documents")
    page.typed(Keys.ENTER)
    page.see("label", "Id, or how it begins")
    page.tab_to("Id, or how it begins")
    page.typed("orders/830-A", Keys.ENTER)
    page.see("th a", "orders/830-A")
    page.tab_to("orders/830-A")
    page.typed(Keys.ENTER)
    page.see("button", "Delete")
    page.tab_to("Delete")
    page.typed(Keys.ENTER)
    page.see("dialog", "Delete orders/830-A?")
    page.tab_to("Delete", steps=3)
    page.typed(Keys.ENTER)
    page.see("h2", "Collections")
    assert server.client.get(f"/databases/{name}/docs/orders/830-A").status_code == 404
    page.tab_to("Id, or how it begins")
    page.typed("orders/830-A", Keys.ENTER)
    page.see("a", "in the backups")
    page.tab_to("in the backups")
    page.typed(Keys.ENTER)
    page.see("button", "Put this one back")
    page.tab_to("Put this one back")
    page.typed(Keys.SPACE)
    page.see("pre", "companies/65-A")
    after = server.client.get(f"/databases/{name}/docs/orders/830-A")
    assert after.content == before
    assert after.headers["raven-entity-name"] == "Orders"


VIEWS = {  # each with something that is there only when all of it is
    "": "shop",
    "destinations": "Rehearsed",
    "operations": "backup of",
    "keys": "New key",
    "restore": "Open",
    "schedules": "What became of them",
    "server": "anonymous-access",
    "{name}/documents": "orders/1",
    "{name}/document?id=orders/1": "Look in the log",
    "{name}/query?q=from Orders": "1 result",
    "{name}/backups": "As a list",
    "{name}/restore": "will be read",
    "{name}/move": "Export",
    "{name}/settings": "Remove this database",
}


def test_every_view_keeps_the_rules_of_accessibility_in_both_schemes_and_when_it_is_narrow(
    page: Page, server: Server, shop: Database, tmp_path: Path
) -> None:
    _order(shop)
    shop.request("PUT", "/static/a.txt?owner=orders/1", content=b"text", headers={"Content-Type": "text/plain"})
    assert not shop.backup(tmp_path / "b")["Faulted"]
    try:
        for width, scheme in ((1280, "light"), (360, "dark")):
            page.driver.set_window_size(width, 800)
            page.scheme(scheme)
            for view, text in VIEWS.items():
                page.open(view.format(name=shop.name))
                page.see("main", text)
                page.driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
                if "document?" in view:
                    page.see("li", "a.txt")
                found = Axe().run(page.driver)["violations"]
                told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
                assert not told, (view, width, scheme)
                fits = "return document.documentElement.scrollWidth <= innerWidth"
                assert page.driver.execute_script(fits), (view, width)
    finally:
        page.scheme("light")
        page.driver.set_window_size(1280, 900)


def test_a_key_is_asked_for_and_only_a_token_kept(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        server.create("shop")
        key, text = new_key("ann", ["admin"])
        assert server.client.put(f"/docs/{key.id}", content=key.encoded()).status_code == 201
        with browsing(server.url) as page:
            page.open()
            page.enter("Key", "ann/wrong")
            page.click("Sign in", "dialog button")
            page.see("dialog", "the key is wrong")
            page.enter("Key", text)
            page.click("Sign in", "dialog button")
            page.see(".card", "shop")
            kept = page.driver.execute_script(
                "return JSON.stringify([Object.values(sessionStorage), Object.values(localStorage), document.cookie])"
            )
            assert text.partition("/")[2] not in kept
            page.click("Sign out")
            page.see("dialog", "Sign in")


def test_a_server_that_goes_away_is_told_and_comes_back(tmp_path: Path) -> None:
    with held_ports(1) as [port], running(tmp_path / "data", port=port) as server:
        server.create("shop")
        with browsing(server.url) as page:
            page.open()
            page.see(".card", "shop")
            server.kill()
            page.see(".problem", "The server does not answer")
            with running(tmp_path / "data", port=port):
                page.see(".card", "shop")
                page.miss("does not answer")
