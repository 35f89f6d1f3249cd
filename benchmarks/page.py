"""How soon the page shows its first view, by the browser's own clock: a server on loopback, a window without a cache.

`shown` is when the card of the database is there, which takes the page's files,
its first requests and their answers.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for the server and the browser of the tests

from tests.server.running import running
from tests.studio.browser import BROWSER, DRIVER, browsing

RUNS = 9
SCRIPT = """
const done = arguments[arguments.length - 1];
const look = () => {
  if (!document.querySelector(".card")) return requestAnimationFrame(look);
  const [page] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const sent = performance.getEntriesByType("resource").reduce((all, each) => all + each.transferSize, 0);
  done([page.domContentLoadedEventEnd, paint?.startTime ?? 0, performance.now(), sent + page.transferSize]);
};
look();
"""


def main() -> int:
    """Print the medians in milliseconds, what was sent, and the processor time of the page's own thread."""
    if not (BROWSER and DRIVER):
        print("no Chromium and chromedriver here")
        return 0
    found = []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as server:
        shop = server.create("shop")
        shop.fill(1000)
        with browsing(server.url) as page:
            page.driver.execute_cdp_cmd("Network.enable", {})
            page.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
            page.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
            for _ in range(RUNS + 1):
                page.driver.get("about:blank")
                page.driver.get(f"{server.url}/studio/")
                times = page.driver.execute_async_script(SCRIPT)
                metrics = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
                busy = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
                found.append([*times, busy * 1000])
    found.pop(0)  # the browser itself is still starting
    loaded, painted, shown, sent, busy = (statistics.median(column) for column in zip(*found, strict=True))
    best = min(each[2] for each in found)
    print(f"its thread worked for {busy:.0f} ms, whatever else the machine did")
    print(f"loaded {loaded:.0f} ms, painted {painted:.0f} ms, shown within {shown:.0f} ms (at best {best:.0f} ms)")
    print(f"{sent / 1000:.0f} kB were sent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
