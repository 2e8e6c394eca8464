"""The app's parts without a browser: TextGrid, caches, settings, tables, level matching, the command."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app import boards, charts, sources, widgets
from app.hosts import KnownHostsOnly
from app.sources import Disk, Memory
from speechxai.files import cache_folder
from speechxai.inspection.report import caveats, file_name, write_audacity

ROOT = Path(__file__).resolve().parents[2]


def test_audacity_labels() -> None:
    assert write_audacity([(1.0, 2.0, "b\tc"), (0.0, 0.5, "a")]) == "0.000000\t0.500000\ta\n1.000000\t2.000000\tb c\n"


def test_memory_forgets_the_oldest() -> None:
    memory = Memory(2)
    memory.put(("a",), 1)
    memory.put(("b",), 2)
    memory.get(("a",))
    memory.put(("c",), 3)
    assert memory.get(("b",)) is None
    assert memory.get(("a",)) == 1


def test_disk_survives_a_restart_and_a_damaged_file(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    Disk(tmp_path / "maps").put("x", values, {"p": 0.5})
    found = Disk(tmp_path / "maps").get("x")
    assert found is not None
    np.testing.assert_array_equal(found[0], values)
    assert found[1] == {"p": 0.5}
    (tmp_path / "maps" / "x.npz").write_bytes(b"damaged")
    assert Disk(tmp_path / "maps").get("x") is None
    assert Disk(None).get("x") is None
    Disk(None).put("x", values, {})


def test_a_verdict_that_lay_on_disk_is_the_one_that_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import state
    from speechxai.inspection.words import Verdict

    found = Verdict(1.0, (0.5, 0.25), energy=0.75, edges=0.125, in_time=(0.3, 0.2), of="the answer")
    heard = SimpleNamespace(digest="d", class_names=("HC", "PD"), predicted=1)
    asked: list[str] = []
    monkeypatch.setattr(state, "heard", lambda *given: heard)
    monkeypatch.setattr(state, "disk", lambda: Disk(tmp_path))
    monkeypatch.setattr(state, "_store", lambda key: Memory(2))
    monkeypatch.setattr(state, "bundle_and_lock", lambda model: (None, None))
    monkeypatch.setattr(state.inspect, "judge", lambda *given, **more: found)
    monkeypatch.setattr(state, "explained", lambda *given: (asked.append("map"), {"saliency": object()})[1])
    for _ in range(2):
        again = state.verdict("m", ("catalogue", "r"), "saliency")
        assert (again.fall, again.energy, again.edges) == (1.0, 0.75, 0.125)
        assert (again.copies, again.in_time, again.of) == ((0.5, 0.25), (0.3, 0.2), "the answer")
    assert asked == ["map"]  # once: then it lay on disk


def test_disk_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr("app.sources.MAX_DISK_BYTES", 5_000)
    disk = Disk(tmp_path)
    noise = np.random.default_rng(0).random((30, 30)).astype(np.float16)  # about 2 kB each
    for index in range(4):
        disk.put(f"m{index}", noise + np.float16(index), {})
        os.utime(tmp_path / f"m{index}.npz", (index + 1, index + 1))
    disk.put("last", noise, {})
    assert disk.get("m0") is None
    assert disk.get("last") is not None
    assert not list(tmp_path.glob(".*.part"))


def test_disk_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    disk = Disk(tmp_path / "file")
    disk.put("x", np.zeros(1), {})
    assert disk.get("x") is None


def test_settings_read_what_the_command_hands_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = sources.parse(
        ["--data", "figshare-voice", "--root", "/x", "--run", "a", "--run", "b", "--model", "m", "--no-cache"]
    )
    assert found == sources.Settings("figshare-voice", "/x", ("a", "b"), ("m",), found.save_to, False)
    assert sources.parse([]).data == "synthetic"
    assert sources.parse(["--import", "one", "--import", "two"]).imports == ("one", "two")
    monkeypatch.setenv("SPEECHXAI_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_names_of_files_are_safe() -> None:
    assert file_name("synthetic/s 1.TextGrid") == "synthetic_s_1.TextGrid"
    assert file_name("../../etc/passwd.wav") == "etc_passwd.wav"
    assert file_name("ñandú.html") == "nandu.html"


def test_command_hands_every_setting_over() -> None:
    from speechxai.commands import app as command

    words = command.command(["--data", "synthetic"], 8_765, "127.0.0.1", False)
    assert "--browser.gatherUsageStats=false" in words
    assert "--server.enableXsrfProtection=true" in words
    assert "--server.address=127.0.0.1" in words
    assert "--server.port=8765" in words
    assert "--server.headless=true" in words
    assert words[words.index("--") + 1 :] == ["--data", "synthetic"]
    stated = tomllib.loads((ROOT / "app" / ".streamlit" / "config.toml").read_text())
    n_flags = sum(len(section) for section in stated.values())
    assert sum(w.startswith("--") and w != "--" and "=" in w for w in words) == n_flags + 1  # the port


def board(low: float, p: float, n_speakers: int = 9) -> pd.DataFrame:
    row = {"metric": "faithfulness", "mean": 0.3, "low": 0.2, "high": 0.4, "n_speakers": n_speakers}
    names = ("random_map", "energy_map", "edge_map")
    method = {"recipe": "saliency", **row}
    for name in names:
        method |= {f"vs_{name}": 0.2, f"vs_{name}_low": 0.1, f"vs_{name}_high": 0.3, f"vs_{name}_p": 0.01}
    method |= {"vs_edge_map_low": low, "vs_edge_map_p": p}
    controls = [{"recipe": name, **row, "mean": 0.1} for name in names]
    return boards.leaderboard(pd.DataFrame([*controls, method]), "faithfulness")


def test_benchmark_verdict_follows_the_interval_and_p_of_every_control() -> None:
    good = board(0.1, 0.01)
    assert good["recipe"].tolist() == ["saliency", "random_map", "energy_map", "edge_map"]
    said = boards.verdict(good, "faithfulness")
    assert "over 9 speakers, 1 of 1 methods are better than every map that knows nothing of the model" in said
    assert "(random map, energy map, edge map): saliency." in said
    for low, p in ((-0.1, 0.01), (0.1, 0.2)):
        said = boards.verdict(board(low, p), "faithfulness")
        assert "no method is better" in said
        assert "Not enough speakers" not in said
    assert "Not enough speakers to test: with 4 of them" in boards.verdict(board(0.1, 0.2, 4), "faithfulness")
    assert boards.best_is_low("sufficiency@20")
    assert not boards.best_is_low("faithfulness")


def test_confusion_has_a_row_a_label_and_a_column_an_answer() -> None:
    # Of four HC one is called PD; of five PD two are called HC.
    shown = charts.confusion(("HC", "PD"), np.array([[3, 1], [2, 3]]), np.array([[0.75, 0.25], [0.4, np.nan]]))
    text = [part.strip() for part in re.split(r"<[^>]*>", shown[shown.index("<thead") :]) if part.strip()]
    assert text == [
        *("says HC", "says PD"),
        *("labeled HC", "3", "75 %", "1", "25 %"),
        *("labeled PD", "2", "40 %", "3", "–"),
    ]


def test_caveats_come_from_the_card() -> None:
    card = (
        "# m\n\nText.\n\n## Results\n\n- good\n\n## Caveats\n\n- **Telephone** only,\n  8 kHz\n- see"
        " [paper](http://x)\n\n## More\n- no"
    )
    assert caveats(card) == ["Telephone only, 8 kHz", "see paper"]
    assert caveats("") == []


def test_level_matching_by_hand() -> None:
    from speechxai.inspection import inspect

    original = np.tile([0.5, -0.5], 100).astype(np.float32)
    quiet, gain_db = inspect.matched(original / 10, original)
    np.testing.assert_allclose(quiet, original, rtol=1e-5)
    assert gain_db == pytest.approx(20.0, abs=1e-3)
    spiky = np.zeros(200, np.float32)
    spiky[0] = 0.5
    loud, _ = inspect.matched(spiky, original)
    assert np.abs(loud).max() == pytest.approx(0.99, abs=1e-5)  # full scale is the limit
    faint, limit_db = inspect.matched(original * 1e-6, original)
    assert limit_db == pytest.approx(inspect.MAX_GAIN_DB)
    assert inspect.matched(np.zeros(4, np.float32), original[:4])[1] == 0.0
    assert np.isfinite(faint).all()


def test_one_reader_at_a_time_holds_a_model() -> None:
    import torch

    from speechxai.inspection import inspect

    model, lock, waited = torch.nn.Identity(), threading.RLock(), []
    started = threading.Event()

    def second() -> None:
        started.set()
        with inspect.ticking(model, lock, lambda: waited.append(1)):
            pass

    with inspect.ticking(model, lock, None):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        thread.join(0.6)
        assert thread.is_alive()
        model(torch.zeros(1))  # a pass of this thread ticks nobody else
    thread.join(5)
    assert not thread.is_alive()
    assert 1 <= len(waited) <= 10
    assert not model._forward_pre_hooks


def test_stopping_work_leaves_no_hook_and_frees_the_model() -> None:
    import torch

    from speechxai.inspection import inspect

    class Stop(BaseException):
        pass

    def stop() -> None:
        raise Stop

    model, lock = torch.nn.Identity(), threading.RLock()
    with pytest.raises(Stop), inspect.ticking(model, lock, stop):
        model(torch.zeros(1))
    assert not model._forward_pre_hooks
    assert lock.acquire(blocking=False)


def test_theme_and_safety_are_stated() -> None:
    stated = tomllib.loads((ROOT / "app" / ".streamlit" / "config.toml").read_text())
    assert stated["browser"]["gatherUsageStats"] is False
    assert stated["server"]["address"] == "127.0.0.1"
    assert stated["server"]["enableXsrfProtection"] is True
    assert json.dumps(stated)  # nothing but plain values


def test_leaving_out_a_fifth_of_a_long_recording_by_hand() -> None:
    import torch

    from speechxai import Classifier, spectrogram
    from speechxai.inspection import inspect
    from speechxai.signal.stft import SegmentConfig
    from speechxai.types import StftConfig

    class Loudness(torch.nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.zeros(len(magnitude)), magnitude.mean(dim=(1, 2))], dim=1)

    waveform = 0.1 * torch.randn(1, 160_000, generator=torch.Generator().manual_seed(0))
    waveform[:, :32_000] *= 8  # the first fifth is loud, so leaving it out lowers the logit most
    spec = spectrogram(waveform)
    for segment in (SegmentConfig(0.5, 0.5), SegmentConfig(5.0, 5.0)):  # 20 segments: by segments; 2: by cutting
        found = inspect._without_fifths(Classifier(Loudness(), StftConfig(), segment), spec)
        assert found is not None
        assert found.shape == (5, 2)
        assert found[:, 1].argmin() == 0
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert inspect._without_fifths(Classifier(Loudness()), spectrogram(waveform[:, :4_000])) is None


def test_modules_of_the_app_import_each_other_in_one_direction() -> None:
    import ast
    from graphlib import TopologicalSorter

    folder = ROOT / "app"
    graph = {}
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ]
        used = set()
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.module == "app":
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app."):
                used.add(str(node.module).split(".")[1])
        graph[path.stem] = used
    assert set().union(*graph.values()) <= set(graph), "a module that is not there is imported"
    TopologicalSorter(graph).prepare()  # raises where modules import each other in a circle


def test_kept_and_removed_sounds_are_what_their_bins_sound_like() -> None:
    from types import SimpleNamespace

    import torch

    from speechxai import spectrogram
    from speechxai.inspection import inspect
    from speechxai.signal.stft import inverse

    waveform = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    spec = spectrogram(waveform)
    bins = np.asarray(np.random.default_rng(0).random(spec.magnitude.shape[1:]) < 0.2)
    whole = inspect._sound(spec, spec.magnitude)
    kept, removed = inspect.halves(SimpleNamespace(spec=spec, sound=whole), bins)  # type: ignore[arg-type]
    rest = torch.from_numpy(~bins).to(spec.magnitude)[None]
    direct = inverse(spec.magnitude * rest, spec.phase, spec.stft, spec.n_samples)[0].numpy()
    np.testing.assert_allclose(removed, direct, atol=1e-5)
    np.testing.assert_allclose(kept + removed, waveform[0].numpy(), atol=1e-4)
    assert np.abs(kept).max() > 1e-3


def test_a_file_is_made_for_the_click_that_asked_only() -> None:
    import struct

    from app import widgets

    for turn, content in (("", b""), ("17", b"text")):
        found = widgets.block("Table (CSV)", "a b.csv", "text/csv", turn, content)
        (length,) = struct.unpack_from("<I", found)
        header = json.loads(found[4 : 4 + length])
        assert header == {"label": "Table (CSV)", "name": "a_b.csv", "type": "text/csv", "turn": turn}
        assert found[4 + length :] == content


@pytest.mark.parametrize("kind", ["model", "recording"])
def test_options_of_the_same_words_are_told_apart(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A select box takes two options of the same words for one, and answers for the first: another model's answer."""
    seen: dict[str, Any] = {}

    def selectbox(label: str, options: list[str], index: int, format_func: Any, **rest: Any) -> str:
        seen.update({option: format_func(option) for option in options})
        return options[index]

    monkeypatch.setattr(widgets.st, "selectbox", selectbox)
    monkeypatch.setattr(widgets.st, "query_params", {})
    monkeypatch.setattr(widgets.st, "session_state", {})
    words = {"synthetic-cnn": "A model", "runs/again": "A model", "other": "Another"}
    widgets.choose("Choice", kind, list(words), words.__getitem__)
    assert seen == {
        "synthetic-cnn": "A model (synthetic-cnn)",
        "runs/again": "A model (runs/again)",
        "other": "Another",
    }


def test_text_from_outside_has_no_marks() -> None:
    shown = widgets.plain("![x](http://a.b) www.c me@d :red[e] *f*")
    # Every mark is escaped, and an invisible joiner breaks what would become a link by itself.
    assert shown.replace("\u2060", "|") == r"\!\[x\]\(http|\:\/\/a\.b\) www|\.c me|\@d \:red\[e\] \*f\*"
    assert widgets.plain("Ünï 12 dB") == "Ünï 12 dB"


@pytest.mark.parametrize(
    "hostile",
    ["![a](http://e/1)", "[a](http://e/1)", "<http://e/1>", "<img src=http://e/1>", "![a][r]\n\n[r]: http://e/1"],
)
def test_a_card_has_no_pictures_and_no_links(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(widgets, "show_html", shown.append)
    widgets.card(f"# Title\n\n{hostile}\n\n| a |\n|---|\n| b |\n")
    assert not re.search(r"<(img|a)\b", shown[0])
    assert "<h1>Title</h1>" in shown[0]
    assert "<td>b</td>" in shown[0]


def test_pages_may_load_from_their_own_address_only() -> None:
    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", b"localhost:1")], "server": ("127.0.0.1", 1)}
    asyncio.run(KnownHostsOnly(behind)(scope, None, send))  # type: ignore[arg-type]
    headers = dict(sent[0]["headers"])
    assert headers[b"x"] == b"y"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]


def _waits() -> None:
    import streamlit as st

    from app import widgets

    for label, at_once in (("a moment", False), ("long work", True)):
        with widgets.working(label, label, at_once):
            if at_once:
                st.stop()  # what a reader sees while the first step is made


def test_work_whose_first_step_is_long_shows_itself_at_once() -> None:
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_function(_waits, default_timeout=60).run()
    assert not page.exception
    assert [button.label for button in page.button] == ["Stop"]
