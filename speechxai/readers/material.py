"""Cases made from recordings: chosen, heard, explained truly or falsely, scored, and kept as they will be shown."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.readers.design import TRUE, Case, Study, dealt, metrics_of
from speechxai.types import class_key

if TYPE_CHECKING:
    from speechxai.classifiers.bundle import Bundle
    from speechxai.inspection.inspect import Heard
    from speechxai.readers.store import Store
    from speechxai.types import Array, Recording

MOST_HEARD = 4
"""Recordings that are heard to choose from, for each case."""

N_SPEAKERS, SYNTHETIC_SEED = 120, 7_000
"""Synthetic speakers to choose from, and their seed: no embedded model was trained on them."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of a case.

    Args:
        waveform: (N,), full scale 1.
        sample_rate: Hz.
        magnitude: (F, T), linear.
        mask: (F, T) evidence in [0, 1], true or false.
        frame_rate_hz: frames per second.
        voicing: (T,) 0 pause, 1 unvoiced, 2 voiced.
        f0_hz: (T,) NaN where there is none.
        curves: what-if curves as PNG; empty where none are shown.
    """

    waveform: Array
    sample_rate: int
    magnitude: Array
    mask: Array
    frame_rate_hz: float
    voicing: Array
    f0_hz: Array
    curves: bytes = b""

    def packed(self) -> bytes:
        """As the bytes of one file of arrays."""
        out = io.BytesIO()
        np.savez_compressed(
            out,
            waveform=np.round(32767 * np.clip(self.waveform, -1, 1)).astype(np.int16),
            magnitude=self.magnitude.astype(np.float16),
            mask=self.mask.astype(np.float16),
            rates=np.array([self.sample_rate, self.frame_rate_hz]),
            voicing=self.voicing.astype(np.uint8),
            f0_hz=self.f0_hz.astype(np.float32),
            curves=np.frombuffer(self.curves, np.uint8),
        )
        return out.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Shown:
        """Undo `packed`."""
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            rate, frames = found["rates"].tolist()
            return cls(
                found["waveform"].astype(np.float32) / 32767,
                int(rate),
                found["magnitude"].astype(np.float32),
                found["mask"].astype(np.float32),
                frames,
                found["voicing"],
                found["f0_hz"],
                found["curves"].tobytes(),
            )


@dataclass(frozen=True, eq=False)
class _Candidate:
    name: str
    speaker: str
    task: str
    truth: int
    heard: Heard

    @property
    def answer(self) -> int:
        return int(self.heard.predicted == self.heard.condition)


def prepare(study: Study, store: Store, tick: Callable[[int, int, str], None] | None = None) -> list[Case]:
    """Choose recordings, make what is shown of each, and keep it.

    Args:
        study: what is wanted.
        store: where it is kept.
        tick: told how many of how many are done, and of what.

    Returns:
        The cases, training first.

    Raises:
        SpeechXAIError: too few recordings that the model was made for, too few errors of the model where answers may
            not be turned round, a model of other than two classes.
    """
    from speechxai.classifiers.bundle import load_bundle

    show = tick or (lambda done, total, what: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = load_bundle(study.cases.model).naming_classes("A reader study")
    plan = dealt(study)
    chosen = _choose(study, plan, _candidates(study, bundle, len(plan), show))
    names = tuple(bundle.config.classes)
    condition = chosen[0][1].heard.condition
    assert condition is not None
    classes = [names[1 - condition], names[condition]]
    cases, contents = [], {}
    for number, (case, one) in enumerate(chosen):
        show(number, len(chosen), "explaining")
        other = chosen[(number + 1 + len(chosen) // 2) % len(chosen)][1]
        made, shown = _made(study, bundle, case, one, other, classes)
        cases.append(made)
        contents[case.code] = shown.packed()
    show(len(chosen), len(chosen), "explaining")
    store.put_cases(cases, contents, {"classes": classes, "model": study.cases.model, "recipe": study.cases.recipe})
    return cases


def _rows(study: Study, bundle: Bundle) -> Iterator[tuple[str, str, str, int, Callable[[], Recording]]]:
    """Recordings by name, speaker, task and truth, in a drawn order, with a way to read each."""
    asked, config = study.cases, bundle.config
    condition = _condition(bundle)
    keys = [class_key(name) for name in config.classes]
    rng = np.random.default_rng([study.seed, 6])
    if asked.data == "synthetic":
        from speechxai.data.synthetic import takes

        made = takes(N_SPEAKERS, SYNTHETIC_SEED)
        made = [take for take in made if asked.task in ("", take.utterance.task)]
        for k in rng.permutation(len(made)):
            take = made[k]
            yield take.id, take.speaker.name, take.utterance.task, int(take.label == 1), take.recording
        return
    from speechxai.data import corpus
    from speechxai.data.cards import root_of
    from speechxai.data.manifest import Locator, classes_of
    from speechxai.evaluation.config import from_dict
    from speechxai.evaluation.session import find_recordings

    root = Path(asked.root) if asked.root else None
    place = {} if root is None else {"root": root}
    rows = find_recordings(from_dict({"data": asked.data, "model": asked.model, **place}, "The study file"))[0]
    labels = classes_of(rows)
    locator = Locator(root_of(asked.data, root, rows))
    reading = {"sample_rate": config.stft.sample_rate, **config.audio.model_dump()}
    records = rows.to_dict("records")
    for k in rng.permutation(len(records)):
        row = records[k]
        key = class_key(labels[int(row["label"])]) if row["label"] == row["label"] else ""
        if key not in keys or (asked.task and str(row["task"]) != asked.task):
            continue
        truth = int(keys.index(key) == condition)
        yield (
            str(row["recording"]),
            str(row["speaker"]),
            str(row["task"]),
            truth,
            lambda row=row: corpus.load(row, locator, **reading),  # type: ignore[misc]
        )


def _condition(bundle: Bundle) -> int:
    from speechxai.classifiers.network import class_order

    names = tuple(bundle.config.classes)
    if len(names) != 2:
        raise SpeechXAIError(f"{bundle.name}: a reader study needs a model of two classes. This one has {len(names)}.")
    known = class_order(names)
    return 1 if known is None else known[1]


def _candidates(study: Study, bundle: Bundle, n: int, show: Callable[[int, int, str], None]) -> list[_Candidate]:
    """Recordings that the model was made for, one of each speaker first, heard."""
    from speechxai.inspection import inspect

    rows = list(_rows(study, bundle))
    met: dict[str, int] = {}
    turn = []
    for row in rows:
        turn.append(met.get(row[1], 0))
        met[row[1]] = turn[-1] + 1
    order = sorted(range(len(rows)), key=lambda k: turn[k])
    found: list[_Candidate] = []
    n_of = {0: 0, 1: 0}
    wanted = MOST_HEARD * n // 2
    for k in order:
        name, speaker, task, truth, read = rows[k]
        if n_of[truth] >= wanted:
            continue
        show(min(sum(n_of.values()), 2 * wanted), 2 * wanted, "hearing")
        try:
            heard = inspect.hear(bundle, read(), steadiness=False)
        except SpeechXAIError:  # one recording of many that cannot be read: another takes its place
            continue
        if heard.scope.named:
            n_of[truth] += 1
            found.append(_Candidate(name, speaker, task, truth, heard))
    return found


def _choose(study: Study, plan: Sequence[Case], found: Sequence[_Candidate]) -> list[tuple[Case, _Candidate]]:
    """Give every planned case a recording of its class: of wrong ones one that the model got wrong while there are any.
    No speaker of a training case is in the study where there are enough."""
    left = list(found)
    chosen: dict[str, tuple[Case, _Candidate]] = {}
    used: dict[bool, set[str]] = {True: set(), False: set()}
    # Wrong answers first, since they are the rare ones, and of the study before training.
    for case in sorted(plan, key=lambda c: (c.right, c.training)):
        fits = [one for one in left if one.truth == case.truth and one.speaker not in used[not case.training]]
        own = [one for one in fits if (one.answer == one.truth) == case.right]
        fresh = [one for one in own if one.speaker not in used[case.training]]
        one = next(iter(fresh or own), None)
        if one is None and not case.right and study.cases.turn_answers_round:
            one = next(iter(fits), None)
        if one is None:
            what = "right" if case.right else "wrong"
            raise SpeechXAIError(
                f"{study.cases.data}: too few recordings of speakers of their own that {study.cases.model} was made for"
                f" and gets {what}: {len(found)} were heard for {len(plan)} cases. Lower cases.n, cases.training or"
                " cases.false_answers, or allow turn_answers_round."
            )
        left.remove(one)
        used[case.training].add(one.speaker)
        chosen[case.code] = (case, one)
    return [chosen[case.code] for case in plan]


def _made(
    study: Study, bundle: Bundle, case: Case, one: _Candidate, other: _Candidate, classes: Sequence[str]
) -> tuple[Case, Shown]:
    """A case with what is shown of it."""
    import torch

    from speechxai.metrics import Case as Maps
    from speechxai.metrics import score
    from speechxai.types import Attribution

    heard, shown = one.heard, classes[case.answer]
    target = list(heard.class_names).index(shown)
    mask = _map(study, case, one, other, shown)
    p = float(heard.probability[heard.condition])
    turned = one.answer != case.answer
    metrics: dict[str, float] = {}
    if names := metrics_of(study):
        values = torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None]
        attribution = Attribution(values.to(heard.spec.magnitude), torch.tensor([target]), "shown")
        found = score(Maps(heard.model, heard.spec, attribution), names)
        metrics = {name: float(value[0]) for name, value in found.items()}
    facts = {
        "recording": one.name,
        "speaker": one.speaker,
        "task": one.task,
        "p": round(1 - p if turned else p, 4),
        "turned_round": turned,
    }
    curves = _curves(heard, turned) if "what-if" in study.arms else b""
    return replace(case, facts=facts, metrics=metrics), Shown(
        heard.waveform,
        heard.sample_rate_hz,
        heard.magnitude,
        mask,
        heard.frame_rate_hz,
        heard.voicing,
        heard.f0_hz,
        curves,
    )


def _map(study: Study, case: Case, one: _Candidate, other: _Candidate, shown: str) -> Array:
    """The map that is shown (F, T) in [0, 1], true or false in its way."""
    import torch

    from speechxai.explain.combination import evidence
    from speechxai.explain.explain import explain as attribute
    from speechxai.inspection import inspect
    from speechxai.metrics.robustness import randomized

    def explained(heard: Heard) -> Array:
        made, reasons = inspect.explain(heard, [study.cases.recipe], inspect.How(shown))
        if not made:
            raise NotApplicable(next(iter(reasons.values())))
        return next(iter(made.values())).mask

    if case.kind == "other-recording":
        return stretched(explained(other.heard), one.heard.magnitude.shape[1])
    if case.kind == "random-network":
        heard = one.heard
        target = torch.tensor([list(heard.class_names).index(shown)])
        _, network = next(randomized(heard.model, stages=1, seed=study.seed % 2**31))
        found = attribute(network.eval(), heard.spec, study.cases.recipe, target, seed=0)
        return np.asarray(evidence(found.values, "positive" if found.signed else "absolute")[0].cpu().numpy())
    if case.kind == "permuted-labels":
        from speechxai.classifiers.bundle import load_bundle

        taught = inspect.hear(load_bundle(study.cases.permuted_model), one.heard.recording, steadiness=False)
        mask = explained(taught)
        if mask.shape != one.heard.magnitude.shape:
            raise SpeechXAIError(f"{study.cases.permuted_model}: this model must hear as {study.cases.model} does.")
        return mask
    mask = explained(one.heard)
    return mask if case.kind == TRUE else moved(mask)


def stretched(mask: Array, n_frames: int) -> Array:
    """A map (F, T) on another number of frames, each the nearest in relative time."""
    place = np.round(np.linspace(0, mask.shape[1] - 1, n_frames)).astype(int)
    return np.ascontiguousarray(mask[:, place])


def moved(mask: Array) -> Array:
    """A map (F, T) elsewhere: rolled by half of the time and a third of the frequencies."""
    return np.roll(mask, (mask.shape[0] // 3, mask.shape[1] // 2), axis=(0, 1))


def _curves(heard: Heard, turned: bool) -> bytes:
    """What-if curves of the three strongest signs and the strongest recording dial, as PNG. Of an answer that is turned
    round they are turned round too: the model's own would tell that it is."""
    from speechxai.report.plots import dose_curves
    from speechxai.signs.whatif import what_if
    from speechxai.signs.words import first, panel

    audio = heard.bundle.config.audio
    at = heard.condition
    assert at is not None
    found = what_if(heard.model, heard.recording, target=at, normalize=audio.normalize, offset=audio.offset)
    panels = [panel(curve) for curve in first(found)]
    if turned:
        panels = [
            (name, unit, doses, [1 - p for p in values], (1 - floor[1], 1 - floor[0]), of_recording)
            for name, unit, doses, values, floor, of_recording in panels
        ]
    return bytes(dose_curves(panels, f"P({heard.class_names[at]})")) if panels else b""
