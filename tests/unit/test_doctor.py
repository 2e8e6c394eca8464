"""The doctor of a model: reference answers travel with it, and the first stage that differs names the suspect."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from speechxai.classifiers.bundle import Bundle, bundle_names, load_bundle
from speechxai.classifiers.reference import RATES_HZ, SOUNDS, STAGES, read_reference, sounds
from speechxai.classifiers.watch import Watch, data_facts
from speechxai.cli import main
from speechxai.doctor import DEPLOYMENT, RUN, TRAINING, cannot_be_right, deployment, examine, examine_bundle
from speechxai.doctor.deployment import Way, answer_of, stage_differences
from speechxai.doctor.run import RunCase, diagnose_run
from speechxai.doctor.training import PARTS, Log, diagnose
from speechxai.errors import SpeechXAIError
from speechxai.files import read_toml, sha256_of, to_toml
from speechxai.testing import noise_recording, tiny_bundle, tiny_classifier
from speechxai.types import Recording


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "tiny", n_folds=0)


def change(bundle: Bundle, **tables: dict[str, Any]) -> None:
    """Change settings by hand, as somebody does who removes the seal."""
    settings = read_toml(bundle.folder / "config.toml")
    settings.pop("sha256")
    for table, values in tables.items():
        settings[table] = {**settings[table], **values} if isinstance(values, dict) else values
    (bundle.folder / "config.toml").write_text(to_toml(settings))


@pytest.mark.parametrize("name", bundle_names())
def test_models_that_come_with_the_library_answer_as_when_they_were_written(name: str) -> None:
    found = examine_bundle(name)
    assert found.healthy, found.line
    stored = read_reference(load_bundle(name).folder)
    assert stored is not None
    assert set(stored["sounds"]) == set(SOUNDS)
    assert all(set(each) == set(STAGES) for each in stored["sounds"].values())
    assert stored["answers"] == load_bundle(name).config.answers_hash


def test_the_recordings_carry_what_a_stage_must_take_care_of(tmp_path: Path) -> None:
    import soundfile

    for name, content in sounds().items():
        path = tmp_path / f"{name}.wav"
        path.write_bytes(content)
        samples, rate = soundfile.read(path, always_2d=True)
        assert rate == RATES_HZ[name]
        assert samples.shape[1] == (2 if name == "stereo" else 1)
        assert (abs(samples.mean()) > 0.2) == (name == "offset")
        assert (np.abs(samples).max() < 0.03) == (name == "quiet")
        assert (len(samples) / rate > 5) == (name == "long")


def test_a_model_is_healthy_where_nothing_was_touched(bundle: Bundle) -> None:
    found = examine_bundle(bundle.folder)
    assert found.healthy
    assert found.line == f"Healthy: {len(DEPLOYMENT)} suspects looked for in this model, none found."
    base = Way.of(bundle)
    stored = read_reference(bundle.folder)
    assert stored is not None
    for name in SOUNDS:  # the model's own way of hearing is one of all ways
        own = answer_of(base, bundle.classifier(), bundle.folder / "reference" / f"{name}.wav")
        assert np.allclose(own, stored["sounds"][name]["answer"]["logits"], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({"audio": {"normalize": "none"}}, "normalization"),
        ({"audio": {"offset": "removed"}}, "offset"),
        ({"stft": {"window": "hann"}}, "stft"),
        ({"stft": {"sample_rate": 16_000}}, "sample_rate"),
        ({"segment": {"length_s": 0.7}}, "segment_length"),
        ({"classes": ["PD", "HC"]}, "label_order"),
    ],
)
def test_a_setting_that_was_changed_is_the_first_suspect(bundle: Bundle, changes: dict[str, Any], suspect: str) -> None:
    change(bundle, **changes)
    found = examine_bundle(bundle.folder)
    assert found.first == suspect, found.line
    assert "was" in found.suspicions[0].evidence
    assert found.suspicions[0].fix.endswith(".")


@pytest.mark.parametrize(
    ("key", "suspect"),
    [("final.backbone.classifier.weight", "weights"), ("final.temperature", "temperature")],
)
def test_weights_that_were_changed_are_told_from_a_temperature(bundle: Bundle, key: str, suspect: str) -> None:
    path = bundle.folder / "weights.safetensors"
    weights = load_file(path)
    weights[key] = 1.5 * weights[key]
    save_file(weights, path)
    change(bundle, weights={"sha256": sha256_of(path)})
    assert examine_bundle(bundle.folder).first == suspect


def test_another_library_is_found_at_its_stage(bundle: Bundle) -> None:
    def nearest(x: Any, a: int, b: int, quality: str) -> Any:
        return x[(np.arange(round(len(x) * b / a)) * a / b).astype(int)]

    real = torch.stft
    with mock.patch("soxr.resample", nearest):
        assert examine_bundle(bundle.folder).first == "resampler"
    with mock.patch("torch.stft", lambda *a, **k: 1.1 * real(*a, **k)):
        assert examine_bundle(bundle.folder).first == "stft"
    with mock.patch("torch.nn.ReLU.forward", lambda self, x: torch.nn.functional.silu(x)):
        assert examine_bundle(bundle.folder).first == "library"
    (bundle.folder / "reference" / "long.wav").write_bytes((bundle.folder / "reference" / "quiet.wav").read_bytes())
    assert examine_bundle(bundle.folder).first == "reference_files"


REMEMBERED = functools.cache(answer_of)
"""Every way of hearing is tried for every suspect; once is enough."""
MODEL = load_bundle("synthetic-cnn")


@pytest.mark.parametrize("suspect", DEPLOYMENT)
def test_every_suspect_says_what_to_do_and_is_found_by_its_answers(
    suspect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, base = DEPLOYMENT.facts(suspect), Way.of(MODEL)
    assert facts["stage"] in STAGES
    assert set(facts["sounds"]) <= set(SOUNDS)
    assert facts["fix"].endswith(".")
    ways = DEPLOYMENT[suspect](base)
    assert all(way != base and way.words != base.words for way in ways)
    if not ways or suspect == "dtype":  # bfloat16 moves these answers by half of what programs round away
        return
    monkeypatch.setattr(deployment, "load_bundle", lambda *_: MODEL)
    monkeypatch.setattr(deployment, "open_anyway", lambda *_: (MODEL, []))
    monkeypatch.setattr(deployment, "answer_of", REMEMBERED)

    def program(name: str) -> Any:
        """Somebody's program that hears in this way, found out from its answers alone."""
        return torch.from_numpy(REMEMBERED(ways[0], MODEL.classifier(), Path(name))).softmax(-1).tolist()

    assert examine_bundle("synthetic-cnn", program).first == suspect


def test_a_program_that_is_right_or_random(bundle: Bundle) -> None:
    base = Way.of(bundle)

    def right(name: str) -> Any:
        return answer_of(base, bundle.classifier(), Path(name))

    random = np.random.default_rng(0)
    assert examine_bundle(bundle.folder, right).healthy
    assert examine_bundle(bundle.folder, lambda name: right(name) + random.normal(0, 0.5, 2)).first == "training_mode"
    with pytest.raises(SpeechXAIError, match=r"stereo.wav: the script fails on this reference recording: .*no such"):
        examine_bundle(bundle.folder, lambda name: Path(f"{name}-no such").read_text())
    with pytest.raises(SpeechXAIError, match="--script nothing:here: cannot be opened"):
        examine_bundle(bundle.folder, "nothing:here")


def test_the_first_stage_that_differs_by_hand() -> None:
    then = {"quiet": {"read": {"peak": 1.0, "offset": 0.0}, "answer": {"logits": [1.0, -2.0]}}}
    same = {"quiet": {"read": {"peak": 1.001, "offset": 5e-5}, "answer": {"logits": [1.003, -2.0]}}}
    assert stage_differences(then, same) == {}  # .001 / 1 and .003 / 2 are below .002
    other = {"quiet": {"read": {"peak": 0.5, "offset": 0.0}, "answer": {"logits": [1.5, -2.0]}}}
    assert stage_differences(then, other) == {"read": {"quiet": 0.5}, "answer": {"quiet": 0.25}}


def test_a_model_of_before_there_were_reference_answers(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.rmtree(bundle.folder / "reference")
    found = examine_bundle(bundle.folder)
    assert found.healthy
    assert "carries no reference answers" in found.notes[0]
    with pytest.raises(SpeechXAIError, match="there are no reference recordings to ask the script about"):
        examine_bundle(bundle.folder, lambda name: [0.5, 0.5])
    main_code(["doctor", str(bundle.folder), "--remember"], 0)
    assert "reference answers written" in capsys.readouterr().out
    (bundle.folder / "reference" / "facts.json").write_text("{}")
    with pytest.raises(SpeechXAIError, match="the facts are damaged or were changed by hand"):
        examine_bundle(bundle.folder)


def main_code(words: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == code


def test_the_command(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    main_code(["doctor", str(bundle.folder)], 0)
    assert capsys.readouterr().out.startswith("Healthy: ")
    change(bundle, audio={"normalize": "none"})
    main_code(["doctor", str(bundle.folder), "--format", "json"], 1)
    table = json.loads(capsys.readouterr().out)[0]
    assert table["suspects"][0]["suspect"] == "normalization"
    assert not table["healthy"]
    main_code(["doctor", "no-such-model"], 2)
    main_code(["doctor", str(bundle.folder), "--script", "a:b"], 2)
    assert "If you trust it, give --allow-code" in capsys.readouterr().err


def test_predict_names_the_doctor_where_an_answer_cannot_be_right(bundle: Bundle) -> None:
    bundle.classifier()  # has answered
    different = [[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]
    assert cannot_be_right(bundle, different) == ""
    assert "answers the same to all 3 recordings" in cannot_be_right(bundle, [[0.2, 0.8]] * 3)
    with mock.patch("torch.nn.ReLU.forward", lambda self, x: torch.nn.functional.silu(x)):
        said = cannot_be_right(bundle, different)
    assert said.startswith("The model answers its own reference recording otherwise")
    assert "speechxai doctor" in said


def test_check_hears_a_reference_recording_before_a_run(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HC/a", "HC/b", "PD/c", "PD/d"):
        file = tmp_path / "voices" / f"{name}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, noise_recording(duration_s=0.5, seed=len(name)).waveform.numpy(), 16_000)
    study = tmp_path / "study.toml"
    study.write_text(f'data = "{tmp_path / "voices"}"\nmodel = "{bundle.folder}"\nrecipes = ["saliency"]\n')
    main_code(["check", str(study)], 0)
    assert "nobody is suspected at a first look" in capsys.readouterr().out
    with mock.patch("torch.nn.ReLU.forward", lambda self, x: torch.nn.functional.silu(x)):
        main_code(["check", str(study)], 0)
    assert "The model answers its own reference recording otherwise than when it was" in capsys.readouterr().out


# Trainings: a log by hand for each suspect, one thing wrong in each.
def epochs(n: int = 8, **facts: Any) -> list[dict[str, float]]:
    """Epochs of a training that goes well, with facts in which it does not; a function is of the epoch's number."""
    rows = []
    for epoch in range(n):
        row: dict[str, Any] = {
            "training_loss": 0.7 * 0.6**epoch,
            "validation_loss": 0.7 * 0.7**epoch,
            "own_loss": 0.7 * 0.6**epoch,
            "accuracy": min(0.98, 0.6 + 0.1 * epoch),
            "gradient": 0.5,
            "stale": 0.0,
            "update": 0.1,
            "still_tensors": 0.0,
            "weight": 10.0,
            "n_steps": 6,
            "logit": 1.0 + epoch,
            "spread": 1.0,
            "n_activations": 3,
            "dead": 0.1,
            "saturated": 0.0,
            "input_mean": 0.0,
            "input_deviation": 1.0,
        }
        row |= {name: value(epoch) if callable(value) else value for name, value in facts.items()}
        rows.append(row)
    return rows


DATA = {
    "counts": [[4, 4], [4, 4], [4, 4]],
    "n_recordings": 24,
    "variety_db": 6.0,
    "peaks": [1.0, 1.0, 1.0],
    "offset": 0.0,
    "constant": 0,
    "copies": 0,
    "copies_of_other_label": 0,
}
FIT = {"epochs": 8, "patience": 6, "class_weights": "balanced"}


def log(rows: list[dict[str, float]] | None = None, **changes: Any) -> Log:
    parts = dict.fromkeys(("fold0", "fold1", "fold2", "final"), epochs() if rows is None else rows)
    values = {"data": DATA, "fit": FIT, "parts": parts, "auc": (0.95, 0.85, 1.0), "problems": ("", "", "")}
    return Log(**{**values, **changes})


CHANCE, NOBODY = (0.5, 0.35, 0.65), ("says nearly the same",) * 3
STUCK = {"own_loss": 0.69, "training_loss": 0.69, "accuracy": 0.5, "logit": 0.1}
LOGS = {
    "one_class": log(data={**DATA, "counts": [[4, 4], [4, 0], [4, 4]]}),
    "leak_between_folds": log(data={**DATA, "copies": 2}),
    "constant_input": log(epochs(**STUCK), data={**DATA, "variety_db": 0.01}, auc=CHANCE, problems=NOBODY),
    "unnormalized_input": log(epochs(input_mean=7.0), auc=CHANCE),
    "labels": log(auc=CHANCE),
    "loss_not_finite": log(epochs(training_loss=float("nan"), own_loss=float("nan")), auc=None),
    "wrong_loss": log(epochs(training_loss=lambda k: 0.7 * 0.6**k + 0.313)),
    "no_update": log(epochs(**STUCK, update=0.0, still_tensors=1.0), auc=CHANCE),
    "stale_gradient": log(epochs(stale=0.4)),
    "learning_rate_too_high": log(epochs(own_loss=4.0, training_loss=4.0, accuracy=0.5, update=0.9), auc=CHANCE),
    "learning_rate_too_low": log(epochs(**STUCK, update=1e-4), auc=CHANCE),
    "weight_decay_too_high": log(epochs(**STUCK, weight=lambda k: 10 * 0.8**k), auc=CHANCE),
    "dead_units": log(epochs(**STUCK, dead=1.0), auc=CHANCE),
    "saturated_units": log(epochs(**STUCK, saturated=0.9), auc=CHANCE),
    "bounded_output": log(epochs(logit=lambda k: min(1.0, 0.7 + 0.1 * k))),
    "no_activation": log(epochs(**STUCK, n_activations=0), auc=CHANCE),
    "vanishing_gradient": log(epochs(**STUCK, gradient=1e-7), auc=CHANCE),
    "too_few_epochs": log(epochs(2), fit={**FIT, "epochs": 2}, auc=CHANCE),
    "stopped_too_early": log(epochs(4, accuracy=0.6), fit={**FIT, "epochs": 40, "patience": 1}, auc=CHANCE),
    "folds_without_spread": log(epochs(4, accuracy=0.6), auc=CHANCE, problems=NOBODY),
}


@pytest.mark.parametrize("suspect", TRAINING)
def test_every_suspect_of_a_training_is_the_first_where_its_fault_is(suspect: str) -> None:
    found = diagnose(LOGS[suspect])
    assert found.first == suspect, found.line
    assert TRAINING.facts(suspect)["stage"] in PARTS
    assert TRAINING.facts(suspect)["fix"].endswith(".")
    stages = [PARTS.index(TRAINING.facts(name)["stage"]) for name in TRAINING]
    assert stages == sorted(stages)  # of equals the first stage goes first


def test_where_a_suspicion_of_a_training_begins_and_what_is_seen_as_such() -> None:
    for name in (
        "one_class",
        "leak_between_folds",
        "constant_input",
        "loss_not_finite",
        "wrong_loss",
        "stale_gradient",
    ):
        assert diagnose(LOGS[name]).suspicions[0].strength == 1.0, name
    # A loss that is off by 3 % at .7 nats, and by 1 %.
    assert diagnose(log(epochs(training_loss=lambda k: 1.03 * 0.7 * 0.6**k))).first == "wrong_loss"
    assert diagnose(log(epochs(training_loss=lambda k: 1.01 * 0.7 * 0.6**k))).healthy
    # 1.5 times ln 2 is 1.04 nats.
    jumps = [log(epochs(own_loss=v, training_loss=v, accuracy=0.5), auc=CHANCE) for v in (1.1, 1.0)]
    assert [diagnose(each).first for each in jumps] == ["learning_rate_too_high", "labels"]


def test_a_training_that_went_well_and_one_without_epochs() -> None:
    assert diagnose(log()).healthy
    assert diagnose(log([])).line == f"Healthy: {len(TRAINING)} suspects looked for in this training, none found."
    # The loss fell from .7 to .7 * .6 ** 7: by 97 %, and in the second half from .7 * .6 ** 3 by 1 - .6 ** 4 = 87 %.
    assert log().fall == pytest.approx(1 - 0.6**7)
    assert log().falling == pytest.approx(1 - 0.6**4)
    assert diagnose(log()).table()["suspects"] == []


def test_a_watch_sees_what_an_epoch_did() -> None:
    classifier = tiny_classifier(0, None)
    classifier.train()
    weights = torch.tensor([1.0, 3.0])
    logits, labels = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    with Watch(classifier, weights) as watch:
        watch.before_backward()
        watch.before_step()
        watch.answered(logits, labels)
    # (1 * ln 2 + 3 * ln(1 + e^-2)) / 4 = (.693147 + 3 * .126928) / 4
    assert watch.facts["own_loss"] == pytest.approx(0.268483, abs=1e-6)
    assert watch.facts["own_loss"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels, weight=weights)), abs=1e-6
    )
    assert watch.facts["accuracy"] == 1.0  # the first of equals is HC
    assert watch.facts["update"] == 0.0
    assert watch.facts["still_tensors"] == 1.0
    assert watch.facts["stale"] == 0.0


def test_copies_are_found_across_folds_and_strangers_are_not() -> None:
    random = np.random.default_rng(0)
    waves = [np.convolve(random.standard_normal(8_000), np.ones(6) / 6, "same") for _ in range(4)]
    waves.append(-0.3 * waves[0][1_000:7_000])  # a part, softer and turned over
    names = [Recording(torch.from_numpy(w).float(), 16_000, f"r{i}", f"s{i}", i % 2) for i, w in enumerate(waves)]
    found = data_facts(names, [0, 1, 2, 0, 1], 2)
    assert found["copies"] == 1
    assert found["copies_of_other_label"] == 0
    assert found["counts"] == [[1, 1], [1, 1], [1, 0]]
    assert data_facts(names, [0, 1, 2, 0, 0], 2)["copies"] == 0  # within a fold nothing leaks
    assert data_facts([names[0]] * 3, [0, 1, 2], 2)["variety_db"] < 1e-9


# Runs.
RUNS = {
    "damaged_tables": RunCase(damaged="Tables are missing"),
    "failing_recordings": RunCase(10, 7, (("a", "it is silent"),) * 3),
    "unfinished": RunCase(10, 7),
    "other_model": RunCase(model=("m", "a" * 64), model_now="b" * 64),
    "impossible_answers": RunCase(probabilities=(0.3, 1.2)),
    "one_answer": RunCase(predicted=("PD",) * 8, labels=("PD",) * 7 + ("HC",)),
    "turned_answers": RunCase(predicted=("PD", "HC") * 8, labels=("HC", "PD") * 8),
    "impossible_scores": RunCase(scores={"faithfulness": (0.2, 1.4)}, bounds={"faithfulness": (-1.0, 1.0)}),
    "undefined_scores": RunCase(scores={"complexity": (float("nan"), float("nan"), 1.0)}),
    "other_libraries": RunCase(libraries={"torch": "1.0"}, libraries_now={"torch": "2.0"}),
}


@pytest.mark.parametrize("suspect", RUN)
def test_every_suspect_of_a_run_is_the_first_where_its_fault_is(suspect: str) -> None:
    found = diagnose_run(RUNS[suspect])
    assert found.first == suspect, found.line
    assert RUN.facts(suspect)["fix"].endswith(".")
    assert diagnose_run(RunCase(10, 10, probabilities=(0.2, 0.5, 0.9))).healthy


def test_a_training_and_a_run_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = tmp_path / "m", tmp_path / "run"
    small = "--speakers 6 --folds 3 --epochs 2 --crop-s 0.3 --option channels=[4] --option n_mels=16 --restarts 0"
    main_code(["train", "synthetic", "--out", str(model), *small.split()], 0)
    said = capsys.readouterr().err
    assert "First suspect: " in said
    assert f"More: speechxai doctor {model}" in said
    found = examine(str(model))
    assert [each.kind for each in found] == ["model", "training"]
    assert found[0].healthy
    assert not found[1].healthy  # six people and two epochs
    words = ["evaluate", "--data", "synthetic", "--limit", "2", "--model", str(model)]
    main_code([*words, "--recipe", "saliency", "--metric", "faithfulness", "--pictures", "0", "--out", str(out)], 0)
    (case,) = examine(str(out))
    assert case.kind == "run"
    assert not {"other_libraries", "other_model", "damaged_tables"} & {s.suspect for s in case.suspicions}
    (out / "summary.csv").write_text("nothing")
    assert examine(str(out))[0].first == "damaged_tables"
