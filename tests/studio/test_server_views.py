"""What is the server's on the page, and a drawing of many backups."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

from axe_core_python.selenium import Axe
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.cli.process import muniment
from tests.server.running import Database, Server, running
from tests.studio.browser import Page, browsing, needs_browser
from tests.waiting import until

pytestmark = needs_browser


def test_keys_are_made_given_other_secrets_and_disabled(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server, browsing(server.url) as page:

        def is_let_in(key: str) -> bool:
            headers = {"Authorization": f"Bearer {key}"}
            return server.client.get("/admin/keys", headers=headers).status_code in (200, 403)

        def shown(name: str) -> str:
            return page.see("pre.secret", f"{name}/").text

        page.open("keys")
        page.see(".empty", "There is no key")
        page.enter("Name", "ann")
        page.choose("everything")
        page.click("Make the key")
        boss = shown("ann")
        assert server.client.get("/admin/keys").status_code == 401  # and the page goes on with the key that it made
        page.see("header button", "Sign out")
        page.see("tbody th", "ann")
        page.enter("Name", "night ly")
        page.choose("take and see backups")
        page.enter("Databases", "shop, other")
        page.click("As a command", "summary")
        command = shlex.split(page.see("pre", "muniment keys add").text)
        page.click("Make the key")
        nightly = shown("night ly")
        page.see("td", "shop, other")
        assert is_let_in(nightly)
        assert not Axe().run(page.driver)["violations"]
        [told] = [each for each in _keys(server, boss) if each["Name"] == "night ly"]
        assert (told["Rights"], told["Databases"]) == (["backup"], ["shop", "other"])
        again = muniment(*command[1:], env={"MUNIMENT_API_KEY": boss})
        assert "there is a key night ly already" in again.err, again
        page.click("", "[aria-label='New secret for night ly']")
        page.click("New secret", "dialog button")
        page.see(".good", "has another secret")
        assert not is_let_in(nightly)
        nightly = shown("night ly")
        assert is_let_in(nightly)
        page.click("", "[aria-label='Disable night ly']")
        page.see("dialog", "Disable night ly?")
        assert "It is the last one" not in page.text
        page.click("Disable", "dialog button")
        page.see("td button", "Enable")
        assert not is_let_in(nightly)
        page.click("Enable", "td button")
        page.see("[aria-label='Disable night ly']")
        assert is_let_in(nightly)
        page.click("", "[aria-label='Disable ann']")
        page.see("dialog", "It is the last one that may change keys")
        page.click("Cancel", "dialog button")
        page.enter("Name", "ann")
        page.click("Make the key")
        page.see(".problem", "no right was given")
        kept = page.driver.execute_script("return JSON.stringify([{...sessionStorage}, {...localStorage}])")
        assert boss.partition("/")[2] not in kept
        assert all("400" in message for message in page.console())


REFUSED = """
const through = window.fetch;
const later = () => { let go; const gone = new Promise((done) => { go = done; }); return [go, gone]; };
const [made, wasMade] = later(), [refused, wasRefused] = later();
window.fetch = async (path, options) => {
  if (path === "/access-token") await wasRefused;
  if (path !== "/admin/keys") return through(path, options);
  if (options.method === "GET") await wasMade;
  const answer = await through(path, options);
  if (options.method === "POST") made(); else if (answer.status === 401) refused();
  return answer;
};
"""


def test_what_is_refused_until_the_page_has_the_first_key_asks_nobody_for_it(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server, browsing(server.url) as page:
        page.open("keys")
        page.see(".empty", "There is no key")
        page.driver.execute_script(REFUSED)
        page.enter("Name", "ann")
        page.choose("everything")
        page.click("Make the key")
        page.see("tbody th", "ann")
        page.see("header button", "Sign out")
        assert not page.driver.find_elements(By.CSS_SELECTOR, "dialog")


def _keys(server: Server, key: str) -> Any:
    return server.client.get("/admin/keys", headers={"Authorization": f"Bearer {key}"}).json()


def test_backups_that_are_near_each_other_can_be_told_apart(page: Page, shop: Database, tmp_path: Path) -> None:
    for number in range(4):
        shop.put("a", b'{"n":%d}' % number)
        assert not shop.backup(tmp_path / "b", incremental="true")["Faulted"]
    page.open(f"{shop.name}/backups")
    page.see("figure", "full backup")
    page.driver.execute_script("Date.now = () => new Date().getTime() + 3600e3")  # an hour later, all are near
    page.click("Query", "nav a")
    page.click("Backups", "nav a")
    page.see("text.several", "4")
    page.click("", "a[aria-label^='4 backups']")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "figure .row button")) == 4
    page.click("full backup of", "figure .row button")
    page.see("a.button", "Restore this state")
    page.click("Rehearse", "main button")
    page.see(".good", "It can be recovered")
    page.click("Query", "nav a")
    page.click("Backups", "nav a")
    page.see("figcaption", "▲")
    assert page.driver.find_elements(By.CSS_SELECTOR, "path.proven[aria-label^=rehearsed]")
    assert not Axe().run(page.driver)["violations"]


def test_two_tabs_see_one_job_and_a_conflict_of_two_edits(tmp_path: Path) -> None:
    with running(tmp_path / "data", backup_read_rate="100kB") as server, browsing(server.url) as page:
        shop = server.create("shop")
        shop.fill(10_000, 400)
        page.open("shop/backups")
        page.enter("Folder of the server's machine", str(tmp_path / "b"))
        page.click("Back up now", "button")
        page.see(".job progress")
        page.see(".job p", " left")
        first = page.driver.current_window_handle
        page.driver.switch_to.new_window("tab")
        page.open("shop/backups")
        page.see(".job progress")
        page.see(".job p", "/s")
        page.click("Cancel", ".job button")
        page.see(".problem", "It was cancelled")
        [job] = [each for each in server.client.get("/operations").json() if each["Description"] == "backup of shop"]
        assert job["Status"] == "Canceled"
        assert not list((tmp_path / "b").glob("*/manifest.json"))
        second = page.driver.current_window_handle
        page.driver.switch_to.window(first)
        page.see(".problem", "It was cancelled")
        page.open("operations")
        page.see("td", "Cancel")
        for tab, name in ((first, "one"), (second, "other")):
            page.driver.switch_to.window(tab)
            page.open("shop/document?id=items/7")
            page.click("Edit")
            page.enter("Content of items/7", json.dumps({"by": name}))
        page.click("Store")
        page.see("pre", '"by": "other"')
        page.driver.switch_to.window(first)
        page.click("Store")
        page.see(".problem", "Somebody else has changed it")
        page.see(".difference .before", "other")
        assert shop.get("/docs/items/7").json() == {"by": "other"}
        page.click("Store mine over it")
        page.see("pre", '"by": "one"')
        assert shop.get("/docs/items/7").json() == {"by": "one"}
        assert all("409" in message for message in page.console())


def test_places_with_backups_and_what_the_server_was_told_and_did(tmp_path: Path) -> None:
    with running(tmp_path / "data", jobs=3) as server, browsing(server.url) as page:
        shop = server.create("shop")
        shop.put("a", b"{}")
        page.open("destinations")
        page.see(".empty", "No database was backed up yet")
        assert not shop.backup(tmp_path / "b")["Faulted"]
        schedule = {"Destination": "~/Backups", "Databases": ["*"], "Full": "0 1 * * *"}
        server.client.put("/admin/schedules/nightly", json=schedule)
        page.see("td", str(tmp_path / "b"))
        page.see("td", "well")
        page.see("td", "nightly")
        page.picture("destinations")
        (tmp_path / "b").rename(tmp_path / "elsewhere")
        page.see("td .bad", "there is no folder")
        page.see(".problem", "1 place of 3 needs a person")
        page.open(f"{shop.name}/backups")
        assert page.see(".problem").text == f"there is no folder {tmp_path / 'b'}"
        assert "This folder is not there now" not in page.text
        both = "[...document.querySelectorAll('form .row > button, form .row input')]"
        below = page.driver.execute_script(f"return {both}.map((each) => each.getBoundingClientRect().bottom)")
        assert len(below) == 2
        assert abs(below[0] - below[1]) < 2  # the button is beside its field
        page.open("server")
        page.see("td strong", "3")  # what is not as it is by default
        values = {each["Name"]: each["Value"] for each in server.client.get("/admin/settings").json()}
        assert (values["master-key-file"], values["port"]) == ("none", "0")
        page.see("td", "database stored")
        assert "schedule stored" in page.see("tbody tr").text
        page.see("dd", "MB")
        assert not page.console()


def test_what_needs_somebody_comes_first_and_any_database_is_found_by_its_name(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server, browsing(server.url) as page:
        for number in range(12):
            server.create(f"tenant{number:02}")
        zoo = server.create("zoo")
        zoo.put("a", b"{}")
        assert not zoo.backup(tmp_path / "b")["Faulted"]
        page.open()
        page.see(".card h2", "tenant00")
        assert "a person" not in page.text
        (tmp_path / "b").rename(tmp_path / "elsewhere")
        page.see(".problem", "1 database of 13 needs a person.")

        def shown() -> list[str]:
            names = page.driver.find_elements(By.CSS_SELECTOR, ".card h2")
            return [name.text for name in names if name.is_displayed()]

        assert shown() == ["zoo", *(f"tenant{number:02}" for number in range(12))]
        page.enter("Find a database", " TENANT1")
        assert shown() == ["tenant10", "tenant11"]
        page.open("schedules")  # and where it takes long to tell how they are, they can be opened meanwhile
        page.driver.execute_script(
            "const real = fetch; window.fetch = (path, ...more) =>"
            " path.endsWith('/stats') ? new Promise(() => {}) : real(path, ...more)"
        )
        page.click("Databases", "nav a")
        page.see("p", "Asking how they are")
        page.enter("Find a database", "zo")
        assert shown() == ["zoo"]
        assert not Axe().run(page.driver)["violations"]
        assert not page.console()


def test_what_a_stored_schedule_lacks_is_said(page: Page, server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    page.open("schedules")
    page.click("New schedule")
    page.enter("Name", "lacking")
    page.enter("Folder or address", str(tmp_path / "file" / "backups"))
    page.click("Store")
    page.see(".problem", "lacking is stored, but no backup can be written to")
    page.see(".card h2", "lacking")
    server.client.delete("/admin/schedules/lacking")


def test_expiry_asks_for_all_that_a_policy_has_and_does_what_was_shown(
    page: Page, server: Server, shop: Database, tmp_path: Path
) -> None:
    for number in range(4):
        shop.put("a", b'{"n":%d}' % number)
        assert not shop.backup(tmp_path / "b")["Faulted"]
        time.sleep(0.6)  # of the four the first at least are more than a second before the last
    page.open(f"{shop.name}/backups")
    page.click("Let old backups go")
    page.enter("The last", "1")
    page.enter("One a year, for so many years", "2")
    page.enter("Any moment of the last", "1s")
    page.enter("Time zone of days", "Europe/Berlin")
    page.enter("Remove what has been marked for", "0s")
    page.see("summary", "As a command")
    [summary] = page.driver.find_elements(By.XPATH, "//form[.//button[.='Show what would go']]//summary")
    summary.click()
    command = page.see("pre", "muniment expire").text
    wanted = "--keep-last 1 --keep-yearly 2 --restorable-within 1s --time-zone Europe/Berlin --grace 0s --dry-run"
    assert wanted in command
    told = muniment(*shlex.split(command)[1:], "--json")
    kept = [each["kept"] for each in json.loads(told.out)["decisions"]]
    page.click("Show what would go")
    page.see(".good li", "remove")
    shown = [each.text.startswith("keep") for each in page.driver.find_elements(By.CSS_SELECTOR, ".good li")]
    assert shown == kept
    page.click("Let these go")
    page.see(".good", "removed")
    assert len(list((tmp_path / "b").glob("*.full"))) == sum(kept)
    page.open("schedules")
    page.click("New schedule")
    page.enter("Name", "keeping")
    page.enter("Folder or address", str(tmp_path / "s"))
    page.click("What expiry keeps", "summary")
    page.enter("One an hour", "5")
    page.enter("Merge chains", "9")
    page.enter("All of the last", "3d")
    page.click("Store")
    page.see(".card h2", "keeping")
    [stored] = [each for each in server.client.get("/admin/schedules").json() if each["Name"] == "keeping"]
    expected = {"KeepDaily": 7, "KeepWeekly": 8, "KeepHourly": 5, "MergeAfter": 9, "KeepWithin": "3d"}
    assert stored["Schedule"]["Retention"] == expected
    server.client.delete("/admin/schedules/keeping")


def test_a_moment_is_typed_in_local_time_also_in_nights_when_clocks_are_changed(
    page: Page, shop: Database, tmp_path: Path
) -> None:
    shop.put("a", b"{}")
    assert not shop.backup(tmp_path / "b")["Faulted"]
    script = "const [shown, done] = arguments; import('/studio/words.js').then((words) => done(words.instants(shown)))"

    def instants(shown: str) -> list[str]:
        found: list[str] = page.driver.execute_async_script(script, shown)
        return found

    try:
        page.zone("Europe/Berlin")
        page.open(f"{shop.name}/restore")
        assert instants("2026-07-01T12:00:30") == ["2026-07-01T10:00:30.000Z"]
        assert instants("2026-01-01T12:00") == ["2026-01-01T11:00:00.000Z"]
        assert instants("2026-10-25T02:30") == ["2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z"]
        assert instants("2026-10-25T01:59:59") == ["2026-10-24T23:59:59.000Z"]
        assert instants("2026-10-25T03:00") == ["2026-10-25T02:00:00.000Z"]
        assert instants("2026-03-29T02:30") == []
        assert instants("2026-03-29T03:00") == ["2026-03-29T01:00:00.000Z"]
        page.see("p", "will be read")

        def enter(shown: str) -> None:
            page.driver.execute_script(
                "const [i] = document.querySelectorAll('input[type=datetime-local]'); i.value = arguments[0];"
                "i.dispatchEvent(new Event('change'))",
                shown,
            )

        enter("2026-03-29T02:30")
        page.see("p.problem", "No clock in Europe/Berlin showed that")
        page.click("Go on")
        page.see(".problem", "Step 1 names no moment")
        page.click("As a command", "summary")
        enter("2026-10-25T02:30")
        page.see("legend", "this time was there twice")
        page.see("pre", "--at 2026-10-25T00:30:00.000Z")
        page.choose("the second time")
        page.see("pre", "--at 2026-10-25T01:30:00.000Z")
        page.click("The newest")
        assert "this time was there twice" not in page.text
        page.zone("America/St_Johns")  # whose hours begin at the half of others
        assert instants("2026-11-01T01:15") == ["2026-11-01T03:45:00.000Z", "2026-11-01T04:45:00.000Z"]
        page.zone("Pacific/Apia")  # which left out a whole day
        assert instants("2011-12-30T12:00") == []
        page.console()
    finally:
        page.zone("")


def test_settings_are_edited_and_a_database_is_removed(page: Page, server: Server, shop: Database) -> None:
    page.open(f"{shop.name}/settings")
    area = page.field("The document that describes")
    area.send_keys(Keys.CONTROL, Keys.HOME)
    area.send_keys(Keys.DELETE, '{"Note":"mine",')
    page.click("Store", "main button")
    page.see("#said", "")
    until(lambda: b'"Note"' in server.client.get(f"/admin/databases/{shop.name}").content)
    assert b"mine" in server.client.get(f"/admin/databases/{shop.name}").content
    for name, gone in ((shop.name.upper(), False), (shop.name, True)):
        page.open(f"{shop.name}/settings")
        page.click("Remove this database")
        page.enter(f"Type {shop.name}", name)
        page.click("Remove", "dialog button")
        page.see("h1" if gone else ".problem", "Databases" if gone else "nothing was removed")
        assert (server.client.get(f"/admin/databases/{shop.name}").status_code == 404) is gone
