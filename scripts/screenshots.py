"""Take the pictures of docs/screenshots: every page of the web app, on a laptop and on a phone, synthetic voices only.

    python scripts/screenshots.py --run runs/benchmark --run runs/demo
    python scripts/screenshots.py --run runs/benchmark --run runs/demo --whole --out whole

Needs Chromium and playwright; runs are made by `speechxai demo` and `speechxai benchmark --quick`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"1366x768": (1366, 768), "390x844": (390, 844)}
PAGES = {
    "inspect": "",
    "what-if": "what-if",
    "compare": "compare",
    "try-yours": "try-yours",
    "cohort": "cohort",
    "benchmark": "benchmark",
    "about": "about",
}
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu"]
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


def main() -> None:
    """Start the app, visit every page, write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", action="append", default=[], help="run folder for the Benchmark page, the first is shown"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--whole", action="store_true", help="each page down to its end, to be looked at")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("SPEECHXAI_CHROMIUM") or shutil.which("chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = [word for run in given.run for word in ("--run", run)]
    server = subprocess.Popen(
        [sys.executable, "-m", "speechxai.cli", "app", "--no-browser", "--port", str(port), *runs], cwd=ROOT
    )
    try:
        wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
            for size, (width, height) in SIZES.items():
                for name, path in PAGES.items():
                    page = browser.new_page(viewport={"width": width, "height": height})
                    page.set_default_timeout(300_000)
                    page.goto(f"http://127.0.0.1:{port}/{path}")
                    ready(page, name)
                    if given.whole:
                        end = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
                        page.set_viewport_size({"width": width, "height": min(end + 40, 8_000)})
                        page.wait_for_timeout(2_500)
                    page.screenshot(path=given.out / f"{name}-{size}.png")
                    page.close()
                    print(f"{name}-{size}")
            browser.close()
    finally:
        server.terminate()
        server.wait()


def wait(url: str) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=2).read()  # noqa: S310
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"{url}: no answer.")


def ready(page: Any, name: str) -> None:
    """Wait until everything on a page is drawn."""
    page.get_by_text("A research tool, not a medical device").wait_for()
    page.wait_for_selector(IDLE)
    if name in ("inspect", "compare"):
        page.locator(".player[data-drawn]").wait_for()
    if name == "what-if":
        page.get_by_role("button", name="Ask").click()
        page.locator("img.sx-figure").wait_for()
        page.wait_for_selector(IDLE)
    if name == "cohort":
        page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    page.wait_for_timeout(1_500)


if __name__ == "__main__":
    main()
