"""Networks of other people: Hugging Face audio classifiers and module:factory, explained like our own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.external import from_factory, from_huggingface
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.explain import explain
from speechxai.signal.stft import inverse, spectrogram
from speechxai.types import StftConfig

SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 8,
    "classifier_proj_size": 12,
}


def small_model(folder: Path, **config: object) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = transformers.HubertConfig(
        **SMALL, **{"id2label": {0: "PD", 1: "HC"}, "label2id": {"PD": 0, "HC": 1}, **config}
    )
    model = transformers.HubertForSequenceClassification(settings).eval()
    model.save_pretrained(folder)
    return model  # type: ignore[no-any-return]


def voice(n_samples: int = 186 * 50) -> Tensor:
    return 0.1 * torch.randn(2, n_samples, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("weighted", [False, True])
def test_huggingface_classifier_is_heard_and_explained(weighted: bool, tmp_path: Path) -> None:
    model = small_model(tmp_path, use_weighted_layer_sum=weighted)
    classifier = from_huggingface(str(tmp_path))
    spec = spectrogram(voice())
    with torch.no_grad():
        expected = model(voice()).logits
    # Its labels are in the order PD, HC; ours are HC, PD.
    assert classifier.class_names == ("HC", "PD")
    torch.testing.assert_close(classifier(spec.magnitude, spec.phase), expected[:, [1, 0]], atol=1e-4, rtol=1e-4)
    for method in ("saliency", "guided_gradcam", "attention_rollout"):
        found = explain(classifier, spec, method, torch.tensor([1, 1]))
        assert found.values.abs().amax() > 0
    with pytest.raises(NotApplicable):
        explain(classifier, spec, "deep_lift", torch.tensor([1, 1]))


def test_rollout_reads_the_models_own_attention(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small_model(tmp_path)
    classifier = from_huggingface(str(tmp_path))
    spec = spectrogram(voice())
    own = transformers.HubertForSequenceClassification.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        waveform = inverse(spec.magnitude, spec.phase, spec.stft)
        weights = own(waveform, output_attentions=True).attentions
    attention = classifier.backbone.attention_maps(spec.magnitude, spec.phase)
    for ours, theirs in zip(attention.layers, weights, strict=True):
        torch.testing.assert_close(ours, theirs.mean(dim=1), atol=1e-5, rtol=1e-4)
    assert attention.mix.tolist() == [0.0, 0.0, 1.0]
    torch.testing.assert_close(attention.time.sum(-1), torch.ones(2))


def test_normalization_of_the_feature_extractor(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = small_model(tmp_path)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    extractor.save_pretrained(tmp_path)
    classifier = from_huggingface(str(tmp_path))
    waveform = 3 * voice() + 0.2
    prepared = extractor([row.numpy() for row in waveform], sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        torch.testing.assert_close(
            classifier.backbone.network(waveform), model(prepared).logits[:, [1, 0]], atol=1e-4, rtol=1e-4
        )


def test_huggingface_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    with pytest.raises(
        SpeechXAIError, match=(r"/nothing: cannot be loaded as a Hugging Face audio classifier: OSError: .*$")
    ):
        from_huggingface(str(tmp_path / "nothing"))
    small_model(
        tmp_path / "four", num_labels=4, id2label={k: str(k) for k in range(4)}, label2id={str(k): k for k in range(4)}
    )
    assert from_huggingface(str(tmp_path / "four")).class_names == ("0", "1", "2", "3")
    with pytest.raises(SpeechXAIError, match=r"/four: the model has 4 outputs\. Got 2 class names instead\.$"):
        from_huggingface(str(tmp_path / "four"), class_names=("HC", "PD"))
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_length=32, num_mel_bins=16
    )
    transformers.ASTForAudioClassification(config).save_pretrained(tmp_path / "ast")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^A 'audio-spectrogram-transformer' model hears features that its feature extractor makes with NumPy, "
            r"through which no gradient comes back to the waveform\. Write a factory of a callable "
            r"'waveform -> logits' that computes them with torch, and name "
            r"it as 'module:function'\.$"
        ),
    ):
        from_huggingface(str(tmp_path / "ast"))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The 'config_json' parameter of the backbone 'huggingface' does not describe an audio "
            r"classifier: .*$"
        ),
    ):
        build("huggingface", config_json="{}")
    text = transformers.HubertConfig(**SMALL).to_json_string(use_diff=False)
    rebuilt = build("huggingface", config_json=text)
    assert rebuilt(spectrogram(voice()).magnitude, spectrogram(voice()).phase).shape == (2, 2)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^Hugging Face models need the package 'transformers'\. Install it with: pip install "
            r"'speechxai\[huggingface\]'$"
        ),
    ):
        from_huggingface(str(tmp_path / "four"))


MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 4, 64, 32)
        self.out = torch.nn.Linear(4, 2)
    def forward(self, waveform):
        return self.out(torch.relu(self.conv(waveform[:, None])).mean(-1))

def load():
    torch.manual_seed(0)
    return Net()

def plain():
    return lambda waveform: torch.stack([-waveform.abs().mean(1), waveform.abs().mean(1)], 1)

def wrong():
    return lambda waveform: waveform.mean()

def number():
    return 3

three = 3
"""


@pytest.fixture
def my_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_network_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_network_of_test", raising=False)
    return "my_network_of_test"


def test_network_of_the_users_own(my_network: str) -> None:
    classifier = from_factory(f"{my_network}:load", cam_layer="conv")
    spec = spectrogram(voice())
    network = sys.modules[my_network].load()
    torch.testing.assert_close(classifier(spec.magnitude, spec.phase), network(voice()), atol=1e-5, rtol=1e-4)
    assert classifier.state_dict()["backbone.network.inner.conv.weight"].shape == (4, 1, 64)
    for method in METHODS:
        if method in ("saliency", "guided_backprop", "gradcam", "band_occlusion"):
            assert explain(classifier, spec, method, torch.tensor([1, 0])).values.abs().amax() > 0
    plain = from_factory(f"{my_network}:plain")
    assert explain(plain, spec, "saliency", torch.tensor([1, 1])).values.max() > 0
    with pytest.raises(
        NotApplicable,
        match=(
            r"^attention_rollout: this network has no attention layers that can be read, so there is "
            r"nothing to roll out; use saliency or occlusion\.$"
        ),
    ):
        explain(plain, spec, "attention_rollout", torch.tensor([1, 1]))
    same = build(f"{my_network}:load", StftConfig())
    torch.testing.assert_close(same(spec.magnitude, spec.phase), classifier(spec.magnitude, spec.phase))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}:", "must be 'module:function'"),
        ("no_such_module_here:load", "cannot be imported"),
        ("{}:lode", r"has no function 'lode'\. Did you mean 'my_network_of_test:load'\?$"),
        ("{}:zzz", r"has no function 'zzz'\.$"),
        ("{}:three", "has no function 'three'"),
        ("{}:number", "must return a callable"),
    ],
)
def test_wrong_factories_are_named(name: str, message: str, my_network: str) -> None:
    with pytest.raises(SpeechXAIError, match=message):
        from_factory(name.format(my_network))


def test_wrong_outputs_are_named(my_network: str) -> None:
    spec = spectrogram(voice())
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^'my_network_of_test:wrong' must return logits of shape \(2, C\) for waveforms \(B, N\)\. "
            r"Got \(\) instead\.$"
        ),
    ):
        from_factory(f"{my_network}:wrong")(spec.magnitude, spec.phase)
    with pytest.raises(
        SpeechXAIError, match=(r"^The backbone 'my_network_of_test:load' does not take these options: TypeError: .*$")
    ):
        build(f"{my_network}:load", StftConfig(), depth=3)
    assert isinstance(from_factory(f"{my_network}:load"), Classifier)
