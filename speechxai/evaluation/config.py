"""What an evaluation is asked to do: one set of keys for the TOML file and the command line, checked before anything
runs."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.evaluation.values import PROTOCOLS, EvaluateSettings
from speechxai.files import config_path, known_format, read_toml
from speechxai.flags import EVALUATE, MAX_SEED
from speechxai.registry import load_plugins

FORMAT = 3
"""Version of a run folder's layout and its `config.toml`. 1, which older ones do not state, had no `facts` of recipes
and metrics in `environment.json`; 2 had units that do not say what they depend on."""

RECIPE_PRESETS = ("methods", "published", "combinations", "controls", "all")
"""methods: the six published methods; published: those with the controls and their 15 unions and 15 intersections;
combinations: the same 30; controls: the maps that every method must beat; all: every registered method and control."""

METRIC_PRESETS = ("published", "default", "all")
"""published: the seven of the paper; default: those and the ones at equal budgets; all: every one that needs no
truth."""

FREE_ON_RESUME = (
    *("out", "max_duration_s", "pictures", "max_batch", "memory_mb", "threads"),
    *("executor", "workers", "scheduler", "cluster", "imports", "allow_code"),
    *("root", "labels", "by", "force_precision"),
)
"""Keys that may change when a run is continued: they do not change its numbers. Where the recordings lie may, since
they are compared by their content."""


class PublishedConfig(BaseModel):
    """Settings of the protocol "mancini2025" alone, table `published` of the file.

    Args:
        splits: folder of the published TRAIN_TEST_<k>; by default they are looked for below `root`.
        clip_s: length to which recordings are repeated or cut, seconds.
        batch: recordings whose maps shared one maximum in the published code, its batch size.
        level: "peak" divides every recording by its largest sample, as the published code; "none" leaves its level.
        other_level: whether single maps are made at the other level as well, so that the report can show what that
            changes.
        corrected: whether the corrected protocol is run beside, so that the report can show both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    splits: Path | None = None
    clip_s: float = Field(default=10.0, gt=0, le=600)
    batch: int = Field(default=2, ge=1, le=1_000_000)
    level: Literal["peak", "none"] = "peak"
    other_level: bool = True
    corrected: bool = True


class ClusterConfig(BaseModel):
    """What each worker of the executor "dask" is given on a cluster, table `cluster` of the file.

    Args:
        queue: partition of Slurm.
        account: whom Slurm charges.
        cores: cores of a worker, which are the threads of its network.
        memory: of a worker, for example "8GB".
        walltime: of a job, "hours:minutes:seconds"; a job that ends is asked for again while work is left.
        gpus: GPUs of a worker, 0 or 1: each holds one copy of the model.
        interface: network interface that scheduler and workers share, for example "ib0".
        directives: further options of sbatch, for example "--constraint=a100".
        prologue: lines of shell before a worker starts, for example "module load cuda".
        tls: whether connections are encrypted, with certificates made for the run. Without it, everyone who reaches the
            scheduler's port can run programs as you.
        tls_ca_file: for a running scheduler with an address of tls://.
        tls_cert: the same.
        tls_key: the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: str | None = None
    account: str | None = None
    cores: int = Field(1, ge=1)
    memory: str = Field("4GB", pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")
    walltime: str = Field("01:00:00", pattern=r"^(\d+-)?\d+(:\d\d){0,2}$")
    gpus: int = Field(0, ge=0, le=1)
    interface: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    tls: bool = True
    tls_ca_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


class EvaluateConfig(BaseModel):
    """Settings of one evaluation: keys of a TOML file, and flags of the command line of the same names.

    What each means stands in `flags.EVALUATE`, where `--help` has it from, and as the description of its field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)

    data: str
    root: Path | None = None
    labels: Path | None = None
    tasks: tuple[str, ...] = ()
    limit: int | None = Field(None, ge=1)
    channel: int | None = Field(None, ge=0, le=EVALUATE["channel"].max)
    max_duration_s: float = Field(600.0, gt=0, le=EVALUATE["max_duration_s"].max)
    model: str
    allow_code: bool = False
    recipes: tuple[str, ...] = Field(("methods",), min_length=1)
    controls: bool = True
    metrics: tuple[str, ...] = Field(("default",), min_length=1)
    protocol: str = "standard"
    evidence: Literal["auto", "positive", "absolute"] = "auto"
    fill: Literal["silence", "noise", "mean", "neighbors"] = "silence"
    seed: int = Field(0, ge=0, le=MAX_SEED)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    metric_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    precision: Literal["float32", "masked-bfloat16", "bfloat16"] = "float32"
    force_precision: bool = False
    deterministic: bool = False
    threads: int | None = Field(None, ge=1, le=1024)
    agreement: bool = True
    maps: bool = False
    signs: tuple[str, ...] = ()
    textgrids: str | None = None
    by: tuple[str, ...] = ()
    pictures: int = Field(4, ge=0, le=50)
    max_batch: int | None = Field(None, ge=1, le=EVALUATE["max_batch"].max)
    memory_mb: int = Field(1024, ge=16, le=EVALUATE["memory_mb"].max)
    executor: Literal["serial", "joblib", "dask"] = "serial"
    workers: int | None = Field(None, ge=1, le=10_000)
    scheduler: str = Field("local", pattern=r"^(local|slurm|(tcp|tls)://\S+)$")
    cluster: ClusterConfig = ClusterConfig(cores=1, memory="4GB", walltime="01:00:00", gpus=0)
    synthetic_speakers: int = Field(8, ge=2, le=EVALUATE["synthetic_speakers"].max)
    published: PublishedConfig = PublishedConfig()
    auxiliary: dict[str, Any] = Field(default_factory=dict)
    imports: tuple[str, ...] = ()
    out: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the keys as plain values, as the run folder's `config.toml` holds them."""
        content = self.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in content.items() if value is not None}

    def portable(self) -> dict[str, Any]:
        """Return the keys as plain values with absolute paths, which hold in whatever folder a program is started."""
        content = self.to_dict()
        for key in ("root", "labels", "data", "model", "textgrids", "out"):
            path = content.get(key)
            if path is not None and (key in ("root", "labels", "out") or Path(path).exists()):
                content[key] = os.path.abspath(path)
        if self.published.splits is not None:
            content["published"] = {**content["published"], "splits": os.path.abspath(self.published.splits)}
        return content

    def settings(self) -> EvaluateSettings:
        """Resolve presets and check every recipe, metric, option and the protocol. Raises SpeechXAIError naming the
        wrong one."""
        from speechxai.explain.explain import check_options
        from speechxai.metrics import check_options as check_metric_options

        load_plugins(self.imports)
        check_protocol(self.protocol)
        if self.textgrids is not None and self.protocol != "standard":
            raise SpeechXAIError(
                f"'textgrids' belong to the protocol 'standard', and this is '{self.protocol}'. Leave one of them away."
            )
        check_options(self.options)
        check_metric_options(self.metric_options)
        return EvaluateSettings(
            recipes=resolve_recipes(self.recipes, self.controls),
            metrics=resolve_metrics(self.metrics),
            evidence=None if self.evidence == "auto" else self.evidence,
            fill=self.fill,
            protocol=self.protocol,
            seed=self.seed,
            options=self.options,
            metric_options=self.metric_options,
            agreement=self.agreement,
            keep_maps=self.maps,
            signs=resolve_signs(self.signs),
            memory_mb=self.memory_mb,
            precision=self.precision,
            clip_s=self.published.clip_s,
            level=self.published.level,
        )


for _key, _field in EvaluateConfig.model_fields.items():
    _field.description = EVALUATE[_key].help


def load(path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> EvaluateConfig:
    """Read a configuration from TOML, overridden by the flags that were given (None: not given).

    Relative `root`, `labels` and `out` in a file are meant from the folder where the command is run. What a file says
    of
    `allow_code` is not heard: leave to run code is an override alone.

    Raises:
        SpeechXAIError: the file cannot be read, an unknown key (with the nearest known one), a value out of range.
    """
    content: dict[str, Any] = {}
    source = "The command line"
    if path is not None:
        source = str(path)
        content = read_toml(config_path(path))
        # Leave to run somebody's code is given by who sits here, never by a file.
        content.pop("allow_code", None)
    content.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return from_dict(content, source)


def from_dict(content: Mapping[str, Any], source: str) -> EvaluateConfig:
    """Check plain values; `source` (a file) is named in errors. The `format` that a run folder's file states is not
    kept."""
    known = list(EvaluateConfig.model_fields)
    values = dict(content)
    known_format(values.pop("format", None), FORMAT, f"{source}: this configuration")
    for key in values:
        if key not in known:
            raise SpeechXAIError(f"{source}: {did_you_mean(key, known, 'key')}")
        if key in ("data", "root", "labels", "model", "textgrids", "out") and str(values[key]) == "":
            raise SpeechXAIError(f"{source}: the key '{key}' is empty.")
    try:
        config = EvaluateConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise SpeechXAIError(
                f"{source}: the key '{key}' is missing. It says {_MEANING.get(key, 'what to do')}."
            ) from error
        raise SpeechXAIError(f"{source}: {first_problem(error)}") from error
    load_plugins(config.imports)
    try:
        check_protocol(config.protocol)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{source}: the key 'protocol': {error}") from error
    return config


def first_problem(error: ValidationError) -> str:
    """Say the first thing that is wrong with settings: the key, what is wrong with it, and what stands there."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    got = "" if first["input"] is None else f" Got {short(first['input'])} instead."
    return f"the key '{key}': {first['msg'][0].lower()}{first['msg'][1:]}.{got}"


def short(value: object, n_characters: int = 120) -> str:
    """Write a value as Python does, cut where it is longer than a line."""
    text = repr(value)
    return text if len(text) <= n_characters else f"{text[: n_characters - 3]}..."


def check_protocol(name: str) -> None:
    """Check that a protocol is known to this room, a room above or a plugin. Raises SpeechXAIError where it is not."""
    from speechxai.evaluation import unit as unit  # registers "standard"

    # A room above that carries out a protocol registers it in its module `study`, so that none below knows its name.
    package = Path(__file__).parents[1]
    for path in sorted(package.glob("*/study.py")):
        importlib.import_module(f"{package.name}.{path.parent.name}.study")
    PROTOCOLS[name]


_MEANING = {
    "data": "which recordings: 'synthetic', a data card with 'root', a manifest.csv, or a folder",
    "model": "which classifier: a model's name ('speechxai list models'), its folder, or module:function",
}


def difference(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """Name the first key that changes a run's numbers and differs between two configurations; None where all agree."""
    for key in EvaluateConfig.model_fields:
        if key == "data" and all(is_path(content.get(key)) for content in (stored, asked)):
            continue  # where the recordings lie, like `root`
        if key not in FREE_ON_RESUME and stored.get(key) != asked.get(key):
            return f"'{key}' is {stored.get(key)!r} in the run and {asked.get(key)!r} now"
    return None


def is_path(data: object) -> bool:
    """Whether `data` is a folder or a table of recordings rather than a name."""
    return isinstance(data, str) and (Path(data).suffix == ".csv" or len(Path(data).parts) > 1)


def is_folder(data: object) -> bool:
    """Whether `data` is a folder of recordings, which may be gone, rather than a name, a table or a card."""
    return is_path(data) and Path(str(data)).suffix not in (".csv", ".toml")


def resolve_recipes(names: tuple[str, ...], controls: bool) -> tuple[str, ...]:
    """Replace presets by their recipes and write every recipe in its canonical form, each once, in order.

    Args:
        names: presets and recipe texts.
        controls: whether the control maps are added.

    Raises:
        SpeechXAIError: an unknown method or combination, or text that is no recipe.
    """
    from speechxai.explain import METHODS
    from speechxai.explain.recipe import CONTROLS, PUBLISHED_METHODS, parse, published_recipes

    presets: dict[str, list[str]] = {
        "methods": list(PUBLISHED_METHODS),
        "published": published_recipes(),
        "combinations": [recipe for recipe in published_recipes() if "(" in recipe],
        "controls": list(CONTROLS),
        "all": list(METHODS),
    }
    resolved: list[str] = []
    for name in (*names, *(["controls"] if controls else [])):
        if name not in presets and name not in METHODS and re.fullmatch(r"\w+", name):
            raise SpeechXAIError(did_you_mean(name, [*METHODS, *presets], "recipe"))
        resolved += [str(parse(recipe)) for recipe in presets.get(name, [name])]
    return tuple(dict.fromkeys(resolved))


def resolve_signs(names: tuple[str, ...]) -> tuple[str, ...]:
    """Replace presets of dials by the dials. Raises SpeechXAIError for an unknown one."""
    if not names:
        return ()
    from speechxai.signs.whatif import resolve

    return resolve(names)


def resolve_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    """Replace presets by their metrics, each once, in order.

    Raises:
        SpeechXAIError: an unknown metric, or one that needs a ground truth.
    """
    from speechxai.metrics import METRICS, resolve
    from speechxai.metrics.quantus_bridge import quantus_names

    for name in names:
        if name not in METRICS and name not in METRIC_PRESETS and ":" not in name:
            raise SpeechXAIError(did_you_mean(name, [*METRICS, *METRIC_PRESETS, *quantus_names()], "metric"))
        if name in METRICS and METRICS.facts(name).get("needs") == "truth":
            raise SpeechXAIError(
                f"The metric '{name}' needs a ground-truth map, which recordings of patients do not have."
            )
    return tuple(resolve(names))
