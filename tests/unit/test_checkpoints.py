"""Bundles: what is saved comes back, the right fold speaks, and whatever is damaged says so."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import (
    Bundle,
    BundleConfig,
    EpochFile,
    bundle_names,
    library_versions,
    load_bundle,
    save_bundle,
    save_parts,
)
from speechxai.classifiers.imports import read_weights
from speechxai.errors import SpeechXAIError, VersionWarning
from speechxai.files import to_toml
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Recording, StftConfig

STFT = StftConfig(n_fft=256, win_length=256, hop_length=128, sample_rate=8000)
OPTIONS = {"n_mels": 16, "channels": [4, 6], "f_max_hz": 3000.0}
HASH = "ab" * 32
STFT_SETTINGS = {
    "n_fft": 256,
    "win_length": 256,
    "hop_length": 128,
    "window": "hamming",
    "sample_rate": 8000,
    "scale": "log1p",
}


def make(seed: int) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = Classifier(
            build("cnn", STFT, **OPTIONS), STFT, SegmentConfig(1.0, 0.5), cam_layer="features", max_batch=5
        )
    classifier.temperature.fill_(1.5 + seed)
    front_end = classifier.backbone.front_end
    front_end.set_statistics(torch.arange(16.0), torch.arange(16.0) + 1)  # type: ignore[operator, union-attr]
    return classifier.eval()


def config(**changes: object) -> BundleConfig:
    values: dict[str, object] = {
        "name": "tiny",
        "title": "A tiny model",
        "architecture": "cnn",
        "options": OPTIONS,
        "stft": STFT_SETTINGS,
        "segment": {"length_s": 1.0, "hop_s": 0.5},
        "cam_layer": "features",
        "max_batch": 5,
        "training": {"data": "toy", "settings": {"epochs": 3}},
        "speakers": {'toy/ä "b"': 1, "toy/0": 0},
        "files": {HASH: 2},
    }
    return BundleConfig.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    models = {"final": make(9), **{f"fold{k}": make(k) for k in range(3)}}
    return save_bundle(tmp_path_factory.mktemp("models") / "tiny", config(), models, "# A card\n")


@pytest.fixture
def copy(saved: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved.folder, tmp_path / "copy"))


def rewrite_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Replace the weights and their hash, as somebody who edits a bundle would."""
    old = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    save_file(tensors, folder / "weights.safetensors")
    new = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    text = (folder / "config.toml").read_text()
    assert old in text
    (folder / "config.toml").write_text(unsealed(text.replace(old, new)))


def unsealed(text: str) -> str:
    """Settings without the line that holds their hash, as somebody who means a change leaves them."""
    settings, weights, rest = text.partition("[weights]")
    return re.sub('(?m)^sha256 = "[0-9a-f]{64}"\n', "", settings) + weights + rest


def recording(speaker: str = "x/1", **metadata: object) -> Recording:
    return Recording(torch.sin(torch.arange(9000.0) / 3), 8000, "r", speaker, metadata=metadata)


def test_saved_and_loaded_gives_equal_logits(saved: Bundle) -> None:
    assert {p.name for p in saved.folder.iterdir()} == {"config.toml", "weights.safetensors", "card.md", "reference"}
    spec = spectrogram(torch.randn(2, 12_000, generator=torch.Generator().manual_seed(0)), STFT)
    again = load_bundle(saved.folder)
    for fold, seed in ((None, 9), (0, 0), (1, 1), (2, 2)):
        with torch.no_grad():
            expected = make(seed)(spec.magnitude, spec.phase)
            found = again.classifier(fold)(spec.magnitude, spec.phase)
        assert torch.equal(found, expected)
    assert again.card == "# A card\n"
    assert again.config.training == {"data": "toy", "settings": {"epochs": 3}}
    assert again.config.libraries == library_versions()
    assert again.config.speakers == {'toy/ä "b"': 1, "toy/0": 0}


def test_a_classifier_is_made_once_ready_to_explain(saved: Bundle) -> None:
    model = saved.classifier(1)
    assert model is saved.classifier(1)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.max_batch == 5
    assert model.segment == SegmentConfig(1.0, 0.5)
    assert model.cam_module() is model.backbone.features
    assert float(model.temperature) == 2.5


def test_the_fold_that_never_heard_the_speaker_speaks(saved: Bundle) -> None:
    assert saved.fold_of(recording("toy/0")) == 0
    assert saved.fold_of(recording('toy/ä "b"')) == 1
    assert saved.fold_of(recording("unknown/renamed", sha256=HASH)) == 2
    assert saved.fold_of(recording("toy/0", sha256=HASH)) == 2
    assert saved.fold_of(recording("toy/new", sha256="cd" * 32)) is None
    assert saved.for_recording(recording("toy/0")) is saved.classifier(0)
    assert saved.for_recording(recording("toy/new")) is saved.classifier()


def test_other_library_versions_warn_once_with_the_difference(copy: Path) -> None:
    path = copy / "config.toml"
    text = path.read_text()
    path.write_text(text.replace(f'torch = "{library_versions()["torch"]}"', 'torch = "1.13.1"'))
    with pytest.warns(VersionWarning) as caught:
        load_bundle(copy)
    assert len(caught) == 1
    here = library_versions()["torch"]
    assert (
        str(caught[0].message)
        == f"The model 'tiny' was trained with other libraries: torch {here} here, 1.13.1 at training. Its predictions"
        " may differ."
    )
    major, minor = here.split(".")[:2]
    path.write_text(text.replace(f'torch = "{here}"', f'torch = "{major}.{minor}.99"'))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_bundle(copy)  # another patch level is no difference


def test_missing_and_damaged_files(copy: Path, tmp_path: Path) -> None:
    weights = copy / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": the file is damaged or from another bundle: its sha256 is .*\.\.\., config\.toml says "
            r".*\.\.\.\. Restore the file or train the model again\.$"
        ),
    ):
        load_bundle(copy)
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": the file is damaged or from another bundle: its sha256 is .*\.\.\., config\.toml says "
            r".*\.\.\.\. Restore the file or train the model again\.$"
        ),
    ):
        load_bundle(copy)
    weights.unlink()
    with pytest.raises(
        SpeechXAIError, match=(r": the weights are missing\. Restore the file or train the model again\.$")
    ):
        load_bundle(copy)
    (copy / "config.toml").unlink()
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/config\.toml: no such file\. A model bundle is a folder with config\.toml, "
            r"weights\.safetensors and card\.md\.$"
        ),
    ):
        load_bundle(copy)
    with pytest.raises(
        SpeechXAIError, match=(r"^nowhere: there is no such folder\. Unknown model 'nowhere'\. Known: .*$")
    ):
        load_bundle("nowhere")
    with pytest.raises(
        SpeechXAIError, match=(r"/figshare-cnn: there is no such folder\. Unknown model '.*/figshare-cnn'\. Known: .*$")
    ):
        load_bundle(tmp_path / "figshare-cnn")


def test_a_file_that_is_no_safetensors(copy: Path) -> None:
    bad = copy / "weights.safetensors"
    old = hashlib.sha256(bad.read_bytes()).hexdigest()
    bad.write_bytes(b"PK not safetensors")
    new = hashlib.sha256(bad.read_bytes()).hexdigest()
    path = copy / "config.toml"
    path.write_text(unsealed(path.read_text().replace(old, new)))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": cannot be read \(Error while deserializing header: .*\)\. Restore the file or train the "
            r"model again\.$"
        ),
    ):
        load_bundle(copy).classifier()


def test_weights_that_do_not_fit(copy: Path) -> None:
    tensors = load_file(copy / "weights.safetensors")
    rewrite_weights(copy, {k: v for k, v in tensors.items() if k != "final.backbone.classifier.bias"})
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/weights\.safetensors: the weights do not fit config\.toml: "
            r"'final\.backbone\.classifier\.bias' is missing\. Restore the bundle or train the model "
            r"again\.$"
        ),
    ):
        load_bundle(copy).classifier()
    rewrite_weights(copy, {**tensors, "final.extra": torch.zeros(1)})
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/weights\.safetensors: the weights do not fit config\.toml: 'final\.extra' belongs to no "
            r"layer\. Restore the bundle or train the model again\.$"
        ),
    ):
        load_bundle(copy).classifier()
    rewrite_weights(copy, {**tensors, "final.backbone.classifier.bias": torch.zeros(3)})
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/weights\.safetensors: the weights do not fit config\.toml: "
            r"'final\.backbone\.classifier\.bias' has shape \[3\] and must have \[2\]\. Restore the "
            r"bundle or train the model again\.$"
        ),
    ):
        load_bundle(copy).classifier()
    rewrite_weights(copy, {**tensors, "fold1.backbone.classifier.bias": torch.full((2,), torch.nan)})
    load_bundle(copy).classifier()
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/weights\.safetensors: the weights do not fit config\.toml: "
            r"'fold1\.backbone\.classifier\.bias' has NaN or infinite values\. Restore the bundle or "
            r"train the model again\.$"
        ),
    ):
        load_bundle(copy).classifier(1)
    rewrite_weights(copy, {k: v for k, v in tensors.items() if not k.startswith("fold2")})
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/weights\.safetensors: the weights do not fit config\.toml: 'fold2\.temperature' is "
            r"missing; 'fold2\.backbone\.front_end\.mean' is missing; "
            r"'fold2\.backbone\.front_end\.deviation' is missing; and 14 more\. Restore the bundle or "
            r"train the model again\.$"
        ),
    ):
        load_bundle(copy).classifier(2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "tiny"', 'name = "tiny"\nnmae = "x"', "nmae: Extra inputs are not permitted"),
        (
            "format = 1",
            "format = 2",
            r"this bundle has format 2, and this version of speechxai reads up to 1\. Use the",
        ),
        ("format = 1", 'format = "new"', "this bundle states the format 'new', which is no version"),
        ("hop_length = 128", "hop_length = 200", r"hop_length.*at most win_length / 2 = 128"),
        ("hop_length = 128", 'hop_length = "128"', r"stft\.hop_length: Input should be a valid integer"),
        ("hop_length = 128\n", "", r"stft\.hop_length: Field required"),
        ('window = "hamming"', 'window = "kaiser"', r"stft\.window"),
        ("n_folds = 3", "n_folds = 2", r"'files' puts 'abab\w+' in fold 2, but there are 2"),
        ("hop_s = 0.5", "hop_s = 5.0", "hop_s"),
        ('"HC",', '"PD",', "two different names"),
        ("[stft]", "[stft", "not valid TOML"),
        ('"toy/0" = 0', '"toy/0" = 0\n"toy/0" = 1', "not valid TOML"),
    ],
)
def test_settings_are_checked(copy: Path, old: str, new: str, message: str) -> None:
    path = copy / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SpeechXAIError, match=rf"config\.toml: .*{message}"):
        load_bundle(copy)


@pytest.mark.parametrize("stands", ["pipe", "device", "folder", "link to nothing", "bytes", "empty"])
@pytest.mark.parametrize("file", ["config.toml", "weights.safetensors", "card.md"])
def test_whatever_stands_where_a_file_belongs_is_one_line(file: str, stands: str, copy: Path) -> None:
    path = copy / file
    path.unlink()
    if stands == "pipe":
        os.mkfifo(path)
    elif stands == "folder":
        path.mkdir()
    elif stands in ("device", "link to nothing"):
        path.symlink_to("/dev/zero" if stands == "device" else "/nowhere")
    else:
        path.write_bytes(bytes(range(256)) if stands == "bytes" else b"")
    if (file, stands) == ("card.md", "empty"):
        assert load_bundle(copy).card == ""
        return
    with pytest.raises(SpeechXAIError, match=re.escape(str(path))) as raised:
        assert load_bundle(copy).card
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [-1, 0, 10**30, 1e300, float("nan"), True, "", "x", [], [-1], {"a": 1}, None])
@pytest.mark.parametrize("key", ["max_batch", "stft.n_fft", "segment.length_s", "options.n_mels", "options.channels"])
def test_settings_of_other_kinds_are_one_line_and_never_run_for_ever(key: str, value: object, copy: Path) -> None:
    path = copy / "config.toml"
    settings = tomllib.loads(unsealed(path.read_text()))
    table, _, name = key.rpartition(".")
    place = settings[table] if table else settings
    if value is None:
        place.pop(name, None)
    else:
        place[name] = value
    path.write_text(to_toml(settings))
    if value is None and table != "segment" and table != "stft":
        with contextlib.suppress(SpeechXAIError):  # the default, which may not fit the weights
            load_bundle(copy).classifier()
        return
    with pytest.raises(SpeechXAIError, match=r"config\.toml|weights\.safetensors") as raised:
        load_bundle(copy).classifier()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", ["cut", "list", "empty", "number", "code", "bytes", "pipe", "zip", "changed 1", "changed 2", "changed 3"]
)
def test_checkpoints_that_are_none_are_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "fold_1.pt"
    torch.save({"a.weight": torch.ones(40)}, path)
    whole = bytearray(path.read_bytes())
    if content == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif content == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif content.startswith("changed"):
        whole[60 * int(content[-1])] ^= 0xFF
        path.write_bytes(whole)
    elif content in ("bytes", "zip"):
        path.write_bytes(bytes(range(256)) if content == "bytes" else b"PK\x05\x06" + bytes(18))
    else:
        torch.save({"list": [1], "empty": {}, "number": 1, "code": {"a": print}}[content], path)
    with contextlib.suppress(SpeechXAIError):  # a changed byte may be one of a name
        read_weights(path)
        assert content.startswith("changed")


def test_a_bundle_that_states_no_format_is_of_the_first(copy: Path) -> None:
    path = copy / "config.toml"
    text = path.read_text()
    assert text.startswith("format = 1\n")
    path.write_text(text.removeprefix("format = 1\n"))
    assert load_bundle(copy).config.format == 1


def test_unknown_networks_and_foreign_code(copy: Path) -> None:
    path = copy / "config.toml"
    text = unsealed(path.read_text())
    path.write_text(text.replace('architecture = "cnn"', 'architecture = "cmn"'))
    with pytest.raises(SpeechXAIError, match=r": Unknown backbone 'cmn'\. Did you mean 'cnn'\? Known: .*$"):
        load_bundle(copy).classifier()
    path.write_text(text.replace("n_mels", "n_mel"))
    with pytest.raises(
        SpeechXAIError, match=(r": Unknown option of the backbone 'cnn' 'n_mel'\. Did you mean 'n_mels'\? Known: .*$")
    ):
        load_bundle(copy).classifier()
    path.write_text(text.replace('architecture = "cnn"', 'architecture = "os:system"'))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": the architecture 'os:system' would run code of another package\. If you trust it, give "
            r"--allow-code \(allow_code=True\)\.$"
        ),
    ):
        load_bundle(copy)


def test_a_fold_that_does_not_exist(saved: Bundle) -> None:
    for fold in (3, -1):
        with pytest.raises(SpeechXAIError, match=f"there is no fold {fold}; the bundle has 3"):
            saved.classifier(fold)


def test_saving_checks_its_parts(tmp_path: Path) -> None:
    with pytest.raises(
        SpeechXAIError, match=(r"^A bundle needs the classifiers final, fold0, fold1, \.\.\. Got fold0\.$")
    ):
        save_bundle(tmp_path / "a", config(speakers={}, files={}), {"fold0": make(0)}, "")
    with pytest.raises(
        SpeechXAIError, match=(r"^A bundle needs the classifiers final, fold0, fold1, \.\.\. Got final, fold1\.$")
    ):
        save_bundle(tmp_path / "a", config(speakers={}, files={}), {"final": make(0), "fold1": make(1)}, "")
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SpeechXAIError,
        match=(r"/file/a: the bundle cannot be written \(.*\)\. Choose a folder that can be written to\.$"),
    ):
        save_bundle(tmp_path / "file" / "a", config(speakers={}, files={}), {"final": make(0)}, "")
    with pytest.raises(SpeechXAIError, match=r"/c: the classes of 'final' are HC, PD, and the bundle's are PD, HC\.$"):
        save_bundle(tmp_path / "c", config(speakers={}, files={}, classes=("PD", "HC")), {"final": make(0)}, "")
    turned = make(0).reordered(("HC", "PD"), (1, 0))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/d: 'final' answers otherwise than the network that was written: options, STFT, segments or "
            r"the order of classes are not its own\.$"
        ),
    ):
        save_bundle(tmp_path / "d", config(speakers={}, files={}), {"final": turned}, "")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/e: 'final' answers otherwise than the network that was written: options, STFT, segments or "
            r"the order of classes are not its own\.$"
        ),
    ):
        save_bundle(tmp_path / "e", config(speakers={}, files={}, segment=None), {"final": make(0)}, "")
    only_final = save_bundle(tmp_path / "b", config(speakers={}, files={}), {"final": make(0)}, "card")
    assert only_final.n_folds == 0
    assert only_final.for_recording(recording("toy/0")) is only_final.classifier()


def on_one_line(text: str) -> str:
    """Settings whose arrays stand on one line each."""
    arrays = re.compile(r"\[\s*([^][]*?),?\s*\]")
    return arrays.sub(lambda found: "[" + ", ".join(re.split(r",\s+", found[1])) + "]", text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('classes = ["HC", "PD"]', 'classes = ["PD", "HC"]'),  # turns every answer round
        ("hop_length = 128", "hop_length = 64"),
        ('window = "hamming"', 'window = "hann"'),
        ('normalize = "none"', 'normalize = "peak"'),
        ("length_s = 1.0", "length_s = 0.5"),
        ('"toy/0" = 0', '"toy/0" = 1'),  # a network that heard the speaker would answer
        ("calibrated = false", "calibrated = true"),
        ("duration_s = [1.0, 2.0]", "duration_s = [1.0, 900.0]"),
    ],
)
def test_settings_that_change_an_answer_are_sealed(tmp_path: Path, old: str, new: str) -> None:
    scope = {"band_hz": 4000.0, "ranges": {"duration_s": [1.0, 2.0]}}
    told = config(audio={"normalize": "none"}, calibration={"calibrated": False, "reason": "r"}, scope=scope)
    bundle = save_bundle(tmp_path / "tiny", told, {"final": make(9), **{f"fold{k}": make(k) for k in range(3)}}, "")
    assert bundle.sha256 == bundle.config.sha256 != bundle.config.weights.sha256
    path = bundle.folder / "config.toml"
    text = on_one_line(path.read_text())
    path.write_text(text)
    assert load_bundle(bundle.folder).sha256 == bundle.sha256
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": the settings are not those that were saved with the model: the order of classes or how "
            r"audio is read may have changed, and with them every answer\. Restore the file; if the "
            r"change is meant, remove its line 'sha256'\.$"
        ),
    ):
        load_bundle(bundle.folder)
    path.write_text(unsealed(path.read_text()))
    assert load_bundle(bundle.folder).sha256 != bundle.sha256  # meant, and another model now


def test_what_changes_no_answer_is_free(copy: Path) -> None:
    path, before = copy / "config.toml", load_bundle(copy).sha256
    path.write_text(path.read_text().replace('title = "', 'title = "Renamed '))
    again = load_bundle(copy)
    assert again.config.title.startswith("Renamed ")
    assert again.sha256 == before


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stft": {**STFT_SETTINGS, "window": "hann"}}, "answers otherwise than the network that was written"),
        ({"segment": {"length_s": 0.5, "hop_s": 0.25}}, "answers otherwise than the network that was written"),
        ({"options": {**OPTIONS, "channels": [4, 4]}}, "do not fit"),
        ({"classes": ("PD", "HC")}, "classes of .final. are HC, PD, and the bundle.s are PD, HC"),
    ],
)
def test_a_bundle_that_answers_otherwise_is_not_left_behind(
    tmp_path: Path, large: bool, changes: dict[str, Any], words: str
) -> None:
    told, networks = config(speakers={}, files={}, **changes), {"final": make(0), "fold0": make(1)}
    given: Any = networks.items() if large else networks
    with pytest.raises(SpeechXAIError, match=words):
        (save_parts if large else save_bundle)(tmp_path / "b", told, given, "")
    assert not (tmp_path / "b" / "config.toml").exists()


def test_training_state_survives_damage_in_words(tmp_path: Path) -> None:
    store = EpochFile(tmp_path / "deep" / "fold0.pt")
    assert store.load() is None
    state = {"records": [[0, 0.5, None]], "best": {"w": torch.arange(3.0)}, "best_loss": float("inf")}
    store.save(state)
    loaded = store.load()
    assert loaded is not None
    assert loaded["records"] == state["records"]
    assert torch.equal(loaded["best"]["w"], torch.arange(3.0))
    assert [p.name for p in store.path.parent.iterdir()] == ["fold0.pt"]
    store.path.write_bytes(store.path.read_bytes()[:50])
    with pytest.raises(SpeechXAIError, match=r"fold0\.pt: this training state is damaged"):
        store.load()
    torch.save([1], store.path)
    with pytest.raises(
        SpeechXAIError, match=(r"/deep/fold0\.pt: this is no training state\. Remove it to train from the start\.$")
    ):
        store.load()


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_training_state_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"records": _Evil()}, tmp_path / "evil.pt")
    with pytest.raises(SpeechXAIError, match="damaged"):
        EpochFile(tmp_path / "evil.pt").load()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", bundle_names())
def test_embedded_bundles_load_and_are_small(name: str) -> None:
    bundle = load_bundle(name)
    assert bundle.name == name
    assert (bundle.folder / "weights.safetensors").stat().st_size < 2_000_000
    assert "not a medical device" in bundle.card
    waveform = torch.sin(torch.arange(32_000.0) / 16)[None]
    for fold in (None, *range(bundle.n_folds)):
        classifier = bundle.classifier(fold)
        spec = spectrogram(waveform, classifier.stft)
        assert torch.isfinite(classifier(spec.magnitude, spec.phase)).all()
