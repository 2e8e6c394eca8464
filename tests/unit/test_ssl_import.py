"""Import of published weights: what is refused, and how it says so."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from speechxai.classifiers import build, imports
from speechxai.classifiers.ssl import Ssl, architecture, convolutions, make
from speechxai.errors import SpeechXAIError

HEAD = {
    "layer_weights": "head.layer_weights",
    "pooling_layer.attention_pooling_head.linear.weight": "head.pooling.weight",
    "pooling_layer.attention_pooling_head.linear.bias": "head.pooling.bias",
    "classifier.layer_0.weight": "head.hidden.0.weight",
    "classifier.layer_0.bias": "head.hidden.0.bias",
    "classifier.layer_1.weight": "head.hidden.3.weight",
    "classifier.layer_1.bias": "head.hidden.3.bias",
    "classifier.final_layer.weight": "head.output.weight",
    "classifier.final_layer.bias": "head.output.bias",
}


def small() -> Ssl:
    # 64 features a head, as every published model: the one thing that shapes do not tell.
    torch.manual_seed(0)
    overrides = {"encoder_embed_dim": 128, "encoder_num_heads": 2, "extractor_conv_layer_config": convolutions(8)}
    backbone = build("ssl", size="tiny", overrides=overrides, hidden_size=6, n_classes=1)
    assert isinstance(backbone, Ssl)
    return backbone.eval()


def published_names(backbone: Ssl) -> dict[str, Tensor]:
    """Weights under SSL4PR's names, written from the list above and not with the rules under test."""
    state = backbone.network.state_dict()
    named = {theirs: state[ours] for theirs, ours in HEAD.items()}
    for name, value in state.items():
        if name.startswith("head.layer_norms."):
            named[name.removeprefix("head.")] = value
        elif name.startswith("ssl."):
            theirs = name.removeprefix("ssl.").removeprefix("encoder.").replace("transformer.", "encoder.")
            named[f"ssl_model.{theirs.replace('parametrizations.weight.original0', 'weight_g')}"] = value
    return named


def test_fold_without_transformers_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    backbone = small()
    torch.save({"epoch": 3, "state_dict": published_names(backbone)}, tmp_path / "fold_1.pt")
    imported = imports.ssl4pr(tmp_path / "fold_1.pt").backbone()
    waveform = 0.1 * torch.randn(2, 5_000)
    torch.testing.assert_close(imported.network(waveform), backbone.network(waveform), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer_norms.1.bias"), r"missing: head\.layer_norms\.1\.bias"),
        (
            lambda s: s.pop("ssl_model.encoder.layers.1.attention.k_proj.weight"),
            r"missing: .*layers\.1\.attention\.k_proj\.weight",
        ),
        (lambda s: s.update(surprise=torch.zeros(1)), r"1 weights have no place in an ssl network: surprise"),
        (lambda s: s.update({"ssl_model.adapter.proj.weight": torch.zeros(1)}), r"adapter\.proj\.weight"),
        (lambda s: s.update({"layer_weights": torch.ones(9)}), r"shapes differ: head\.layer_weights \(9,\) for \(3,\)"),
        (lambda s: s.pop("classifier.final_layer.weight"), r"classifier\.final_layer"),
        (lambda s: [s.pop(name) for name in list(s) if name.startswith("ssl_model.")], r"not an SSL4PR checkpoint"),
    ],
)
def test_wrong_folds_are_named(change: object, message: str, tmp_path: Path) -> None:
    state = published_names(small())
    change(state)  # type: ignore[operator]
    path = tmp_path / "fold_7.pt"
    torch.save(state, path)
    with pytest.raises(SpeechXAIError, match=message) as caught:
        imports.classifier_of(imports.ssl4pr(path))
    assert "fold_7.pt" in str(caught.value)


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("should-not-exist",)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"layer_weights": torch.ones(3), "extra": _RunsCode()}, tmp_path / "fold_1.pt")
    with pytest.raises(SpeechXAIError, match=r"fold_1\.pt: refused, because it holds more than tensors"):
        imports.ssl4pr(tmp_path / "fold_1.pt")
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_checkpoints_with_the_state_of_a_sampler_are_read(legacy: bool, core: bytes, tmp_path: Path) -> None:
    # as the training scripts of PANNs save them: arrays and numbers of NumPy beside the weights
    sampler = {
        "indexes": np.arange(5),
        "indexes_per_class": [np.array([1, 2]), np.array([0.5, 3], dtype=np.float32), np.array([True]), np.arange(0)],
        "pointer": np.int64(3),
        "queue": [1, 2.5, "a"],
        "random_state": np.random.RandomState(1).get_state(),
    }
    content = {"iteration": 300_000, "model": {"conv.weight": torch.ones(2, 2)}, "sampler": sampler}
    path = tmp_path / "Cnn14.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    # what NumPy 1 calls by another name
    names = b"numpy._core.multiarray", core + b".multiarray"
    if legacy:
        path.write_bytes(path.read_bytes().replace(*names))
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {each.filename: archive.read(each).replace(*names) for each in archive.infolist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    found = imports.read_weights(path)
    assert list(found) == ["conv.weight"]
    assert torch.equal(found["conv.weight"], torch.ones(2, 2))


def test_arrays_of_objects_are_refused_and_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for extra in (np.array([_RunsCode()], dtype=object), np.array([1, "a"], dtype=object), np.array(["a", "b"])):
        torch.save({"model": {"w": torch.ones(3)}, "sampler": {"indexes": extra}}, tmp_path / "Cnn14.pth")
        with pytest.raises(SpeechXAIError, match=r"Cnn14\.pth: refused, because it holds more than"):
            imports.read_weights(tmp_path / "Cnn14.pth")
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["fold_1.pt", "model.safetensors"])
def test_damaged_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpeechXAIError, match=name.replace(".", r"\.")):
        imports.read_weights(tmp_path / name)


def test_other_contents_are_refused(tmp_path: Path) -> None:
    for content in ([torch.ones(2)], {"a": 1}, {}, {"state_dict": {"a": "b"}}):
        torch.save(content, tmp_path / "fold_1.pt")
        with pytest.raises(
            SpeechXAIError,
            match=(
                r"/fold_1\.pt: holds no dictionary of weights by name\. Save the network's state_dict\(\) "
                r"alone\.$"
            ),
        ):
            imports.read_weights(tmp_path / "fold_1.pt")
    with pytest.raises(SpeechXAIError, match=r"/fold_2\.pt: no such file of weights\.$"):
        imports.read_weights(tmp_path / "fold_2.pt")
    with pytest.raises(SpeechXAIError, match=r"/nothing: no files named fold_1\.pt, fold_2\.pt, \.\.\. are there\.$"):
        imports.ssl4pr_folds(tmp_path / "nothing")


def test_folds_in_order(tmp_path: Path) -> None:
    for name in ("fold_10.pt", "fold_2.pt", "fold_1.pt", "fold_x.pt"):
        (tmp_path / name).touch()
    assert list(imports.ssl4pr_folds(tmp_path)) == [1, 2, 10]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "'model_type'"),
        ({"model_type": "hubert", "hidden_act": "relu"}, "'hidden_act' must be 'gelu'"),
        ({"model_type": "wav2vec2", "add_adapter": True}, "'add_adapter'"),
        ({"model_type": "hubert", "layer_norm_eps": 1e-12}, "'layer_norm_eps'"),
        ({"model_type": "hubert", "conv_pos_batch_norm": True}, "'conv_pos_batch_norm'"),
        (["hubert"], "must hold one object"),
    ],
)
def test_unknown_models_are_named(config: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpeechXAIError, match=message) as caught:
        imports.pretrained(tmp_path)
    assert "config.json" in str(caught.value)


def test_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    with pytest.raises(SpeechXAIError, match=r": neither model\.safetensors nor pytorch_model\.bin is there\.$"):
        imports.pretrained(tmp_path)


def test_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(r"^HUBERT_HUGE: no such folder or file, and no pretrained model of that name\. Known: .*$"),
    ):
        imports.pretrained("HUBERT_HUGE")


def test_offline_says_which_file_goes_where(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchaudio.pipelines._wav2vec2 import utils

    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(utils, "load_state_dict_from_url", no_network)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The pretrained weights HUBERT_BASE cannot be downloaded: <urlopen error no network>\. On a "
            r"machine with a network, fetch "
            r"https://download\.pytorch\.org/torchaudio/models/hubert_fairseq_base_ls960\.pth and put it "
            r"here as .*, or give the file's path instead of the name\.$"
        ),
    ) as caught:
        imports.pretrained("HUBERT_BASE")
    assert str(Path(torch.hub.get_dir()) / "checkpoints" / "hubert_fairseq_base_ls960.pth") in str(caught.value)


def test_torchaudio_download_and_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights torchaudio publishes, with a stand-in for the download that must ask for tensors alone."""
    from torchaudio.pipelines._wav2vec2 import utils

    torch.manual_seed(1)
    published = make("wavlm", architecture("wavlm", "base")).state_dict()
    asked: dict[str, object] = {}

    def local(url: str, **options: object) -> dict[str, Tensor]:
        asked.update(options, url=url)
        return dict(published)

    monkeypatch.setattr(utils, "load_state_dict_from_url", local)
    imported = imports.pretrained("WAVLM_BASE_PLUS")
    assert asked["weights_only"] is True
    assert str(asked["url"]).endswith("wavlm_base_plus.pth")
    # torchaudio trains WavLM with other dropout than HuBERT; it comes along.
    dropout = {"encoder_ff_interm_dropout": 0.0, "encoder_layer_drop": 0.05}
    assert imported.options == {"family": "wavlm", "size": "base", "overrides": dropout, "normalize": False}
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in published.items()
    }
    torch.save(old, tmp_path / "wavlm_base_plus.pth")
    from_file = imports.pretrained(tmp_path / "wavlm_base_plus.pth")
    assert from_file.options == imported.options
    assert from_file.state.keys() == imported.state.keys()
    assert all(torch.equal(from_file.state[name], value) for name, value in imported.state.items())


def test_foundation_keeps_the_head(tmp_path: Path) -> None:
    backbone = small()
    theirs = {
        name.removeprefix("ssl."): value
        for name, value in backbone.network.state_dict().items()
        if name.startswith("ssl.")
    }
    save_file({name: value.clone() for name, value in theirs.items()}, tmp_path / "own.safetensors")
    other = small()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    imports.pretrained(tmp_path / "own.safetensors").load_into(other)
    assert torch.equal(
        other.network.ssl.encoder.transformer.layers[0].attention.q_proj.weight,
        backbone.network.ssl.encoder.transformer.layers[0].attention.q_proj.weight,
    )
    assert not other.network.head.output.weight.any()
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/own\.safetensors: a foundation model without a trained head cannot classify; fine-tune it "
            r"first\.$"
        ),
    ):
        imports.classifier_of(imports.pretrained(tmp_path / "own.safetensors"))
    with pytest.raises(
        SpeechXAIError, match=(r"/own\.safetensors: weights of a speech foundation model need the backbone 'ssl'\.$")
    ):
        imports.pretrained(tmp_path / "own.safetensors").load_into(build("cnn"))
