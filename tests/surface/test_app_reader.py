"""The reader's screen in a browser: three scripted readers finish a study, one with the keyboard alone, one killed."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from app_server import CHROMIUM, FLAGS, SLOW_MS, started  # noqa: E402

from speechxai.readers import design  # noqa: E402
from speechxai.readers.material import prepare  # noqa: E402
from speechxai.readers.store import Store, readings  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ACTIVE = """() => {
  let found = document.activeElement;
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  return found ? { tag: found.tagName, name: found.name ?? "", type: found.type ?? "", words: found.className,
    set: found.closest("fieldset")?.dataset.name ?? "" } : {};
}"""
WATCH = """
window.__pressed = [];
window.__shown = {};
document.addEventListener("click", (event) => {
  const button = event.composedPath().find((e) => e.matches?.("button.go, button.play, button.pause, button.resume"));
  if (button) window.__pressed.push([button.className, performance.now()]);
}, true);
const look = () => {
  for (const host of document.querySelectorAll("*")) {
    const token = host.shadowRoot?.querySelector(".reader")?.dataset.token;
    if (token && !(token in window.__shown)) window.__shown[token] = performance.now();
  }
  setTimeout(look, 20);
};
look();
"""
"""A clock of the test's own: when pages showed and buttons were pressed."""

INSIDE = "() => [...document.querySelectorAll('*')].map((e) => e.shadowRoot?.innerHTML ?? '').join()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four cases and one for training, prepared."""
    place = tmp_path_factory.mktemp("study")
    text = design.template(demo=True)
    for name, value in (("n", 4), ("training", 1), ("sitting", 4), ("attention_checks", 0), ("scales", "false")):
        lines = [f"{name} = {value}" if line.startswith(f"{name} =") else line for line in text.splitlines()]
        text = "\n".join(lines)
    (place / "study.toml").write_text(text)
    study, store = design.load(place / "study.toml"), Store(place / "study.sqlite")
    store.begin(study)
    prepare(study, store)
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Seat:
    """One reader before the screen, with everything that went over the network."""

    def __init__(self, browser: Any, url: str, code: str, width: int = 1366, height: int = 768) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW_MS)
        self.page.add_init_script(WATCH)
        self.url, self.code = url, code
        self.requests: list[str] = []
        self.frames: list[bytes] = []
        self.errors: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("websocket", lambda s: s.on("framereceived", lambda data: self.frames.append(_bytes(data))))

    def open(self) -> str:
        self.page.goto(f"{self.url}/?reader={self.code}")
        return self.token()

    def token(self, other: str = "") -> str:
        """Slot and stage of the page, once it is another."""
        here = self.page.locator(f'.reader[data-token]:not([data-token="{other}"])')
        here.wait_for()
        return str(here.get_attribute("data-token"))

    def choose(self) -> None:
        """Take the first option of every question."""
        for kind in ("radio", "checkbox"):
            for group in self.page.locator(f"fieldset:has(input[type={kind}])").all():
                if group.get_attribute("data-name"):
                    group.locator(f"input[type={kind}]").first.check()

    def go(self, token: str) -> str:
        self.page.locator(".reader .go").click()
        return self.token(token)

    def finish(self, token: str) -> None:
        while token != "-1/end":
            self.choose()
            token = self.go(token)

    def clock(self, token: str) -> tuple[float, list[tuple[str, float]]]:
        """When a page showed, and what was pressed since until the answer, ms, by the test's own clock."""
        shown = float(self.page.evaluate(f"window.__shown['{token}']"))
        pressed = [(str(name), float(at)) for name, at in self.page.evaluate("window.__pressed") if at > shown]
        last = next(k for k, (name, _) in enumerate(pressed) if "go" in name.split())
        return shown, pressed[: last + 1]

    def tab_to(self, **wanted: str) -> None:
        """Press Tab until what has the focus is as wanted."""
        for _ in range(60):
            found = self.page.evaluate(ACTIVE)
            if all(value in found.get(name, "") for name, value in wanted.items()):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab never comes to {wanted}")


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else str(data).encode()


def _violations(page: Any) -> list[str]:
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}" for one in found]


def test_three_readers_finish(folder: Path, browser: Any) -> None:
    study, store = design.load(folder / "study.toml"), Store(folder / "study.sqlite")
    mouse, keys, killed = design.codes(study)[:3]
    with started(folder, "--study", "study.toml") as server:
        # With the mouse: what is counted and timed is what happened.
        one = Seat(browser, server.url, mouse)
        token = one.go(one.go(_agreed(one)))
        assert token == "2/first"
        one.choose()
        for _ in range(2):
            one.page.locator(".player .play").click()
            one.page.wait_for_timeout(600)
            one.page.locator(".player .play").click()
        one.page.get_by_role("button", name="Draw a box").click()
        pad = one.page.locator(".reader .pad").bounding_box()
        one.page.mouse.move(pad["x"] + 200, pad["y"] + 60)
        one.page.mouse.down()
        one.page.mouse.move(pad["x"] + 400, pad["y"] + 160)
        one.page.mouse.up()
        assert one.page.locator(".reader .mark").count() == 1
        second = one.go(token)
        first = store.answers(mouse)[mouse, 2, "first"][0]
        shown, pressed = one.clock(token)
        plays = [at for name, at in pressed if "play" in name.split()]
        assert first["plays"] == len(plays) // 2 == 2
        assert first["played_s"] == pytest.approx((plays[1] - plays[0] + plays[3] - plays[2]) / 1000, abs=0.2)
        assert first["rt_ms"] == pytest.approx(pressed[-1][1] - shown, abs=200)
        ((start, end, low, high),) = first["box"]
        assert 0 < start < end
        assert 0 < low < high
        # A pause is not timed.
        one.page.get_by_role("button", name="Pause").click()
        one.page.wait_for_timeout(1500)
        one.page.get_by_role("button", name="Go on").click()
        one.choose()
        third = one.go(second)
        rested = store.answers(mouse)[mouse, 2, "second"][0]
        shown, pressed = one.clock(second)
        pause, resume = (next(at for name, at in pressed if word in name) for word in ("pause", "resume"))
        assert rested["paused_ms"] == pytest.approx(resume - pause, abs=200)
        assert rested["rt_ms"] == pytest.approx(pressed[-1][1] - shown - (resume - pause), abs=200)
        one.finish(third)
        _nothing_told(one, server.url, store)

        # With the keyboard alone, the code included.
        two = Seat(browser, server.url, keys)
        two.page.goto(server.url)
        two.page.get_by_label("Your code").wait_for()
        two.tab_to(tag="INPUT")
        two.page.keyboard.type(keys)
        two.page.keyboard.press("Enter")
        token = two.token()
        while token != "-1/end":
            names = two.page.locator(".reader fieldset:has(.options input)").evaluate_all(
                "sets => sets.map((set) => set.dataset.name)"
            )
            if token == "3/first":
                two.tab_to(words="play")
                two.page.keyboard.press("Enter")
            for name in names:
                two.tab_to(set=name)
                two.page.keyboard.press("Space")
            if token == "3/first":
                two.tab_to(words="type")
                two.page.keyboard.press("Enter")
                two.page.wait_for_selector(".reader .edges input")
            two.tab_to(words="go")
            two.page.keyboard.press("Enter")
            token = two.token(token)
        assert store.answers(keys)[keys, 3, "first"][0]["plays"] == 1
        assert len(store.answers(keys)[keys, 3, "first"][0]["box"]) == 1
        _nothing_told(two, server.url, store)

        three = Seat(browser, server.url, killed)
        token = three.go(three.go(_agreed(three)))
        three.choose()
        token = three.go(token)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    kept = set(store.answers(killed))
    assert {(killed, 0, "agree"), (killed, 1, "read"), (killed, 2, "first")} == kept
    with started(folder, "--study", "study.toml") as server:
        three.url = server.url
        assert three.open() == token == "2/second"
        three.finish(token)
    table = readings(store, study)
    assert table.groupby("reader").size().to_dict() == {mouse: 4, keys: 4, killed: 4}
    assert not one.errors + two.errors + three.errors


def _agreed(seat: Seat) -> str:
    token = seat.open()
    assert token == "0/agree"
    seat.choose()
    return token


def _nothing_told(seat: Seat, url: str, store: Store) -> None:
    """Nothing was asked of another host, and nothing that tells the truth stood in page, addresses or data."""
    hosts = {request.split("/")[2] for request in seat.requests if "://" in request and request[:5] != "blob:"}
    assert hosts == {url.split("/")[2]}
    words = {str(case.facts[name]) for case in store.cases() for name in ("recording", "speaker")}
    words |= {f'"{case.code}"' for case in store.cases()}
    words |= {name.split("/")[-1] for name in words} | {
        "turned_round",
        "random-network",
        "other-recording",
        "synthetic",
    }
    page = str(seat.page.evaluate(INSIDE)).encode()
    everything = [*seat.frames, *(request.encode() for request in seat.requests), page]
    assert sum(map(len, everything)) > 100_000
    for word in words:
        assert not any(word.encode() in part for part in everything), word


def _whole(page: Any, width: int, height: int) -> None:
    """Beside a recording no clock and no button is cut, and on a laptop the whole case is on the screen."""
    clock = page.locator(".player .clock")
    assert clock.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), "the clock is cut"
    boxes = [clock.bounding_box(), *(b.bounding_box() for b in page.locator(".player .bar button:visible").all())]
    for first, second in itertools.combinations(boxes, 2):
        apart = [first[a] + first[s] <= second[a] + 1 or second[a] + second[s] <= first[a] + 1 for a, s in SIDES]
        assert any(apart), (first, second)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    for name in (".go", ".pause:visible", ".questions", ".sound", "h1"):
        for part in page.locator(f".reader {name}").all():
            box = part.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            if width > height:
                assert box["y"] >= 0, name
                assert box["y"] + box["height"] <= height, name


SIDES = (("x", "width"), ("y", "height"))


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
def test_a_case_is_accessible(folder: Path, browser: Any, width: int, height: int) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    study, store = design.load(folder / "study.toml"), Store(folder / "study.sqlite")
    code = design.codes(study)[3]
    with started(folder, "--study", "study.toml") as server:
        store.forget(code)
        seat = Seat(browser, server.url, code, width, height)
        found = []
        token = _agreed(seat)
        for _ in range(6):
            if seat.page.locator(".reader .sound:not([hidden])").count():
                seat.page.locator(".player[data-drawn]").wait_for()
            time.sleep(0.3)
            found += _violations(seat.page)
            wide = seat.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0
            if seat.page.locator(".reader .sound:not([hidden])").count():
                _whole(seat.page, width, height)
            seat.choose()
            token = seat.go(token)
        assert found == []
