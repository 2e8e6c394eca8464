"""SSL4PR's folds as one bundle: who is heard by which network, and what happens to damaged parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechxai.classifiers import build, predict
from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.imports import import_folds
from speechxai.classifiers.ssl import Ssl, convolutions
from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import spectrogram
from speechxai.types import Recording

SPEAKERS = {
    1: ("AVPEPUDEA0001", "AVPEPUDEAC0001"),
    2: ("AVPEPUDEA0002", "AVPEPUDEAC0002"),
    3: ("AVPEPUDEA0003", "AVPEPUDEAC0003"),
}


def network(seed: int, n_channels: int = 8, hidden_size: int = 6, n_classes: int = 1) -> Ssl:
    torch.manual_seed(seed)
    overrides = {
        "encoder_embed_dim": 64,
        "encoder_num_heads": 1,
        "extractor_conv_layer_config": convolutions(n_channels),
    }
    backbone = build("ssl", size="tiny", overrides=overrides, hidden_size=hidden_size, n_classes=n_classes)
    assert isinstance(backbone, Ssl)
    return backbone.eval()


def published(backbone: Ssl) -> dict[str, torch.Tensor]:
    names = {
        "pooling.": "pooling_layer.attention_pooling_head.linear.",
        "hidden.0.": "classifier.layer_0.",
        "hidden.3.": "classifier.layer_1.",
        "output.": "classifier.final_layer.",
    }
    state = {}
    for name, value in backbone.network.state_dict().items():
        room, _, rest = name.partition(".")
        if room == "ssl":
            state["ssl_model." + rest.removeprefix("encoder.").replace("transformer.", "encoder.")] = value
        else:
            state[
                next(
                    (theirs + rest.removeprefix(ours) for ours, theirs in names.items() if rest.startswith(ours)), rest
                )
            ] = value
    return state


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for fold in SPEAKERS:
        torch.save(published(network(fold)), folder / f"fold_{fold}.pt")
    return folder


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    root = tmp_path / "splits"
    for fold, tested in SPEAKERS.items():
        (root / f"TRAIN_TEST_{fold}").mkdir(parents=True)
        trained = [speaker for other, names in SPEAKERS.items() if other != fold for speaker in names]
        for part, names in (("train", trained), ("test", tested)):
            rows = [
                f"{n}_a,/data/{'hc' if 'AC0' in n else 'pd'}/{n}_a.wav,{'hc' if 'AC0' in n else 'pd'},{n},vowels"
                for n in names
            ]
            text = "\n".join(["original_id,audio_path,status,speaker_id,group", *rows])
            (root / f"TRAIN_TEST_{fold}" / f"{part}.csv").write_text(text)
    return root


def test_each_speaker_is_heard_by_the_network_that_never_heard_them(
    checkpoints: Path, splits: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int, str]] = []
    bundle = import_folds(checkpoints, tmp_path / "ssl4pr", splits, progress=lambda *what: told.append(what))
    assert told == [(1, 3, "fold 1"), (2, 3, "fold 2"), (3, 3, "fold 3")]
    assert bundle.n_folds == 3
    assert "6 speakers" in bundle.card
    assert vars(bundle.config.audio) == {"normalize": "none", "offset": "kept"}
    waveform = 0.1 * torch.randn(186 * 40, generator=torch.Generator().manual_seed(0))
    for fold, names in SPEAKERS.items():
        for name in names:
            recording = Recording(waveform, 16_000, "r", f"pc-gita/{name}")
            ours = bundle.for_recording(recording).backbone.network(waveform[None])
            torch.testing.assert_close(ours, network(fold).network(waveform[None]).detach(), atol=1e-6, rtol=1e-6)
    stranger = bundle.for_recording(Recording(waveform, 16_000, "r", "elsewhere/1"))
    torch.testing.assert_close(stranger.backbone.network(waveform[None]), network(1).network(waveform[None]).detach())
    assert stranger.cam_module() is stranger.backbone.network.ssl.encoder.transformer.layers[-1]


def test_damaged_parts_are_named(checkpoints: Path, tmp_path: Path) -> None:
    bundle = import_folds(checkpoints, tmp_path / "ssl4pr")
    path = bundle.folder / "weights" / "fold1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    reopened = load_bundle(bundle.folder)
    reopened.classifier(0)
    with pytest.raises(
        SpeechXAIError,
        match=(r": the file is damaged or from another bundle\. Restore the file or import the model again\.$"),
    ):
        reopened.classifier(1)
    path.unlink()
    with pytest.raises(
        SpeechXAIError, match=(r": the weights are missing\. Restore the file or import the model again\.$")
    ):
        load_bundle(bundle.folder)
    config = bundle.folder / "config.toml"
    config.write_text(config.read_text().replace('final = "fold0"', 'final = "fold2"').replace("fold1 =", "fold9 ="))
    with pytest.raises(
        SpeechXAIError, match=(r": the table of weights is damaged\. Restore the file or import the model again\.$")
    ):
        load_bundle(bundle.folder)


def test_folds_that_do_not_belong_together(checkpoints: Path, splits: Path, tmp_path: Path) -> None:
    (checkpoints / "fold_3.pt").unlink()
    with pytest.raises(SpeechXAIError, match=r": there is no fold_3\.pt for the published fold 3 of .*\.$"):
        import_folds(checkpoints, tmp_path / "a", splits)
    torch.save(published(network(3, n_channels=4)), checkpoints / "fold_3.pt")
    with pytest.raises(SpeechXAIError, match=r"fold_3\.pt: another architecture than .*fold_1\.pt"):
        import_folds(checkpoints, tmp_path / "b")


def test_classes_that_a_checkpoint_does_not_name_are_given(tmp_path: Path) -> None:
    """Three outputs want three names, in their order; one output speaks of the second of two."""
    (tmp_path / "three").mkdir()
    torch.save(published(network(1, n_classes=3)), tmp_path / "three" / "fold_1.pt")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/three/fold_1\.pt: the network has 3 outputs, and a checkpoint does not name them\. Got 2 "
            r"names \(HC, PD\): say which is which with --classes NAME,NAME,\.\.\., in the order of the "
            r"outputs\.$"
        ),
    ):
        import_folds(tmp_path / "three", tmp_path / "a")
    names = ("Parkinson", "MSA", "control")
    bundle = import_folds(tmp_path / "three", tmp_path / "a", class_names=names)
    assert bundle.config.classes == bundle.classifier().class_names == names
    waveform = 0.1 * torch.randn(1, 186 * 40, generator=torch.Generator().manual_seed(0))
    spec = spectrogram(waveform)
    p = network(1, n_classes=3).network(waveform).softmax(-1).detach()
    torch.testing.assert_close(predict(bundle.classifier(0), spec), p, atol=1e-5, rtol=1e-4)
    with pytest.raises(
        SpeechXAIError,
        match=(r"^--classes PD,Parkinson's disease,HC: two outputs have one name\. Give each its own\.$"),
    ):
        import_folds(tmp_path / "three", tmp_path / "b", class_names=("PD", "Parkinson's disease", "HC"))
    (tmp_path / "one").mkdir()
    torch.save(published(network(1)), tmp_path / "one" / "fold_1.pt")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/one/fold_1\.pt: the network has 1 outputs, and a checkpoint does not name them\. Got 3 "
            r"names \(Parkinson, MSA, control\): say which is which with --classes NAME,NAME,\.\.\., in "
            r"the order of the outputs\.$"
        ),
    ):
        import_folds(tmp_path / "one", tmp_path / "b", class_names=names)
    two = import_folds(tmp_path / "one", tmp_path / "c", class_names=("healthy", "pathological"))
    assert two.config.classes == ("healthy", "pathological")
    second = network(1).network(waveform).sigmoid().detach()
    torch.testing.assert_close(predict(two.classifier(0), spec)[:, 1:], second, atol=1e-5, rtol=1e-4)
