"""The auxiliary study by its promises: what is known is found, what is not stays at chance, what leaks is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from speechxai.auxiliary import tables
from speechxai.auxiliary.study import (
    Crops,
    Folds,
    Row,
    Small,
    band_names,
    crop_frames,
    evidence_of,
    features,
    fit_linear,
    labels_of,
    logistic_regression,
    study,
    train,
    units,
)
from speechxai.auxiliary.tables import Arm, arms, coefficients, leak, sentences, table
from speechxai.auxiliary.values import FLOORS, AuxiliarySettings, Fit, Material, Unit
from speechxai.classifiers.cnn import symmetric_mel_filters
from speechxai.data.synthetic import takes
from speechxai.errors import SpeechXAIError
from speechxai.signal.acoustics import segments_by_voicing
from speechxai.signal.stft import spectrogram
from speechxai.types import StftConfig

STFT = StftConfig(n_fft=256, win_length=256, hop_length=128, sample_rate=8_000)
QUICK = {"n_mels": 16, "n_seeds": 1, "n_folds": 3, "epochs": 14, "learning_rate": 5e-3, "batch": 16}


class Memory:
    """A store that keeps everything."""

    def __init__(self) -> None:
        self.kept: dict[str, Fit] = {}

    def is_done(self, unit: Unit) -> bool:
        return unit.key in self.kept

    @contextmanager
    def claim(self, unit: Unit) -> Iterator[bool]:
        yield not self.is_done(unit)

    def write(self, fit: Fit) -> None:
        self.kept[fit.unit.key] = fit

    def fits(self) -> Iterator[Fit]:
        return iter(self.kept.values())


def manifest(speakers: list[str], labels: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "recording": [f"{speaker}/r{i}" for i, speaker in enumerate(speakers)],
            "speaker": speakers,
            "label": pd.array(labels, dtype="Int64"),
            "sex": "F",
            "age": pd.array([60.0] * len(labels), dtype="Float64"),
        }
    )


def material(table: pd.DataFrame, maps: list[torch.Tensor]) -> Material:
    kinds = [np.full(m.shape[-1], 2, dtype=np.int8) for m in maps]
    n_frames = tuple(m.shape[-1] for m in maps)
    answers = np.linspace(0.2, 0.8, len(maps))
    return Material(table, STFT, lambda i: maps[i], lambda _, i: maps[i], lambda i: kinds[i], n_frames, answers)


def result(made: Material, settings: AuxiliarySettings) -> tuple[pd.DataFrame, list[Fit]]:
    store = Memory()
    study(made, settings, store)
    found = arms(store.fits(), settings, len(made.manifest))
    return table(found, settings, list(made.manifest["speaker"])), list(store.fits())


def row(frame: pd.DataFrame, name: str, split: str = "speaker", metric: str = "auroc", architecture: str = "small"):  # type: ignore[no-untyped-def]
    keys = {"name": name, "split": split, "metric": metric, "architecture": architecture}
    part = frame[np.logical_and.reduce([frame[key] == value for key, value in keys.items()])]
    assert len(part) == 1
    return part.iloc[0]


def breathy(severity: float) -> tuple[Material, list[torch.Tensor]]:
    """Synthetic voices, half of them breathy, with the truth of where the breath is; a voice without it has an empty
    truth."""
    speakers, labels, magnitudes, truths, kinds = [], [], [], [], []
    for take in takes(16, seed=4, cue="breathiness", severity=severity, tasks=("vowel-a",)):
        twins = take.twins()
        magnitude = spectrogram(twins.with_cue[None]).magnitude[0]
        speakers.append(take.speaker.name)
        labels.append(take.label)
        magnitudes.append(magnitude)
        truths.append(twins.truth(StftConfig()).map if take.label else torch.zeros_like(magnitude))
        kinds.append(segments_by_voicing(twins.with_cue, twins.sample_rate, magnitude.shape[-1], 186))
    made = Material(
        manifest(speakers, labels),
        StftConfig(),
        lambda i: magnitudes[i],
        lambda _, i: truths[i],
        lambda i: kinds[i],
        tuple(m.shape[-1] for m in magnitudes),
        np.where(np.array(labels) == 1, 0.9, 0.1),
    )
    return made, truths


@pytest.fixture(scope="module")
def planted() -> tuple[Material, list[torch.Tensor]]:
    return breathy(1.0)


@pytest.mark.parametrize("kind", ["map", "masked"])
def test_a_faint_cue_is_told_by_true_maps_and_not_by_chance(kind: str) -> None:
    # The spectrogram hardly shows it, so what a mask of chance lets through says as little as chance for both inputs.
    settings = AuxiliarySettings(("truth",), kind, splits=("speaker",), **{**QUICK, "n_mels": 32})  # type: ignore[arg-type]
    frame, _ = result(breathy(0.05)[0], settings)
    assert row(frame, "truth")["value"] > 0.95
    assert row(frame, "truth")["value"] >= row(frame, "original")["value"]
    for name in ("random_map", "permuted_labels"):
        assert row(frame, name)["low"] <= 0.5 <= row(frame, name)["high"], name


@pytest.mark.parametrize("kind", ["map", "masked"])
def test_planted_truth_reaches_the_ceiling_and_floors_stay_at_chance(
    planted: tuple[Material, list[torch.Tensor]], kind: str
) -> None:
    settings = AuxiliarySettings(("truth",), kind, splits=("speaker",), **{**QUICK, "n_mels": 32})  # type: ignore[arg-type]
    frame, _ = result(planted[0], settings)
    truth, ceiling = row(frame, "truth"), row(frame, "original")
    assert truth["value"] > 0.95
    assert truth["value"] >= ceiling["value"] - 0.02
    assert ceiling["low"] > 0.5
    for name in ("permuted_labels", *(["random_map"] if kind == "map" else [])):
        floor = row(frame, name)
        assert floor["low"] <= 0.5 <= floor["high"], name
    if kind == "map":
        assert truth["vs_random_map"] > 0.3
        assert truth["vs_random_map_low"] >= 0
    else:
        # A soft mask of chance lets the spectrogram through: this floor is what any mask would give, and not chance.
        assert row(frame, "random_map")["low"] > 0.5
    assert row(frame, "majority")["value"] == 0.5
    assert row(frame, "majority")["low"] == row(frame, "majority")["high"] == 0.5


@pytest.fixture(scope="module")
def leaky() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Eight speakers a class, five recordings each, alike within a speaker and not within a class: only who speaks can
    be told."""
    generator = torch.Generator().manual_seed(5)
    speakers, labels, magnitudes = [], [], []
    for index in range(16):
        own = 3 * torch.rand(129, 1, generator=generator)
        for _ in range(5):
            speakers.append(f"a/s{index:02d}")
            labels.append(index % 2)
            magnitudes.append(own + 0.2 * torch.rand(129, 40, generator=generator))
    settings = AuxiliarySettings((), "original", **{**QUICK, "epochs": 20})  # type: ignore[arg-type]
    store = Memory()
    study(material(manifest(speakers, labels), magnitudes), settings, store)
    found = arms(store.fits(), settings, len(speakers))
    return table(found, settings, speakers), leak(found, settings, speakers)


def test_speaker_identity_gives_chance_by_speaker_and_a_leak_by_recording(
    leaky: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    frame, beside = leaky
    honest, by_recording = row(frame, "original"), row(frame, "original", "recording")
    assert honest["low"] <= 0.5 <= honest["high"]
    assert by_recording["value"] > 0.9
    assert by_recording["low"] > 0.75
    # Shuffled by speaker, the labels are as easily told by who speaks: the leak needs no truth at all.
    assert row(frame, "permuted_labels")["low"] <= 0.5 <= row(frame, "permuted_labels")["high"]
    assert row(frame, "permuted_labels", "recording")["low"] > 0.5
    assert set(frame.loc[frame["split"] == "recording", "leaky"]) == {True}
    assert set(frame.loc[frame["split"] == "speaker", "leaky"]) == {False}
    one = beside[
        (beside["name"] == "original") & (beside["metric"] == "auroc") & (beside["architecture"] == "small")
    ].iloc[0]
    assert (one["by_speaker"], one["by_recording"]) == (honest["value"], by_recording["value"])
    assert one["added"] == pytest.approx(one["by_recording"] - one["by_speaker"])
    assert one["low"] > 0
    facts = {"n_recordings": 80, "n_speakers": 16, "not_held_out": 0, "unknown_held_out": 0}
    blank = pd.DataFrame(columns=["name", "split", "class", "band", "segment", "log_odds", "odds"])
    last = sentences(frame, beside, blank, facts)[-1]
    assert last.tone == "caution"
    assert "comes from knowing the speaker, not the disease" in last.text
    last = sentences(frame, beside, blank, {**facts, "n_recordings": 16})[-1]
    assert "nothing can leak" in last.text


def test_folds_by_speaker_share_no_speaker_and_rows_share_folds() -> None:
    frame = manifest([f"a/s{i // 3}" for i in range(36)], [(i // 3) % 2 for i in range(36)])
    speaker = np.asarray(frame["speaker"])
    tested, parts_of = [], Folds(frame, 3)
    for fold in range(3):
        training, validation, test = parts_of(Unit("saliency", "map", "speaker", 1, fold))
        assert not set(speaker[training]) & set(speaker[validation])
        assert not set(speaker[test]) & (set(speaker[training]) | set(speaker[validation]))
        other = parts_of(Unit("random_map", "masked", "speaker", 1, fold))
        assert all(np.array_equal(a, b) for a, b in zip((training, validation, test), other, strict=True))
        tested += test.tolist()
        leaky_parts = parts_of(Unit("saliency", "map", "recording", 1, fold))
        assert set(speaker[leaky_parts[0]]) & set(speaker[leaky_parts[2]])
    assert sorted(tested) == list(range(36))
    assert not np.array_equal(parts_of(Unit("saliency", "map", "speaker", 2, 0))[2], tested[:12])


def test_with_one_recording_a_speaker_both_splits_are_one_and_fitted_once() -> None:
    frame = manifest([f"a/s{i}" for i in range(12)], [i % 2 for i in range(12)])
    generator = torch.Generator().manual_seed(0)
    made = material(frame, [torch.rand(129, 40, generator=generator) for _ in range(12)])
    one = Row(made, AuxiliarySettings(("saliency",), **QUICK), "saliency")  # type: ignore[arg-type]
    honest = one.fit(Unit("saliency", "map", "speaker", 0, 1))
    again = one.fit(Unit("saliency", "map", "recording", 0, 1))
    assert again.unit.split == "recording"
    assert (again.rows, again.probabilities, again.seconds) == (honest.rows, honest.probabilities, honest.seconds)


def test_shuffled_labels_stay_with_the_speaker() -> None:
    frame = manifest([f"a/s{i // 3}" for i in range(60)], [(i // 3) % 2 for i in range(60)])
    shuffled = labels_of(frame, "permuted_labels", 0)
    assert frame.assign(new=shuffled).groupby("speaker")["new"].nunique().max() == 1
    assert shuffled.sum() == frame["label"].sum()
    assert not np.array_equal(shuffled, labels_of(frame, "permuted_labels", 1))
    assert np.array_equal(labels_of(frame, "saliency", 0), frame["label"])


def test_a_fit_depends_on_its_seed_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    crops = Crops(tuple(torch.rand(16, 20 + i, generator=generator) for i in range(18)), 15)
    labels = torch.arange(18) % 2
    parts = (torch.arange(10), torch.arange(10, 14), torch.arange(14, 18))
    settings = AuxiliarySettings(("saliency",), **{**QUICK, "epochs": 4})  # type: ignore[arg-type]
    state = torch.random.get_rng_state()
    first = train(crops, labels, parts, settings, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = train(crops, labels, parts, settings, 3), train(crops, labels, parts, settings, 4)
    assert torch.equal(first.probabilities, again.probabilities)
    assert first.history == again.history
    assert not torch.equal(first.probabilities, other.probabilities)
    # The epoch that is kept is the best on the validation part, not the last.
    losses = [validated for _, validated in first.history]
    assert losses[first.best_epoch] == min(losses)
    # Answers for one recording do not depend on who else is tested.
    alone = train(crops, labels, (parts[0], parts[1], torch.tensor([16])), settings, 3)
    assert alone.probabilities[0] == pytest.approx(float(first.probabilities[2]), abs=1e-6)


def test_the_small_network_is_small() -> None:
    assert sum(p.numel() for p in Small(80).parameters()) < 300_000
    assert tuple(Small(80)(torch.zeros(3, 1, 80, 32)).shape) == (3, 2)


def test_cnn14_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechxai.classifiers.cnn.CHANNELS", (2, 4, 4, 4, 4, 8))
    generator = torch.Generator().manual_seed(0)
    frame = manifest([f"a/s{i}" for i in range(12)], [i % 2 for i in range(12)])
    made = material(frame, [torch.rand(129, 40, generator=generator) for _ in range(12)])
    settings = AuxiliarySettings(("saliency",), architecture="cnn14", n_mels=32, n_folds=3, n_seeds=1, epochs=2)
    fit = Row(made, settings, "saliency").fit(units(settings)[0])
    assert len(fit.probabilities) == len(fit.rows) == 4
    assert "conv_block1.conv1.weight" in fit.weights


def test_the_published_network_is_trained_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechxai.classifiers.cnn.CHANNELS", (2, 4, 4, 4, 4, 8))
    generator = torch.Generator().manual_seed(0)
    frame = manifest([f"a/s{i}" for i in range(12)], [i % 2 for i in range(12)])
    made = material(frame, [torch.rand(129, 40 + i % 2, generator=generator) for i in range(12)])
    config = {"input": "masked", "architecture": "cnn14-linear", "n_mels": 32, "n_folds": 3, "n_seeds": 1, "epochs": 2}
    settings = AuxiliarySettings(("saliency",), **config, weight_decay=2e-6, batch=4)
    assert crop_frames(made, settings) == 41  # whole recordings, where others take at most 2 s of the shortest
    assert crop_frames(made, replace(settings, architecture="cnn14")) == 40
    found = features(made, "saliency", settings).values[0]
    bands = symmetric_mel_filters(STFT, 32)
    torch.testing.assert_close(found, bands @ (evidence_of(made, "saliency", 0) * made.magnitude(0)))
    torch.testing.assert_close(features(made, "original", settings).values[0], bands @ made.magnitude(0))
    seen: list[tuple[str, float, torch.Tensor | None, tuple[int, ...]]] = []
    adam, entropy = torch.optim.Adam, torch.nn.functional.cross_entropy

    def optimizer(parameters, lr, weight_decay, fused):  # type: ignore[no-untyped-def]
        seen.append(("adam", weight_decay, None, ()))
        return adam(parameters, lr=lr, weight_decay=weight_decay)

    def loss(logits, labels, weights):  # type: ignore[no-untyped-def]
        value = entropy(logits, labels, weights)
        z = logits[:, 1]
        binary = torch.nn.functional.binary_cross_entropy_with_logits(z, labels.to(z))
        torch.testing.assert_close(value, binary)
        seen.append(("loss", 0.0, weights, tuple(logits.shape)))
        return value

    monkeypatch.setattr(torch.optim, "Adam", optimizer)
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", loss)
    fit = Row(made, settings, "saliency").fit(units(settings)[0])
    assert seen[0] == ("adam", 2e-6, None, ())
    assert {one[0] for one in seen[1:]} == {"loss"}
    assert all(weights is None for _, _, weights, _ in seen)  # classes are not weighed
    assert "fc1.weight" not in fit.weights
    assert fit.weights["fc_audioset.weight"].shape == (1, 8)
    assert all(0 < p < 1 for p in fit.probabilities)


def test_the_linear_twin_names_the_cell_that_differs() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    summaries = rng.random((60, 12))
    summaries[:, 7] += 1.5 * labels
    summaries[:, 2] -= 1.5 * labels
    summaries[::5, 3] = np.nan
    parts = (np.arange(30), np.arange(30, 45), np.arange(45, 60))
    probabilities, found = fit_linear(summaries, labels, parts)
    assert ((probabilities > 0.5) == labels[45:]).mean() > 0.9
    assert set(np.argsort(np.abs(found))[-2:].tolist()) == {2, 7}
    assert found[7] > 0 > found[2]
    cells = band_names(STFT)
    fits = [Fit(Unit("saliency", "map", "speaker", 0, k), (0,), (0,), (0.5,), (0.5,), tuple(found)) for k in range(2)]
    frame = coefficients(fits, cells)
    strongest = frame.loc[frame["log_odds"].idxmax()]
    assert (strongest["band"], strongest["segment"]) == ("1000-2000 Hz", "unvoiced")  # cell 7 = band 2, segment 1
    assert strongest["odds"] == pytest.approx(np.exp(found[7]))
    assert strongest["same_sign"] == 1.0


def test_the_linear_model_of_three_classes_says_what_speaks_for_each() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    summaries = rng.random((90, 12))
    for index, column in enumerate((2, 7, 11)):
        summaries[:, column] += 1.5 * (labels == index)
    parts = (np.arange(45), np.arange(45, 66), np.arange(66, 90))
    probabilities, found = fit_linear(summaries, labels, parts, 3)
    assert probabilities.shape == (24, 3)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(24))
    assert (probabilities.argmax(axis=1) == labels[66:]).mean() > 0.9
    assert found.argmax(axis=1).tolist() == [2, 7, 11]
    cells, answer = band_names(STFT), (tuple(probabilities[0]),)
    one = Fit(Unit("saliency", "map", "speaker", 0, 0), (0,), (0,), answer, answer, tuple(map(tuple, found)))
    frame = coefficients([one], cells, ("healthy", "PD", "MSA"))
    strongest = frame.loc[frame.groupby("class", sort=False)["log_odds"].idxmax()]
    assert strongest["class"].tolist() == ["healthy", "PD", "MSA"]
    assert [f"{r.band}, {r.segment}" for r in strongest.itertuples()] == [cells[i] for i in (2, 7, 11)]


def test_a_missing_stretch_answers_like_the_mean_of_the_known_ones() -> None:
    # One column with the values 0, 20 and 10 on average over the known training rows: NaN asks as 10 does, and a
    # missing training row neither pulls the mean down nor names a class.
    summaries = np.array([[0.0], [20], [0], [20], [np.nan], [np.nan], [0], [20], [10], [np.nan]])
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    probabilities, _ = fit_linear(summaries, labels, (np.arange(6), np.arange(6, 8), np.arange(8, 10)))
    assert probabilities[0] == pytest.approx(0.5, abs=1e-6)
    assert probabilities[1] == probabilities[0]


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_logistic_regression_equals_scikit_learn(strength: float) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 6))
    y = (x[:, 0] + rng.normal(size=50) > 0.7).astype(np.int64)
    weights, intercept = logistic_regression(x, y, strength)
    model = LogisticRegression(C=strength, class_weight="balanced", tol=1e-10, max_iter=10_000).fit(x, y)
    assert weights == pytest.approx(model.coef_[0], abs=1e-5)
    assert intercept == pytest.approx(model.intercept_[0], abs=1e-5)
    # Separable classes, where an unpenalized fit would run away.
    weights, _ = logistic_regression(x, (x[:, 0] > 0).astype(np.int64), strength)
    assert np.isfinite(weights).all()


def test_holm_counts_all_explanations_and_floors() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(40) % 2, (2, 1)).astype(float)
    good = np.clip(0.5 + 0.3 * (labels - 0.5) + 0.2 * rng.normal(size=labels.shape), 0, 1)
    chance, folds, mask = rng.random(labels.shape), np.tile(np.arange(40) // 14, (2, 1)).astype(float), np.full(40, 0.1)
    speakers = [f"a/s{i}" for i in range(40)]

    def made(names: tuple[str, ...]) -> pd.DataFrame:
        settings = AuxiliarySettings(names, splits=("speaker",), n_seeds=2)
        found = [
            Arm(name, "speaker", architecture, labels, good if name not in FLOORS else chance, folds, mask)
            for name in settings.rows
            for architecture in ("small", "linear")
        ]
        return table(found, settings, speakers)

    one, two = made(("first",)), made(("first", "second"))
    # The same p-values, the smallest times 5 tests, then times 10; a metric is a family of its own.
    columns = [f"vs_{name}_p" for name in FLOORS]
    assert set(one[one["kind"] == "explanation"].dropna(subset=columns)["metric"]) == {"accuracy", "macro_f1", "auroc"}
    a, b = (row(frame, "first", metric="auroc")[columns].min() for frame in (one, two))
    assert b == pytest.approx(2 * a)
    assert np.isnan(row(two, "original")["vs_random_map_p"])
    assert row(two, "original")["vs_random_map"] == row(two, "first")["vs_random_map"] > 0.2
    assert row(two, "first")["vs_original"] == 0
    assert row(two, "first", metric="selective_auroc")["value"] == pytest.approx(0.9 * row(two, "first")["value"])


FACTS = {"n_recordings": 40, "n_speakers": 20, "not_held_out": 0, "unknown_held_out": 0}


def line(name: str, kind: str, value: float, architecture: str = "small", **more: float) -> dict[str, object]:
    base = {
        "name": name,
        "kind": kind,
        "input": "map",
        "split": "speaker",
        "architecture": architecture,
        "metric": "auroc",
    }
    return {**base, "value": value, "low": value - 0.08, "high": value + 0.08, **more}


def said(
    saliency: dict[str, float], ceiling: float = 0.9, shuffled: float = 0.5, facts: dict[str, int] | None = None
) -> str:
    rows = [line("saliency", "explanation", 0.8, **saliency)]
    rows += [line(n, "floor", 0.5 if n != "permuted_labels" else shuffled) for n in FLOORS]
    rows.append(line("original", "ceiling", ceiling))
    rows += [{**r, "architecture": "linear", "value": 0.5, "low": 0.4, "high": 0.6} for r in rows]
    none = pd.DataFrame(
        columns=["name", "kind", "architecture", "metric", "by_speaker", "by_recording", "added", "low", "high"]
    )
    blank = pd.DataFrame(columns=["name", "split", "class", "band", "segment", "log_odds", "odds"])
    return " ".join(one.text for one in sentences(pd.DataFrame(rows), none, blank, facts or FACTS))


def against(difference: float, p: float) -> dict[str, float]:
    found = {}
    for floor in FLOORS:
        found |= {
            f"vs_{floor}": difference,
            f"vs_{floor}_low": difference - 0.1,
            f"vs_{floor}_high": difference + 0.1,
            f"vs_{floor}_p": p,
        }
    return found | {"vs_original": -0.1, "vs_original_low": -0.2, "vs_original_high": -0.01}


def test_sentences_follow_from_the_numbers() -> None:
    clear, unsure, weak = against(0.3, 0.004), against(0.3, 0.2), against(0.05, 0.004)
    assert "1 of 1 explanations know more than energy: saliency" in said(clear)
    assert "No evidence" not in said(clear)
    for numbers in (unsure, weak):  # a p-value alone or an interval alone is not enough
        assert "No evidence that the maps know more than energy" in said(numbers)
        assert "No explanation knows more than each of" in said(numbers)
    assert "1 of 1 explanations know less" in said(clear)
    assert "the ceiling" in said(clear)
    assert "Not even the spectrogram itself" in said(clear, ceiling=0.55)
    assert "The procedure is fair" in said(clear)
    assert "which is not chance" in said(clear, shuffled=0.7)
    assert "which is not chance" in said(clear, shuffled=0.3)
    assert "heard the speaker" not in said(clear)
    assert "3 of 40 maps come from a network that heard the speaker" in said(clear, facts={**FACTS, "not_held_out": 3})
    assert "nobody can say" in said(clear, facts={**FACTS, "unknown_held_out": 1})


def test_what_a_study_says_word_by_word() -> None:
    """What a map knows beside the ceiling, what a mask alone lets through, and from where on folds leak."""
    rows = [
        {"name": name, "vs_original_low": low, "vs_original_high": high}
        for name, low, high in (("a", -0.2, -0.01), ("b", -0.1, 0.0), ("c", 0.0, 0.1), ("d", 0.01, 0.2))
    ]
    assert tables._survival(rows, {"value": 0.9}).text == (
        "Against the spectrogram itself (AUROC 0.90): 1 of 4 explanations know less, 2 cannot be told from it, 1 know"
        " more (d): these maps carry what the explained network has learned or decided, not only what the voice holds."
    )
    assert tables._survival(rows[:3], {"value": 0.9}).text == (
        "Against the spectrogram itself (AUROC 0.90): 1 of 3 explanations know less, 2 cannot be told from it."
    )
    tells = tables._masked({"value": 0.7, "low": 0.51, "high": 0.9})
    assert (tells.text, tells.tone) == (
        "Masked with chance alone the spectrogram still tells the classes apart (AUROC 0.70, 0.51 to 0.90): the input"
        " 'masked' shows what a mask lets through, not what the map knows. Read it only against this floor, or take the"
        " input 'map'.",
        "caution",
    )
    nothing = tables._masked({"value": 0.7, "low": 0.5, "high": 0.9})
    assert nothing.text == "Masked with chance the spectrogram tells nothing (AUROC 0.70, 0.50 to 0.90)."
    bad = tables._held_out({"n_recordings": 40, "not_held_out": 3, "unknown_held_out": 2})
    assert [one.text for one in bad] == [
        "3 of 40 maps come from a network that heard the speaker in training. Such maps can carry the label itself: do"
        " not report this study.",
        "For 2 of 40 maps nobody can say whether the network had heard the speaker in training.",
    ]


def test_maps_are_held_against_the_answer_that_they_may_give_away() -> None:
    """The floor `answer` is the classifier's number as it is: no network, the same rows, its own AUROC."""
    table_ = manifest([f"s/{i}" for i in range(12)], [i % 2 for i in range(12)])
    said_ = np.array([0.1, 0.9] * 5 + [0.9, 0.1])  # the last two are taken for each other
    made = replace(material(table_, [torch.rand(129, 12) for _ in range(12)]), answers=said_)
    settings = AuxiliarySettings(("truth",), splits=("speaker",), **QUICK)  # type: ignore[arg-type]
    frame, fits = result(made, settings)
    of_answer = [fit for fit in fits if fit.unit.name == "answer"]
    assert all(np.array_equal(fit.probabilities, said_[list(fit.rows)]) and not fit.history for fit in of_answer)
    assert row(frame, "answer", metric="accuracy")["value"] == pytest.approx(10 / 12)
    assert row(frame, "answer")["kind"] == "floor"
    assert row(frame, "answer", architecture="linear")["value"] == row(frame, "answer")["value"]
    assert np.isfinite(row(frame, "truth")["vs_answer_p"])
    with pytest.raises(SpeechXAIError, match="needs what the explained classifier answered"):
        study(replace(made, answers=None), settings, Memory())
    without_maps = AuxiliarySettings((), "original", splits=("speaker",), **QUICK)  # type: ignore[arg-type]
    assert "answer" not in without_maps.rows


def test_no_evidence_of_more_is_not_evidence_of_no_more() -> None:
    """Differences of +0.05 - 0.1 to + 0.1 rule nothing of 0.10 out, those of -0.05 do."""
    wide, narrow = said(against(0.05, 0.2)), said(against(-0.05, 0.2))
    for floor in ("energy", "the classifier's answer alone"):
        assert f"No evidence that the maps know more than {floor}" in wide
        assert f"No evidence that the maps know more than {floor}" in narrow
    assert wide.count("ruled out for none of them: too few speakers to say that they know no more") == 2
    assert narrow.count("More by 0.10 or above is ruled out for each of them") == 2
    two = [{"vs_energy_map_high": high} for high in (0.09, 0.10)]
    assert "ruled out for 1 of 2: too few" in tables._ruled_out(two, "energy_map")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.26, 0.90, "too wide to show that the procedure is fair"),
        (0.26, 0.60, "but so does 0.74. That is too wide"),  # 0.26 is as far from chance as 0.74
        (0.40, 0.64, "The procedure is fair: with shuffled labels the AUROC is 0.60 (0.40 to 0.64), chance fits"),
        (0.51, 0.64, "which is not chance"),
        (float("nan"), float("nan"), "of too few speakers to show anything"),
    ],
)
def test_what_shuffled_labels_show_follows_from_their_interval(low: float, high: float, words: str) -> None:
    (found,) = tables._procedure({"permuted_labels": {"value": 0.6, "low": low, "high": high}})
    assert words in found.text
    assert (found.tone == "good") is ("fair:" in words)


def test_an_unfinished_study_has_no_table() -> None:
    settings = AuxiliarySettings((), "original", **QUICK)  # type: ignore[arg-type]
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The study is not finished: 'permuted_labels' has no answer for 5 recordings with folds by "
            r"speaker\. Run the same command again\.$"
        ),
    ):
        arms([], settings, 5)


@pytest.mark.parametrize(("p", "words"), [(0.2, "no evidence that this is more"), (0.01, "That is more than it reads")])
def test_the_readable_model_is_read_against_energy(p: float, words: str) -> None:
    rows = [line("saliency", "explanation", 0.8, **against(0.3, p))]
    rows.append(line("smoothgrad", "explanation", 0.7, **against(0.2, p)))
    rows.append(line("rise", "explanation", 0.55, **against(0.1, p)))  # its interval begins at 0.47
    rows += [line(n, "floor", 0.5) for n in FLOORS] + [line("original", "ceiling", 0.9)]
    rows += [{**r, "architecture": "linear"} for r in rows]
    cells = [
        ["saliency", "speaker", "0-500 Hz", "voiced", -0.1, 0.9],
        ["saliency", "speaker", "2000-4000 Hz", "pause", 0.7, 2.0],
    ]
    cells += [["saliency", "recording", "500-1000 Hz", "voiced", 3.0, 20.0]]
    read = pd.DataFrame(cells, columns=["name", "split", "band", "segment", "log_odds", "odds"]).assign(
        **{"class": "MSA"}
    )
    none = pd.DataFrame(
        columns=["name", "kind", "architecture", "metric", "by_speaker", "by_recording", "added", "low", "high"]
    )
    text = sentences(pd.DataFrame(rows), none, read, FACTS)[-1].text
    assert (
        "more evidence at 2000-4000 Hz in pause frames (odds x 2.00 per standard deviation) and less evidence at"
        " 0-500 Hz" in text
    )
    assert "for MSA speak, most of all," in text
    assert "Above chance too: smoothgrad with 0.70 (0.62 to 0.78). " in text
    assert words in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": "maps"}, "'input' parameter must be one of map, masked, original"),
        ({"architecture": "cnn"}, "'architecture' parameter"),
        ({"n_folds": 2}, "'n_folds' parameter of an auxiliary study must be a whole number from 3"),
        ({"splits": ("recording",)}, "stand only beside folds by speaker"),
        ({"recipes": ()}, "'recipes' parameter must name the maps"),
        ({"input": "original"}, "none with 'original'"),
        ({"recipes": ("saliency", "energy_map")}, "'energy_map' is run with every study"),
        ({"weights": "x.pth"}, "published weights of cnn14"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SpeechXAIError, match=message):
        AuxiliarySettings(**{"recipes": ("saliency",), **wrong})  # type: ignore[arg-type]


def test_maps_that_do_not_fit_are_named() -> None:
    frame = manifest([f"a/s{i}" for i in range(6)], [i % 2 for i in range(6)])
    maps = [torch.rand(129, 40) for _ in range(6)]
    made = material(frame, maps)
    maps[2] = torch.rand(129, 39)
    with pytest.raises(
        SpeechXAIError, match=(r"^a/s2/r2: the map of 'saliency' has shape \(129, 39\), the spectrogram \(129, 40\)\.$")
    ):
        Row(made, AuxiliarySettings(("saliency",), **QUICK), "saliency")  # type: ignore[arg-type]
    unlabeled = frame.assign(label=pd.array([pd.NA, 1, 0, 1, 0, 1], dtype="Int64"))
    with pytest.raises(
        SpeechXAIError, match=(r"^An auxiliary study needs the label of every recording: leave the others out\.$")
    ):
        study(material(unlabeled, maps), AuxiliarySettings(("saliency",)), Memory())
    three = frame.assign(label=pd.array([0, 1, 2, 0, 1, 2], dtype="Int64"), classes="HC;PD;MSA")
    published = AuxiliarySettings(("saliency",), architecture="cnn14-linear", n_mels=32)
    said = (
        "The published network 'cnn14-linear' tells two classes apart, and there are 3: choose --architecture small or"
        " cnn14."
    )
    with pytest.raises(SpeechXAIError, match=f"^{said}$"):
        study(material(three, maps), published, Memory())
