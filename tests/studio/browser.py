"""A real browser on the page: Debian's Chromium, driven as a person uses it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

if TYPE_CHECKING:  # they load all of urllib3, also where no test with a browser will run
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

BROWSER: Final = shutil.which("chromium")
DRIVER: Final = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
)


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

    def see(self, css: str, text: str = "", seconds: float = 10) -> WebElement:
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

    def miss(self, text: str, seconds: float = 20) -> None:
        """Wait until this cannot be read any more."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, seconds, 0.05).until_not(lambda _: text in self.text, f"there is still {text!r}")

    @property
    def text(self) -> str:
        """All that can be read."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def click(self, text: str, css: str = "button, a, summary") -> None:
        """Click what has this text."""
        element = self.see(css, text)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def field(self, label: str) -> WebElement:
        """The field of this label."""
        element = self.see("label", label)
        return self.driver.find_element(By.ID, str(element.get_attribute("for")))

    def enter(self, label: str, text: str) -> None:
        """Let this be all that is in a field."""
        element = self.field(label)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(text)

    def choose(self, label: str) -> None:
        """Choose one of several."""
        self.see("fieldset label", label).click()

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


@contextmanager
def browsing(url: str, *, width: int = 1280, downloads: str | None = None) -> Iterator[Page]:
    """A window of its own, with nothing kept from another."""
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
        f"--window-size={width},900",
    ):
        options.add_argument(flag)
    if downloads:
        options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Page(driver, url)
    finally:
        driver.quit()
