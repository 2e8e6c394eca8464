"""Recordings to scores: every recording predicted once, explained once, and all its explanations tested together.

Nothing is read or written here: a loader gives the recording and its classifier, a sink takes the result.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from speechxai.errors import SpeechXAIError, told, traced
from speechxai.registry import Registry

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from torch import nn

    from speechxai.types import Recording
    from speechxai.units.tiers import Units


T = TypeVar("T")


def checked(cls: type[T], content: Mapping[str, Any]) -> T:
    """Make a dataclass of what a JSON or TOML file holds, each value of the type that its field has.

    Raises:
        ValidationError: one is of another type; pydantic's, which is a ValueError.
    """
    text = json.dumps(content, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    found: T = _adapter(cast(Any, cls)).validate_json(text, strict=True)
    return found


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


@dataclass(frozen=True)
class EvaluateSettings:
    """What is computed for every recording.

    Args:
        recipes: explanations to score, in the order of the table.
        metrics: names in METRICS.
        evidence: "positive", "absolute", or None: positive for signed maps.
        fill: what stands where evidence is removed: "silence", "noise", "mean" or "neighbors".
        protocol: name in PROTOCOLS.
        clip_s: length to which the published protocol repeats or cuts recordings, seconds.
        level: "peak" divides recordings by their largest sample under the published protocol, "none" does not.
        seed: of every stochastic method.
        options: options by method name, for example {"integrated_gradients": {"n_steps": 16}}.
        metric_options: options by metric, for example {"quantus:PixelFlipping": {"features_in_step": 513}}.
        agreement: whether the maps of methods are compared in pairs.
        keep_maps: whether results carry the maps, float16.
        signs: dials that are turned as well, see `signs.whatif.what_if`.
        memory_mb: bound on the maps that are tested at once, MB.
        precision: "float32", "masked-bfloat16" or "bfloat16", see `classifiers.precision`.
        masked_batch: segments of masked recordings that pass at once; None: the model's `max_batch`.
    """

    recipes: tuple[str, ...]
    metrics: tuple[str, ...]
    evidence: str | None = None
    fill: str = "silence"
    protocol: str = "standard"
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agreement: bool = True
    keep_maps: bool = False
    signs: tuple[str, ...] = ()
    memory_mb: int = 1024
    clip_s: float = 10.0
    level: str = "peak"
    precision: str = "float32"
    masked_batch: int | None = None
    metric_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


Compute = Callable[["Job", EvaluateSettings, list[str]], "UnitResult"]

SAID, TRUE = "score", "true_score"
"""Columns of predictions of a network that gives a score, in its unit: what it said, and what is known."""

PROTOCOLS: Registry[Compute] = Registry("protocol")
"""What is done with one recording: functions (job, settings, stages) -> UnitResult. Facts, each left out where there is
nothing of the kind:

recordings: config -> (manifest, unmatched) or None, where the protocol knows which recordings belong to it;
check: (bundle, config) -> None, raises where the networks are not those that the protocol asks for;
finish: (session, folder, told) -> lines to say, what else belongs to a run whose recordings are computed;
disease: True where it asks for the probability of the disease, the second class, so that the model's must be known;
reads: parameters of `read_audio` that take the place of the bundle's;
hears: (recording, stft, settings) -> spectrogram (1, F, T), where the protocol has its own way to hear a recording;
evidence: "positive" or "absolute", where the protocol reads all maps so, whatever the settings say.
"""


@dataclass(frozen=True, eq=False)
class Job:
    """A recording, the classifier that may judge it, and facts about the two that go into the tables (model, fold).

    `normalize` and `offset` say what was done with the recording's level and mean sample, as in `read_audio`; `units`
    are its phones and words, where they are known.
    """

    recording: Recording
    model: nn.Module
    facts: Mapping[str, Any] = field(default_factory=dict)
    normalize: str = field(default="peak", kw_only=True)
    offset: str = field(default="removed", kw_only=True)
    units: Units | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class UnitResult:
    """Everything that one recording yields.

    Args:
        recording: its id.
        facts: speaker, label, predicted, model, fold, p_<class>, duration_s, and what it cost: seconds, passes.
        values: score by recipe and metric.
        agreement: by pair of methods "a | b": iou and rank_correlation.
        not_applicable: reason by recipe.
        maps: (F, T) arrays by recipe, float16 or float32, where they are kept.
        signs: what is kept of the what-ifs, by dial, see `signs.cohort.kept`.
        units: what is kept of the evidence by unit, by recipe, see `units.relevance.kept`.
    """

    recording: str
    facts: dict[str, Any]
    values: dict[str, dict[str, float]]
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    maps: dict[str, Any] = field(default_factory=dict)
    signs: dict[str, dict[str, float]] = field(default_factory=dict)
    units: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the maps as plain values."""
        names = ("recording", "facts", "values", "agreement", "not_applicable")
        return {name: getattr(self, name) for name in (*names, *(n for n in ("signs", "units") if getattr(self, n)))}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> UnitResult:
        """Undo `to_dict`. Raises ValueError for values of other types, such as a text where a number belongs."""
        return checked(cls, content)


@dataclass(frozen=True)
class Failure:
    """A recording that could not be scored: where it stopped and why.

    Args:
        recording: its id.
        stage: what was being done: "load", "predict", "explain", "score", "write" and the like.
        message: for people; of an error that is not of this library it begins with the error's type.
        traceback: where such an error came from, for whoever mends it; "" otherwise.
    """

    recording: str
    stage: str
    message: str
    traceback: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the fields as plain values; `traceback` only where there is one."""
        plain = {"recording": self.recording, "stage": self.stage, "message": self.message}
        return {**plain, "traceback": self.traceback} if self.traceback else plain


class Sink(Protocol):
    """Takes results; `runs.RunFolder` is one."""

    def claim(self, recording: str) -> AbstractContextManager[bool]:
        """Hold a recording for this process; False when it is done already or in other hands."""

    def write(self, result: UnitResult) -> None:
        """Take a finished unit."""

    def fail(self, failure: Failure) -> None:
        """Take a failure."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: this recording is finished (`state` "done", "failed" or "skipped"), `n_done` of `n_total`."""

    recording: str
    state: str
    n_done: int
    n_total: int
    message: str = ""


def evaluate_recordings(
    recordings: Sequence[str],
    load: Callable[[str], Job],
    settings: EvaluateSettings,
    sink: Sink,
    progress: Callable[[Progress], None] | None = None,
    compute: Compute | None = None,
) -> None:
    """Score every recording that the sink has not yet, one after the other.

    Whatever goes wrong with one recording is given to the sink, and the others go on. A sink that cannot write (it
    raises SpeechXAIError: the disk is full) ends the run; a result that cannot be written is its own recording's
    failure.

    Args:
        recordings: ids, the work units.
        load: gives the recording of an id and the classifier that may judge it.
        settings: what is computed.
        sink: claims units and takes results.
        progress: called after every recording.
        compute: what is done with a recording; by default what the settings' protocol in PROTOCOLS does.
    """
    if compute is None:
        compute = PROTOCOLS[settings.protocol]
    for index, recording in enumerate(recordings):
        state, message = "skipped", ""
        with sink.claim(recording) as ours:
            if ours:
                outcome = attempt(recording, load, settings, compute)
                failure = outcome if isinstance(outcome, Failure) else kept(outcome, sink)
                if failure is None:
                    state = "done"
                else:
                    state, message = "failed", failure.message
                    sink.fail(failure)
        if progress is not None:
            progress(Progress(recording, state, index + 1, len(recordings), message))


def attempt(
    recording: str,
    load: Callable[[str], Job],
    settings: EvaluateSettings,
    compute: Compute,
) -> UnitResult | Failure:
    """Load and score one recording; any error becomes a Failure with the stage where it happened.

    Readers, networks, methods and metrics may come from anywhere, and so may their errors: none of them is left out
    here.
    """
    stages = ["load"]
    started = time.perf_counter()
    try:
        job = load(recording)
        job_loaded = time.perf_counter() - started
        result = compute(job, settings, stages)
        result.facts["load_s"] = job_loaded
        return result
    except Exception as error:
        return failure_of(error, recording, stages[-1])


def kept(result: UnitResult, sink: Sink) -> Failure | None:
    """Give a result to the sink. Returns the failure where this one result cannot be written.

    Raises:
        SpeechXAIError: the sink cannot write at all.
    """
    try:
        sink.write(result)
    except SpeechXAIError:
        raise
    except Exception as error:
        return failure_of(error, result.recording, "write")
    return None


def failure_of(error: Exception, recording: str, stage: str) -> Failure:
    """Describe an error of the work on one recording."""
    message = told(error).strip() or type(error).__name__
    if isinstance(error, MemoryError) or "not enough memory" in message or "out of memory" in message:
        message = (
            f"{recording}: not enough memory. Lower 'max_batch' or 'memory_mb', or shorten the recording. ({message})"
        )
    return Failure(recording, stage, message, traced(error))
