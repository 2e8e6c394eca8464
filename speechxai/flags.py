"""Settings of the command line and of settings files, each declared once: what it means, its short form, its bounds.

A flag of a command, a key of an evaluation's TOML file and a key of a training recipe of one name mean the same, so
their text stands here: `--help` reads it, `EvaluateConfig` has it as the description of its fields, and tests hold the
two together. Nothing heavy is imported, for `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """One setting.

    Args:
        help: what it means, one or two sentences; a command may add what is special to it.
        names: of the flag, where they are more than the key with dashes.
        default: what holds where nothing is said, for commands that leave the setting open to a file.
        min, max: bounds of a number that need no look at anything else.
    """

    help: str
    names: tuple[str, ...] = ()
    default: Any = None
    min: float | None = None
    max: float | None = None


MANY = 10_000
"""Bound on speakers, epochs, crops and workers."""

MAX_COUNT = 100_000
"""Bound on whatever is counted (steps, samples, masks): more would not end in a day."""

MAX_SEED = 2**31 - 1
"""Largest seed: every generator of random numbers takes it, also where a small number is added to it."""

EVALUATE: Mapping[str, Flag] = {
    "data": Flag('Recordings: "synthetic", a data card, a manifest.csv, or a folder of them.'),
    "root": Flag("Folder of the recordings that a card or manifest names."),
    "labels": Flag("Table of labels (csv, tsv, xlsx) with columns file, label, speaker, for a folder without a card."),
    "tasks": Flag("Only recordings of this task, such as vowel-a; repeat for several.", ("--tasks", "--task")),
    "limit": Flag("At most so many recordings, classes and speakers in turn.", min=1),
    "channel": Flag("Channel to read, from 0; without it all are averaged.", min=0, max=1023),
    "max_duration_s": Flag("Longer recordings are refused, s.", default=600.0, min=0.1, max=86_400.0),
    "model": Flag(
        "Classifier: name ('speechxai list models') or folder of a model, a Hugging Face save_pretrained folder, or"
        " module:function of a network of yours."
    ),
    "allow_code": Flag(
        "Run the code of --model module:function, which returns a network from waveforms (B, N) to one output a class,"
        " or one for the second class; as attributes it may state class_names, output (logit, probability,"
        " log-probability, score), stft, segment, normalize, cam_layer and max_batch.",
        ("--allow-code",),
        default=False,
    ),
    "recipes": Flag(
        "Explanations: methods, published, combinations, all, or a recipe such as 'union(saliency, captum:Lime)';"
        " repeat for several.",
        ("--recipes", "--recipe", "-r"),
        ("methods",),
    ),
    "controls": Flag("Score the control maps beside, which every method must beat.", default=True),
    "metrics": Flag(
        "Scores: published, default, all, or a metric, one of Quantus included (quantus:ROAD); repeat for several.",
        ("--metrics", "--metric", "-m"),
        ("default",),
    ),
    "protocol": Flag("standard, or mancini2025: the published code's choices.", default="standard"),
    "evidence": Flag("auto (positive for signed maps), positive or absolute.", default="auto"),
    "fill": Flag("What stands where evidence is removed: silence, noise, mean or neighbors.", default="silence"),
    "seed": Flag("Seed of everything random.", default=0, min=0, max=MAX_SEED),
    "options": Flag("Options by method."),
    "metric_options": Flag("Options by metric."),
    "device": Flag("Where networks run: auto, cpu, mps, cuda, or cuda:N for one of several.", default="auto"),
    "precision": Flag(
        "float32, masked-bfloat16 (masked passes only) or bfloat16 (throughout, a preview).", default="float32"
    ),
    "force_precision": Flag(
        "Compute in the precision that was asked for also where this machine is slower in it than in float32.",
        ("--force-precision",),
        default=False,
    ),
    "deterministic": Flag("Only kernels that give the same bytes every time on this machine.", default=False),
    "threads": Flag("Threads of each process.", min=1, max=1024),
    "agreement": Flag("Compare the maps of every two methods: a tenth of the time of a small network.", default=True),
    "signs": Flag(
        "What-ifs: signs, conditions, all, or a dial; repeat for several.",
        ("--signs", "--sign"),
    ),
    "textgrids": Flag(
        "Phones and words, for the evidence by unit: a TextGrid (Praat, Montreal Forced Aligner, WebMAUS, ELAN), a"
        " folder that is searched for the recording's name, or own, own:vowel, own:ddk for what the sound alone tells.",
    ),
    "maps": Flag("Keep every map in maps.zarr, float16.", default=False),
    "by": Flag(
        "In the report, answers and scores by sex, age, task, label or any other column of the manifest as well; repeat"
        " for several."
    ),
    "pictures": Flag("Example recordings drawn in the report.", default=4, min=0, max=50),
    "max_batch": Flag("Segments through the network at once; without it the model's.", min=1, max=100_000),
    "memory_mb": Flag("Bound on the maps tested at once, MB.", default=1024, min=16, max=10_000_000),
    "executor": Flag(
        "Who computes: serial (this process), joblib (processes of this machine) or dask (also a cluster).",
        default="serial",
    ),
    "workers": Flag("Recordings at a time; without it one for each GPU, otherwise for each core.", min=1, max=MANY),
    "scheduler": Flag("Of dask: local, slurm, or a running one's address (tcp://HOST:8786).", default="local"),
    "cluster": Flag("What each worker of dask is given on a cluster."),
    "synthetic_speakers": Flag(
        "Speakers of the synthetic voices, three recordings each.", default=8, min=2, max=10_000
    ),
    "published": Flag('What only the protocol "mancini2025" needs.'),
    "auxiliary": Flag("Settings of an auxiliary study of the run's maps, made after it (needs maps); none without it."),
    "imports": Flag(
        "Python module that registers methods, metrics, cards or classifiers of yours; repeat for several.",
        ("--import",),
    ),
    "out": Flag("Where to write."),
}
"""Keys of an evaluation's TOML file, in its order."""

TRAIN: Mapping[str, Flag] = {
    "title": Flag("One line about the model."),
    "note": Flag("What the card must say about the training, for example how settings were chosen."),
    "target": Flag(
        "Learn a score instead of classes: a column of numbers of the manifest, such as updrs; of synthetic voices"
        " severity."
    ),
    "unit": Flag("What the score of --target is counted in; points without it."),
    "recorded_with": Flag("What recorded the voices, in words, for the model's scope, such as 'telephone, 8 kHz'."),
    "backbone": Flag("Kind of network; 'speechxai list backbones' names them.", default="cnn"),
    "pretrained": Flag("Weights that the backbone ssl starts from: a save_pretrained folder, a file, or HUBERT_BASE."),
    "init": Flag("Model of the same network whose weights every fold begins with, so that they can be merged."),
    "option": Flag("Option of the backbone as NAME=VALUE, the value as in TOML; repeat for several."),
    "folds": Flag("Folds by speaker, at least 3.", default=5, min=3, max=100),
    "repeats": Flag("Seed of a further cross-validation, for the card; repeat for several.", min=0, max=MAX_SEED),
    "speakers": Flag("Number of synthetic speakers.", default=60, min=2, max=MANY),
    "epochs": Flag("Epochs of training at most.", default=60, min=1, max=MANY),
    "patience": Flag(
        "Epochs without a better validation loss before training stops.", default=12, min=1, max=MAX_COUNT
    ),
    "restarts": Flag(
        "How often a fold's network that says the same of everybody is trained again.", default=2, min=0, max=100
    ),
    "learning_rate": Flag("Learning rate of AdamW.", default=2e-3, min=1e-12, max=10.0),
    "weight_decay": Flag("Weight decay of AdamW.", default=1e-2, min=0, max=1000.0),
    "batch": Flag("Crops that pass at once.", default=16, min=1, max=MAX_COUNT),
    "crop_s": Flag("Length of random crops, s.", default=1.5, min=0.01, max=3600.0),
    "n_crops": Flag("Crops a recording and epoch.", default=2, min=1, max=MANY),
}
"""Flags of `speechxai train`, most of them keys of its recipes; those of EVALUATE that it has too are not repeated."""

ALWAYS: Mapping[str, Flag] = {
    "units": Flag(
        "Change the voice in these units alone: stop, fricative, nasal, vowel, 'low vowel', ...; repeat for several."
        " Which lie where is said by --textgrids, without it by the sound alone.",
        ("--units", "--unit"),
    ),
    "transcripts": Flag(
        "What is said: a text, a folder with a text for each recording's name (.txt, .lab), or whisper for what Whisper"
        " hears (English)."
    ),
    "overwrite": Flag("Replace what is there.", ("--overwrite",), default=False),
}
"""Flags of commands alone: no file sets them."""

FLAGS: Mapping[str, Flag] = {**EVALUATE, **TRAIN, **ALWAYS}
