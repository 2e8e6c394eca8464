"""Sanity checks of methods: does a map follow what a network reads, and nothing but that? Limits say who fails.

Two kinds of networks answer. One is *built* to read one box of time and frequency and nothing else, so that a map that
lies beside the box, or holds what was never read, is wrong whatever a benchmark's truth is. The others learned a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.classifiers.network import place_of
from speechxai.data.synthetic import draw_speaker, render
from speechxai.data.voice_model import UtteranceSettings
from speechxai.errors import SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.agreement import average_ranks, rank_correlation
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain_all
from speechxai.explain.recipe import CONTROLS
from speechxai.metrics.maps import rank_share
from speechxai.metrics.robustness import (
    ATTACK_SNR_DB,
    N_NEIGHBORS,
    N_SEEDS,
    NEIGHBOR_RADIUS,
    attacked,
    changed_recording,
    likeness_after,
    mean_rank_correlation,
    neighbor,
    randomized,
    relative_change,
    ssim,
)
from speechxai.planted.ruler import Reading, read
from speechxai.planted.settings import OPTIONS, BenchmarkSettings
from speechxai.signal.acoustics import VOICED, segments_by_voicing
from speechxai.signal.stft import bin_frequencies_hz, spectrogram, waveform
from speechxai.types import Attribution, Spectrogram, StftConfig

Maps = dict[str, Attribution]
Explainers = Callable[[nn.Module, Spectrogram, int, int], Maps]
"""Explains a recording by several methods: `(model, spec, target, seed) -> attribution by method`."""

CHECKS: Mapping[str, str] = {
    "lag_frames": (
        "how far the map lies beside the box that a built network reads, along time: the shift at which the two agree"
        " most, frames, as a share of what the method's own patch allows (1 frame or a tenth of it)"
    ),
    "lag_bins": "the same along frequency",
    "evidence_in_box": "share of what lies in the box that is evidence for the class that the box speaks for",
    "energy_outside": (
        "rank correlation of map and energy where the built network reads nothing, further from the box than the"
        " method's patch"
    ),
    "class_flip": "rank correlation of the evidence for one class with that for the other",
    "randomized_all": (
        "rank correlation with the map of the network with random weights in every layer; a map of what was learned"
        " loses it"
    ),
    "randomized_all_beyond_energy": "the same with the recording's energy partialled out",
    "randomized_all_ssim": "the same by structural similarity",
    "cascading": "mean rank correlation while layers are randomized from the last to the first",
    "independent": "mean rank correlation when one group of layers at a time is randomized",
    "permuted_labels": "rank correlation with the map of networks that were trained on labels dealt out by chance",
    "permuted_labels_beyond_energy": "the same with the recording's energy partialled out",
    "permuted_relevance_rank": "how well those networks' maps point at the truth, less the truth's share of the bins",
    "retrained": (
        "rank correlation with the map of the network trained once more from another seed: where that draws weights,"
        " how far a map is the task's and not one network's"
    ),
    "max_sensitivity": "largest relative change of the evidence under 2 % noise",
    "attack": (
        "rank correlation with the map of the recording under a change 40 dB below the voice that keeps the answer and"
        " is made to move the map"
    ),
    "attack_by_chance": "the same under noise of that size",
    "invariance_level": "rank correlation with the map of the same voice at half the level",
    "invariance_shift": "rank correlation with the map of the same voice 10 ms later",
    "seed_stability": "mean rank correlation over 3 seeds",
}
"""What is measured, and in which direction it speaks."""

LIMITS: Mapping[str, tuple[str, float]] = {
    "lag_frames": ("above", 1.0),
    "lag_bins": ("above", 1.0),
    "evidence_in_box": ("below", 0.5),
    "energy_outside": ("above", 0.5),
    "class_flip": ("above", 0.9),
    "randomized_all": ("above", 0.9),
    "permuted_labels": ("above", 0.9),
    "invariance_shift": ("below", 0.3),
    "seed_stability": ("below", 0.5),
}
"""A method fails a check when its mean is above or below this limit. Where they come from:

- lags: a map at the right place has its best agreement at lag 0; one frame (or bin) is rounding, and MAY_BE_OFF is what
  a patch's position may be off without the map being wrong about it.
- evidence_in_box: the box alone moves the answer, and one way; a map that mostly says the other way there has the wrong
  sign or class, and one without evidence there has the wrong place.
- energy_outside: nothing is read there, so 0 is expected. Methods of random masks leave chance there, in about 80
  independent cells of their 200 ms x 1 kHz: a standard deviation of 1 / sqrt(80) = 0.11, and 0.5 is more than four.
- class_flip (signed methods alone; maps without a sign cannot tell classes, and show it): two classes share the answer,
  so what speaks for one speaks against the other; 0.9 is a map that does not ask for which class.
- randomized_all, permuted_labels: 0.9 is a map of the recording alone.
- invariance_shift and seed_stability: under 0.3 and 0.5 most of the map's order is chance.

They catch methods that are broken; a method within them may still be poor, so the values are printed beside.
"""

SIGNED_ALONE = ("class_flip",)
"""Checks whose limit holds for signed methods."""

N_BOXES = 5
PATCH_OF = {
    "occlusion": (200.0, 1000.0),
    "band_occlusion": (0.0, 2000.0),
    "segment_occlusion": (200.0, 0.0),
    "rise": (200.0, 1000.0),
}
"""Patches of methods that have some, ms and Hz: of `band_occlusion` the widest band; 0 where an axis has no patches."""
MAY_BE_OFF = {name: (0.1 * ms, 0.1 * hz) for name, (ms, hz) in PATCH_OF.items()} | {"band_occlusion": (0.0, 600.0)}
"""How far a map may lie beside the box, ms and Hz, where that is more than a frame or a bin: a tenth of the patch.
Bands of uneven width do not cancel out over the boxes as even steps do: half the widest band that a box touches."""


# A network that is built to read one box.
class BoxReader(nn.Module):
    """Reads the mean magnitude of one box of time and frequency, and nothing else.

    Logits are (-m, m), m = gain * (mean over the box - reference): more energy in the box speaks for class 1.
    """

    box: Tensor
    cam_layer = "features"

    def __init__(self, box: Tensor, reference: float, gain: float) -> None:
        """Box (F, T), 1 inside and 0 outside."""
        super().__init__()
        self.register_buffer("box", box)
        self.features = _identity()
        self.answer = nn.Linear(1, 2)
        with torch.no_grad():
            self.answer.weight.copy_(torch.tensor([[-gain], [gain]]))
            self.answer.bias.copy_(torch.tensor([gain * reference, -gain * reference]))

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """(B, F, T) to (B, 2)."""
        heard = self.features((magnitude * self.box)[:, None])
        mean = heard.sum(dim=(1, 2, 3)) / self.box.sum()
        return self.answer(mean[:, None])  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class BuiltCase:
    """A recording, a network that reads one box of it, and the box (F, T)."""

    spec: Spectrogram
    model: Classifier
    box: Tensor


def built_cases(stft: StftConfig, duration_s: float = 2.0, seed: int = 0) -> list[BuiltCase]:
    """Make N_BOXES recordings of noise that swells and fades, each with a network that reads a box of 250 ms x 1.2 kHz.

    All boxes lie in the first half of the recording and of the frequencies, so that a map that is turned around in time
    or frequency, or moved, misses them all on the same side; and they lie evenly spread over 100 ms and 500 Hz, the
    steps of patches, so that what a method's grid rounds up in one it rounds down in another.
    """
    made = []
    n_samples = round(duration_s * stft.sample_rate)
    for index in range(N_BOXES):
        generator = torch.Generator().manual_seed(seed * 1000 + index)
        swell = 1 + 0.5 * torch.sin(torch.arange(n_samples) / stft.sample_rate * 2 * torch.pi * (1.1 + index / 3))
        spec = spectrogram((0.1 * swell * torch.randn(n_samples, generator=generator))[None], stft)
        n_bins, n_frames = spec.magnitude.shape[1:]
        start = round((0.15 + 0.1 * index / N_BOXES) * stft.frame_rate_hz)
        low = round((500 + 500 * index / N_BOXES) / stft.bin_hz)
        box = torch.zeros(n_bins, n_frames)
        box[low : low + round(1200 / stft.bin_hz), start : start + round(0.25 * stft.frame_rate_hz)] = 1
        mean = float((spec.magnitude[0] * box).sum() / box.sum())
        reader = BoxReader(box, 0.7 * mean, 2.0 / mean)
        model = Classifier(reader, stft, None, ("without", "with"), cam_layer="features").eval()
        made.append(BuiltCase(spec, model, box))
    return made


def lag(profile: Tensor, box: Tensor) -> int:
    """Shift (steps) of a profile (N,) at which it agrees most with the box's profile (N,); 0 where it is even.

    The agreement is the correlation of the profile less its mean with the box moved by the shift; of several best
    shifts the smallest counts.
    """
    if float(profile.max() - profile.min()) <= 1e-6 * float(profile.abs().max()):
        return 0
    n = len(profile)
    centered = (profile - profile.mean()).double()
    shifts = range(-(n // 2), n // 2)
    found = [(float((centered * _moved(box.double(), shift)).sum()), -abs(shift), shift) for shift in shifts]
    best = max(value for value, _, _ in found)
    return max(each for each in found if each[0] >= best - 1e-9 * abs(best))[2] if best > 0 else n


def _moved(values: Tensor, shift: int) -> Tensor:
    """Values (N,) moved by `shift`, less their mean within what is seen; what comes in is 0."""
    moved = torch.zeros_like(values)
    if shift >= 0:
        moved[shift:] = values[: len(values) - shift]
    else:
        moved[:shift] = values[-shift:]
    return moved - moved.mean()


def built_checks(explain: Explainers, cases: Sequence[BuiltCase]) -> dict[str, dict[str, float]]:
    """Value by check, by method: `lag_frames`, `lag_bins`, `evidence_in_box`, `energy_outside`; means over the cases.

    A lag is that of the mean over cases, for a method's chance does not point one way and a shift does.
    """
    seen: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        stft = case.spec.stft
        for name, attribution in explain(case.model, case.spec, 1, 0).items():
            values = _evidence(attribution)[0]
            ms, hz = PATCH_OF.get(name, (0.0, 0.0))
            frames, bins = ms / 1000 * stft.frame_rate_hz, hz / stft.bin_hz
            rows = seen.setdefault(name, {check: [] for check in ("time", "frequency", "in", "energy")})
            there = attribution.values[0][case.box > 0]
            rows["in"].append(float(there.clamp(min=0).sum() / there.abs().sum()) if bool((there != 0).any()) else 0.0)
            off_ms, off_hz = MAY_BE_OFF.get(name, (0.0, 0.0))
            off = max(1.0, off_ms / 1000 * stft.frame_rate_hz), max(1.0, off_hz / stft.bin_hz)
            rows["time"].append(lag(values.sum(dim=0), case.box.amax(dim=0)) / off[0])
            rows["frequency"].append(lag(values.sum(dim=1), case.box.amax(dim=1)) / off[1])
            rows["energy"].append(_energy_outside(values, case, round(frames), round(bins)))
    return {
        name: {
            "lag_frames": abs(_mean(rows["time"])),
            "lag_bins": abs(_mean(rows["frequency"])),
            "evidence_in_box": _mean(rows["in"]),
            "energy_outside": abs(_mean(rows["energy"])),
        }
        for name, rows in seen.items()
    }


def _energy_outside(values: Tensor, case: BuiltCase, frames: int, bins: int) -> float:
    """Rank correlation of evidence (F, T) with the energy outside of the box and one patch around; 0 where it is
    even."""
    reach = 2 * bins + 1, 2 * frames + 1
    near = torch.nn.functional.max_pool2d(case.box[None, None], reach, stride=1, padding=(bins, frames))[0, 0] > 0
    outside = ~near
    if not outside.any():
        return 0.0
    one, other = values[outside], case.spec.magnitude[0][outside]
    found = float(rank_correlation(one[None, None], other[None, None]))
    return found if found == found else 0.0


# Networks that are built to hear something: what they read is their truth, whatever twins differ in.
class PitchRangeReader(nn.Module):
    """Reads how far the center of the lowest band moves while somebody speaks, Hz, and nothing else."""

    band: Tensor
    voiced: Tensor
    hz: Tensor
    cam_layer = "features"

    def __init__(self, band: Tensor, voiced: Tensor, hz: Tensor) -> None:
        """Band (F,) and voiced frames (T,), 1 and 0; frequencies (F,)."""
        super().__init__()
        for name, values in (("band", band), ("voiced", voiced), ("hz", hz)):
            self.register_buffer(name, values)
        self.features = _identity()

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """(B, F, T) to (B, 2)."""
        heard = self.features((magnitude * self.band[:, None])[:, None])[:, 0]
        center = (heard * self.hz[:, None]).sum(dim=1) / heard.sum(dim=1).clamp_min(1e-6)
        weight = self.voiced / self.voiced.sum()
        mean = (center * weight).sum(dim=1, keepdim=True)
        spread = ((center - mean).square() * weight).sum(dim=1).clamp_min(1e-6).sqrt()
        margin = (spread - 10.0) / 10.0
        return torch.stack([-margin, margin], dim=1)


class PauseReader(nn.Module):
    """Reads the share of frames in which nobody speaks: an absence."""

    threshold: Tensor
    cam_layer = "features"

    def __init__(self, threshold: Tensor) -> None:
        """Mean magnitude of a frame that is as much a pause as not."""
        super().__init__()
        self.register_buffer("threshold", threshold)
        self.features = _identity()

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """(B, F, T) to (B, 2)."""
        level = self.features(magnitude[:, None])[:, 0].mean(dim=1)
        quiet = (4 * (1 - level / self.threshold)).sigmoid()
        margin = 8 * (quiet.mean(dim=1) - 0.2)
        return torch.stack([-margin, margin], dim=1)


def _identity() -> nn.Sequential:
    identity = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(identity.weight)
    return nn.Sequential(identity, nn.ReLU())


@dataclass(frozen=True, eq=False)
class Mechanism:
    """A voice, a network whose mechanism is known, and the bins (F, T) that it reads, by check."""

    spec: Spectrogram
    model: Classifier
    reads: Mapping[str, tuple[Tensor, Reading]]


PITCH_BAND_HZ, BREATH_BAND_HZ = (60.0, 400.0), (2000.0, 6000.0)
N_VOICES = 2


def mechanisms(stft: StftConfig, duration_s: float = 2.0, n_voices: int = N_VOICES) -> list[Mechanism]:
    """Make networks that read the voiced energy of 2 to 6 kHz, the movement of the lowest band, and pauses, each for
    `n_voices` synthetic phrases without a cue."""
    made = []
    hz = bin_frequencies_hz(stft)
    for index in range(n_voices):
        generator = np.random.default_rng(index)
        speaker = draw_speaker(f"built-{index}", "FM"[index % 2], 60, generator)
        voice = render(speaker, UtteranceSettings("phrase", duration_s), index)
        spec = spectrogram(voice.waveform[None], stft)
        n_frames = spec.magnitude.shape[-1]
        voiced = torch.from_numpy(
            segments_by_voicing(voice.waveform, stft.sample_rate, n_frames, stft.hop_length) == VOICED
        ).float()
        level = spec.magnitude[0].mean(dim=0)
        threshold = 0.1 * level.amax()
        bands = {edges: ((hz >= edges[0]) & (hz <= edges[1])).float() for edges in (PITCH_BAND_HZ, BREATH_BAND_HZ)}
        box = bands[BREATH_BAND_HZ][:, None] * voiced
        mean = float((spec.magnitude[0] * box).sum() / box.sum())
        low = bands[PITCH_BAND_HZ][:, None] * voiced
        quiet = (level < threshold).expand(len(hz), -1)
        networks: list[tuple[nn.Module, dict[str, tuple[Tensor, Reading]]]] = [
            (BoxReader(box, 0.7 * mean, 2.0 / mean), {"reads_band": (box > 0, "positive")}),
            (
                PitchRangeReader(bands[PITCH_BAND_HZ], voiced, hz),
                {"reads_pitch_range": (low > 0, "positive")},
            ),
            (
                PauseReader(threshold),
                {"reads_pauses": (quiet, "positive"), "reads_pauses_against": (~quiet, "negative")},
            ),
        ]
        for network, reads in networks:
            model = Classifier(network, stft, None, ("without", "with"), cam_layer="features").eval()
            made.append(Mechanism(spec, model, reads))
    return made


def mechanism_checks(explain: Explainers, cases: Sequence[Mechanism]) -> dict[str, dict[str, float]]:
    """Value by check, by method: `relevance_rank` above chance, (rank - area) / (1 - area), mean over the cases; maps
    without a sign say nothing against a class."""
    seen: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        for name, made in explain(case.model, case.spec, 1, 0).items():
            for check_name, (truth, reading) in case.reads.items():
                if reading == "negative" and not made.signed:
                    continue
                evidence_read = read(made.values, reading if made.signed else "absolute", (1, 1))
                area = float(truth.double().mean())
                found = float(rank_share(evidence_read, truth[None]))
                seen.setdefault(name, {}).setdefault(check_name, []).append((found - area) / (1 - area))
    return {name: {check_name: _mean(values) for check_name, values in rows.items()} for name, rows in seen.items()}


# Networks that learned a task.
def explainers(methods: tuple[str, ...]) -> Explainers:
    """Return the function that explains by registered methods, each original pass shared; methods not applicable are
    left out. Maps come back to where the recording lies, wherever the network does."""
    options = {name: given for name, given in OPTIONS.items() if name in methods}

    def explain(model: nn.Module, spec: Spectrogram, target: int, seed: int) -> Maps:
        home = spec.magnitude.device
        made = explain_all(model, spec.to(place_of(model)), methods, target, seed=seed, options=options)
        return {name: attribution.to(home) for name, attribution in made.items()}

    return explain


def sanity_rows(
    model: nn.Module,
    spec: Spectrogram,
    truth: Tensor,
    permuted: Sequence[nn.Module],
    settings: BenchmarkSettings,
    seed: int,
    retrained: nn.Module | None = None,
) -> list[dict[str, Any]]:
    """Check the methods and controls of the benchmark on one recording: rows with recipe, check and value.

    Args:
        model: a classifier that learned the task.
        spec: one recording with the cue, (1, F, T).
        truth: where the cue added energy, (F, T), bool.
        permuted: classifiers trained on permuted labels.
        settings: methods and stages.
        seed: of stochastic methods.
        retrained: the classifier, trained once more from another seed.
    """
    methods = (*settings.methods, *CONTROLS)
    stochastic = tuple(name for name in methods if METHODS.facts(name)["stochastic"])
    found = check(explainers(methods), model, spec, truth, permuted, settings.n_stages, retrained)
    for name, value in seed_stability_of(explainers(stochastic), model, spec, seed).items():
        found[name]["seed_stability"] = value
    return rows_of(found)


def rows_of(found: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Rows with recipe, check and value."""
    return [
        {"recipe": name, "check": key, "value": value}
        for name, checks in found.items()
        for key, value in checks.items()
    ]


def check(
    explain: Explainers,
    model: nn.Module,
    spec: Spectrogram,
    truth: Tensor,
    permuted: Sequence[nn.Module],
    n_stages: int,
    retrained: nn.Module | None = None,
) -> dict[str, dict[str, float]]:
    """Value by check, by method, for one recording; see CHECKS. The network is never touched.

    Args:
        explain: makes the maps of all methods under test.
        model: a classifier that learned the task.
        spec: one recording, (1, F, T).
        truth: where its cue is, (F, T), bool.
        permuted: classifiers trained on permuted labels.
        n_stages: stages of the weight randomization.
        retrained: the classifier, trained once more from another seed.
    """
    maps = explain(model, spec, 1, 0)
    energy = spec.magnitude
    found: dict[str, dict[str, float]] = {name: {} for name in maps}
    for name, other in explain(model, spec, 0, 0).items():
        if name not in maps:
            continue
        found[name]["class_flip"] = float(rank_correlation(_evidence(maps[name]), _evidence(other)))
    for mode in ("cascading", "independent"):
        stages: dict[str, list[float]] = {name: [] for name in maps}
        last: Maps = {}
        for _, changed in randomized(model, mode, n_stages):
            last = explain(changed, spec, 1, 0)
            for name, made in maps.items():
                stages[name].append(float(rank_correlation(made.values, last[name].values)))
        for name, made in maps.items():
            found[name][mode] = _mean(stages[name])
            if mode == "cascading":  # its last stage is the network with random weights throughout
                found[name]["randomized_all"] = stages[name][-1]
                found[name]["randomized_all_beyond_energy"] = partial_rank_correlation(
                    made.values, last[name].values, energy
                )
                found[name]["randomized_all_ssim"] = float(ssim(made.values, last[name].values))
    drawn = [explain(network, spec, 1, 0) for network in permuted]
    area = float(truth.double().mean())
    for name, made in maps.items():
        others = [each[name] for each in drawn]
        found[name]["permuted_labels"] = _mean([float(rank_correlation(made.values, o.values)) for o in others])
        found[name]["permuted_labels_beyond_energy"] = _mean(
            [partial_rank_correlation(made.values, other.values, energy) for other in others]
        )
        found[name]["permuted_relevance_rank"] = _mean(
            [float(rank_share(_evidence(other), truth[None])) - area for other in others]
        )
    for name, other in (explain(retrained, spec, 1, 0) if retrained is not None else {}).items():
        if name in maps:
            found[name]["retrained"] = float(rank_correlation(maps[name].values, other.values))
    near = [explain(model, neighbor(spec, NEIGHBOR_RADIUS, seed), 1, 0) for seed in range(N_NEIGHBORS)]
    for name, made in maps.items():
        kind = "positive" if made.signed else "absolute"
        found[name]["max_sensitivity"] = max(
            float(relative_change(made.values, other[name].values, kind))  # type: ignore[arg-type]
            for other in near
        )
    for name, hit in _under_attack(model, spec).items():
        for method, other in explain(model, hit, 1, 0).items():
            if method in maps:
                found[method][name] = float(rank_correlation(_evidence(maps[method]), _evidence(other)))
    for change in ("level", "shift"):
        moved = explain(model, changed_recording(spec, change), 1, 0)
        for name, made in maps.items():
            found[name][f"invariance_{change}"] = float(likeness_after(change, made.values, moved[name].values, spec))
    return found


def _under_attack(model: nn.Module, spec: Spectrogram) -> dict[str, Spectrogram]:
    """The recording under an attack and under noise of its size; nothing for a network that has no second
    derivative."""
    try:
        moved = attacked(model, spec.to(place_of(model)), 1).to(spec.magnitude.device)
    except SpeechXAIError:
        return {}
    voice = waveform(spec)
    noise = torch.randn(voice.shape, generator=torch.Generator().manual_seed(1)).to(voice)
    noise = noise * (voice.square().mean() / noise.square().mean()).sqrt() * 10 ** (-ATTACK_SNR_DB / 20)
    return {"attack": moved, "attack_by_chance": spectrogram(voice + noise, spec.stft)}


def seed_stability_of(explain: Explainers, model: nn.Module, spec: Spectrogram, seed: int) -> dict[str, float]:
    """Mean rank correlation of the maps of three seeds, by method."""
    drawn = [explain(model, spec, 1, seed + index) for index in range(N_SEEDS)]
    return {name: float(mean_rank_correlation([maps[name].values for maps in drawn])) for name in drawn[0]}


def partial_rank_correlation(a: Tensor, b: Tensor, given: Tensor) -> float:
    """Rank correlation of two maps (1, F, T) with a third partialled out of both; NaN where one is the third alone.

    (r_ab - r_ag r_bg) / sqrt((1 - r_ag^2) (1 - r_bg^2)) of Spearman's correlations (kendall1942partial).
    """
    ranks = average_ranks(torch.cat([each.detach().flatten(1).double() for each in (a, b, given)]))
    r = np.corrcoef(ranks.numpy()) if bool((ranks.std(dim=1) > 0).all()) else np.full((3, 3), np.nan)
    rest = (1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt(rest)) if rest > 1e-9 else float("nan")


def failed_checks(values: Mapping[str, float], signed: bool = True) -> list[str]:
    """Return the checks whose limit a method's mean values break, in the order of LIMITS; NaN breaks nothing."""
    broken = []
    for name, (side, limit) in LIMITS.items():
        value = values.get(name, float("nan"))
        if name in SIGNED_ALONE and not signed:
            continue
        if (side == "above" and value > limit) or (side == "below" and value < limit):
            broken.append(name)
    return broken


def _evidence(attribution: Attribution) -> Tensor:
    """What the leaderboard reads of a map (1, F, T): positive evidence of signed maps."""
    return read(attribution.values, "positive" if attribution.signed else "absolute", (1, 1))


# Methods that are broken on purpose: every one must fail a check.
def _blend(maps: Tensor, spec: Spectrogram) -> Tensor:
    return 0.5 * evidence(maps, "positive") + 0.5 * evidence(spec.magnitude, "absolute")


MUTANTS: Mapping[str, Callable[[Tensor, Spectrogram], Tensor]] = {
    "moved by 3 frames": lambda maps, spec: torch.roll(maps, 3, dims=-1),
    "moved by 9 frames": lambda maps, spec: torch.roll(maps, 9, dims=-1),
    "turned around in time": lambda maps, spec: maps.flip(-1),
    "turned around in frequency": lambda maps, spec: maps.flip(-2),
    "half energy": _blend,
    "wrong sign": lambda maps, spec: -maps,
}
"""Changes of a map. "Other class" is the seventh: see `mutated`."""
OTHER_CLASS = "other class"


def mutated(name: str, method: str = "integrated_gradients") -> Explainers:
    """Return the explainer of a method that is broken in one way of MUTANTS, or explains the OTHER_CLASS."""
    if name not in (*MUTANTS, OTHER_CLASS):
        raise SpeechXAIError(f"Unknown mutant '{name}'. Known: {', '.join((*MUTANTS, OTHER_CLASS))}.")
    honest = explainers((method,))

    def explain(model: nn.Module, spec: Spectrogram, target: int, seed: int) -> Maps:
        made = honest(model, spec, 1 - target if name == OTHER_CLASS else target, seed)[method]
        values = made.values if name == OTHER_CLASS else MUTANTS[name](made.values, spec)
        return {name: Attribution(values, made.target, name, made.params, made.signed)}

    return explain


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
