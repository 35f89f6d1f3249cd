"""What is the server's on the page, and a drawing of many backups."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from axe_core_python.selenium import Axe
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.cli.process import muniment
from tests.server.running import Database, Server, running
from tests.studio.browser import Page, browsing, needs_browser

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
        page.driver.find_element(By.CSS_SELECTOR, "[aria-label='New secret for night ly']").click()
        page.click("New secret", "dialog button")
        page.see(".good", "has another secret")
        assert not is_let_in(nightly)
        nightly = shown("night ly")
        assert is_let_in(nightly)
        page.driver.find_element(By.CSS_SELECTOR, "[aria-label='Disable night ly']").click()
        page.see("dialog", "Disable night ly?")
        assert "It is the last one" not in page.text
        page.click("Disable", "dialog button")
        page.see("td button", "Enable")
        assert not is_let_in(nightly)
        page.click("Enable", "td button")
        page.see("[aria-label='Disable night ly']")
        assert is_let_in(nightly)
        page.driver.find_element(By.CSS_SELECTOR, "[aria-label='Disable ann']").click()
        page.see("dialog", "It is the last one that may change keys")
        page.click("Cancel", "dialog button")
        page.enter("Name", "ann")
        page.click("Make the key")
        page.see(".problem", "no right was given")
        kept = page.driver.execute_script("return JSON.stringify([{...sessionStorage}, {...localStorage}])")
        assert boss.partition("/")[2] not in kept
        assert all("400" in message for message in page.console())


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
    page.driver.find_element(By.CSS_SELECTOR, "a[aria-label^='4 backups']").click()
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "figure .row button")) == 4
    page.click("full backup of", "figure .row button")
    page.see("a.button", "Restore this state")
    page.click("Rehearse", "main button")
    page.see(".good", "It can be recovered", 30)
    page.click("Query", "nav a")
    page.click("Backups", "nav a")
    page.see("figcaption", "▲")
    assert page.driver.find_elements(By.CSS_SELECTOR, "path.proven[aria-label^=rehearsed]")
    assert not Axe().run(page.driver)["violations"]


def test_a_backup_that_was_begun_elsewhere_is_shown_and_cancelled(tmp_path: Path) -> None:
    with running(tmp_path / "data", backup_read_rate="1MB") as server:
        shop = server.create("shop")
        shop.fill(20_000, 400)
        begun = shop.request("POST", "/admin/backup", json={"BackupLocation": str(tmp_path / "b")})
        with browsing(server.url) as page:
            page.open("shop/backups")
            page.see(".job progress")
            page.see(".job p", "/s")
            page.see(".job p", " left")
            page.click("Cancel", ".job button")
            page.see(".problem", "It was cancelled")
            assert server.wait_for(begun.json()["OperationId"])["Canceled"]
            assert not list((tmp_path / "b").glob("*/manifest.json"))
            page.open("operations")
            page.see("td", "Cancel")
            assert not page.console()


def test_settings_are_edited_and_a_database_is_removed(page: Page, server: Server, shop: Database) -> None:
    page.open(f"{shop.name}/settings")
    area = page.field("The document that describes")
    area.send_keys(Keys.CONTROL, Keys.HOME)
    area.send_keys(Keys.DELETE, '{"Note":"mine",')
    page.click("Store", "main button")
    page.see("#said", "")
    for _ in range(200):
        if b'"Note"' in server.client.get(f"/admin/databases/{shop.name}").content:
            break
    assert b"mine" in server.client.get(f"/admin/databases/{shop.name}").content
    for name, gone in ((shop.name.upper(), False), (shop.name, True)):
        page.open(f"{shop.name}/settings")
        page.click("Remove this database")
        page.enter(f"Type {shop.name}", name)
        page.click("Remove", "dialog button")
        page.see("h1" if gone else ".problem", "Databases" if gone else "nothing was removed")
        assert (server.client.get(f"/admin/databases/{shop.name}").status_code == 404) is gone
