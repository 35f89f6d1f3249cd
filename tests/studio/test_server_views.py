"""What is the server's on the page, and a drawing of many backups."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

from axe_core_python.selenium import Axe
from selenium.webdriver.common.by import By

from muniment.security.keys import new_key
from tests.cli.process import muniment
from tests.server.running import Database, running
from tests.studio.browser import Page, browsing, needs_browser

pytestmark = needs_browser


def test_keys_are_listed_disabled_and_made_by_the_command_that_is_shown(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        boss, text = new_key("ann", ["admin"], created=datetime.now(UTC).isoformat())
        assert server.client.put(f"/docs/{boss.id}", content=boss.encoded()).status_code == 201
        with browsing(server.url) as page:
            page.open("keys")
            page.enter("Key", text)
            page.click("Sign in", "dialog button")
            page.enter("Name", "night ly")
            page.choose("take and see backups")
            page.enter("Databases", "shop, other")
            command = shlex.split(page.see("pre", "muniment keys add").text)
            made = muniment(*command[1:], env={"MUNIMENT_API_KEY": text})
            assert made.code == 0, made
            secret = made.text.split("night ly/")[1].split()[0]
            page.see("tbody th", "night ly")
            page.see("td", "shop, other")
            assert not Axe().run(page.driver)["violations"]

            def is_let_in() -> bool:
                headers = {"Authorization": f"Bearer night ly/{secret}"}
                return server.client.post("/access-token", headers=headers).status_code == 200

            assert is_let_in()
            page.driver.find_element(By.CSS_SELECTOR, "[aria-label='Disable night ly']").click()
            page.see("dialog", "Disable night ly?")
            assert "It is the last one" not in page.text
            page.click("Disable", "dialog button")
            page.see("td button", "Enable")
            assert not is_let_in()
            page.click("Enable", "td button")
            page.see("td", "opens")
            for _ in range(100):
                if is_let_in():
                    break
            assert is_let_in()
            page.driver.find_element(By.CSS_SELECTOR, "[aria-label='Disable ann']").click()
            page.see("dialog", "It is the last one that may change keys")
            page.click("Cancel", "dialog button")


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
