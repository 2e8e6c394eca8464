"""SSL4PR's fold checkpoints as one bundle: each speaker is explained by the network that never heard them."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import (
    AudioSettings,
    Bundle,
    BundleConfig,
    SegmentSettings,
    StftSettings,
    load_bundle,
    save_parts,
)
from speechxai.classifiers.network import check as try_once
from speechxai.classifiers.ssl import BUNDLES, STRIDES, Ssl, SslNetwork, architecture, as_options, download, from_bundle
from speechxai.data.splits import published_splits
from speechxai.errors import SpeechXAIError, told
from speechxai.files import read_bytes, reading
from speechxai.signal.stft import SegmentConfig
from speechxai.types import CLASS_NAMES, StftConfig, class_key

# Published speech networks in our words: the rules that rename weights, and the architecture read from a checkpoint.
State = dict[str, Tensor]
Rules = tuple[tuple[str, str | None], ...]

_POSITION = "ssl.encoder.transformer.pos_conv_embed.conv"
_LAYER = r"ssl.encoder.transformer.layers.\1"

HUGGING_FACE: Rules = (
    (
        r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(weight|bias)",
        r"ssl.feature_extractor.conv_layers.\1.\2.\3",
    ),
    (r"feature_projection\.(layer_norm|projection)\.(weight|bias)", r"ssl.encoder.feature_projection.\1.\2"),
    (
        r"encoder\.pos_conv_embed\.conv\.(?:weight_g|parametrizations\.weight\.original0)",
        f"{_POSITION}.parametrizations.weight.original0",
    ),
    (
        r"encoder\.pos_conv_embed\.conv\.(?:weight_v|parametrizations\.weight\.original1)",
        f"{_POSITION}.parametrizations.weight.original1",
    ),
    (r"encoder\.pos_conv_embed\.conv\.bias", f"{_POSITION}.bias"),
    (r"encoder\.layer_norm\.(weight|bias)", r"ssl.encoder.transformer.layer_norm.\1"),
    (
        r"encoder\.layers\.(\d+)\.((?:final_)?layer_norm|feed_forward\.(?:intermediate|output)_dense)\.(weight|bias)",
        _LAYER + r".\2.\3",
    ),
    (r"encoder\.layers\.(\d+)\.attention\.([qkv]|out)_proj\.(weight|bias)", _LAYER + r".attention.\2_proj.\3"),
    (
        r"encoder\.layers\.(\d+)\.attention\.(gru_rel_pos_const|(?:gru_rel_pos_linear|rel_attn_embed)\.(?:weight|bias))",
        _LAYER + r".attention.\2",
    ),
    # Used in pretraining only: the vector that replaces masked frames, and the heads of the pretraining and CTC tasks.
    (r"masked_spec_embed|(?:lm_head|project_hid|project_q|quantizer)\..*", None),
)
"""Hugging Face's names to ours; None: not part of the network's output."""

SSL4PR: Rules = (
    (r"layer_weights", "head.layer_weights"),
    (r"layer_norms\.(\d+)\.(weight|bias)", r"head.layer_norms.\1.\2"),
    (r"pooling_layer\.attention_pooling_head\.linear\.(weight|bias)", r"head.pooling.\1"),
    (r"classifier\.final_layer\.(weight|bias)", r"head.output.\1"),
)
"""The head of SSL4PR's networks to ours; `classifier.layer_<i>` becomes `head.hidden.<3 i>` (linear, ReLU, dropout)."""

TORCHAUDIO: Rules = (
    (r"encoder\.transformer\.pos_conv_embed\.conv\.weight_g", f"{_POSITION}.parametrizations.weight.original0"),
    (r"encoder\.transformer\.pos_conv_embed\.conv\.weight_v", f"{_POSITION}.parametrizations.weight.original1"),
    (r"(encoder\.(?:transformer|feature_projection)|feature_extractor)\.(.*)", r"ssl.\1.\2"),
    (r"aux\..*|mask_generator\..*|logit_generator\..*", None),
)
"""torchaudio's names to ours."""


def rename(state: Mapping[str, Tensor], rules: Rules, source: str) -> State:
    """Rename every weight by the first rule that fits its whole name.

    Raises:
        SpeechXAIError: names that no rule knows; all of them are listed.
    """
    renamed: State = {}
    unknown: list[str] = []
    for name, value in state.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                if replacement is not None:
                    renamed[match.expand(replacement)] = value
                break
        else:
            unknown.append(name)
    if unknown:
        raise SpeechXAIError(f"{source}: {len(unknown)} weights have no place in an ssl network: {_some(unknown)}.")
    return renamed


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def without_prefix(state: Mapping[str, Tensor], *prefixes: str) -> State:
    """Drop the first of `prefixes` that any name starts with from all names that have it."""
    for prefix in prefixes:
        if any(name.startswith(prefix) for name in state):
            return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def foundation(state: Mapping[str, Tensor], source: str) -> State:
    """Weights of a Hugging Face or torchaudio foundation model under our names, `ssl.*`."""
    if any(name.startswith("encoder.transformer.") for name in state):
        return rename(state, TORCHAUDIO, source)
    return _merge_projections(rename(without_prefix(state, "hubert.", "wavlm.", "wav2vec2."), HUGGING_FACE, source))


def ssl4pr_weights(state: Mapping[str, Tensor], source: str) -> State:
    """Weights of an SSL4PR network under our names, `ssl.*` and `head.*`."""
    state = without_prefix(state, "module.")
    inner = {name.removeprefix("ssl_model."): value for name, value in state.items() if name.startswith("ssl_model.")}
    if not inner:
        raise SpeechXAIError(
            f"{source}: no weights named 'ssl_model.*', so this is not an SSL4PR checkpoint. Found: {_some(state)}."
        )
    outer = {}
    for name, value in state.items():
        if not name.startswith("ssl_model."):
            hidden = re.fullmatch(r"classifier\.layer_(\d+)\.(weight|bias)", name)
            outer[f"head.hidden.{3 * int(hidden[1])}.{hidden[2]}" if hidden else name] = value
    hidden_done = {name: value for name, value in outer.items() if name.startswith("head.hidden.")}
    rest = {name: value for name, value in outer.items() if name not in hidden_done}
    return foundation(inner, source) | hidden_done | rename(rest, SSL4PR, source)


def _merge_projections(state: State) -> State:
    """WavLM's query, key and value weights become torchaudio's one `attention.in_proj`."""
    if not any(name.endswith("gru_rel_pos_const") for name in state):
        return state
    merged = {name: value for name, value in state.items() if not re.search(r"\.attention\.([qkv]|out)_proj\.", name)}
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        if stem.endswith(".attention.out_proj"):
            merged[f"{stem.removesuffix('.out_proj')}.attention.out_proj.{kind}"] = value
        elif stem.endswith(".attention.q_proj"):
            base = stem.removesuffix(".q_proj")
            parts = [state.get(f"{base}.{letter}_proj.{kind}") for letter in "qkv"]
            if all(part is not None for part in parts):
                merged[f"{base}.attention.in_proj_{kind}"] = torch.cat([part for part in parts if part is not None])
    return merged


_CONFIG_NAMES = {
    "conv_bias": "extractor_conv_bias",
    "hidden_size": "encoder_embed_dim",
    "feat_proj_dropout": "encoder_projection_dropout",
    "num_conv_pos_embeddings": "encoder_pos_conv_kernel",
    "num_conv_pos_embedding_groups": "encoder_pos_conv_groups",
    "num_hidden_layers": "encoder_num_layers",
    "num_attention_heads": "encoder_num_heads",
    "num_buckets": "encoder_num_buckets",
    "max_bucket_distance": "encoder_max_distance",
    "attention_dropout": "encoder_attention_dropout",
    "intermediate_size": "encoder_ff_interm_features",
    "activation_dropout": "encoder_ff_interm_dropout",
    "hidden_dropout": "encoder_dropout",
    "do_stable_layer_norm": "encoder_layer_norm_first",
    "layerdrop": "encoder_layer_drop",
}
_REQUIRED_VALUES = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
    "add_adapter": False,
    "adapter_attn_dim": None,
}


def options_from_config(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Options of the `ssl` backbone (family, size, overrides, normalize) from a Hugging Face `config.json`.

    Raises:
        SpeechXAIError: another family, or a value that this network cannot take over.
    """
    family = config.get("model_type")
    if family not in ("hubert", "wavlm", "wav2vec2"):
        raise SpeechXAIError(f"{source}: 'model_type' must be 'hubert', 'wavlm' or 'wav2vec2'. Got {family!r} instead.")
    for name, needed in _REQUIRED_VALUES.items():
        if config.get(name, needed) != needed:
            raise SpeechXAIError(
                f"{source}: '{name}' must be {needed!r} for an ssl network. Got {config[name]!r} instead."
            )
    found = {ours: config[theirs] for theirs, ours in _CONFIG_NAMES.items() if theirs in config}
    if "feat_extract_norm" in config:
        found["extractor_mode"] = f"{config['feat_extract_norm']}_norm"
    if {"conv_dim", "conv_kernel", "conv_stride"} <= config.keys():
        rows = zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)
        found["extractor_conv_layer_config"] = [list(row) for row in rows]
    return as_options(family, found)


def options_from_weights(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Options of the `ssl` backbone from the shapes of weights under our names.

    What shapes do not tell is as in every published model: the strides, 64 features a head, a maximum distance of 800
    tokens in WavLM, and norms first exactly where every convolution has a norm.

    Raises:
        SpeechXAIError: weights that are missing, or a front end of unknown strides.
    """
    front = "ssl.feature_extractor.conv_layers"
    names = [name for name in state if re.fullmatch(rf"{re.escape(front)}\.\d+\.conv\.weight", name)]
    layers = {
        int(match[1]) for name in state if (match := re.match(r"ssl\.encoder\.transformer\.layers\.(\d+)\.", name))
    }
    if len(names) != len(STRIDES) or not layers:
        raise SpeechXAIError(
            f"{source}: the front end has {len(names)} convolutions and {len(layers)} transformer layers, unlike any"
            " published model; give the model's config.json."
        )
    try:
        width = state["ssl.encoder.feature_projection.projection.weight"].shape[0]
        position = state[f"{_POSITION}.parametrizations.weight.original1"]
        hidden = state["ssl.encoder.transformer.layers.0.feed_forward.intermediate_dense.weight"].shape[0]
    except KeyError as error:
        raise SpeechXAIError(f"{source}: the weight {error} is missing.") from error
    all_normed = f"{front}.1.layer_norm.weight" in state
    rows = [
        [*(state[f"{front}.{index}.conv.weight"].shape[axis] for axis in (0, 2)), stride]
        for index, stride in enumerate(STRIDES)
    ]
    found: dict[str, Any] = {
        "extractor_mode": "layer_norm" if all_normed else "group_norm",
        "extractor_conv_layer_config": rows,
        "extractor_conv_bias": f"{front}.0.conv.bias" in state,
        "encoder_embed_dim": width,
        "encoder_pos_conv_kernel": position.shape[2],
        "encoder_pos_conv_groups": width // position.shape[1],
        "encoder_num_layers": max(layers) + 1,
        "encoder_num_heads": max(1, width // 64),
        "encoder_ff_interm_features": hidden,
        "encoder_layer_norm_first": all_normed,
    }
    table = state.get("ssl.encoder.transformer.layers.0.attention.rel_attn_embed.weight")
    if table is not None:
        found |= {"encoder_num_buckets": table.shape[0], "encoder_num_heads": table.shape[1]}
    return as_options("hubert" if table is None else "wavlm", found)


def head_options(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Options of the head (n_classes, hidden_size, n_hidden) from weights under our names."""
    n_hidden = sum(bool(re.fullmatch(r"head\.hidden\.\d+\.weight", name)) for name in state)
    if "head.output.weight" not in state or n_hidden == 0:
        raise SpeechXAIError(f"{source}: the weights 'classifier.layer_0' or 'classifier.final_layer' are missing.")
    n_classes, hidden_size = state["head.output.weight"].shape
    return {"n_classes": n_classes, "hidden_size": hidden_size, "n_hidden": n_hidden}


def check(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are not exactly those of the network.

    Raises:
        SpeechXAIError: names that are missing or in excess, or shapes that differ; they are listed.
    """
    problems = []
    if missing := expected.keys() - state.keys():
        problems.append(f"missing: {_some(missing)}")
    if excess := state.keys() - expected.keys():
        problems.append(f"no place for: {_some(excess)}")
    if shapes := [name for name in state.keys() & expected.keys() if state[name].shape != expected[name].shape]:
        problems.append(
            "shapes differ: "
            + _some(f"{name} {tuple(state[name].shape)} for {tuple(expected[name].shape)}" for name in shapes)
        )
    if problems:
        raise SpeechXAIError(f"{source}: the weights do not fit the network; {'; '.join(problems)}.")


# Published speech networks from disk: SSL4PR folds, Hugging Face folders, torchaudio's pretrained weights.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, eq=False)
class Imported:
    """A published network in our words.

    Args:
        options: of the backbone `ssl`.
        state: weights under the names of SslNetwork; `head.*` only where the source has a head.
        source: where it comes from, for messages and the model card.
    """

    options: Mapping[str, Any]
    state: Mapping[str, Tensor]
    source: str

    def backbone(self, stft: StftConfig | None = None, **options: Any) -> Ssl:
        """Build the backbone with these weights, in evaluation mode; `options` replace those of the source."""
        backbone = build("ssl", stft, **{**self.options, **options})
        if not isinstance(backbone, Ssl):
            raise SpeechXAIError("The backbone 'ssl' is not ours: another one was registered under its name.")
        self.load_into(backbone)
        return backbone.eval()

    def load_into(self, model: nn.Module) -> None:
        """Copy the weights into the ssl network inside `model`; a head stays as it is where the source has none.

        Raises:
            SpeechXAIError: no ssl network inside, or weights that do not fit; the names are listed.
        """
        network = next((module for module in model.modules() if isinstance(module, SslNetwork)), None)
        if network is None:
            raise SpeechXAIError(f"{self.source}: weights of a speech foundation model need the backbone 'ssl'.")
        expected = network.state_dict()
        if not any(name.startswith("head.") for name in self.state):
            expected = {name: value for name, value in expected.items() if not name.startswith("head.")}
        check(self.state, expected, self.source)
        network.load_state_dict(dict(self.state), strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights (.safetensors, .pt, .pth, .bin) without running any code in it.

    Beside the weights a checkpoint may hold numbers and NumPy arrays of numbers, as the state of a sampler.

    Raises:
        SpeechXAIError: a file that is missing, damaged, or holds anything else.
    """
    if not path.exists():
        raise SpeechXAIError(f"{path}: no such file of weights.")
    with reading(path):
        pass
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return dict(load_file(path))
            except SafetensorError as error:
                raise SpeechXAIError(f"{path}: not a readable safetensors file: {error}") from error
        with torch.serialization.safe_globals(_arrays()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SpeechXAIError(
            f"{path}: refused, because it holds more than tensors, and a pickle can run code. Save the network's"
            f" state_dict() alone. ({str(error).splitlines()[0]})"
        ) from error
    except SpeechXAIError:
        raise
    except Exception as error:  # a damaged pickle has many types of them
        raise SpeechXAIError(f"{path}: cannot be read as weights: {told(error).splitlines()[0]}") from error
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise SpeechXAIError(f"{path}: holds no dictionary of weights by name. Save the network's state_dict() alone.")
    return {str(name): value for name, value in content.items()}


def _arrays() -> list[Any]:
    """What a checkpoint may call to make NumPy arrays and numbers again, under the names of NumPy 1 and 2.

    Arrays of objects are not among them: their content would be a pickle of its own.
    """
    import numpy as np

    numbers = (np.dtype(code) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?")
    called = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.int64(0).__reduce__()[0]}
    named = [
        (function, f"numpy.{core}.multiarray.{name}") for name, function in called.items() for core in ("core", "_core")
    ]
    # `bytes` makes the content of an array of nothing.
    return [np.ndarray, np.dtype, bytes, *{type(number) for number in numbers}, *named]


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(path))
    except SpeechXAIError:
        raise
    except (ValueError, RecursionError) as error:
        raise SpeechXAIError(f"{path}: cannot be read as a model's config.json: {error}") from error
    if not isinstance(content, dict):
        raise SpeechXAIError(f"{path}: a model's config.json must hold one object.")
    return content


def pretrained(source: str | Path) -> Imported:
    """Weights of a speech foundation model to start fine-tuning from; its head is new.

    Args:
        source: a folder that Hugging Face's `save_pretrained` wrote (config.json with model.safetensors or
            pytorch_model.bin); the name of torchaudio's weights such as "HUBERT_BASE", downloaded once into torch's
            cache; or a file of torchaudio's weights, named as torchaudio names it or as one of those names.

    Raises:
        SpeechXAIError: an unknown source, unreadable files, weights that do not fit, no network.
    """
    path = Path(source)
    if path.is_dir():
        return _huggingface_folder(path)
    if path.is_file():
        state = foundation(read_weights(path), str(path))
        name = next((name for name in BUNDLES if path.name == from_bundle(name).file_name or path.stem == name), None)
        if name is None:
            return Imported(options_from_weights(state, str(path)), state, str(path))
    else:
        name = str(source)
        if name not in BUNDLES:
            known = ", ".join(BUNDLES)
            raise SpeechXAIError(
                f"{source}: no such folder or file, and no pretrained model of that name. Known: {known}."
            )
        state = foundation(download(name), name)
    facts = from_bundle(name)
    return Imported(as_options(facts.family, facts.architecture) | {"normalize": facts.normalize}, state, str(source))


def _huggingface_folder(folder: Path) -> Imported:
    config = _read_config(folder / "config.json")
    options = options_from_config(config, str(folder / "config.json"))
    weights = next(
        (folder / name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()), None
    )
    if weights is None:
        raise SpeechXAIError(f"{folder}: neither model.safetensors nor pytorch_model.bin is there.")
    state = foundation(read_weights(weights), str(weights))
    # Models whose convolutions are all normalized were trained on normalized recordings; the folder may say it itself.
    normalize = config.get("feat_extract_norm", "group") == "layer"
    preprocessor = folder / "preprocessor_config.json"
    if preprocessor.is_file():
        normalize = bool(_read_config(preprocessor).get("do_normalize", True))
    imported = Imported(options | {"normalize": normalize}, state, str(folder))
    values = architecture(options["family"], options["size"], options["overrides"])
    if not values["encoder_num_layers"]:
        raise SpeechXAIError(f"{folder}: the model has no transformer layer.")
    return imported


def ssl4pr(path: str | Path, config: str | Path | None = None, normalize: bool = False) -> Imported:
    """One network of SSL4PR, `fold_<k>.pt` (La Quatra et al., Interspeech 2024), without Hugging Face's library.

    Args:
        path: state dict with `ssl_model.*`, `layer_weights`, `layer_norms.*`, `pooling_layer.*`, `classifier.*`.
        config: the foundation model's config.json or its folder; without it the shapes tell the architecture, which is
            right for every published model (64 features a head).
        normalize: mean 0 and variance 1 a recording first; SSL4PR does not.

    Raises:
        SpeechXAIError: an unreadable file, or weights that do not fit; the names are listed.
    """
    path = Path(path)
    state = ssl4pr_weights(read_weights(path), str(path))
    if config is None:
        options = options_from_weights(state, str(path))
    else:
        file = Path(config) / "config.json" if Path(config).is_dir() else Path(config)
        options = options_from_config(_read_config(file), str(file))
    return Imported(options | head_options(state, str(path)) | {"normalize": normalize}, state, str(path))


def ssl4pr_folds(folder: str | Path) -> dict[int, Path]:
    """Files `fold_<k>.pt` of a folder by fold number, in order.

    Raises:
        SpeechXAIError: there are none.
    """
    found = {
        int(match[1]): path
        for path in Path(folder).glob("fold_*.pt")
        if (match := re.fullmatch(r"fold_(\d+)\.pt", path.name))
    }
    if not found:
        raise SpeechXAIError(f"{folder}: no files named fold_1.pt, fold_2.pt, ... are there.")
    return dict(sorted(found.items()))


def classifier_of(
    imported: Imported,
    stft: StftConfig | None = None,
    segment: SegmentConfig | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
) -> Classifier:
    """Imported network as a Classifier with the last transformer layer for Grad-CAM.

    Args:
        class_names: in the order of its outputs; one output speaks of the second of two.

    Raises:
        SpeechXAIError: a source without a head, or with another number of outputs than names.
    """
    if not any(name.startswith("head.") for name in imported.state):
        raise SpeechXAIError(
            f"{imported.source}: a foundation model without a trained head cannot classify; fine-tune it first."
        )
    n_outputs = int(imported.options["n_classes"])
    if max(n_outputs, 2) != len(class_names):
        raise SpeechXAIError(
            f"{imported.source}: the network has {n_outputs} outputs, and a checkpoint does not name them. Got"
            f" {len(class_names)} names ({', '.join(class_names)}): say which is which with --classes NAME,NAME,..., in"
            " the order of the outputs."
        )
    if len(set(map(class_key, class_names))) < len(class_names):
        raise SpeechXAIError(f"--classes {','.join(class_names)}: two outputs have one name. Give each its own.")
    return Classifier(imported.backbone(stft), stft, segment, tuple(class_names)).eval()


# SSL4PR's fold checkpoints as one bundle: each speaker is explained by the network that never heard them.
SEGMENT = SegmentConfig(10.0, 5.0, "keep")
"""SSL4PR hears 10 s at a time."""

CARD = """# {name}

{n} fold networks imported from SSL4PR checkpoints (La Quatra et al., Interspeech 2024): {family}, {size} size, all hidden
layers mixed, attention pooling, two hidden layers, one output.

- Weights: {source}, unchanged, under other names.
- {speakers}
- Recordings are heard at their own level. SSL4PR's loader divides them by their peak since 23 October 2024 and did not before; which
  of the two these weights were trained with is not known. The protocol `mancini2025` divides by the peak, whatever stands here.
- Recordings of other speakers are heard by the network of fold {first}, because there is no network trained on all speakers.
- A research tool, not a medical device.
"""  # noqa: E501


def import_folds(
    folder: str | Path,
    out: str | Path,
    splits: str | Path | None = None,
    config: str | Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
) -> Bundle:
    """Turn `fold_1.pt` ... `fold_10.pt` into a bundle, one network in memory at a time.

    Args:
        folder: where the checkpoints are.
        out: the bundle's folder.
        splits: folder with the published `TRAIN_TEST_<k>`; the speakers tested in fold k are then always heard by
            network k.
        config: the foundation model's config.json or its folder, where shapes do not tell the architecture.
        progress: called with (folds done, folds, what was done).
        class_names: in the order of the networks' outputs, see `classifier_of`.

    Raises:
        SpeechXAIError: no or wrong checkpoints, folds of different architectures, or splits of other folds.
    """
    paths = ssl4pr_folds(folder)
    numbers = list(paths)
    speakers: dict[str, int] = {}
    if splits is not None:
        table = published_splits(splits)
        tested = table[table["part"] == "test"].drop_duplicates("speaker")
        if absent := sorted(set(tested["fold"]) - set(numbers)):
            raise SpeechXAIError(
                f"{folder}: there is no fold_{absent[0]}.pt for the published fold {absent[0]} of {splits}."
            )
        speakers = {str(row.speaker): numbers.index(int(row.fold)) for row in tested.itertuples()}  # type: ignore[arg-type]
    first = ssl4pr(paths[numbers[0]], config)
    stft, options = StftConfig(), dict(first.options)
    classifier = classifier_of(first, stft, SEGMENT, class_names)
    found = try_once(classifier).required(str(paths[numbers[0]]))

    def networks() -> Iterator[tuple[str, Classifier]]:
        for index, (number, path) in enumerate(paths.items()):
            imported = first if index == 0 else ssl4pr(path, config)
            if dict(imported.options) != options:
                raise SpeechXAIError(
                    f"{path}: another architecture than {paths[numbers[0]]}: {imported.options} and {options}."
                )
            imported.load_into(classifier)
            if index:
                try_once(classifier).required(str(path))
            yield f"fold{index}", classifier
            if progress is not None:
                progress(index + 1, len(paths), f"fold {number}")

    name = Path(out).name
    settings = BundleConfig(
        name=name,
        title=f"SSL4PR {options['family']} {options['size']}, {len(paths)} folds",
        architecture="ssl",
        options=options,
        stft=StftSettings(**{key: getattr(stft, key) for key in StftSettings.model_fields}),
        segment=SegmentSettings(length_s=SEGMENT.length_s, hop_s=SEGMENT.hop_s, short=SEGMENT.short),
        audio=AudioSettings(normalize="none", offset="kept"),  # the card says why not "peak"
        classes=classifier.class_names,
        cam_layer=classifier.cam_layer,
        max_batch=classifier.max_batch,
        training={"source": "SSL4PR checkpoints", "cites": "laquatra2024exploiting"},
        speakers=speakers,
        check=found.table(),
    )
    heard = (
        f"{len(speakers)} speakers are heard by the network that was not trained on them."
        if speakers
        else (
            "Without the published splits no speaker is known to a fold: every recording is heard by the first network."
        )
    )
    card = CARD.format(
        name=name,
        n=len(paths),
        family=options["family"],
        size=options["size"],
        source=", ".join(path.name for path in paths.values()),
        speakers=heard,
        first=numbers[0],
    )
    return load_bundle(save_parts(out, settings, networks(), card, final="fold0"))
