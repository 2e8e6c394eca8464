"""Benchmarks of several networks beside each other: what is said follows from their tables."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from app_server import write_truth

from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.grades import hybrid_table
from speechxai.planted.tables import BASE, Board

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "networks.py"
GROUP = "synthetic/breathiness/1"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("script_networks", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look themselves up
    specification.loader.exec_module(module)
    return module


def lines(values: dict[str, float], networks: int = 9, metric: str = BASE, model: str = GROUP) -> list[dict[str, Any]]:
    """Scores of one recording a network and explanation, the same for every network but for a thousandth."""
    return [
        {
            "recording": f"{model}-{n}",
            "speaker": f"s{n}",
            "model": model,
            "recipe": recipe,
            "metric": metric,
            "value": value + 0.001 * ((n * 7 + k) % 5),
            "network": f"{n // 3}/{n % 3}",
            "seed": n // 3,
        }
        for n in range(networks)
        for k, (recipe, value) in enumerate(values.items())
    ]


def test_tau_is_one_for_one_order_and_minus_one_for_the_other(script: ModuleType) -> None:
    methods = ["saliency", "occlusion", "rise", "gradcam"]
    up = Board(pd.DataFrame(lines(dict(zip(methods, (0.1, 0.2, 0.3, 0.4), strict=True)))))
    down = Board(pd.DataFrame(lines(dict(zip(methods, (0.4, 0.3, 0.2, 0.1), strict=True)))))
    assert script.tau_of(up, up, methods) == (1.0, 1.0, 1.0)
    assert script.tau_of(up, down, methods) == (-1.0, -1.0, -1.0)
    # Two neighbors of four changed: one of six pairs is turned, (5 - 1) / 6.
    near = Board(pd.DataFrame(lines(dict(zip(methods, (0.2, 0.1, 0.3, 0.4), strict=True)))))
    assert script.tau_of(up, near, methods)[0] == pytest.approx(2 / 3)
    # Networks that do not agree leave an interval.
    noise = np.random.default_rng(0)
    table = pd.DataFrame(lines(dict.fromkeys(methods, 0.5)))
    table["value"] = noise.random(len(table))
    _, low, high = script.tau_of(Board(table), up, methods)
    assert low < high


def test_noise_within_a_network_bounds_what_two_can_agree_in(script: ModuleType) -> None:
    """Single seeds, by hand: of one seed turned around, two of three pairs of seeds disagree."""
    methods = ["saliency", "occlusion", "rise", "gradcam"]
    values = dict(zip(methods, (0.1, 0.2, 0.3, 0.4), strict=True))
    table = pd.DataFrame(lines(values))
    up = Board(table)
    assert script.tau_of_seeds(up, up, methods) == 1.0
    table.loc[table["seed"] == 2, "value"] *= -1
    mixed = Board(table)
    assert script.tau_of_seeds(mixed, mixed, methods) == pytest.approx((2 * 1 - 4 * 1) / 6)
    assert script.n_networks(mixed) == 9


def seen(script: ModuleType, network: str, said: list[tuple[str, str, str]]) -> Any:
    """A network on which statements (first, second, sign) hold by every way."""
    one = script.Seen(network, ())
    rows = []
    for first, second, sign in said:
        ways = {s: "4 of 4" if s == sign else "1 of 4" for s in ("added", "removed")}
        rows.append(
            {
                "model": GROUP,
                "first": first,
                "second": second,
                "decidable": True,
                **{f"says_{s}": w for s, w in ways.items()},
            }
        )
    recipes = ("saliency", "occlusion", "rise", "random_map", "energy_map", "edge_map")
    one.__dict__["scores"] = pd.DataFrame(lines(dict.fromkeys(recipes, 0.5)))
    one._said[(0, 1, 2), recipes[:3]] = script._by_truth(pd.DataFrame(rows))
    return one


def test_what_carries_over_is_counted_truth_by_truth(script: ModuleType) -> None:
    controls = ("random_map", "energy_map", "edge_map")
    above = [("occlusion", control, "added") for control in controls]
    small = seen(script, "cnn", [*above, *(("rise", c, "added") for c in controls)])
    large = seen(script, "whisper", [*above, ("rise", "random_map", "added")])
    text = "\n".join(script.carried({"cnn": small, "whisper": large}, "cnn", "whisper", "synthetic"))
    assert "the same 3 seeds and 3 methods" in text
    assert "Of 2 truths that both can decide (breathiness added, breathiness removed)" in text
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert rows["occlusion"] == "| occlusion | 1 | 1 | 1 | 1 | 1 | 1 | shown on both |"
    assert rows["rise"] == "| rise | 1 | 1 | 1 | 1 | 0 | 0 | not shown again: 1 of 1 |"
    assert rows["saliency"] == "| saliency | 0 | 0 | 0 | 0 | 0 | 0 | – |"
    turned = "\n".join(script.carried({"cnn": large, "whisper": small}, "cnn", "whisper", "synthetic"))
    assert "| rise | 1 | 1 | 1 | 0 | 1 | 0 | –, new: 1 |" in turned
    against = seen(script, "whisper", [*above, *((c, "rise", "added") for c in controls)])
    text = "\n".join(script.carried({"cnn": small, "whisper": against}, "cnn", "whisper", "synthetic"))
    assert "| rise | 1 | 0 | 0 | 1 | 0 | 0 | not shown again: 1 of 1, below a control: 1 |" in text
    assert not list(script.carried({"cnn": small, "whisper": large}, "cnn", "whisper", "librispeech"))


def test_a_hybrid_is_tried_on_a_network_that_it_was_not_made_on(script: ModuleType) -> None:
    """Of two metrics one orders the maps as the truth does on the first network, the other on the second: what was
    chosen on one is wrong on the other."""
    recipes = [f"m{k}" for k in range(6)]
    truth = dict(zip(recipes, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True))
    turned = dict(zip(recipes, (0.6, 0.5, 0.4, 0.3, 0.2, 0.1), strict=True))
    rows = []
    for network in ("cnn", "whisper"):
        for cue in ("breathiness", "monopitch"):
            model = f"{network}: synthetic/{cue}/1"
            good, bad = (truth, turned) if network == "cnn" else (turned, truth)
            rows += lines(truth, metric=BASE, model=model)
            rows += lines(good, metric="insertion_auc", model=model)
            rows += lines(bad, metric="comprehensiveness@20", model=model)
    table = hybrid_table(pd.DataFrame(rows), recipes, lambda one, other: one.split(":")[0] != other.split(":")[0])
    chosen = table[table["hybrid"] == "the best single metric"].set_index("model")
    assert set(chosen.loc[[m for m in chosen.index if m.startswith("cnn")], "made_of"]) == {"comprehensiveness@20"}
    assert set(chosen.loc[[m for m in chosen.index if m.startswith("whisper")], "made_of"]) == {"insertion_auc"}
    assert (chosen["within"] < -0.9).all()
    # Cue by cue the other cue of the same network is known, and the right metric is found.
    own = hybrid_table(pd.DataFrame(rows[: len(rows) // 2]), recipes)
    assert own.empty, "two cues leave one to choose by: too few"


def test_runs_of_two_networks_become_one_page(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = write_truth(tmp_path / "a")
    large = write_truth(tmp_path / "b")
    folder = BenchmarkFolder(large)
    settings = {**folder.config["settings"], "network": "whisper"}
    folder.configure({**folder.config, "settings": settings})
    out = tmp_path / "page.md"
    monkeypatch.setattr(sys, "argv", ["networks.py", str(small), str(large), "--out", str(out)])
    script.main()
    page = out.read_text("utf-8")
    assert "| material, cue | cnn | whisper |" in page
    assert (
        "| synthetic, breathiness | 0.70 [0.70, 0.70]; 0 learned, 3 not | 0.70 [0.70, 0.70]; 0 learned, 3 not |" in page
    )
    assert "| synthetic, tremor | 0.98 [0.98, 0.98] | 0.98 [0.98, 0.98] |" in page
    assert "**synthetic: cnn and whisper**, the same 3 seeds and 2 methods" in page
    assert "Of 1 truths that both can decide (tremor added)" in page
    assert "| integrated_gradients | 1 | 1 | 1 | 1 | 1 | 1 | shown on both |" in page
    assert "2 methods" in page, "no order of two methods"
    assert "No cue has 9 networks of two kinds." in page
    assert "Tried were: cnn 1 truths, 0 shortcuts, no bystander, sanity checks; whisper 1 truths" in page
    (large / "tasks.csv").unlink()  # tables that are missing are made
    monkeypatch.setattr(sys, "argv", ["networks.py", str(small), str(large)])
    script.main()
    printed = capsys.readouterr()
    assert printed.out.strip() == page.strip()
    assert f"{large}: tables" in printed.err
    # The same tasks twice would count twice.
    other = write_truth(tmp_path / "c")
    monkeypatch.setattr(sys, "argv", ["networks.py", str(small), str(other)])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert re.search(r"both hold the task synthetic/\w+/1/0 of cnn: leave one of them away", capsys.readouterr().err)
