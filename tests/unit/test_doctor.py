"""The doctor of a model: reference answers travel with it, and the first stage that differs names the suspect."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechxai.classifiers.bundle import Bundle, bundle_names, load_bundle
from speechxai.classifiers.reference import RATES_HZ, SOUNDS, STAGES, read_reference, sounds
from speechxai.cli import main
from speechxai.doctor import DEPLOYMENT, cannot_be_right, deployment, examine_bundle
from speechxai.doctor.deployment import Way, answer_of, stage_differences
from speechxai.errors import SpeechXAIError
from speechxai.files import read_toml, sha256_of, to_toml
from speechxai.testing import tiny_bundle


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
