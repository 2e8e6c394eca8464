"""Trains the decoder of L-MAC (paissan2024listenable): kept sound keeps the answer, removed sound loses it.

For a mask M of a recording X with the network's own answer y:

    loss = l_in CE(f(M X), y) - l_out CE(f((1 - M) X), y) + l_s mean(M)

The network stays as it is. With the noise fill, noise of the recording's own floor stands where sound is masked, in
place of silence that nobody ever heard.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.bundle import Bundle, EpochFile
from speechxai.classifiers.fit import crop, heard
from speechxai.classifiers.interpreter import (
    CONFIG_FILE,
    FOLDER,
    Decoder,
    hidden,
    layers_of,
    mask_of,
    read_settings,
    rows_heard,
    save_interpreter,
)
from speechxai.classifiers.training import Corpus, plan_of, read_corpus
from speechxai.errors import SpeechXAIError, in_range
from speechxai.evaluation.machine import peak_memory_mb
from speechxai.explain.passes import generator, quiet
from speechxai.flags import MANY, MAX_SEED
from speechxai.metrics import Case, score
from speechxai.metrics.case import FILLS, Fill
from speechxai.signal.stft import spectrogram
from speechxai.types import Attribution, Recording, Spectrogram

JUDGED = ("input_fidelity", "faithfulness", "average_increase", "average_drop")
"""What paissan2024listenable reports, as fractions: Fid-In, FF, AI, AD."""
FOLDS_OF_STRANGERS = 5
"""Folds that people are dealt to whom no network of the model was trained on."""
RANDOM = "random mask of equal mass"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class InterpreterConfig:
    """How a decoder is trained.

    Args:
        fill: what stands where sound is masked.
        epochs: passes over the recordings.
        batch: crops that pass at once.
        crop_s: length of random crops, s; a model with shorter segments hears those.
        learning_rate: of Adam.
        keep, remove, sparse: the loss's l_in, l_out, l_s.
        seed: of weights, crops and order.

    Raises:
        SpeechXAIError: a value out of range.
    """

    fill: Literal["silence", "noise", "mean"] = "silence"
    epochs: int = 30
    batch: int = 8
    crop_s: float = 2.0
    learning_rate: float = 2e-3
    keep: float = 5.0
    remove: float = 0.2
    sparse: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fill not in FILLS or FILLS[self.fill] is None:
            raise SpeechXAIError(f"An interpreter's 'fill' must be silence, noise or mean. Got {self.fill!r} instead.")
        for name in ("epochs", "batch"):
            in_range("an interpreter", name, getattr(self, name), 1, MANY, whole=True)
        in_range("an interpreter", "crop_s", self.crop_s, 0.05, 3600)
        in_range("an interpreter", "learning_rate", self.learning_rate, 1e-12, 10)
        in_range("an interpreter", "seed", self.seed, 0, MAX_SEED, whole=True)
        for name in ("keep", "remove", "sparse"):
            in_range("an interpreter", name, getattr(self, name), 0, 1000)


def _filled(spec: Spectrogram, fill: Fill, seed: int) -> Tensor:
    make = FILLS[fill]
    assert make is not None
    return make(spec, seed)


def loss_of(
    network: Classifier, mask: Tensor, spec: Spectrogram, filling: Tensor, answer: Tensor, config: InterpreterConfig
) -> Tensor:
    """The loss () of masks (B, F, T) of recordings with the network's answers (B,)."""
    magnitude, phase = spec.magnitude, spec.phase
    kept = mask * magnitude + (1 - mask) * filling
    removed = (1 - mask) * magnitude + mask * filling
    both = network.segment_logits(torch.cat([kept, removed]), torch.cat([phase, phase]))
    cross_entropy = torch.nn.functional.cross_entropy
    inside, outside = (cross_entropy(part, answer) for part in torch.split(both, len(mask)))
    return config.keep * inside - config.remove * outside + config.sparse * mask.mean()


def fit_decoder(
    classifier: Classifier,
    recordings: Sequence[Recording],
    config: InterpreterConfig,
    progress: Progress | None = None,
    store: EpochFile | None = None,
    answers: Sequence[int] | None = None,
) -> Decoder:
    """Train a decoder of one network.

    Args:
        classifier: stays as it is.
        recordings: at the network's sample rate.
        config: how.
        progress: called after every epoch with epochs done, of how many, and the loss in words.
        store: keeps the state after every epoch and goes on from what it holds of the same training.
        answers: class of each recording in place of the network's own answer: permuted ones are a check that must fail.

    Raises:
        NotApplicable: a network without hidden layers over time.
        SpeechXAIError: no recordings, another sample rate, a network that gives a score.
    """
    if not recordings:
        raise SpeechXAIError("An interpreter needs recordings to be trained on. Got none.")
    if classifier.unit:
        raise SpeechXAIError("An interpreter is trained for a model that names classes; this one gives a score.")
    rate = classifier.stft.sample_rate
    wrong = next((each for each in recordings if each.sample_rate != rate), None)
    if wrong is not None:
        raise SpeechXAIError(f"{wrong.id}: the recording has {wrong.sample_rate} Hz, the network hears {rate} Hz.")
    longest_s = config.crop_s if classifier.segment is None else min(config.crop_s, classifier.segment.length_s)
    n_samples = round(longest_s * rate)
    with torch.random.fork_rng(devices=[]), quiet(classifier):
        torch.manual_seed(config.seed)
        network = classifier.for_length(n_samples)
        layers = layers_of(network)
        some = torch.stack([crop(each.waveform, n_samples, generator(config.seed)) for each in recordings[:4]])
        place = classifier.temperature.device
        decoder = Decoder(layers, rows_heard(network, layers[-1], *heard(network, some.to(place))), rows_of(network))
        decoder.to(place).train()
        optimizer = torch.optim.Adam(decoder.parameters(), lr=config.learning_rate)
        identity = _identity(recordings, config, answers)
        first = 0
        state = None if store is None else store.load()
        if state is not None and state["identity"] == identity:
            decoder.load_state_dict(state["decoder"])
            optimizer.load_state_dict(state["optimizer"])
            first = int(state["epoch"])
        for epoch in range(first, config.epochs):
            random = generator(config.seed, 1 + epoch)
            order = torch.randperm(len(recordings), generator=random).tolist()
            losses = []
            for start in range(0, len(order), config.batch):
                rows = order[start : start + config.batch]
                waves = torch.stack([crop(recordings[row].waveform, n_samples, random) for row in rows]).to(place)
                magnitude, phase = heard(network, waves)
                spec = Spectrogram(magnitude, phase.expand_as(magnitude), n_samples, classifier.stft)
                filling = _filled(spec, config.fill, config.seed + epoch)
                with torch.no_grad():
                    logits, values = hidden(network, layers, magnitude, spec.phase)
                answer = logits.argmax(dim=1)
                if answers is not None:
                    answer = torch.tensor([answers[row] for row in rows], device=place)
                mask = decoder(values, magnitude.shape[-1])
                loss = loss_of(network, mask, spec, filling, answer, config)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
                optimizer.step()
                losses.append(float(loss.detach()))
            if store is not None:
                kept = {"decoder": decoder.state_dict(), "optimizer": optimizer.state_dict()}
                store.save({**kept, "epoch": epoch + 1, "identity": identity})
            if progress is not None:
                progress(epoch + 1, config.epochs, f"loss {sum(losses) / len(losses):.3f}")
    return decoder.eval().requires_grad_(False)


def rows_of(network: Any) -> int:
    """Frequency bins F of the magnitude that a network hears."""
    return int(network.stft.n_bins)


def _identity(recordings: Sequence[Recording], config: InterpreterConfig, answers: Sequence[int] | None) -> str:
    digest = hashlib.sha256(json.dumps([asdict(config), None if answers is None else list(answers)]).encode())
    for recording in recordings:
        digest.update(recording.id.encode() + recording.waveform.numpy().tobytes())
    return digest.hexdigest()


def judge(
    classifier: Classifier, decoder: Decoder, recordings: Sequence[Recording], fill: Fill = "silence", seed: int = 0
) -> dict[str, dict[str, float]]:
    """What masks do to the answer: mean over recordings of JUDGED and of the mask itself, by "lmac" and RANDOM, whose
    masks are the same values dealt out by chance. Masks are read as every map is, divided by their largest value."""
    sums: dict[str, dict[str, float]] = {"lmac": {}, RANDOM: {}}
    for index, recording in enumerate(recordings):
        spec = spectrogram(recording.waveform[None].to(classifier.temperature.device), classifier.stft)
        network = classifier.for_length(spec.n_samples)
        with quiet(network), torch.no_grad():
            mask = mask_of(network, decoder, spec.magnitude, spec.phase)
            target = network(spec.magnitude, spec.phase).argmax(dim=1)
        dealt = torch.randperm(mask.numel(), generator=generator(seed, index)).to(mask.device)
        for name, values in (("lmac", mask), (RANDOM, mask.flatten()[dealt].view_as(mask))):
            case = Case(classifier, spec, Attribution(values, target, name, {}, False), fill=fill, seed=seed)
            found = {metric: float(value) for metric, value in score(case, JUDGED).items()}
            for metric, value in {**found, "mean_mask": float(case.mask.mean())}.items():
                sums[name][metric] = sums[name].get(metric, 0.0) + value / len(recordings)
    return sums


def folds_of(bundle: Bundle, recordings: Sequence[Recording]) -> list[int]:
    """Fold of every recording: the bundle's own where it knows the speaker, the others dealt speaker by speaker."""
    n_folds = bundle.n_folds or FOLDS_OF_STRANGERS
    known = [bundle.fold_of(recording) for recording in recordings]
    strangers = sorted({r.speaker for r, fold in zip(recordings, known, strict=True) if fold is None})
    dealt = {speaker: index % n_folds for index, speaker in enumerate(strangers)}
    return [dealt[r.speaker] if fold is None else fold for r, fold in zip(recordings, known, strict=True)]


def train_interpreter(
    bundle: Bundle,
    recordings: Sequence[Recording],
    config: InterpreterConfig,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train a decoder for every network of a bundle and keep them beside it.

    The decoder of fold k hears nobody of fold k, as its network; it is judged on them. The final network's hears
    everybody, so what is reported is of the folds.

    Args:
        bundle: in a folder that can be written to.
        recordings: as the bundle reads audio.
        config: how.
        progress: called with work done, of how much, and "part: what".
        overwrite: forget what an interrupted training left.

    Returns:
        `held_out`: means by "lmac" and RANDOM; `n_recordings`, `n_speakers` behind them; `seconds`, `memory_mb`.

    Raises:
        NotApplicable: a network without hidden layers over time.
        SpeechXAIError: recordings that cannot be used, a folder that cannot be written.
    """
    started = time.perf_counter()
    folds = folds_of(bundle, recordings)
    judged_by = {fold: fold if bundle.n_folds else None for fold in sorted(set(folds))}
    parts = [(f"fold{fold}", number, fold) for fold, number in judged_by.items()]
    work = [*parts, (bundle.config.weights.final, None, -1)]
    states = bundle.folder / FOLDER / "states"
    decoders: dict[str, Decoder] = {}
    sums: dict[str, dict[str, float]] = {}
    n_judged = 0
    for index, (part, number, fold) in enumerate(work):
        if part in decoders:  # a bundle whose final network is that of a fold
            continue
        inside = [r for r, own in zip(recordings, folds, strict=True) if own != fold]
        outside = [r for r, own in zip(recordings, folds, strict=True) if own == fold]
        if not inside:
            raise SpeechXAIError("An interpreter needs recordings of people in at least two folds.")
        classifier = bundle.classifier(number)
        store = EpochFile(states / f"{part}.pt")
        if overwrite:
            store.path.unlink(missing_ok=True)

        def tell(done: int, of: int, what: str, *, part: str = part, index: int = index) -> None:
            if progress is not None:
                progress(index * config.epochs + done, len(work) * config.epochs, f"{part}: {what}")

        decoders[part] = fit_decoder(classifier, inside, config, tell, store)
        for name, row in (judge(classifier, decoders[part], outside, config.fill) if outside else {}).items():
            mine = sums.setdefault(name, {})
            for metric, value in row.items():
                mine[metric] = mine.get(metric, 0.0) + value * len(outside)
        n_judged += len(outside)
    kept = {part: each for part, each in decoders.items() if bundle.n_folds or part == bundle.config.weights.final}
    about = {
        "held_out": {
            name: {metric: round(value / n_judged, 4) for metric, value in row.items()} for name, row in sums.items()
        },
        "n_recordings": n_judged,
        "n_speakers": len({r.speaker for r in recordings}),
        "seconds": round(time.perf_counter() - started, 1),
        "memory_mb": round(peak_memory_mb()),
    }
    save_interpreter(bundle.folder, bundle.config.answers_hash, kept, {"training": asdict(config), **about})
    for part, _, _ in work:
        (states / f"{part}.pt").unlink(missing_ok=True)
    if states.is_dir() and not any(states.iterdir()):
        states.rmdir()
    return about


def stored(bundle: Bundle) -> bool:
    """Whether a bundle holds a finished interpreter of its own networks."""
    path = bundle.folder / FOLDER / CONFIG_FILE
    return path.is_file() and read_settings(path).get("made_for") == bundle.config.answers_hash


def corpus_for(
    bundle: Bundle,
    data: str,
    root: Path | None,
    progress: Progress | None = None,
    *,
    labels: Path | None = None,
    tasks: Sequence[str] = (),
) -> Corpus:
    """Read the labeled recordings of a data set as a bundle hears audio; arguments as of `training.read_corpus`."""
    audio = bundle.config.audio
    score = {"target": bundle.config.classes[0], "unit": bundle.config.unit} if bundle.config.unit else {}
    plan = plan_of({"out": bundle.folder, **score})
    plan = replace(plan, stft=bundle.config.stft_config(), normalize=audio.normalize, offset=audio.offset)
    return read_corpus(data, root, plan, progress, labels=labels, tasks=tasks)
