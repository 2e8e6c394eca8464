"""The app as a person sees it: every page in Chromium, the player by mouse and keyboard, files good and bad."""

from __future__ import annotations

import base64
import itertools
import os
import re
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import soundfile

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from app_server import (  # noqa: E402
    CHIRP_FROM_HZ,
    CHIRP_HZ_PER_S,
    CHROMIUM,
    FLAGS,
    HOSTILE,
    SLOW_MS,
    Server,
    busy,
    started,
    write_bundle,
    write_embedded,
    write_recordings,
    write_run,
    write_truth,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PAGES = {
    "": "Why did the model say this about this recording?",
    "what-if": "What would the model say if this voice were different?",
    "compare": "Do the methods agree?",
    "try-yours": "What about my recording?",
    "cohort": "Where does the model fail, and on whom?",
    "benchmark": "Which explanation can I trust?",
    "about": "What is this, and what is it not?",
}
LISTEN = """
(() => {
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) {
      const context = this.context;
      context.__ear ??= Object.assign(context.createAnalyser(), { fftSize: 1024, smoothingTimeConstant: 0 });
      window.__ear = context.__ear;
      connect.call(this, context.__ear);
    }
    return connect.call(this, to, ...rest);
  };
})();
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    manifest = write_recordings(folder)
    bundle = write_bundle(folder)
    run, truth = write_run(folder), write_truth(folder)
    more = [
        "--data",
        str(manifest),
        "--root",
        str(folder),
        "--model",
        str(bundle),
        "--model",
        str(write_embedded(folder)),
        "--run",
        str(run),
        "--run",
        str(truth),
        "--save-to",
        str(folder / "cases"),
    ]
    with started(folder, *more) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


PLAYER = (
    "[...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')]"
    ".map((e) => e.shadowRoot?.querySelector('.player')).find(Boolean)"
)


class Tab:
    """A page of one session, with everything it asked of the network and everything that went wrong."""

    def __init__(self, browser: Any, server: Server, width: int = 1366, height: int = 768) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        self.context.grant_permissions(["microphone"], origin=server.url)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW_MS)
        self.page.add_init_script(LISTEN)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.sent: list[int] = [0]
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("websocket", lambda s: s.on("framesent", lambda _: self.sent.__setitem__(0, self.sent[0] + 1)))

    def open(self, path: str) -> Any:
        self.page.goto(f"{self.server.url}/{path}")
        return self.page

    def player(self) -> Any:
        found = self.page.locator(".player[data-drawn]")
        found.wait_for()
        return found

    def settled(self) -> None:
        """Wait until the words are there and the script has ended."""
        self.page.get_by_text("What matters").wait_for()
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")

    def value(self, name: str) -> str:
        return str(self.page.locator(".player").first.get_attribute(f"data-{name}"))

    def position(self) -> float:
        return float(self.value("position"))

    def until(self, check: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < end, what
            time.sleep(0.03)

    def choose(self, label: str, option: str) -> None:
        box = self.page.get_by_role("combobox", name=re.compile(label))
        box.click()
        self.page.get_by_role("option", name=re.compile(rf"^{re.escape(option)}(:|$)")).click()

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def tab(browser: Any, server: Server) -> Iterator[Tab]:
    opened = Tab(browser, server)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared(browser: Any, server: Server) -> Iterator[Tab]:
    """One tab on the 10 s recording, for tests that leave it as they found it."""
    opened = Tab(browser, server)
    opened.open("?recording=ten-seconds")
    opened.player()
    opened.settled()
    yield opened
    opened.close()


def violations(page: Any) -> list[str]:
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    # Streamlit's own upload field is a section that can be focused and calls itself presentational; its button is
    # labeled.
    own = [
        v
        for v in found
        if v["id"] != "presentation-role-conflict"
        or page.locator("[data-testid=stFileUploaderDropzone]").count() < len(v["nodes"])
    ]
    return [f"{v['id']}: {v['help']} ({', '.join(str(n['target']) for n in v['nodes'][:3])})" for v in own]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_clean(tab: Tab, path: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    page = tab.open(path)
    page.get_by_role("heading", name=PAGES[path], level=1).wait_for()
    if path in ("", "compare"):
        tab.player()
    page.get_by_text("A research tool, not a medical device").wait_for()
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("[data-testid=stAlertContentError]").count() == 0
    assert not tab.errors
    outside = [u for u in tab.requests if not u.startswith((tab.server.url, "data:", "blob:", "ws://127.0.0.1"))]
    assert not outside, "a request left this computer"
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), "the page scrolls sideways"


@pytest.mark.parametrize("part", ["player", "download"])
def test_components_are_accessible_before_their_script_has_run(browser: Any, part: str) -> None:
    """A page may be read before a component's script has its data: the bare HTML must already be in order."""
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    from app import player, widgets

    html = (player.FOLDER / "player.html").read_text("utf-8") if part == "player" else widgets.HTML
    css = (player.FOLDER / "player.css").read_text("utf-8") if part == "player" else widgets.CSS
    page = browser.new_page()
    page.set_content(
        f"<!doctype html><html lang='en'><head><title>part</title><style>{css}</style></head>"
        f"<body><main><h1>part</h1>{html}</main></body></html>"
    )
    assert violations(page) == []
    page.close()


def test_a_phone_shows_clock_legend_and_menus_whole(browser: Any, server: Server) -> None:
    tab = Tab(browser, server, 390, 844)
    try:
        page = tab.open("?recording=ten-seconds")
        tab.player()
        tab.settled()

        def box(place: Any) -> Any:
            found = place.bounding_box()
            assert found is not None
            assert found["x"] >= 0
            assert found["x"] + found["width"] <= 390.5
            return found

        rows = [page.get_by_role("button", name=sign, exact=True).bounding_box()["y"] for sign in "‹›"]
        assert abs(rows[0] - rows[1]) < 2, "the recording before and the next stand beside the recording"
        clock = page.locator(".player .clock")
        assert clock.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), "the clock is cut"
        place = box(clock)
        for button in page.locator(".player button:visible").all():
            other = box(button)
            apart = other["y"] >= place["y"] + place["height"] or other["y"] + other["height"] <= place["y"]
            assert (
                apart or other["x"] >= place["x"] + place["width"] - 1 or other["x"] + other["width"] <= place["x"] + 1
            )
        box(page.locator(".player .legend").first)
        for name in ("export", "view"):
            page.locator(f".player .open-{name}").click()
            box(page.locator(f".player .{name}-list"))
            page.locator(f".player .open-{name}").click()
    finally:
        tab.close()


def test_above_the_fold_of_a_laptop(shared: Tab) -> None:
    page = shared.page
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
    seen = page.evaluate("window.innerHeight")
    assert seen == 768
    for what in (".sx-verdict .answer", ".sx-worth", ".sx-caution h2", ".sx-caution li", ".player .stage canvas.base"):
        place = page.locator(what).first.bounding_box()
        assert place is not None, what
        assert place["y"] > 0
        # Of the picture the spectrogram itself, 270 points high.
        assert place["y"] + min(place["height"], 270) <= seen, what


def test_first_picture_needs_no_scrolling(shared: Tab) -> None:
    box = shared.page.locator(".player .stage canvas.base").bounding_box()
    seen = shared.page.evaluate("window.innerHeight")
    assert box["y"] > 0
    assert box["y"] + 270 < seen, "the spectrogram itself must be on the first screen"


def test_plays_and_the_playhead_keeps_up(tab: Tab) -> None:
    page = tab.open("?recording=chirp")
    tab.player()
    tab.settled()
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position() > 0.8, "the sound does not move")
    lags = page.evaluate(
        """async ([from_hz, slope]) => {
          const box = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].map((e) => e.shadowRoot?.querySelector('.player')).find(Boolean);
          const ear = window.__ear, bins = new Float32Array(ear.frequencyBinCount), lags = [];
          const width = ear.context.sampleRate / ear.fftSize;
          for (let i = 0; i < 40; i += 1) {
            await new Promise(requestAnimationFrame);
            ear.getFloatFrequencyData(bins);
            const shown = Number(box.dataset.position);
            let best = 1;
            for (let k = 1; k < bins.length - 1; k += 1) if (bins[k] > bins[best]) best = k;
            if (bins[best] < -70 || shown < 0.4 || shown > 4.6) continue;
            const [a, b, c] = [bins[best - 1], bins[best], bins[best + 1]];
            const hz = (best + (a - c) / (2 * (a - 2 * b + c))) * width;
            // the window's middle is half a window before the sample that leaves now
            const heard = (hz - from_hz) / slope + ear.fftSize / 2 / ear.context.sampleRate - (ear.context.outputLatency || 0);
            lags.push(shown - heard);
          }
          return lags;
        }""",  # noqa: E501
        [CHIRP_FROM_HZ, CHIRP_HZ_PER_S],
    )
    assert len(lags) >= 10, "the sound was not heard"
    lag = statistics.median(abs(v) for v in lags)
    print(f"playhead lag: median {1000 * lag:.0f} ms over {len(lags)} looks")
    assert lag <= 0.050


def test_drawn_playhead_is_where_it_says(shared: Tab) -> None:
    page = shared.page
    page.locator(".seat").click(position={"x": 400, "y": 60})
    at, x = page.evaluate(
        """() => { const box = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].map((e) => e.shadowRoot?.querySelector('.player')).find(Boolean);
          const glass = box.querySelector('.glass'), ratio = glass.width / glass.clientWidth;
          const row = glass.getContext('2d').getImageData(0, Math.round(30 * ratio), glass.width, 1).data;
          const red = []; for (let i = 0; i < glass.width; i += 1) if (row[4*i] > 150 && row[4*i+1] < 60 && row[4*i+3] > 200) red.push(i / ratio);
          return [Number(box.dataset.position), red.reduce((a, b) => a + b, 0) / red.length]; }"""  # noqa: E501
    )
    assert x == pytest.approx(400, abs=2)
    assert 2.0 < at < 6.0


def test_click_seeks_also_while_playing(shared: Tab) -> None:
    page, seat = shared.page, shared.page.locator(".seat")
    seat.click(position={"x": 300, "y": 80})
    first = shared.position()
    seat.click(position={"x": 600, "y": 80})
    second = shared.position()
    assert second - first > 1.0
    page.keyboard.press("Space")
    shared.until(lambda: shared.position() > second + 0.2, "it does not play from the click")
    seat.click(position={"x": 300, "y": 80})
    shared.until(lambda: first <= shared.position() < second, "the click does not seek")
    shared.until(lambda: shared.position() > first + 0.15, "it stops after a seek")
    page.keyboard.press("Space")


def test_keyboard_alone_does_everything(shared: Tab) -> None:
    page = shared.page
    page.locator(".seat").focus()
    press = page.keyboard.press
    press("Home")
    assert shared.position() == 0
    for _ in range(4):
        press("ArrowRight")
    assert shared.position() == pytest.approx(0.2, abs=1e-3)
    press("ArrowLeft")
    assert shared.position() == pytest.approx(0.15, abs=1e-3)
    press("Shift+ArrowRight")
    assert shared.position() == pytest.approx(0.65, abs=1e-3)
    press("End")
    assert shared.position() == pytest.approx(10.0, abs=0.01)
    press("Home")
    press("+")
    press("+")
    start, end = (float(v) for v in shared.value("view").split())
    assert end - start == pytest.approx(10 / 1.6**2, rel=0.01)
    press("PageDown")
    assert float(shared.value("view").split()[0]) > start
    press("0")
    assert shared.value("view") == "0.000 10.000"
    press("Home")
    press("Shift+ArrowRight")
    press("[")
    press("Shift+ArrowRight")
    press("]")
    page.get_by_text(re.compile(r"Region 0.50 s to 1.00 s: \d+ % of the shown evidence in 5 % of the time")).wait_for()
    press("l")
    press("Space")
    shared.until(lambda: shared.value("playing") == "", "the space bar does not play")
    seen = []
    end_time = time.monotonic() + 1.6
    while time.monotonic() < end_time:
        seen.append(shared.position())
        time.sleep(0.05)
    assert min(seen) >= 0.49
    assert max(seen) <= 1.01, "the loop is left"
    assert any(b < a for a, b in itertools.pairwise(seen)), "the loop does not repeat"
    press("Space")
    press("m")
    page.get_by_text("1 note kept").wait_for()
    press("m")
    assert shared.value("notes") == "1"  # one place is one note
    press("b")
    assert shared.value("region") == "0.500 1.000 0.000 1000.000"
    press("Shift+ArrowUp")
    press("Shift+PageUp")
    assert shared.value("region") == "0.500 1.000 100.000 1100.000"
    page.get_by_text(re.compile(r"Box 0.50 s to 1.00 s, 100 to 1100 Hz: \d+ % of the shown evidence")).wait_for()
    press("Escape")
    press("n")
    assert shared.value("region") == "0.500 1.000  "
    press("Delete")
    assert shared.value("notes") == "0"
    for key, sound in (("2", "kept"), ("3", "removed"), ("1", "original")):
        press(key)
        assert shared.value("sound") == sound
    paints = int(shared.value("paints"))
    for key in ("c", "f", "ArrowDown", ","):
        press(key)
    assert int(shared.value("paints")) >= paints + 4
    for key in ("c", "c", "c", "f", "f", "ArrowUp", "."):
        press(key)
    for key, asked in (("w", "Spectrogram"), ("t", "Formants"), ("h", "")):
        paints = int(shared.value("paints"))
        press(key)
        press(key)
        assert int(shared.value("paints")) == paints + 2, asked
    press("?")
    page.get_by_text("step 50 ms").wait_for()
    press("?")
    assert not page.get_by_text("step 50 ms").is_visible()


def test_opacity_and_colors_need_no_server(shared: Tab) -> None:
    page = shared.page
    page.wait_for_timeout(300)
    before = shared.sent[0]
    times = page.evaluate(
        """async () => { const box = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].map((e) => e.shadowRoot?.querySelector('.player')).find(Boolean);
          const slider = box.querySelector('.opacity'), canvas = box.querySelector('.base'), times = [];
          const look = () => { const d = canvas.getContext('2d').getImageData(60, 10, 300, 200).data; let s = 0; for (let i = 0; i < d.length; i += 1) s += d[i]; return s; };
          let last = look();
          for (const value of [10, 90, 30, 70, 85]) {
            const began = performance.now(); slider.value = value; slider.dispatchEvent(new Event('input'));
            await new Promise(requestAnimationFrame); times.push(performance.now() - began);
            const now = look(); if (now === last) throw new Error('the picture did not change'); last = now;
          }
          return times; }"""  # noqa: E501
    )
    print(f"opacity change: median {statistics.median(times):.0f} ms of 5")
    assert shared.sent[0] == before, "the server was asked"
    if not busy():
        assert statistics.median(times) <= 100


def test_evidence_of_a_map_that_explains_nothing_is_striped(tab: Tab) -> None:
    striped = {}
    for recipe in ("random_map", "input_x_gradient"):
        page = tab.open(f"?recording=ten-seconds&recipe={recipe}&model={quote(str(tab.server.folder / 'embedded'))}")
        tab.player()
        tab.settled()
        worth = str(page.locator(".sx-worth").get_attribute("class"))
        striped[recipe] = page.locator(".player").get_attribute("data-hatched") is not None
        assert striped[recipe] == ("nothing" in worth)
    assert striped == {"random_map": True, "input_x_gradient": False}


def test_voice_measures_of_a_marked_region(tab: Tab) -> None:
    page = tab.open("?recording=ten-seconds")
    tab.player()
    tab.settled()
    table = page.locator(".sx-measures")
    table.wait_for()
    assert "marked" not in table.inner_text()
    page.locator(".seat").focus()
    for key in ("[", "Shift+ArrowRight", "Shift+ArrowRight", "]", "v"):
        page.keyboard.press(key)
    page.get_by_text(re.compile(r"marked: 0\.00 to 1\.00 s")).wait_for()
    assert "marked" in table.inner_text()


def test_hover_reads_time_frequency_level_and_evidence(shared: Tab) -> None:
    shared.page.locator(".seat").hover(position={"x": 400, "y": 100})
    text = shared.page.locator(".readout").inner_text()
    assert re.fullmatch(r"\d+\.\d{3} s · [\d.]+ k?Hz · -?\d+ dB · evidence [\d.]+", text)


def test_three_sounds_differ_and_switch(shared: Tab) -> None:
    page = shared.page
    names = page.locator(".sounds label").all_inner_texts()
    assert [n.split()[0] for n in names] == ["Original", "Kept", "Removed"]
    assert all(re.search(r"P\(PD\) [01]\.\d\d", n) for n in names)
    with page.expect_download() as kept:
        page.get_by_role("button", name="Export").click()
        page.get_by_role("button", name="Sound: kept (WAV)").click()
    with page.expect_download() as removed:
        page.get_by_role("button", name="Sound: removed (WAV)").click()
    a, rate = soundfile.read(kept.value.path())
    b, _ = soundfile.read(removed.value.path())
    assert rate == 16_000
    assert len(a) == len(b) == 160_000
    assert np.abs(a - b).mean() > 1e-3
    with page.expect_download() as original:
        page.get_by_role("button", name="Sound: original (WAV)").click()
    whole, _ = soundfile.read(original.value.path())
    voice, _ = soundfile.read(shared.server.folder / "ten-seconds.wav")
    assert np.corrcoef(whole, voice)[0, 1] > 0.999
    with page.expect_download() as picture:
        page.get_by_role("button", name="Picture (PNG)").click()
    assert Path(picture.value.path()).read_bytes()[:4] == b"\x89PNG"
    width = int.from_bytes(Path(picture.value.path()).read_bytes()[16:20], "big")
    assert width == 2 * page.evaluate(f"Math.floor({PLAYER}.querySelector('.stage').clientWidth)")
    with page.expect_download() as grid:
        page.get_by_role("button", name="Regions for Praat (TextGrid)").click()
    assert 'class = "IntervalTier"' in Path(grid.value.path()).read_text()
    with page.expect_download() as labels:
        page.get_by_role("button", name="Regions for Audacity (labels)").click()
    assert re.match(r"\d+\.\d{6}\t\d+\.\d{6}\t\S+", Path(labels.value.path()).read_text())
    names = {d.value.suggested_filename for d in (kept, removed, original, picture, grid, labels)}
    assert len(names) == 6
    assert {"ten-seconds_input_x_gradient_kept-20.wav", "ten-seconds_input_x_gradient_evidence.TextGrid"} <= names
    page.keyboard.press("Escape")


def test_report_stands_alone(shared: Tab) -> None:
    with shared.page.expect_download() as waiting:
        shared.page.get_by_role("button", name="Report (HTML)").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert "its weights are random" in text  # the card's caveat
    assert "not a medical device" in text
    assert "data:image/png;base64," in text
    assert not re.search(r"(src|href)=.https?:", text)
    with shared.page.expect_download() as pdf:
        shared.page.get_by_role("button", name="Report (PDF)").click()
    assert pages_of(Path(pdf.value.path()).read_bytes()) == 1


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page(?![a-zA-Z])", pdf))


@pytest.mark.parametrize("lines", [0, 6, 60])
def test_report_prints_on_one_sheet(browser: Any, tmp_path: Path, lines: int) -> None:
    """However much there is to say; what is longer than the callers' lists allow would be too small to read."""
    from speechxai.report.plots import score_bars
    from speechxai.report.sheet import Part, Sheet, as_html

    line = "A sentence about this voice that takes more than one line of a column, as they do. " * 2
    parts = [
        Part("What matters", [line] * max(1, lines // 2)),
        Part("Table", [], ["a", "b"], [["c", line]] * (lines // 4)),
    ]
    picture = score_bars(["one"], [0.5], [(0.4, 0.6)], [False])
    sheet = Sheet(
        "Voice", "P 07", [line, line], picture, "picture", "legend", parts, "A research tool, not a medical device."
    )
    (tmp_path / "report.html").write_bytes(as_html(sheet))
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    printed = page.pdf(prefer_css_page_size=True)
    assert pages_of(printed) == 1
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert box is not None
    assert [float(v) for v in box.groups()] == pytest.approx([595, 842], abs=1.5)  # A4, points
    assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") >= 5 * 96 / 72
    page.close()


def test_goes_on_playing_while_another_method_is_chosen(tab: Tab) -> None:
    page = tab.open("?recording=ten-seconds&recipe=saliency")
    tab.player()
    tab.settled()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position() > 0.3, "it does not play")
    drawn = tab.value("drawn")
    tab.choose("Explained by", "input x gradient")
    tab.until(lambda: tab.value("drawn") != drawn, "the map does not change", 60)
    at = tab.position()
    assert tab.value("playing") == ""
    tab.until(lambda: tab.position() > at + 0.2, "the sound stopped")
    assert "recipe=input_x_gradient" in page.url


BOUNDS_S = {"opened": 2.0, "turned to inside the app": 2.0, "switched": 0.5, "made": 2.0}


def test_speed_of_what_readers_wait_for(tab: Tab, server: Server) -> None:
    """Medians of 5 on a warm server, 10 s recording, embedded model; judged only where the machine is free."""
    for attempt in range(3):  # other work only ever adds to a time
        medians = times_of_what_readers_wait_for(tab, server)
        print(f"medians of 5, s, attempt {attempt + 1}: {medians}")
        slow = {name: value for name, value in medians.items() if value > BOUNDS_S[name]}
        if not slow:
            return
        if busy():
            pytest.skip(f"the machine is busy, so times are printed and not judged: {medians}")
    assert not slow


FIRST_SEEN = """
window.__seen = {};
setInterval(() => {
  const player = [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")]
    .map((e) => e.shadowRoot?.querySelector(".player")).find(Boolean);
  const there = {
    answer: document.querySelector(".sx-verdict .answer"), words: document.querySelector(".sx-words p"),
    picture: player?.dataset.drawn, verdict: document.querySelector(".sx-worth b"),
    all: document.querySelector(".sx-words") && !document.querySelector(".sx-words .more"),
  };
  for (const [name, is] of Object.entries(there)) if (is) window.__seen[name] ??= performance.now() / 1000;
}, 15);
"""
"""When each part of a page is first seen, s."""


def test_words_come_with_the_picture(tab: Tab) -> None:
    """A recording and a method that nobody has asked for yet, five times; processor time holds on a busy machine."""
    pid, lags = tab.server.process.pid, []
    embedded = quote(str(tab.server.folder / "embedded"))
    tab.page.add_init_script(FIRST_SEEN)
    tab.open(f"?recording=chirp&model={embedded}&recipe=saliency")  # the server reads its libraries once
    tab.settled()
    for recipe in ("saliency", "gradcam", "smoothgrad", "deep_lift", "guided_backprop"):
        before = processor_s(pid)
        tab.open(f"?recording=ten-seconds&model={embedded}&recipe={recipe}")
        seen, spent = {}, {}
        while not {"picture", "words", "verdict", "all"} <= seen.keys():
            seen = tab.page.evaluate("window.__seen")
            spent |= {name: processor_s(pid) - before for name in seen if name not in spent}
            time.sleep(0.03)
        lags.append({name: (seen[name] - seen["picture"], spent[name]) for name in seen})
        assert seen["answer"] <= seen["picture"]
        assert seen["words"] <= seen["picture"]
    for name in ("answer", "words", "picture", "verdict", "all"):
        wall, cpu = (statistics.median(lag[name][i] for lag in lags) for i in (0, 1))
        print(f"{name}: {wall:+.2f} s from the picture, {cpu:.2f} s of the server's processor since the page was asked")
    late = statistics.median(lag["verdict"][0] for lag in lags)
    worked = statistics.median(lag["verdict"][1] - lag["picture"][1] for lag in lags)
    assert worked <= 1.0, "processor time from the picture to the verdict"
    assert busy() or late <= 1.0


def processor_s(pid: int) -> float:
    """Processor time of a process so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def times_of_what_readers_wait_for(tab: Tab, server: Server) -> dict[str, float]:
    link = f"?recording=ten-seconds&model={quote(str(server.folder / 'embedded'))}"
    tab.open(f"{link}&recipe=saliency")
    tab.player()
    tab.settled()
    tab.choose("Explained by", "input x gradient")
    tab.settled()
    opened, turned, switched, made = [], [], [], []
    for _ in range(5):
        tab.page.get_by_role("link", name="About").click()
        tab.page.get_by_role("heading", name=PAGES["about"]).wait_for()
        began = time.monotonic()
        tab.page.get_by_role("link", name="Inspect").click()
        tab.player()
        turned.append(time.monotonic() - began)
        tab.settled()
        began = time.monotonic()
        tab.open(link)
        tab.player()
        opened.append(time.monotonic() - began)
        tab.settled()
    shown = ["saliency", "input x gradient"]
    for turn in range(6):
        before = tab.value("drawn")
        box = tab.page.get_by_role("combobox", name=re.compile("Explained by"))
        box.click()
        option = tab.page.get_by_role("option", name=re.compile(rf"^{shown[turn % 2]}:"))
        option.wait_for()
        began = time.monotonic()
        option.click()
        tab.until(lambda before=before: tab.value("drawn") != before, "the map does not change", 60)
        if turn:  # the first turn warms up
            switched.append(time.monotonic() - began)
        tab.settled()
    from speechxai import load_bundle
    from speechxai.inspection import inspect
    from speechxai.signal.audio import read_audio

    voice = read_audio(server.folder / "ten-seconds.wav")
    heard = inspect.hear(load_bundle(server.folder / "embedded"), voice, threading.RLock())
    for _ in range(5):
        began = time.monotonic()
        inspect.explain(heard, ["saliency"], lock=threading.RLock())
        made.append(time.monotonic() - began)
    times = (("opened", opened), ("turned to inside the app", turned), ("switched", switched), ("made", made))
    return {name: round(statistics.median(values), 3) for name, values in times}


def files(folder: Path) -> dict[str, Path]:
    """Files that readers bring, good and bad."""
    voice, _ = soundfile.read(folder / "ten-seconds.wav")
    voice = voice[: 4 * 16_000]
    found = {}
    for name, kind in (("good.wav", "WAV"), ("good.mp3", "MP3"), ("good.ogg", "OGG")):
        found[name] = folder / name
        soundfile.write(found[name], voice, 16_000, format=kind)
    found["text.wav"] = folder / "text.wav"
    found["text.wav"].write_text("This is no sound.")
    found["empty.wav"] = folder / "empty.wav"
    found["empty.wav"].write_bytes(b"")
    found["long.wav"] = folder / "long.wav"
    soundfile.write(found["long.wav"], np.resize((voice * 32767).astype(np.int16), 20 * 60 * 16_000), 16_000)
    found["noise.wav"] = folder / "noise.wav"
    soundfile.write(found["noise.wav"], 0.05 * np.random.default_rng(0).standard_normal(48_000), 16_000)
    return found


def test_files_good_and_bad(tab: Tab) -> None:
    given = files(tab.server.folder)
    page = tab.open("try-yours")
    bring = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    bring.wait_for(state="attached")
    drawn = ""
    for name in ("good.wav", "good.mp3", "good.ogg"):
        bring.set_input_files(given[name])
        tab.until(
            lambda drawn=drawn: page.locator(".player[data-drawn]").count() == 1 and tab.value("drawn") != drawn,
            name,
            60,
        )
        drawn = tab.value("drawn")
        tab.settled()
        assert "Recording check" in page.locator("[data-testid=stExpander]").first.inner_text()
    for name, words in (
        ("text.wav", r"text\.wav"),
        ("empty.wav", r"empty\.wav.*empty"),
        ("long.wav", r"long\.wav.*(1200|20)"),
    ):
        bring.set_input_files(given[name])
        alert = page.locator("[data-testid=stAlertContentError]", has_text=re.compile(words, re.DOTALL))
        alert.wait_for()
        assert "Traceback" not in alert.inner_text()
        assert "/tmp" not in alert.inner_text()
    bring.set_input_files(given["noise.wav"])
    page.get_by_text("This recording cannot be used").wait_for()
    page.get_by_text("no voice: none was found").wait_for()
    assert page.locator("[data-testid=stException]").count() == 0
    assert not tab.errors
    cached = list((tab.server.folder / "cache").rglob("*"))
    assert not [p for p in cached if "good" in p.name]
    kept = [p.relative_to(tab.server.folder / "cases") for p in (tab.server.folder / "cases").rglob("*") if p.is_file()]
    # Notes on the data set's recordings are kept, by hashed names; nothing of one's own is unless saved.
    assert {p.parts[0] for p in kept} <= {"notes"}, kept
    assert not [p for p in kept if "good" in p.name]


def test_save_keeps_a_case_where_asked(tab: Tab) -> None:
    given = files(tab.server.folder)
    page = tab.open("try-yours")
    page.locator("[data-testid=stFileUploaderDropzoneInput]").set_input_files(given["good.wav"])
    tab.player()
    tab.settled()
    page.get_by_text("Save this case on this computer").click()
    folder = tab.server.folder / "my cases"
    box = page.get_by_label("Folder")
    box.fill(str(folder))
    box.press("Enter")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved in").wait_for()
    (case,) = folder.iterdir()
    names = {p.name for p in case.iterdir()}
    assert {
        "good.wav",
        "good.TextGrid",
        "good_labels.txt",
        "measures.csv",
        "good_kept.wav",
        "good_removed.wav",
        "report.html",
        "report.pdf",
        "case.json",
    } == names


def test_a_first_visitor_goes_from_sound_to_report_in_five_clicks(tab: Tab) -> None:
    given = files(tab.server.folder)["good.wav"]
    page = tab.open("")
    tab.player()
    began, clicks, seconds = time.monotonic(), 0, {}

    def click(place: Any, what: str) -> None:
        nonlocal clicks
        clicks += 1
        place.click()
        seconds[what] = round(time.monotonic() - began, 1)

    click(page.get_by_role("link", name="Try yours"), "Try yours")
    with page.expect_file_chooser() as chooser:
        click(page.locator("[data-testid=stFileUploaderDropzone] button"), "Upload")
    chooser.value.set_files(given)
    tab.player()
    seconds["picture"] = round(time.monotonic() - began, 1)
    tab.settled()
    seconds["words"] = round(time.monotonic() - began, 1)
    click(page.get_by_role("button", name="Play", exact=True), "Play")
    tab.until(lambda: tab.position() > 0.3, "the sound does not move")
    with page.expect_download() as waiting:
        click(page.get_by_role("button", name="Report (HTML)"), "Report")
        text = Path(waiting.value.path()).read_text(encoding="utf-8")
    seconds["saved"] = round(time.monotonic() - began, 1)
    print(f"{clicks} clicks from sound to report, s since the first: {seconds}")
    assert clicks <= 5
    assert "good" in text
    assert "not a medical device" in text
    if not busy():
        assert seconds["saved"] < 30


MEMO = """
async (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const context = new AudioContext(), out = context.createMediaStreamDestination();
  const source = context.createBufferSource();
  source.buffer = await context.decodeAudioData(bytes.buffer);
  source.connect(out);
  const kinds = ["audio/webm", "audio/mp4"].filter((kind) => MediaRecorder.isTypeSupported(kind));
  const made = kinds.map((kind) => new Promise((done) => {
    const recorder = new MediaRecorder(out.stream, { mimeType: kind }), parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = async () => {
      const found = new Uint8Array(await new Blob(parts).arrayBuffer());
      done([kind, btoa(Array.from(found, (b) => String.fromCharCode(b)).join(""))]);
    };
    recorder.start();
    source.addEventListener("ended", () => recorder.stop());
  }));
  source.start();
  return Object.fromEntries(await Promise.all(made));
}
"""


def test_voice_memos_are_read_by_the_browser_or_answered_in_words(tab: Tab) -> None:
    page = tab.open("try-yours")
    bring = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    bring.wait_for(state="attached")
    voice = base64.b64encode(files(tab.server.folder)["good.wav"].read_bytes()).decode()
    memos = page.evaluate(MEMO, voice)
    assert "audio/webm" in memos
    drawn = ""
    for kind, content in memos.items():
        name = f"memo.{'webm' if kind.endswith('webm') else 'm4a'}"
        memo = base64.b64decode(content)
        bring.set_input_files({"name": name, "mimeType": kind, "buffer": memo})
        tab.until(
            lambda drawn=drawn: page.locator(".player[data-drawn]").count() == 1 and tab.value("drawn") != drawn,
            name,
            60,
        )
        drawn = tab.value("drawn")
        tab.settled()
        assert page.locator(".sx-verdict .who").inner_text() == "memo.wav"
        end = float(tab.value("view").split()[1])
        assert end == pytest.approx(4.0, abs=0.3), name
    cut = b"\0\0\0\x1cftypM4A " + bytes(99)
    bring.set_input_files({"name": "cut memo.m4a", "mimeType": "audio/mp4", "buffer": cut})
    alert = page.locator("[data-testid=stAlertContentError]")
    alert.wait_for()
    assert alert.inner_text().removeprefix("error").strip() == (
        "cut memo.m4a: this kind of recording can be read neither by this computer nor by your browser. Share or export"
        " it as WAV or MP3 where it was made, or record again with the microphone on this page."
    )
    assert not tab.errors


def test_leaving_with_an_unsaved_recording_is_asked_about(tab: Tab) -> None:
    page = tab.open("try-yours")
    asked: list[str] = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)

    def leaves() -> bool:
        """Try to close the page; a browser asks only after a person did something on it."""
        page.locator("h1").first.click()
        before = len(asked)
        page.evaluate("setTimeout(() => location.reload(), 0)")
        page.wait_for_timeout(1_500)
        return len(asked) == before

    page.locator("[data-testid=stFileUploaderDropzoneInput]").set_input_files(files(tab.server.folder)["good.wav"])
    tab.player()
    tab.settled()
    assert not leaves()
    page.get_by_role("link", name="About").click()  # the recording is still in memory
    page.get_by_role("heading", name=PAGES["about"]).wait_for()
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    assert not leaves()
    page.get_by_role("link", name="Try yours").click()
    tab.player()
    tab.settled()
    page.get_by_text("Save this case on this computer").click()
    page.get_by_label("Folder").fill(str(tab.server.folder / "asked"))
    page.get_by_label("Folder").press("Enter")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved in").wait_for()
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    assert set(asked) == {"beforeunload"}
    assert leaves()


def test_microphone(tab: Tab) -> None:
    page = tab.open("try-yours")
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2_500)
    page.get_by_role("button", name="Stop recording", exact=True).click()
    page.get_by_text(re.compile("Recording check")).wait_for()
    assert page.locator("[data-testid=stException]").count() == 0


def test_deep_link_and_wrong_link(tab: Tab) -> None:
    page = tab.open("?recording=ten-seconds&recipe=union(saliency, gradcam)")
    tab.player()
    assert page.locator(".player").get_attribute("aria-label").endswith("ten-seconds")
    assert (
        page.get_by_role("combobox", name=re.compile("Explained by")).input_value()
        == "union(saliency, gradcam): where any of them marks"
    )
    tab.settled()
    tab.open("?recording=nobody&recipe=wrong")
    page.get_by_text("The link names the recording 'nobody', which is not here. Nothing is shown").wait_for()
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    assert page.locator(".player").count() == 0  # another person's recording is not what was linked to
    assert str(tab.server.folder) not in page.url


def test_the_next_recording_and_its_name_over_the_answer(tab: Tab) -> None:
    page = tab.open("?recording=ten-seconds")
    tab.player()
    assert page.locator(".sx-verdict .who").inner_text() == "ten-seconds"
    page.get_by_role("button", name="›").click()
    page.locator(".sx-verdict .who").get_by_text("three-minutes").wait_for()
    page.get_by_role("button", name="‹").click()
    page.locator(".sx-verdict .who").get_by_text("ten-seconds").wait_for()
    assert "recording=ten-seconds" in page.url
    assert str(tab.server.folder) not in page.url  # models stand in the address by name


def test_no_class_outside_of_what_a_model_was_made_for(tab: Tab) -> None:
    for path in ("", "compare"):
        page = tab.open(f"{path}?recording=ten-seconds&model=figshare-cnn")
        page.get_by_text("No class", exact=True).wait_for()
        card = page.locator(".sx-verdict").inner_text()
        assert re.search("The model learned from vowel-a, and this is reading.", card)
        assert not re.search("Parkinson|Healthy control", card)
        # what the model was made for stands where its answer would be missed
        asked = page.get_by_text("What to record for this model").locator("..").inner_text()
        assert "Hold an /a/ on one breath" in asked
        assert not page.locator(".player").count()
        assert not violations(page)


def elsewhere(tab: Tab) -> list[str]:
    """Everything on a page that would lead to another address, and every request that went there."""
    found = tab.page.evaluate(
        "[...document.querySelectorAll('[href], [src], [srcset], [action]')].flatMap(e => ['href', 'src', 'srcset',"
        " 'action'].map(n => e.getAttribute(n))).filter(u => u && /evil|^mailto|^(https?:)?\\/\\//.test(u))"
    )
    own = (tab.server.url, "blob:", "data:")
    return [u for u in found if not u.startswith(own)] + [u for u in tab.requests if not u.startswith(own)]


def test_text_from_outside_stays_text(tab: Tab) -> None:
    line = HOSTILE.splitlines()[0]
    page = tab.open("about")
    page.get_by_text("Random weights.").wait_for()
    assert page.get_by_text("http://evil.example/5").count(), "the card is shown"
    assert page.locator(".sx-card-text table td").count() == 2
    assert elsewhere(tab) == []
    for wanted in ("recording", "model"):
        page = tab.open(f"?{wanted}={quote(line)}")
        page.locator("[data-testid=stAlert]").first.wait_for()
        assert "evil.example" in page.locator("[data-testid=stAlert]").first.inner_text()
        assert elsewhere(tab) == []
    page = tab.open(f"?recipe={quote(line)}")
    tab.player()
    page.locator("[data-testid=stToast]").first.wait_for()
    assert "evil.example" in page.locator("[data-testid=stToast]").first.inner_text()
    assert elsewhere(tab) == []
    page = tab.open("try-yours")
    upload = {"name": f"{line[:100].replace('/', ':')}.wav", "mimeType": "audio/wav", "buffer": b"no sound"}
    page.locator("[data-testid=stFileUploaderDropzoneInput]").set_input_files(upload)
    page.locator("[data-testid=stAlert]").first.wait_for()
    assert elsewhere(tab) == []


def test_three_minutes(tab: Tab) -> None:
    page = tab.open("?recording=three-minutes&recipe=energy_map")
    page.locator(".player[data-drawn]").wait_for(timeout=4 * SLOW_MS)
    page.locator(".seat").focus()
    page.keyboard.press("End")
    assert tab.position() == pytest.approx(180, abs=0.1)
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    tab.until(lambda: tab.position() > 0.3, "three minutes do not play")


def test_two_sessions_do_not_disturb_each_other(browser: Any, server: Server, tab: Tab) -> None:
    other = Tab(browser, server)
    try:
        tab.open("?recording=ten-seconds&recipe=smoothgrad")
        other.open("?recording=chirp&recipe=guided_backprop")
        for one, title in ((tab, "ten-seconds"), (other, "chirp")):
            one.player()
            one.settled()
            assert one.page.locator(".player").get_attribute("aria-label").endswith(title)
            assert not one.errors
    finally:
        other.close()


def test_long_work_can_be_stopped(tab: Tab) -> None:
    page = tab.open("?recording=ten-seconds&recipe=occlusion")
    stop = page.get_by_role("button", name="Stop", exact=True)
    stop.wait_for()
    stop.click()
    page.get_by_text(re.compile(r"Explaining by occlusion: stopped")).wait_for()
    page.get_by_role("button", name="Go on").wait_for()
    tab.open("?recording=ten-seconds&recipe=saliency")
    tab.player()


def test_sound_and_pictures_lie_at_no_address(shared: Tab) -> None:
    media = [u for u in shared.requests if u.startswith(f"{shared.server.url}/media/") and not u.endswith(".svg")]
    assert not media
    heavy = shared.page.evaluate(
        "performance.getEntriesByType('resource').filter((r) => /\\.(wav|png|mp3|ogg|bin)(\\?|$)/.test(r.name) &&"
        " !r.name.includes('favicon')).map((r) => r.name)"
    )
    assert heavy == []


def test_cohort_leads_to_a_recording(tab: Tab) -> None:
    page = tab.open("cohort")
    page.get_by_text("Answers and labels").wait_for()
    page.get_by_text(re.compile(r"finds \d+ of \d+ ")).first.wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Table (CSV)").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert len(lines) == 16
    assert lines[0].startswith("recording,labeled,model says,P(PD),right")


def test_benchmark_shows_the_truth_cue_by_cue_and_what_maps_know(tab: Tab) -> None:
    page = tab.open("benchmark")
    page.get_by_role("heading", name="What do the maps alone know?").wait_for()
    page.get_by_text("6 recordings of 6 speakers (3 HC, 3 PD); 3 folds by speaker").wait_for()
    study = page.locator("table.sx-table", has_text="⚠ leaky folds: AUROC")
    assert [row.split("\t")[0].split("\n")[0] for row in study.locator("tbody tr").all_inner_texts()] == [
        "saliency",
        "random map",
        "energy map",
        "shuffled labels",
        "the larger class",
        "the classifier's answer",
        "the spectrogram itself",
    ]
    tab.choose("Run", "truth")
    page.get_by_role("heading", name="Which score would have told so?").wait_for()
    page.get_by_text("integrated gradients points at the truth best, 0.70").wait_for()
    page.get_by_text("3 of 6 tests count. Not judged, because the network did not learn to hear the cue").wait_for()
    heat = page.locator("table.sx-table", has_text="mean of the columns").first
    assert "the truth itself" in heat.inner_text()
    assert page.get_by_text("excluded: AUC within folds 0.700 is under 0.90").first.is_visible()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Leaderboard (Markdown)").click()
    assert "Leaderboard: relevance_rank" in Path(waiting.value.path()).read_text(encoding="utf-8")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), "the page scrolls sideways"


def test_server_listens_on_this_computer_only(server: Server) -> None:
    import socket

    port = int(server.url.rsplit(":", 1)[1])
    try:
        addresses = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        addresses = set()
    for address in addresses - {"127.0.0.1", "127.0.1.1"}:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, port)) != 0, f"the app answers on {address}"
    log = (server.folder / "server.log").read_text(errors="replace")
    assert "Traceback" not in log


def test_words_and_sounds_follow_the_threshold(shared: Tab) -> None:
    page = shared.page
    page.locator(".seat").focus()
    for key in ("Home", *["Shift+ArrowRight"] * 3, "[", *["Shift+ArrowRight"] * 5, "]"):
        page.keyboard.press(key)
    said = page.locator(".status").inner_text()
    assert page.locator(".share").inner_text() == "20 %"
    for _ in range(4):
        page.keyboard.press(",")
    assert page.locator(".share").inner_text() == "1 % (sound: 20 %)"  # kept and removed are of the strongest fifth
    assert page.locator(".status").inner_text() != said
    for _ in range(4):
        page.keyboard.press(".")
    assert page.locator(".status").inner_text() == said
    page.keyboard.press("Escape")


def colors(page: Any) -> list[int]:
    """What lies over the picture in its middle, where no edge of a region is: the sum of every channel."""
    return page.evaluate(
        f"""() => {{ const glass = {PLAYER}.querySelector('.glass'), r = glass.width / glass.clientWidth;
          const d = glass.getContext('2d').getImageData(300 * r, 150 * r, 200 * r, 60 * r).data, sums = [0, 0, 0, 0];
          d.forEach((v, i) => {{ sums[i % 4] += v; }}); return sums; }}"""
    )


def test_nothing_lies_over_the_picture_of_a_region(shared: Tab) -> None:
    page = shared.page
    page.locator(".seat").focus()
    for key in ("Home", "Shift+ArrowRight", "[", "Shift+ArrowRight", "Shift+ArrowRight", "]", "m", "z", "m", "Home"):
        page.keyboard.press(key)
    assert shared.value("region").startswith("0.500 1.500")
    assert shared.value("view") == "0.000 1.000"  # Home turned the page
    page.keyboard.press("z")
    assert shared.value("view") == "0.500 1.500"
    assert colors(page) == [0, 0, 0, 0]
    for key in ("Delete", "Escape", "0"):
        page.keyboard.press(key)
    assert shared.value("notes") == "0"


def test_half_speed_and_volume(tab: Tab) -> None:
    page = tab.open("?recording=chirp")
    tab.player()
    tab.settled()
    page.get_by_role("button", name="Half speed").click()
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position() > 0.2, "it does not play at half speed")
    at, began = tab.position(), time.monotonic()
    page.wait_for_timeout(1_500)
    passed = (tab.position() - at) / (time.monotonic() - began)
    assert passed == pytest.approx(0.5, abs=0.12)
    page.locator(".volume").fill("0")
    page.wait_for_timeout(300)
    peak = page.evaluate(
        "() => { const ear = window.__ear, d = new Float32Array(ear.fftSize); ear.getFloatTimeDomainData(d);"
        " return Math.max(...d.map(Math.abs)); }"
    )
    assert peak < 1e-3


TIERS = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n10\n<exists>\n2\n"IntervalTier"\n"words"\n0\n10\n3\n'
    '0\n2\n""\n2\n4\n"frase"\n4\n10\n""\n"TextTier"\n"bursts"\n0\n10\n2\n1\n"ka"\n3\n"pa"\n'
)


def test_segments_of_praat_are_shown_and_selected(tab: Tab) -> None:
    page = tab.open("?recording=ten-seconds")
    tab.player()
    tab.settled()
    page.get_by_role("button", name=re.compile("^Segments")).click()
    bring = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    bring.wait_for(state="attached")
    collection = {"name": "x.TextGrid", "mimeType": "text/plain", "buffer": b"ooBinaryFile\x05Sound"}
    bring.set_input_files(collection)
    page.get_by_text("The file is a binary file of Praat, but no TextGrid").wait_for()
    drawn = tab.value("drawn")
    bring.set_input_files({"name": "y.TextGrid", "mimeType": "text/plain", "buffer": TIERS.encode()})
    tab.until(lambda: tab.value("drawn") != drawn, "the tiers are not drawn")
    page.keyboard.press("Escape")
    tab.settled()
    box = page.locator(".seat").bounding_box()
    left, right = 58, box["width"] - 8 - 150
    bursts = box["height"] - 35 - 4 - 10  # the last track lies above the time axis and the bar of the view
    x = left + 0.25 * (right - left)
    page.locator(".seat").click(position={"x": x, "y": bursts - 24})
    assert tab.value("region") == "2.000 4.000  "
    page.locator(".seat").hover(position={"x": left + 0.3 * (right - left), "y": bursts})
    assert page.locator(".readout").inner_text().startswith("bursts: pa")
    before = int(tab.value("notes"))  # an earlier test may have left some on this recording
    page.keyboard.press("m")
    tab.until(lambda: int(tab.value("notes")) == before + 1, "the interval is not kept")


def test_notes_stay_across_pages_and_are_deleted_in_one_click(tab: Tab) -> None:
    folder = tab.server.folder / "cases" / "notes"
    shutil.rmtree(folder, ignore_errors=True)  # what was noted before on the same server
    page = tab.open("?recording=ten-seconds")
    tab.player()
    tab.settled()
    page.locator(".seat").focus()
    for key in ("Home", "[", "Shift+ArrowRight", "]", "b", "m"):
        page.keyboard.press(key)
    name = page.get_by_role("textbox", name="Name")
    name.wait_for()
    assert name.input_value() == "region 1"
    assert len(list(folder.iterdir())) == 1
    page.get_by_text(str(folder)).first.wait_for()
    name.fill("hard onset")
    name.press("Enter")
    page.get_by_role("radio", name="hard onset").or_(page.get_by_role("button", name="hard onset")).first.wait_for()
    tab.settled()
    page.get_by_role("link", name="Compare").click()
    tab.player()
    tab.until(lambda: tab.value("notes") == "1", "the note is not there on another page", 60)
    page.locator(".seat").first.focus()
    page.keyboard.press("n")
    assert tab.value("region") == "0.000 0.500 0.000 1000.000"
    assert page.locator(".live").first.inner_text().startswith("hard onset")
    tab.open("?recording=ten-seconds")  # another day
    tab.player()
    tab.settled()
    tab.until(lambda: tab.value("notes") == "1", "the note is not there another day")
    page.get_by_role("button", name="Delete all notes").click()
    tab.until(lambda: tab.value("notes") == "0", "the note is still drawn")
    assert not folder.exists()
    assert not list((tab.server.folder / "cache").rglob("*notes*"))
