"""Does the explanation of a score point at the sign? The benchmark's question to a network that learns how strong a
planted sign is.

Synthetic speakers carry one sign at a strength of their own, 0 to 100 points. A network learns the points by folds of
speakers; its error stands beside that of the mean for everybody. Then recordings of at least STRONG points are
explained by the network that never heard the speaker, and every map is held against the place where the recording
differs from itself without the sign. In a second network of the first seed the points are dealt out anew: it has
nothing to learn, so its maps can point at nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speechxai.classifiers.fit import AugmentConfig, FitConfig
from speechxai.classifiers.scores import figures, people_of
from speechxai.classifiers.training import draw_folds
from speechxai.classifiers.validation import cross_validate
from speechxai.data.synthetic import draw_speaker, twins
from speechxai.data.voice_model import CUE_TASKS, UtteranceSettings
from speechxai.errors import SpeechXAIError, did_you_mean, in_range
from speechxai.explain.recipe import CONTROLS
from speechxai.files import naming_folder, read_sealed, read_text, sealed, write_atomically
from speechxai.flags import MANY, MAX_SEED
from speechxai.metrics.maps import rank_share
from speechxai.planted import ruler
from speechxai.planted.material import seed_of
from speechxai.planted.networks import open_scorer
from speechxai.planted.settings import CNN
from speechxai.planted.task import explained_by_all
from speechxai.signal.stft import spectrogram
from speechxai.stats import bootstrap_means
from speechxai.types import Recording

UNIT, SCORE, STRONG = "points", "strength", 50.0
"""What the score is counted in, its name, and from where on a recording is explained."""
DURATION_S = 2.0
"""Length of every recording."""
CHANCE_DB = 3.0
"""The truth is where the recording differs by this from itself without the sign."""
METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "gradcam", "deep_lift", "occlusion")
CUES = ("breathiness", "burst_weakening")
"""The signs of the default. Their places in this order are part of the random draws."""
LINES, SETTINGS, TABLE = "severity.jsonl", "severity.json", "severity.md"


@dataclass(frozen=True)
class SeveritySettings:
    """How much is computed.

    Args:
        cues: signs that are planted.
        seeds: of voices, folds and weights; the points are dealt anew with the first.
        n_speakers: synthetic people of a task, each with a strength of his own.
        n_takes: recordings of each.
        n_folds: of the cross-validation.
        epochs, patience, least_epochs: of its trainings.
        methods: explanations; the controls are always added.
        network: what learns, see `networks.open_scorer`.

    Raises:
        SpeechXAIError: an unknown sign, or a number out of range.
    """

    cues: tuple[str, ...] = CUES
    seeds: tuple[int, ...] = (0, 1, 2)
    n_speakers: int = 48
    n_takes: int = 2
    n_folds: int = 3
    epochs: int = 300
    patience: int = 15
    least_epochs: int = 50
    methods: tuple[str, ...] = METHODS
    network: str = CNN

    def __post_init__(self) -> None:
        for cue in self.cues:
            if cue not in CUE_TASKS:
                raise SpeechXAIError(did_you_mean(cue, list(CUE_TASKS), "cue"))
        for seed in self.seeds:
            in_range("a benchmark", "seed", seed, 0, MAX_SEED, whole=True)
        for name, least in (("n_speakers", 6), ("n_takes", 1), ("n_folds", 3), ("epochs", 1), ("patience", 1)):
            in_range("a benchmark", name, getattr(self, name), least, MANY, whole=True)
        if not (self.cues and self.seeds and self.methods):
            raise SpeechXAIError("A benchmark needs at least one cue, seed and method.")

    @property
    def tasks(self) -> list[tuple[str, int, bool]]:
        """Sign, seed, and whether the points are dealt anew; first seeds first."""
        return [
            (cue, seed, permuted)
            for seed in self.seeds
            for cue in self.cues
            for permuted in (False, True)
            if seed == self.seeds[0] or not permuted
        ]


QUICK: Mapping[str, Any] = {
    "cues": ("burst_weakening",),
    "seeds": (0,),
    "n_speakers": 12,
    "epochs": 30,
    "least_epochs": 10,
    "methods": ("saliency", "integrated_gradients", "gradcam"),
}
"""What the short form changes: enough to see that everything works, not enough to compare methods."""


def voices(cue: str, seed: int, permuted: bool, settings: SeveritySettings) -> list[tuple[Recording, Recording, float]]:
    """Recordings of 2 s with the sign, the same without it, and how strong it really is, points."""
    part = CUES.index(cue) if cue in CUES else seed_of(cue)
    draw = np.random.default_rng([seed, 41, part])
    strengths = draw.uniform(0, 100, settings.n_speakers)
    told = np.random.default_rng([seed, 42]).permutation(strengths) if permuted else strengths
    task = next((t for t in ("vowel-a", "ddk", "phrase") if t in CUE_TASKS[cue]), CUE_TASKS[cue][0])
    found = []
    for k in range(settings.n_speakers):
        sex, age = "FM"[k % 2], int(draw.integers(48, 82))
        speaker = draw_speaker(f"synthetic/v{seed}s{k:03d}", sex, age, np.random.default_rng([seed, 43, k]))
        for take in range(settings.n_takes):
            utterance = UtteranceSettings(task, DURATION_S, {cue: float(strengths[k]) / 100})
            pair = twins(speaker, utterance, int(draw.integers(0, 2**31)))
            facts = {"synthetic": True, "sex": sex, "age": age, SCORE: float(told[k])}
            name = f"{speaker.name}/{task}-{take}"
            made = Recording(pair.with_cue, pair.sample_rate, name, speaker.name, None, task, facts)
            found.append((made, replace(made, waveform=pair.without_cue), float(strengths[k])))
    return found


def compute(
    cue: str,
    seed: int,
    permuted: bool,
    settings: SeveritySettings,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Train, measure how near it comes, explain and compare with the truth.

    Args:
        cue: the sign.
        seed: of voices, folds and weights.
        permuted: whether the points are dealt out anew.
        settings: how much.
        progress: told how far the training is.

    Returns:
        How near the score comes with intervals over speakers (`near`), the truth's mean share of the bins (`area`, by
        which a map hits by chance), and by explanation and speaker the share of the strongest bins in it (`rank`).
    """
    began = time.process_time()
    material = voices(cue, seed, permuted, settings)
    recordings = [made for made, _, _ in material]
    network = open_scorer(settings.network, SCORE, UNIT)
    config = FitConfig(
        epochs=settings.epochs,
        patience=settings.patience,
        least_epochs=settings.least_epochs,
        batch=4,
        n_crops=1,
        crop_s=DURATION_S,
        augment=AugmentConfig(noise_share=0.25, snr_low_db=30.0, snr_high_db=50.0),
        seed=seed,
    )
    folds = draw_folds(recordings, settings.n_folds, seed, (SCORE,))
    validated = cross_validate(partial(network.make, seed), recordings, folds, config, progress)
    near = {name: [v.value, v.low, v.high] for name, v in figures(people_of(recordings, validated)).items()}
    recipes = (*settings.methods, *CONTROLS)
    scores: dict[str, dict[str, list[float]]] = {recipe: {} for recipe in recipes}
    areas = []
    for (made, without, strength), fold in zip(material, folds, strict=True):
        if strength < STRONG:
            continue
        model = validated.models[fold]
        difference = ruler.difference_db(made.waveform, without.waveform, model.stft)
        truth = ruler.inside(difference, "both", CHANCE_DB)
        if int(truth.sum()) < ruler.FEWEST_CELLS:
            continue
        areas.append(float(truth.double().mean()))
        spec = spectrogram(made.waveform[None], model.stft)
        for recipe, found in explained_by_all(model, spec, recipes, 0, seed).items():
            evidence = ruler.read(found.values, "absolute", (1, 1))
            value = float(rank_share(evidence, truth[None]))
            scores[recipe].setdefault(made.speaker, []).append(value)
    if not areas:
        raise SpeechXAIError(f"{cue}, seed {seed}: no recording of at least {STRONG:g} {UNIT} has a truth.")
    by_speaker = {
        recipe: {speaker: round(float(np.mean(values)), 4) for speaker, values in of.items()}
        for recipe, of in scores.items()
        if of
    }
    return {
        "cue": cue,
        "seed": seed,
        "permuted": permuted,
        "network": settings.network,
        "near": near,
        "area": float(np.mean(areas)),
        "rank": by_speaker,
        "epochs": [len(history.epochs) for history in validated.histories],
        "cpu_s": round(time.process_time() - began, 1),
    }


# On disk: settings, a line a task, the table.
def begin(folder: Path, settings: SeveritySettings) -> None:
    """Write the settings into a new folder. Raises SpeechXAIError where one is there already."""
    if (folder / SETTINGS).exists():
        raise SpeechXAIError(f"{folder}: there is such a benchmark already. Continue it with --resume {folder}.")
    with naming_folder(folder, "write the benchmark"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / SETTINGS, sealed(asdict(settings), "benchmark"))


def is_severity(folder: Path) -> bool:
    """Whether a folder holds a benchmark of a score."""
    return (folder / SETTINGS).is_file()


def settings_of(folder: Path) -> SeveritySettings:
    """The settings of a benchmark that has begun. Raises SpeechXAIError where they are damaged."""
    content = read_sealed(folder / SETTINGS, "benchmark")
    if not isinstance(content, dict):
        raise SpeechXAIError(
            f"{folder}: no benchmark of a score. Start one with 'speechxai benchmark --target severity'."
        )
    try:
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
        return SeveritySettings(**given)
    except TypeError as error:
        raise SpeechXAIError(f"{folder / SETTINGS}: settings of another version of the program.") from error


def read_lines(file: Path) -> list[dict[str, Any]]:
    """What is done, one entry a task. A last line that a stop cut in two is left out."""
    lines = read_text(file).splitlines() if file.is_file() else []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines) - 1:
                break
            raise SpeechXAIError(f"{file}: line {number + 1} is damaged.") from error
    return found


def run(
    file: Path,
    settings: SeveritySettings,
    progress: Callable[[str, int, int, str], None] | None = None,
    at_most: int = MANY,
) -> Iterator[dict[str, Any]]:
    """Compute the tasks that a file of lines lacks, append each, and yield it.

    Args:
        file: where results stand.
        settings: which tasks.
        progress: told the task, and how far its training is.
        at_most: tasks of this call.
    """
    done = read_lines(file)
    there = {(line["cue"], line["seed"], line["permuted"], line.get("network", CNN)) for line in done}
    for cue, seed, permuted in [t for t in settings.tasks if (*t, settings.network) not in there][:at_most]:
        name = f"{cue}/{seed}{', points dealt anew' if permuted else ''}"
        line = compute(cue, seed, permuted, settings, None if progress is None else partial(progress, name))
        done.append(line)
        with naming_folder(file.parent, "write the benchmark"):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, "".join(json.dumps(each) + "\n" for each in done).encode())
        yield line


# What it shows
def _shares(lines: Sequence[Mapping[str, Any]], recipe: str, against: str = "") -> tuple[float, float, float] | None:
    """Mean over speakers of all lines with its 95 % interval, of a share or of what it is above another's."""
    values = np.array(
        [
            v - (line["rank"][against][speaker] if against else 0)
            for line in lines
            for speaker, v in line["rank"].get(recipe, {}).items()
        ]
    )
    if not len(values):
        return None
    low, high = bootstrap_means(values[:, None])
    return float(values.mean()), float(low[0]), float(high[0])


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """How near, and what the maps point at, Markdown with 95 % intervals over speakers of all seeds."""
    out = ["| sign | seed | mean absolute error, points | of the mean for everybody | share taken away | Spearman |"]
    out.append("|---|---|---|---|---|---|")
    for line in lines:
        cells = [
            f"{v:.2f} [{low:.2f}, {high:.2f}]"
            for v, low, high in (line["near"][k] for k in ("mae", "gain", "spearman"))
        ]
        name = line["cue"].replace("_", " ") + (", points dealt anew" if line["permuted"] else "")
        of_mean = line["near"]["mae_of_mean"][0]
        out.append(f"| {name} | {line['seed']} | {cells[0]} | {of_mean:.2f} | {cells[1]} | {cells[2]} |")
    for cue in dict.fromkeys(line["cue"] for line in lines):
        of_cue = [line for line in lines if line["cue"] == cue]
        learned, anew = ([line for line in of_cue if line["permuted"] is permuted] for permuted in (False, True))
        area = np.mean([line["area"] for line in of_cue])
        out += [
            "",
            f"{cue.replace('_', ' ').capitalize()}: share of the strongest bins in the truth (chance {area:.2f})",
            "",
        ]
        out += ["| explanation | learned | above energy | points dealt anew |", "|---|---|---|---|"]
        for recipe in of_cue[0]["rank"]:
            found = [_shares(learned, recipe), _shares(learned, recipe, "energy_map"), _shares(anew, recipe)]
            cells = ["" if each is None else f"{each[0]:.3f} [{each[1]:.3f}, {each[2]:.3f}]" for each in found]
            out.append(f"| {' | '.join([recipe.replace('_', ' '), *cells])} |")
    return "\n".join(out)


def findings(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What may be said, a sentence a sign: which explanations of the score lie in the sign more than chance, loudness
    and a network that learned nothing give; nothing where the score was not learned."""
    said = []
    for cue in dict.fromkeys(line["cue"] for line in lines):
        name = cue.replace("_", " ")
        learned, anew = (
            [line for line in lines if line["cue"] == cue and line["permuted"] is permuted]
            for permuted in (False, True)
        )
        if not learned:
            continue
        lost = [line["seed"] for line in learned if not line["near"]["gain"][1] > 0]
        if lost:
            said.append(
                f"{name}: of {len(learned)} network{'s' if len(learned) > 1 else ''} {len(lost)} did not come nearer to"
                " the points than the mean for everybody, so their maps say nothing of explanations."
            )
            continue
        area = float(np.mean([line["area"] for line in learned]))
        points: list[str] = []
        not_so: list[str] = []
        for recipe in learned[0]["rank"]:
            if recipe in CONTROLS:
                continue
            here, beside, nothing = (
                _shares(learned, recipe),
                _shares(learned, recipe, "energy_map"),
                _shares(anew, recipe),
            )
            if here is None or beside is None:
                continue
            good = here[1] > area and beside[1] > 0 and (nothing is None or here[1] > nothing[2])
            (points if good else not_so).append(recipe.replace("_", " "))
        text = f"{name}: the score is learned. In the sign more than chance, loudness and a network on dealt points:"
        said.append(f"{text} {', '.join(points) or 'no explanation'}{'; not ' + ', '.join(not_so) if not_so else ''}.")
    return said
