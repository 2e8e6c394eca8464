"""docs/findings.md is written by a script: packed results go on where they were, and sentences follow the tables."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from app_server import write_truth

from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.settings import TRUTH

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "findings.py"
RESULTS = SCRIPT.parents[1] / "docs" / "results"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("findings", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_packed_results_go_on_where_they_were(script: ModuleType, tmp_path: Path) -> None:
    run = write_truth(tmp_path)
    folder = BenchmarkFolder(run)
    folder.configure({**folder.config, "sources": {"mine": ["mine", "/home/somebody/voices"]}})
    lost = next((run / "units").glob("*breathiness*.json"))
    lost.unlink()
    packed = tmp_path / "results" / "benchmark-mine"
    script.pack(run, packed)
    script.pack(run, packed)  # again changes nothing
    assert "somebody" not in (packed / "config.toml").read_text("utf-8")
    assert len(list((packed / "units").iterdir())) == 5
    again = script.unpack(packed, tmp_path / "again", {"mine": "/elsewhere"})
    assert again.sources == {"mine": ("mine", "/elsewhere")}
    assert (again.status().n_done, again.status().n_units) == (5, 6)
    for unit in (run / "units").glob("*.json"):
        assert (again.path / "units" / unit.name).read_bytes() == unit.read_bytes()
    page = script.written([packed])
    assert "5 of 6 tasks are done" in page
    assert "| synthetic, tremor | 0.980, 0.980, 0.980 |" in page
    assert "3 learned" in page
    assert "2 excluded" in page


@pytest.mark.parametrize("packed", sorted(RESULTS.glob("benchmark-*")), ids=lambda path: path.name)
def test_what_is_committed_can_be_continued(script: ModuleType, packed: Path, tmp_path: Path) -> None:
    """Every finished task is whole, by its own seal, and of this version of the benchmark."""
    folder = script.unpack(packed, tmp_path / "run")
    assert folder.is_current
    done = list(folder.results())
    assert len(done) == folder.status().n_done == len(list((packed / "units").iterdir()))
    assert {result.task for result in done} <= {task.id for task in folder.settings.tasks()}


def made(script: ModuleType, said: list[tuple[str, str]], networks: int = 9) -> object:
    """Tables of one cue and two methods, of which statements hold as given."""
    told = script.Told.__new__(script.Told)
    group = "synthetic/amplitude_tremor/1"
    metric = script.BASE
    recipes = ("saliency", "integrated_gradients", "random_map", "energy_map", "edge_map", TRUTH)
    told.summary = pd.DataFrame(
        [
            {"model": group, "recipe": r, "metric": metric, "mean": 1.0, "n_networks": networks, "n_speakers": 9}
            for r in recipes
        ]
    )
    columns = ["model", "first", "second", "n_ways", "says_added", "says_removed", "holds"]
    rows = [(group, a, b, 8, "4 of 4", "4 of 4", True) for a, b in said]
    rows.append((group, "energy_map", "saliency", 8, "3 of 4", "4 of 4", False))
    told.statements = pd.DataFrame(rows, columns=columns)
    told.groups, told.methods = [group], ["saliency", "integrated_gradients"]
    return told


def test_what_may_be_said_follows_from_the_statements(script: ModuleType) -> None:
    controls = ("random_map", "energy_map", "edge_map")
    said = [("integrated_gradients", control) for control in controls]
    said += [("random_map", "saliency"), ("integrated_gradients", "saliency")]
    (line, _) = script.stated(made(script, said))
    assert line == (
        "- **synthetic, amplitude tremor** (9 networks, 9 speakers), 8 ways: above all three controls"
        " integrated_gradients; under `random_map` saliency; no other method above them: integrated_gradients."
    )
    (line, _) = script.stated(made(script, said[1:4]))
    assert "above all three controls nobody" in line
    assert "no other method above them: saliency, integrated_gradients." in line
    (line, _) = script.stated(made(script, said, networks=8))
    assert "cannot decide; at least 9 networks" in line


def test_old_claims_are_held_against_the_new_tables(script: ModuleType) -> None:
    told = made(script, [("integrated_gradients", "energy_map")])
    told.folder = type(
        "Folder", (), {"table": lambda self, name: pd.DataFrame(columns=["model", "metric", "truth_metric"])}
    )()
    page = "\n".join(script.no_longer([told]))
    assert (
        "synthetic, amplitude tremor: integrated_gradients above energy_map by 4 of 4 ways of the added and 4 of 4 of"
        " the removed, energy_map above integrated_gradients by 0 of 4 and 0 of 4." in page
    )
    assert 'come first on real voices."** Cannot be decided by these runs.' in page
    few = made(script, [], networks=3)
    few.folder = told.folder
    page = "\n".join(script.no_longer([few]))
    assert page.count("Cannot be decided by these runs.") == 5
    assert "Not decided for lack of networks or speakers: synthetic, amplitude tremor." in page


def test_evidence_by_phones_counts_what_came_first_beside_the_grade(script: ModuleType, tmp_path: Path) -> None:
    task = {"material": "syllables", "cue": "burst_weakening", "seed": 0, "network": "cnn"}
    firsts = {"truth_map": "sss", "deep_lift": "ssv", "saliency": "vvv", "energy_map": "vvs", "edge_map": "sss"}
    firsts["random_map"] = "vvv"
    rows = [{**task, "method": "", "auc": 0.97, "verdict": "learned"}]
    rows.append({**task, "network": "whisper", "method": "", "auc": 0.5, "verdict": ""})
    for method, found in firsts.items():
        rows += [{**task, "method": method, "first": {"s": "stop", "v": "vowel"}[one]} for one in found]
    lines = tmp_path / "truth.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = "\n".join(script.by_phones(lines, {"cnn": {"deep_lift": "B", "saliency": "D"}}))
    assert "| syllables | stops | whisper | 0.50 | not learned |" in page
    assert "| deep_lift | B | 2 of 3 [9, 99] |" in page
    assert (
        page.index("| truth_map |")
        < page.index("| deep_lift |")
        < page.index("| saliency |")
        < page.index("| random_map |")
    )
    assert (
        "- **syllables, stops, cnn**: at least 80 % of the recordings: 0 of the 1 graded A or B (none); the place"
        " itself 3 of 3; controls that know nothing of the network as often: edge_map." in page
    )
    found = lines.read_text().replace('"truth_map", "first": "stop"', '"truth_map", "first": "nasal"', 1)
    lines.write_text(found)
    page = "\n".join(script.by_phones(lines, {}))
    assert "the place itself 2 of 3 (nasal 1); controls" in page
    assert "0 of the 2 of all methods, for none is graded on this network, (none)" in page


def test_an_interpreter_is_held_against_the_best_other_method(script: ModuleType, tmp_path: Path) -> None:
    place = {"network": "cnn", "cue": "breathiness", "seed": 0, "fill": "silence"}
    rows: list[dict[str, object]] = [{**place, "map": "", "auc": 1.0, "learned": True}]
    ranks = {
        "lmac": (0.2, 0.3, 0.4),
        "lmac, classes permuted": (0.1, 0.1, 0.1),
        "integrated_gradients": (0.5, 0.5, 0.65),
        "gradcam": (0.9, 0.1, 0.2),
    }
    for name, values in ranks.items():
        for speaker, value in zip("abcdef", values * 2, strict=True):
            facts = {"faithfulness": 1.0 if name == "lmac" else 0.25, "input_fidelity": 0.5}
            rows.append({**place, "map": name, "speaker": speaker, "relevance_rank": value, **facts})
    lines = tmp_path / "truth.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = "\n".join(script.by_interpreter(lines))
    # .3 beside .55; in pairs -.3, -.2 and -.25
    row = next(line for line in page.splitlines() if line.startswith("| breathiness, cnn |"))
    assert row.startswith("| breathiness, cnn | 1 | 6 | 0.30 | 0.55 (integrated_gradients) | -0.25 [-0.")
    assert row.endswith("] | 0.10 | 1.00 | 0.25 (gradcam) | 0.50 |")
    assert (
        "the highest FF in 1 of 1. **Truth**: above the best other in 0 (none), below it in 1 (breathiness, cnn)"
        in page
    )
    assert "half of the best other's relevance_rank in 1 of 1." in page


def test_signs_are_counted_from_the_committed_lines(script: ModuleType) -> None:
    page = "\n".join(script.by_signs(RESULTS / "signs"))
    lines = [json.loads(line) for line in (RESULTS / "signs" / "test.jsonl").read_text("utf-8").splitlines()]
    assert not {0, 1} & {line["seed"] for line in lines}  # those were tuned on
    for line in lines:
        place = f"| {line['material']} | {line['what'].replace('_', ' ')} | {line['seed']} | {line['network']} |"
        assert (place in page) == (line["learned"] and line["what"] in script._script("signs").SIGN_OF)
    breath = next(row for row in page.splitlines() if row.startswith("| synthetic | breathiness | 2 | cnn |"))
    assert "| 12 of 16 [48, 93] | 14 of 16 [62, 98] | 11 of 16 [41, 89] | 15% | breathiness | none |" in breath
    assert "named first in" in page


def test_signs_inside_a_network_are_told_by_their_lines(script: ModuleType, tmp_path: Path) -> None:
    """One sign that a direction steers and features only find, at more words than two random directions."""

    def row(
        how: str, area: float | None, left: float, words: int | None, reach: str = "all layers"
    ) -> dict[str, object]:
        own = {
            "sign": "tremor" if area else "",
            "how": how,
            "reach": reach,
            "layer": "all",
            "auc": area,
            "words": words,
        }
        return own | {"left": {"tremor": left}, "interval": {"tremor": [left, left]}, "cosine": 0.9, "group": "x"}

    chance = [row("random direction", None, 0.98, 2), row("random direction", None, 0.96, 3)]
    found = [
        *(row("difference of means", 1.0, 0.1, 4), row("logistic regression", 0.8, 0.0, 0)),
        *(row("unit", 0.95, 0.7, None), row("feature", 0.9, 0.2, 6)),
    ]
    facts = {"network": "whisper", "seed": 0, "cpu_s": 60.0, "memory_mb": 1000, "layers": []}
    how = {"n_speakers": 27, "n_features": 128, "n_active": 8}
    whole = {"stability": [{"again": 0.5, "random": 0.0}], "heads": {"tremor": 1.0, "monopitch": 1.0}, "n_words": 50}
    lines = [{**facts, "part": "controls", "rows": chance, "settings": how, **whole}]
    lines.append({**facts, "part": "tremor", "rows": found, "settings": how})
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = "\n".join(script.by_concepts(path))
    assert "| tremor | direction: difference of means, all | 1.00 | 0.10 [0.10, 0.10] | – | 4 | 0.90 |" in page
    assert "| tremor | features: feature, all | 0.90 | 0.20 [0.20, 0.20] | – | 6 | 0.90 |" in page
    assert "| tremor | random direction | – | 0.97 | – | 5 | 0.90 |" in page
    assert "(signs found and steered, of 1): direction 1 and 1, units 1 and 0, features 1 and 0." in page
    assert "steer more signs than" in page
    assert "27 speakers a sign, 9 of them held out" in page
    assert "monopitch" not in page  # not looked for yet
    assert "together\n" not in page
    assert "- Of an earlier rule: units were taken out whole" in page
    lessened = [row(how, 0.95, left, words) for how, left, words in (("least change", 0.4, 5), ("units", 0.6, None))]
    features = [row("features", 0.95, 0.3, 5), row("features", 0.95, 0.7, 6)]
    lines = [
        {
            **line,
            "seed": seed,
            "lessened": ["least change", "units", "features"],
            "rows": [*line["rows"], *([*lessened, features[seed]] if line["part"] == "tremor" else [])],
        }
        for seed in (0, 1)
        for line in lines
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = "\n".join(script.by_concepts(path))
    assert "### whisper, 2 seeds of one rule together" in page
    assert "earlier rule" not in page
    assert "| tremor | direction: least change | 2 of 2 | 2 of 2 | 0.95 | 0.40 (0.40, 0.40) | 5, 5 |" in page
    assert "| tremor | units: units | 2 of 2 | 0 of 2 | 0.95 | 0.60 (0.60, 0.60) | –, – |" in page
    assert "| tremor | features: features | 2 of 2 | 1 of 2 | 0.95 | 0.50 (0.30, 0.70) | 5, 6 |" in page
    # Half of the gap is left in the mean, but eleven words beside ten of random directions.
    assert "of 1 signs: direction 1 (tremor); units 0 (none); features 0 (none)." in page
    assert "A direction **and** features steer 1, 0 of 1 signs, seed by seed." in page
