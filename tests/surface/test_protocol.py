"""The published protocol from its configuration files to its report, on a PC-GITA of synthetic voices and tiny
networks."""

from __future__ import annotations

import re
import runpy
import warnings
from itertools import combinations, product
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import torch

from speechxai.classifiers.imports import import_folds
from speechxai.cli import main
from speechxai.data.synthetic import takes
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.config import load
from speechxai.evaluation.runs import RunFolder
from speechxai.evaluation.session import prepare
from speechxai.explain.recipe import CONTROLS, PUBLISHED_METHODS, published_recipes
from speechxai.mancini2025.report import CORRECTIONS, comparison, corrections
from speechxai.mancini2025.study import ROW, find_published
from speechxai.metrics import PUBLISHED_METRICS
from speechxai.report.render import PERCENT
from tests.surface.protocol_tree import FOLDS, make_checkpoints, make_tree, speakers

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "speechxai" / "configs"
SMALL = {"clip_s = 10.0": "clip_s = 0.3"}
CHOSEN = 3 * FOLDS
"""Recordings of the run: one of every speaker and a second one of some, so that folds hold more than a batch of two."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and checkpoints."""
    root = tmp_path_factory.mktemp("protocol")
    make_tree(root / "data")
    make_checkpoints(root / "checkpoints")
    return root


def small(tree: Path, name: str, changes: dict[str, str] | None = None) -> Path:
    """The shipped configuration with nothing changed but sizes."""
    text = (CONFIGS / f"mancini2025-{name}.toml").read_text()
    for old, new in {**SMALL, **(changes or {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    path = tree / f"{name}.toml"
    path.write_text(text)
    return path


def call(*words: object) -> int:
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def overlap(tree: Path) -> RunFolder:
    """The overlap configuration, run from two paths."""
    config = small(tree, "overlap")
    out = tree / "runs" / "overlap"
    paths = ("--root", tree / "data", "--model", tree / "checkpoints", "--out", out)
    assert call("evaluate", config, *paths, "--limit", CHOSEN) == 0
    return RunFolder.open(out)


def test_every_test_recording_is_heard_by_its_folds_network(overlap: RunFolder) -> None:
    table = overlap.table("predictions")
    assert len(table) == CHOSEN
    for fold in range(1, FOLDS + 1):
        part = table[table["fold"] == str(fold - 1)]
        assert {name.removeprefix("pc-gita/") for name in part["speaker"]} == set(speakers(fold))
    assert not table["path"].str.contains("words").any()
    assert (table["n_frames"] == table["n_frames"].iloc[0]).all()  # every clip has one length


def test_every_cell_of_the_tables_is_there(overlap: RunFolder) -> None:
    frame = comparison(overlap)
    assert list(dict.fromkeys(frame["recipe"])) == published_recipes()
    undefined = {
        name: {(r["recipe"], r["metric"]): r["n_nan"] for r in run.table("summary").to_dict("records")}
        for name, run in (
            ("published", RunFolder.open(overlap.path / "batch")),
            ("corrected", RunFolder.open(overlap.path / "corrected")),
        )
    }
    for recipe, part in frame.groupby("recipe"):
        metrics = [*PUBLISHED_METRICS, "mean_mask", *(["iou"] if "(" in recipe else [])]
        assert list(part["metric"]) == metrics
        for row in part.to_dict("records"):
            cell = (recipe, row["metric"])
            for side in ("published", "corrected"):
                assert row["metric"] == "iou" or cell in undefined[side]
                # NaN only where every recording is undefined, and those are counted
                assert (row[side] == row[side]) or undefined[side].get(cell) == CHOSEN, (side, cell)
            assert row["n_folds"] == FOLDS
            published = recipe not in CONTROLS and not (row["metric"] == "mean_mask" and "(" in recipe)
            assert (row["authors"] == row["authors"]) == published, cell
        if recipe == "saliency":  # a gradient is never empty, whichever class is explained
            assert part[["published", "corrected"]].notna().all(axis=None)
            assert not any(count for (name, _), count in undefined["corrected"].items() if name == recipe)
    flagged = set(frame.loc[frame["degenerate"], "recipe"])
    assert flagged == {r for r in published_recipes() if "guided" in r}


def test_every_correction_has_its_row(overlap: RunFolder) -> None:
    frame = corrections(overlap)
    assert list(dict.fromkeys(frame["correction"])) == list(CORRECTIONS)
    missing = frame[frame["published"].isna() & (frame["metric"] == "")]
    assert list(missing["correction"]) == ["leak"]  # this configuration trains no auxiliary classifier
    rows = frame["correction"].value_counts()
    assert rows["second_threshold"] == 15
    assert rows["running_means"] == 15 + 30 * len(PUBLISHED_METRICS)
    assert rows["level"] == 1 + 6 * (len(PUBLISHED_METRICS) + 1)
    assert set(frame.loc[frame["correction"] == "probability_of_pd", "recipe"]) == set(PUBLISHED_METHODS)
    # a rectifier rule for GELU changes the map, not only its name
    assert frame.loc[frame["correction"] == "guided_backprop", "difference"].abs().max() > 0
    count = frame[frame["correction"] == "fidelity_count"]
    assert (count["corrected"] <= 1).all()
    assert count["published"].max() > 1
    mask = frame[(frame["correction"] == "batch_maximum") & (frame["metric"] == "mean_mask")]
    assert (mask["difference"] >= -1e-4).all()  # another recording's maximum can only lower a mask
    assert mask["difference"].max() > 0
    for scale_free in ("sparseness", "complexity"):
        part = frame[(frame["correction"] == "batch_maximum") & (frame["metric"] == scale_free)]
        assert part["difference"].abs().max() < 0.01


Cells = tuple[list[dict[tuple[str, str], float]], dict[str, float]]


@pytest.fixture(scope="module")
def cells(tree: Path, overlap: RunFolder) -> Cells:
    """Every cell of every fold and P(PD) of every recording, by tests/oracle/test_published_network."""
    published = pytest.importorskip("tests.oracle.test_published_network", exc_type=ImportError)
    folds, answers = [], {}
    predictions = overlap.table("predictions")
    rows = overlap.manifest.set_index("recording")[ROW]
    assert rows.tolist() != list(range(len(rows)))  # of a limited run: rows are those of the published files
    for fold, part in predictions.groupby("fold", sort=True):
        network = published.Published(torch.load(tree / "checkpoints" / f"fold_{int(fold) + 1}.pt", weights_only=True))
        sounds = [published.loaded(tree / "data" / path, 0.3) for path in part["path"]]
        pairs: dict[int, list[torch.Tensor]] = {}
        for recording, sound in zip(part["recording"], sounds, strict=True):
            pairs.setdefault(int(rows[recording]) // 2, []).append(sound)
        batches = [published.transformed(torch.stack(pair)) for pair in pairs.values()]
        maps = {
            name: [
                torch.from_numpy(overlap.maps(row.recording, name).T.copy()) * getattr(row, f"top_{name}")
                for row in part.itertuples()
            ]
            for name in published.LOOP
        }
        folds.append(published.cells_of_fold(network, batches, maps))
        with torch.no_grad():
            p = torch.cat([network(*batch)[:, 0] for batch in batches])
        answers |= dict(zip(part["recording"], p.tolist(), strict=True))
    return folds, answers


def test_every_cell_equals_the_second_writing(overlap: RunFolder, cells: Cells) -> None:
    folds, answers = cells
    table = overlap.table("predictions").set_index("recording")
    assert sorted(len(part) for _, part in table.groupby("fold")) == [2, 3, 4]
    for recording, p in answers.items():
        assert table.loc[recording, "p_PD"] == pytest.approx(p, abs=1e-5)
    frame = comparison(overlap)
    frame = frame[~frame["recipe"].isin(CONTROLS)]
    assert len(frame) == 6 * 8 + 30 * 9
    for row in frame.to_dict("records"):
        name = row["recipe"].partition("(")[2].rstrip(")").replace(", ", " | ")
        key = (name, "iou") if row["metric"] == "iou" else (row["recipe"], row["metric"])
        expected = [fold[key] for fold in folds]
        rounding = 1e-4 if row["metric"] in PERCENT else 1e-5
        assert row["published"] == pytest.approx(sum(expected) / FOLDS, abs=rounding), key
        deviation = float(torch.tensor(expected, dtype=torch.float64).std(correction=0))
        assert row["published_std"] == pytest.approx(deviation, abs=rounding), key


def test_running_means_equal_the_second_writing(overlap: RunFolder, cells: Cells) -> None:
    folds, _ = cells
    frame = corrections(overlap)
    frame = frame[frame["correction"] == "running_means"]
    pairs = [f"{one} | {two}" for one, two in combinations(PUBLISHED_METHODS, 2)]
    assert list(frame.loc[frame["metric"] == "iou", "recipe"]) == pairs
    printed = {(row["metric"], row["recipe"]): row["published"] for row in frame.to_dict("records")}
    for metric in ("iou", *PUBLISHED_METRICS):
        for kind in ("union", "intersection"):
            store = []
            for pair in pairs:
                recipe = pair if metric == "iou" else f"{kind}({pair.replace(' | ', ', ')})"
                store += [fold[recipe, metric] for fold in folds]
                rounding = 1e-4 if metric in PERCENT else 1e-5
                assert printed[metric, recipe] == pytest.approx(sum(store) / len(store), abs=rounding), (metric, recipe)


def test_the_report_in_every_format(overlap: RunFolder) -> None:
    texts = {suffix: (overlap.path / f"protocol.{suffix}").read_text() for suffix in ("html", "md", "tex")}
    for suffix, text in texts.items():
        names = [recipe.replace("_", r"\_") if suffix == "tex" else recipe for recipe in published_recipes()]
        assert all(name in text for name in names), suffix
        assert "nan" not in re.sub(r"[A-Za-z]nan|nan[a-z]", "", text), suffix
    assert all(meaning.replace("→", "→") in texts["md"] for meaning in CORRECTIONS.values())
    assert not re.search(r"(src|href)=\"?http", texts["html"])
    assert texts["tex"].count(r"\begin{tabular}") == texts["tex"].count(r"\end{tabular}") > 10
    assert "†" in texts["html"]
    assert "65.21" in texts["md"]  # the authors' AI of intersection(saliency, guided_backprop)
    assert len(pd.read_csv(overlap.path / "protocol.csv")) == 9 * 8 + 30 * 9


def test_auxiliary_configuration_and_its_resumption(tree: Path) -> None:
    config = small(
        tree,
        "auxiliary",
        {
            'recipes = ["methods"]': 'recipes = ["saliency", "guided_gradcam"]',
            'architecture = "cnn14-linear"': 'architecture = "small"',
            "corrected = true ": "corrected = false ",
            "n_seeds = 5": "n_seeds = 1",
            "n_folds = 10": "n_folds = 3",
            "epochs = 50": "epochs = 1",
            "n_mels = 80": "n_mels = 16",
        },
    )
    out = tree / "runs" / "auxiliary"
    assert call("evaluate", config, "--root", tree / "data", "--model", tree / "checkpoints", "--out", out) == 0
    frame = corrections(RunFolder.open(out))
    leak = frame[frame["correction"] == "leak"]
    assert list(leak["recipe"])[:2] == ["saliency", "guided_gradcam"]
    assert leak[["published", "corrected"]].notna().all(axis=None)
    page = (out / "protocol.html").read_text()
    assert "by clip: LEAKS" in page
    assert "The corrected protocol was not run." in page
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("units/*.json")}
    table = (out / "protocol.csv").read_bytes()
    next(path for path in shards if path.parent.parent.name == "batch").unlink()
    assert call("evaluate", "--resume", out) == 0
    again = {path: path.stat().st_mtime_ns for path in out.rglob("units/*.json")}
    assert again.keys() == shards.keys()
    assert sum(again[path] != shards[path] for path in shards) == 1  # only what was missing is computed
    assert (out / "protocol.csv").read_bytes() == table


@pytest.mark.parametrize("name", ["single", "overlap", "auxiliary"])
def test_configurations_need_two_paths_and_no_more(name: str, tree: Path) -> None:
    config = load(CONFIGS / f"mancini2025-{name}.toml", {"root": tree / "data", "model": str(tree / "checkpoints")})
    settings = config.settings()
    assert set(PUBLISHED_METHODS) <= set(settings.recipes)
    assert settings.metrics == (*PUBLISHED_METRICS, "mean_mask")
    assert (settings.protocol, settings.clip_s, settings.keep_maps) == ("mancini2025", 10.0, True)
    assert len([recipe for recipe in settings.recipes if "(" in recipe]) == (30 if name == "overlap" else 0)
    found, unmatched = find_published(config)
    assert len(found) == 4 * FOLDS  # two tasks of two speakers a fold; words are left out
    assert not unmatched
    if name == "auxiliary":
        from speechxai.auxiliary.values import AuxiliarySettings

        settings = AuxiliarySettings.from_dict({**config.auxiliary, "recipes": ("saliency",)})
        assert settings.splits == ("speaker", "recording")


def test_what_does_not_fit_is_named(tree: Path, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "data")
    overrides = {"root": root, "model": str(tree / "checkpoints"), "out": tmp_path / "run"}
    config = load(CONFIGS / "mancini2025-single.toml", overrides)
    gone = next(root.rglob("AVPEPUDEAC0002_ka.wav"))
    gone.unlink()
    found, unmatched = find_published(config)
    assert len(found) == 4 * FOLDS - 1
    assert unmatched[0][0].endswith("AVPEPUDEAC0002_ka.wav")
    assert "fold 2" in unmatched[0][1]
    # the second of a fold's two healthy recordings keeps its row, and so its neighbor in the batch
    order = found.groupby(found["speaker"].str[-1])[ROW].apply(list)
    assert [order["1"], order["2"], order["3"]] == [[0, 1, 2, 3], [0, 1, 3], [0, 1, 2, 3]]
    with pytest.raises(SpeechXAIError, match=r"checkpoints.*give --out"):
        prepare(config.model_copy(update={"out": None}))
    strangers = import_folds(tree / "checkpoints", tmp_path / "strangers")
    with pytest.raises(SpeechXAIError, match=r"fold 1 are not heard by one network of their own.*--splits"):
        prepare(config.model_copy(update={"model": str(strangers.folder)}))
    split = next(root.rglob("TRAIN_TEST_3/test.csv"))
    split.write_text(split.read_text().replace(",hc,", ",PD,").replace(",pd,", ",hc,").replace(",PD,", ",pd,"))
    with pytest.raises(SpeechXAIError, match=r"the data card says speaker .* the published fold 3 says"):
        find_published(config)


def test_split_by_clip_measures_a_leak_and_nothing_else(tmp_path: Path) -> None:
    """The script's last correction: both rows hear the same clips, and only the first has a tested speaker's others."""
    script = runpy.run_path(str(ROOT / "scripts" / "protocol.py"))
    for take in takes(8, seed=3, tasks=["vowel-a"]):
        voice = take.recording()
        path = tmp_path / "voices" / ("HC", "PD")[voice.label or 0] / Path(voice.speaker).name / "a.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, voice.waveform.numpy(), voice.sample_rate)
    found = script["leak"](tmp_path / "voices", tmp_path / "out", 8, card="folder", epochs=1)
    assert len(list((tmp_path / "out" / "clips").rglob("*.wav"))) == 24
    rows = set(found[["name", "architecture", "metric"]].itertuples(index=False, name=None))
    kinds = (("saliency", "original"), ("small", "linear"), ("accuracy", "auroc"))
    assert rows == set(product(*kinds))
    assert found["added"].to_numpy() == pytest.approx(found["by_recording"] - found["by_speaker"], abs=2e-3)
    assert found[["by_speaker", "by_recording"]].stack().between(0, 1).all()
    assert (found["low"] < found["high"]).all()
