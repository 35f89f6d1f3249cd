"""Dumps that are dropped on the page, and what is saved from it."""

from __future__ import annotations

from pathlib import Path

from tests.server.running import Database, Server
from tests.studio.browser import Page, browsing, needs_browser, saved
from tests.waiting import until

pytestmark = needs_browser


def _dump(path: Path, count: int) -> Path:
    text = "x" * 1000
    items = ",".join(
        f'{{"n":{n}.10,"text":"{text}","@metadata":{{"@id":"drops/{n}","@collection":"Drops"}}}}' for n in range(count)
    )
    path.write_text(f'{{"BuildVersion":60000,"Docs":[{items}]}}')
    return path


def test_a_dump_is_dropped_anywhere_on_the_page(page: Page, shop: Database, tmp_path: Path) -> None:
    page.open(f"{shop.name}/move")
    page.drop(_dump(tmp_path / "a.ravendbdump", 10), y=700)
    page.see(".good", "Imported 10 documents")
    assert b'"n":3.10' in shop.get("/docs/drops/3").content


def test_an_import_goes_on_when_another_view_is_opened(page: Page, shop: Database, tmp_path: Path) -> None:
    page.open(f"{shop.name}/move")
    page.drop(_dump(tmp_path / "a.ravendbdump", 10_000))
    page.click("Query", "nav a")
    page.see("h1", "query")
    until(lambda: shop.get("/stats").json()["CountOfDocuments"] == 10_000)


def test_a_database_is_saved_as_a_dump(server: Server, shop: Database, tmp_path: Path) -> None:
    for number in range(5):
        shop.put(f"drops/{number}", b'{"n":1.10}', **{"Raven-Entity-Name": "Drops" if number else "Others"})
    with browsing(server.url, downloads=str(tmp_path)) as page:
        page.open(f"{shop.name}/move")
        page.driver.execute_script("delete window.showSaveFilePicker")  # a dialog of the system, which nobody clicks
        page.choose("lines of JSON")
        page.choose("A part of it")
        page.click("Export", "main button")
        page.see(".problem", "nothing is named yet")
        page.enter("Collections", "Drops")
        many = "drops/1\n" * 20_000  # more than an address may hold
        page.driver.execute_script("arguments[0].value = arguments[1]", page.field("Ids of documents"), many)
        page.click("Export", "main button")
        page.see(".good", f"{shop.name}.ndjson is complete")
        lines = saved(tmp_path, "*.ndjson").read_text().splitlines()
        assert len(lines) == 4
        assert all("1.10" in line for line in lines), lines
        assert not page.console()
