"""Published speech networks in our words: the rules that rename weights, and the architecture read from a checkpoint.

Knows Hugging Face's `HubertModel`, `WavLMModel` and `Wav2Vec2Model`, the networks SSL4PR builds on them, and torchaudio's
own weights. Reads no files: it works on dictionaries of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from speechxai.classifiers.ssl_architectures import STRIDES, as_options
from speechxai.errors import SpeechXAIError

State = dict[str, Tensor]
Rules = tuple[tuple[str, str | None], ...]

_POSITION = "ssl.encoder.transformer.pos_conv_embed.conv"
_LAYER = r"ssl.encoder.transformer.layers.\1"

HUGGING_FACE: Rules = (
    (r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(weight|bias)", r"ssl.feature_extractor.conv_layers.\1.\2.\3"),
    (r"feature_projection\.(layer_norm|projection)\.(weight|bias)", r"ssl.encoder.feature_projection.\1.\2"),
    (r"encoder\.pos_conv_embed\.conv\.(?:weight_g|parametrizations\.weight\.original0)", f"{_POSITION}.parametrizations.weight.original0"),
    (r"encoder\.pos_conv_embed\.conv\.(?:weight_v|parametrizations\.weight\.original1)", f"{_POSITION}.parametrizations.weight.original1"),
    (r"encoder\.pos_conv_embed\.conv\.bias", f"{_POSITION}.bias"),
    (r"encoder\.layer_norm\.(weight|bias)", r"ssl.encoder.transformer.layer_norm.\1"),
    (r"encoder\.layers\.(\d+)\.((?:final_)?layer_norm|feed_forward\.(?:intermediate|output)_dense)\.(weight|bias)", _LAYER + r".\2.\3"),
    (r"encoder\.layers\.(\d+)\.attention\.([qkv]|out)_proj\.(weight|bias)", _LAYER + r".attention.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.attention\.(gru_rel_pos_const|(?:gru_rel_pos_linear|rel_attn_embed)\.(?:weight|bias))", _LAYER + r".attention.\2"),
    # Used in pretraining only: the vector that replaces masked frames, and the heads of the pretraining and CTC tasks.
    (r"masked_spec_embed|(?:lm_head|project_hid|project_q|quantizer)\..*", None),
)  # fmt: skip
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


def ssl4pr(state: Mapping[str, Tensor], source: str) -> State:
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
            f"{source}: the front end has {len(names)} convolutions and {len(layers)} transformer layers, unlike any published model; "
            "give the model's config.json."
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
