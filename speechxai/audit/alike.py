"""Recordings and speakers that sound alike: what stands under two names would stand in train and test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy.fft import dct

from speechxai.audit.probes import Heard
from speechxai.errors import SpeechXAIError
from speechxai.signal.audio import resample
from speechxai.types import Array

N_CEPSTRA, N_MEL = 16, 26
_WINDOW_S, _HOP_S = 0.025, 0.010

N_DIRECTIONS = 12
"""Directions of the voice in which speakers are compared: those in which they differ most beside what one differs from
itself."""

ODDS = 1_000.0
"""By how much being one person must be likelier than being two, after one chance among all pairs of names."""


SAME = 0.7
"""Correlation of the middle half of the shorter recording with its place in the longer one, from which they are the
same sound. Copies that were cut and coded again reach .94, other vowels at most .45, phrases .2."""

MOST_COMPARED = 400
"""Recordings of which all pairs are compared, 3 ms each."""

_COPY_HZ = 8_000


def flattened(heard: Heard) -> Array:
    """The waveform at 8 kHz with a flat spectrum, (N,), float32: what is left is when things happen, not which vowel it
    is."""
    samples = resample(heard.waveform, heard.sample_rate, _COPY_HZ)
    spectrum = np.fft.rfft(samples)
    width = max(1, round(150 * len(samples) / _COPY_HZ))
    total = np.concatenate([[0.0], np.cumsum(np.abs(spectrum))])
    place = np.arange(len(spectrum))
    low, high = np.maximum(place - width, 0), np.minimum(place + width + 1, len(spectrum))
    smooth = (total[high] - total[low]) / (high - low)
    frequency = np.fft.rfftfreq(len(samples), 1 / _COPY_HZ)
    kept = (frequency > 100) & (frequency < 3_400)
    flat = np.fft.irfft(np.where(kept, spectrum / np.maximum(smooth, 1e-9), 0), len(samples))
    return flat.astype(np.float32)


def copies(
    sounds: Mapping[str, Array], progress: Callable[[int, int, str], None] | None = None
) -> list[tuple[str, str, float]]:
    """Pairs of recordings of which one holds the middle of the other: copies that were cut, moved in time, resampled,
    made louder or coded again; with their correlation.

    Args:
        sounds: `flattened` of each, by id.
        progress: called with recordings done, all, and what is done.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    names = sorted(sounds, key=lambda name: len(sounds[name]))
    # Where the longer one ends, a circle begins anew; no place of the middle in it reaches so far.
    n_fft = next_fast_len(max((len(each) for each in sounds.values()), default=1), real=True)
    spectra = [rfft(sounds[name].astype(np.float32), n_fft) for name in names]
    energy = [np.concatenate([[0.0], np.cumsum(sounds[name].astype(float) ** 2)]) for name in names]
    found = []
    for index, short in enumerate(names):
        n = len(sounds[short]) // 2
        middle = sounds[short][n // 2 : n // 2 + n].astype(np.float32)
        power = float((middle.astype(float) ** 2).sum())
        if progress is not None:
            progress(index + 1, len(names), "comparing recordings")
        if n < _COPY_HZ // 4 or power <= 0:
            continue
        conjugate = rfft(middle, n_fft).conj()
        for other in range(index + 1, len(names)):
            n_places = len(energy[other]) - n
            cross = np.abs(irfft(spectra[other] * conjugate, n_fft)[:n_places])
            around = energy[other][n:] - energy[other][:n_places]
            likeness = float((cross / np.sqrt(np.maximum(around, 1e-6 * power) * power)).max())
            if likeness >= SAME:
                found.append((short, names[other], likeness))
    return found


def voice(heard: Heard) -> Array:
    """Numbers (2, D) of the first and the second half of a recording's speech: mean and deviation of its cepstrum up to
    4 kHz, without the level. They say who speaks, and as much in which room and with which microphone."""
    found = _cepstra(heard.waveform, heard.sample_rate)
    n = min(len(found), len(heard.speech))
    spoken = found[:n][heard.speech[:n]]
    half = len(spoken) // 2
    if half < 10:
        return np.full((2, 2 * N_CEPSTRA), np.nan)
    return np.stack([np.concatenate([part.mean(axis=0), part.std(axis=0)]) for part in (spoken[:half], spoken[half:])])


def _cepstra(samples: Array, rate: int) -> Array:
    """Mel cepstra 1 to N_CEPSTRA (T, N_CEPSTRA) of a frame every 10 ms, 60 Hz to 3.8 kHz."""
    n, hop = round(_WINDOW_S * rate), max(1, round(_HOP_S * rate))
    padded = np.pad(samples, (n // 2, n))
    window = np.hanning(n)
    count = 1 + len(samples) // hop
    frames = np.lib.stride_tricks.sliding_window_view(padded, n)[::hop][:count] * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    frequency = np.fft.rfftfreq(n, 1 / rate)
    mel = np.linspace(1127 * np.log1p(60 / 700), 1127 * np.log1p(3_800 / 700), N_MEL + 2)
    edges = 700 * np.expm1(mel / 1127)
    up = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(up, down)) + 1e-9
    logs = np.log(power @ filters.T + 1e-10)
    return np.asarray(dct(logs, norm="ortho", axis=1)[:, 1 : N_CEPSTRA + 1])


@dataclass(frozen=True)
class Alike:
    """Two names that may be one person.

    Args:
        first, second: the names.
        by: "cepstra" or "d-vector".
        likeness: of cepstra the log odds, natural, after one chance among all pairs; of d-vectors how many deviations
            their cosine lies above those of the other names.
    """

    first: str
    second: str
    by: str
    likeness: float


def alike(voices: Mapping[str, Sequence[Array]]) -> list[Alike]:
    """Pairs of names whose voices are nearer to each other than two people are, the likeliest first.

    A two-covariance model (brummer2010speaker) of the set itself: how recordings and their halves of one name differ,
    and how names differ, both Gaussian. It needs 10 names, and it does not know whether it is the voice or the room
    that is alike.

    Args:
        voices: by name of speaker, the `voice` (2, D) of each of the recordings.
    """
    names = [name for name, parts in voices.items() if any(np.isfinite(part).all() for part in parts)]
    if len(names) < 10:
        return []
    units = {name: np.concatenate([p for p in voices[name] if np.isfinite(p).all()]) for name in names}
    everything = np.concatenate(list(units.values()))
    center, spread = everything.mean(axis=0), np.maximum(everything.std(axis=0), 1e-9)
    units = {name: (u - center) / spread for name, u in units.items()}
    means = np.stack([units[name].mean(axis=0) for name in names])
    rest = np.concatenate([units[name] - units[name].mean(axis=0) for name in names])
    freedom = max(1, len(rest) - len(names))
    within = rest.T @ rest / freedom
    within = 0.8 * within + 0.2 * np.diag(np.diag(within)) + 1e-3 * np.eye(len(within))
    counts = np.array([len(units[name]) for name in names], dtype=float)
    between = np.cov(means.T) - within * float(np.mean(1 / counts))
    # Directions in which the variance within a name is 1, ordered by how much names differ.
    root = np.linalg.inv(np.linalg.cholesky(within))
    values, vectors = np.linalg.eigh(root @ between @ root.T)
    chosen = np.argsort(values)[::-1][:N_DIRECTIONS]
    b = np.maximum(values[chosen], 1e-3)
    places = means @ root.T @ vectors[:, chosen]
    places = places - places.mean(axis=0)
    found = []
    prior = np.log(len(names) * (len(names) - 1) / 2)
    for i, j in combinations(range(len(names)), 2):
        own_i, own_j = b + 1 / counts[i], b + 1 / counts[j]
        determinant = own_i * own_j - b**2
        together = (own_j * places[i] ** 2 + own_i * places[j] ** 2 - 2 * b * places[i] * places[j]) / determinant
        apart = places[i] ** 2 / own_i + places[j] ** 2 / own_j
        ratio = 0.5 * float(np.sum(np.log(own_i * own_j / determinant) + apart - together))
        if ratio - prior > np.log(ODDS):
            found.append(Alike(names[i], names[j], "cepstra", ratio - float(prior)))
    return sorted(found, key=lambda each: -each.likeness)


COHORT = 40
"""Other names, the likest, that a pair is held against; the likest of all is left out, which may be the person."""

FEWEST_NAMES = 12
"""Names that `alike_by_dvector` needs."""

DEVIATIONS, LEAST_COSINE = 6.0, 0.7
"""How far above the cohorts of both a cosine lies, and how high at least, from which two names may be one person. Of
200 draws each of 12 to 60 real held vowels of as many people, at most 1.5 % have such a pair."""


@cache
def _speaker_encoder() -> Any:
    """The speaker encoder that is installed; None where there is none."""
    from speechxai.classifiers.dvector import SpeakerEncoder, read_speaker_encoder

    encoder = SpeakerEncoder()
    try:
        encoder.load_state_dict(read_speaker_encoder().state)
    except SpeechXAIError:
        return None
    return encoder.eval()


def encoder_identity() -> str:
    """What speaker encoder hears; "" where none is installed."""
    from speechxai.classifiers.dvector import EMBEDDED_SHA256

    return "" if _speaker_encoder() is None else EMBEDDED_SHA256


def dvector(heard: Heard) -> Array:
    """The d-vector (256,) of a recording's speech, pauses cut out; empty (0,) where no speaker encoder is installed or
    there is less than half a second."""
    import torch

    from speechxai.classifiers.dvector import SAMPLE_RATE_HZ

    encoder, samples = _speaker_encoder(), heard.without_pauses
    if encoder is None or len(samples) < heard.sample_rate // 2:
        return np.zeros(0)
    waveform = resample(samples, heard.sample_rate, SAMPLE_RATE_HZ)
    waveform = 0.5 * waveform / max(float(np.abs(waveform).max()), 1e-9)
    with torch.inference_mode():
        found: Array = encoder(torch.from_numpy(waveform.astype(np.float32))[None])[0].numpy().astype(float)
    return found


def alike_by_dvector(vectors: Mapping[str, Sequence[Array]]) -> list[Alike]:
    """Pairs of names whose d-vectors are nearer than either is to all others, the likeliest first.

    Cosines are held against the cohorts of both names (adaptive symmetric normalization, matejka2017analysis), so that
    a set of one vowel or one microphone, where all are near, names nobody.

    Args:
        vectors: by name of speaker, the `dvector` of each of the recordings; empty ones are left out.
    """
    known = {name: [each for each in parts if len(each)] for name, parts in vectors.items()}
    names = [name for name, parts in known.items() if parts]
    if len(names) < FEWEST_NAMES:
        return []
    means = np.stack([np.mean(known[name], axis=0) for name in names])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    cosines = means @ means.T
    np.fill_diagonal(cosines, -np.inf)
    cohort = np.sort(cosines, axis=1)[:, ::-1][:, 1 : min(COHORT, len(names) - 2) + 1]
    center, spread = cohort.mean(axis=1), np.maximum(cohort.std(axis=1), 1e-6)
    found = []
    for i, j in combinations(range(len(names)), 2):
        far = float((cosines[i, j] - center[i]) / spread[i] + (cosines[i, j] - center[j]) / spread[j]) / 2
        if far > DEVIATIONS and cosines[i, j] > LEAST_COSINE:
            found.append(Alike(names[i], names[j], "d-vector", far))
    return sorted(found, key=lambda each: -each.likeness)
