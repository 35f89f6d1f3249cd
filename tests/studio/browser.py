"""A real browser on the page: Debian's Chromium, driven as a person uses it."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.ports import held_ports
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:  # they load all of urllib3, also where no test with a browser will run
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

BROWSER: Final = shutil.which("chromium")
DRIVER: Final = shutil.which("chromedriver")
T = TypeVar("T")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
)


def _done(act: Callable[[], T]) -> T:
    """What this gives, done again where the page has drawn its element anew before anything was done to that."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except (StaleElementReferenceException, ElementClickInterceptedException):
            if time.monotonic() > end:
                raise


class Page:
    """The page of one server in one window."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, view: str = "") -> None:
        """Show the view with this address, anew."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/studio/#/{view}")
        self.see("h1")

    def see(self, css: str, text: str = "", seconds: float = PATIENCE) -> WebElement:
        """Wait for an element with this text in it."""
        from selenium.webdriver.support.wait import WebDriverWait

        def found(_: Any) -> Any:
            return next((each for each in self.driver.find_elements(By.CSS_SELECTOR, css) if text in each.text), False)

        waiting = WebDriverWait(self.driver, seconds, 0.05, ignored_exceptions=[Exception])
        try:
            element: WebElement = waiting.until(found)
        except TimeoutException:
            raise AssertionError(f"no {css} with {text!r} in\n{self.text}\n{self.console()}") from None
        return element

    def miss(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until this cannot be read any more."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, seconds, 0.05).until_not(lambda _: text in self.text, f"there is still {text!r}")

    @property
    def text(self) -> str:
        """All that can be read."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def click(self, text: str, css: str = "button, a, summary") -> None:
        """Click what has this text."""

        def click() -> None:
            element = self.see(css, text)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()

        _done(click)

    def field(self, label: str) -> WebElement:
        """The field of this label."""
        return _done(lambda: self.driver.find_element(By.ID, str(self.see("label", label).get_attribute("for"))))

    def enter(self, label: str, text: str) -> None:
        """Let this be all that is in a field."""

        def enter() -> None:
            element = self.field(label)
            element.send_keys(Keys.CONTROL, "a")
            element.send_keys(text)

        _done(enter)

    def choose(self, label: str) -> None:
        """Choose one of several."""
        _done(lambda: self.see("fieldset label", label).click())

    def drop(self, file: Path, x: int = 600, y: int = 400) -> None:
        """Drag a file onto the page and let it go there, as the browser itself tells of it."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for type in ("dragEnter", "dragOver", "drop"):
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": type, "x": x, "y": y, "data": data})

    def tab_to(self, name: str, *, steps: int = 120) -> WebElement:
        """Press Tab until what has this name for a screen reader has the focus."""
        from selenium.webdriver import ActionChains

        for _ in range(steps):
            ActionChains(self.driver).send_keys(Keys.TAB).perform()
            with suppress(StaleElementReferenceException):  # the page has drawn it anew
                active = self.driver.switch_to.active_element
                if active.tag_name != "body" and name in active.accessible_name:
                    return active
        raise AssertionError(f"{name!r} is not reached by Tab in\n{self.text}")

    def typed(self, *keys: str) -> None:
        """Press these keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def zone(self, name: str) -> None:
        """Let the clock be of this time zone."""
        self.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": name})

    def scheme(self, name: str) -> None:
        """Let the person prefer `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def picture(self, name: str) -> None:
        """Keep how it looks now, for the documentation, when that is asked for (`make screenshots`)."""
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def console(self) -> list[str]:
        """What the browser complains of since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


_held: Final = ExitStack()  # the port of the browser's driver, for as long as that runs


@functools.cache
def _driver() -> Chrome:
    """One browser for all tests of this process, as starting one takes longer than most of them."""
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    assert BROWSER is not None
    options = Options()
    options.binary_location = BROWSER
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-software-rasterizer",
        "--renderer-process-limit=1",
        "--window-size=1280,900",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    [port] = _held.enter_context(held_ports(1))
    return Chrome(options=options, service=Service(DRIVER, port=port))


def quit_browser() -> None:
    """End the browser, if one was started."""
    if _driver.cache_info().currsize:
        _driver().quit()
        _held.close()


def saved(folder: Path, pattern: str) -> Path:
    """The file of such a name that the browser has saved there, when it has it to its end."""
    return until(lambda: None if any(folder.glob("*.crdownload")) else next(folder.glob(pattern), None))


@contextmanager
def browsing(url: str, *, downloads: str | None = None) -> Iterator[Page]:
    """A tab of its own, with nothing kept from another but what its server's own address has."""
    driver = _driver()
    before, present = set(driver.window_handles), driver.current_window_handle
    driver.switch_to.new_window("tab")
    if downloads:
        allowed = {"behavior": "allow", "downloadPath": downloads}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    page = Page(driver, url)
    try:
        yield page
    finally:
        for handle in set(driver.window_handles) - before:
            driver.switch_to.window(handle)
            driver.close()
        driver.switch_to.window(present)
        driver.execute_cdp_cmd("Page.bringToFront", {})
        page.console()
