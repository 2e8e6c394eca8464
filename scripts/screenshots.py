"""Take the pictures of docs/screenshots: every page of the web app, on a laptop and on a phone, synthetic voices only.

    python scripts/screenshots.py --run runs/benchmark --run runs/demo
    python scripts/screenshots.py --run runs/benchmark --run runs/demo --whole --out whole
    python scripts/screenshots.py --study        the reader's screen, of a study of four synthetic cases

Needs Chromium and playwright; runs are made by `speechxai demo` and `speechxai benchmark --quick`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
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
    parser.add_argument("--study", action="store_true", help="the reader's screen of a study, and nothing else")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("SPEECHXAI_CHROMIUM") or shutil.which("chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [word for run in given.run for word in ("--run", run)]
    place = tempfile.TemporaryDirectory()
    if given.study:
        words = ["--study", str(study(Path(place.name)))]
    server = subprocess.Popen(
        [sys.executable, "-m", "speechxai.cli", "app", "--no-browser", "--port", str(port), *words], cwd=ROOT
    )
    try:
        wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
            for size, (width, height) in SIZES.items():
                if given.study:
                    page = browser.new_page(viewport={"width": width, "height": height})
                    read(page, f"http://127.0.0.1:{port}", Path(place.name) / "study.toml", size, given.out)
                    continue
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
        place.cleanup()


def study(folder: Path) -> Path:
    """Prepare a study of four cases; returns its file."""
    from speechxai.readers import design
    from speechxai.readers.material import prepare
    from speechxai.readers.store import Store, beside

    text = design.template(demo=True)
    for name, value in (("n", 4), ("training", 0), ("sitting", 4), ("attention_checks", 0)):
        text = "\n".join(f"{name} = {value}" if row.startswith(f"{name} =") else row for row in text.splitlines())
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    store = Store(beside(file))
    store.begin(design.load(file))
    prepare(design.load(file), store)
    return file


def read(page: Any, url: str, file: Path, size: str, out: Path) -> None:
    """Go through the first case as a reader does and take a picture of each of its two parts."""
    from speechxai.readers import design

    page.set_default_timeout(120_000)
    page.goto(f"{url}/?reader={design.codes(design.load(file))[list(SIZES).index(size)]}")
    token = ""
    for shot in ("", "", "reader-first", "reader-second"):
        here = page.locator(f'.reader[data-token]:not([data-token="{token}"])')
        here.wait_for()
        token = here.get_attribute("data-token")
        if shot:
            page.locator(".player[data-drawn]").wait_for()
            page.wait_for_timeout(1_000)
        for kind in ("radio", "checkbox"):
            for group in page.locator(f"fieldset[data-name]:has(input[type={kind}])").all():
                group.locator(f"input[type={kind}]").first.check()
        page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
        page.wait_for_timeout(300)
        if shot:
            page.screenshot(path=out / f"{shot}-{size}.png")
            print(f"{shot}-{size}")
        page.locator(".reader .go").click()


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
        page.get_by_role("button", name="Ask").or_(page.locator("img.sx-figure:visible")).first.wait_for()
        if page.get_by_role("button", name="Ask").count():  # asked once, it is known at both sizes
            page.get_by_role("button", name="Ask").click()
        page.locator("img.sx-figure:visible").wait_for()
        page.wait_for_selector(IDLE)
    if name == "cohort":
        page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    page.wait_for_timeout(1_500)


if __name__ == "__main__":
    main()
