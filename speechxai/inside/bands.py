"""Which bands a model uses at all: one picture a model, not a map of a recording.

The diagonal of the average gradient outer product (radhakrishnan2024mechanism) on x * gradient: the mean of
(X d logit / d X)^2 by frequency over many recordings, beside the mean energy there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.bundle import state_section
from speechxai.classifiers.network import place_of
from speechxai.errors import SpeechXAIError
from speechxai.explain.passes import logit_gradient, quiet
from speechxai.files import naming_folder, read_sealed, sealed, write_atomically
from speechxai.report import plots
from speechxai.signal.stft import bin_frequencies_hz, linear_magnitude, spectrogram
from speechxai.types import Array, Spectrogram

if TYPE_CHECKING:
    from speechxai.evaluation.report import Section
    from speechxai.evaluation.runs import RunFolder
    from speechxai.evaluation.session import Session

EDGES_HZ = (0, 250, 500, 1000, 2000, 3000, 4000, 6000, 8000, 12000, 24000)
"""Edges of the bands of a table, Hz."""
TITLE = "## Which bands it uses at all"
"""Heading of a card's section."""
CARD_PICTURE = "bands.svg"
"""File of the picture beside a card."""
RUN_FILE = Path("pictures") / "bands.json"
"""Where a run keeps its bands."""
MOST = 12
"""Recordings of a run that are asked at most."""


@dataclass(frozen=True, eq=False)
class Bands:
    """How much of what a model uses, and of what is there, lies at each frequency.

    Args:
        hz: of the bins (F,).
        use: share of the squared x * gradient (F,), sum 1; all 0 where the model's answer moves with nothing.
        energy: share of the energy (F,), sum 1.
        n: recordings behind both.
    """

    hz: Array
    use: Array
    energy: Array
    n: int

    def share(self, low_hz: float, high_hz: float) -> tuple[float, float]:
        """Shares of use and of energy in low <= f < high."""
        inside = (self.hz >= low_hz) & (self.hz < high_hz)
        return float(self.use[inside].sum()), float(self.energy[inside].sum())

    def half(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Hz between which the middle half of the use, and of the energy, lies."""
        ends = []
        for each in (self.use, self.energy):
            sums = np.cumsum(each)
            places = (min(len(sums) - 1, int(np.searchsorted(sums, q))) for q in (0.25, 0.75))
            ends.append(tuple(float(self.hz[place]) for place in places))
        return ends[0], ends[1]  # type: ignore[return-value]

    def picture(self) -> plots.Picture:
        """Use and energy over frequency."""
        return plots.band_curves(self.hz, self.use, self.energy)

    def table(self) -> str:
        """Markdown: use, energy and their ratio by band of EDGES_HZ."""
        lines = ["| band | use | energy | use over energy |", "|---|---:|---:|---:|"]
        top = float(self.hz[-1])
        for low, high in pairwise(EDGES_HZ):
            if low >= top:
                break
            use, energy = self.share(low, high + (high >= top))
            over = f"{use / energy:.1f}" if energy > 0 else "–"
            lines.append(f"| {low} to {min(high, round(top))} Hz | {100 * use:.1f} % | {100 * energy:.1f} % | {over} |")
        return "\n".join(lines)

    def sentence(self) -> str:
        """What stands above the table."""
        (a, b), (c, d) = self.half()
        return (
            f"The middle half of what moves the answer lies between {a:.0f} and {b:.0f} Hz, of the energy between"
            f" {c:.0f} and {d:.0f} Hz ({self.n} recordings)."
        )


def bands(heard: Iterable[tuple[Classifier, Spectrogram]]) -> Bands:
    """Which bands are used: mean over recordings of (X d logit / d X)^2 by frequency, of the predicted class.

    Args:
        heard: recordings of one transform, each with the network that may speak of it.

    Raises:
        NotApplicable: a network that is not differentiable in the magnitude.
        SpeechXAIError: no recordings, or of more than one transform.
    """
    use: Tensor | None = None
    energy: Tensor | None = None
    n, stft = 0, None
    for model, spec in heard:
        if stft not in (None, spec.stft):
            raise SpeechXAIError("Bands are counted over recordings of one transform. Got more than one.")
        stft = spec.stft
        network = model.for_length(spec.n_samples)
        with quiet(network), torch.no_grad():
            target = network(spec.magnitude, spec.phase).argmax(dim=1)
        gradient = logit_gradient(network, spec.magnitude, spec.phase, target)
        moved = (spec.magnitude * gradient).square().double().mean(dim=2).sum(dim=0).cpu()
        there = linear_magnitude(spec.magnitude, stft).square().double().mean(dim=2).sum(dim=0).cpu()
        use, energy = (moved, there) if use is None or energy is None else (use + moved, energy + there)
        n += len(spec)
    if use is None or energy is None or stft is None:
        raise SpeechXAIError("Which bands a model uses is found on recordings. Got none.")
    shares = [(each / each.sum() if each.sum() > 0 else each).numpy() for each in (use, energy)]
    return Bands(np.asarray(bin_frequencies_hz(stft)), shares[0], shares[1], n)


ABOUT = (
    "Use: mean of (magnitude x gradient)² by frequency, each recording answered by a network that never heard the"
    " speaker. It is one picture of the model, not of a recording."
)


def section(found: Bands, picture: str = "") -> str:
    """Markdown of a model card, without its heading; `picture` is the file of one beside the card."""
    shown = f"![Use and energy by frequency]({picture})\n\n" if picture else ""
    return f"{found.sentence()} {ABOUT}\n\n{shown}{found.table()}\n"


def state(folder: Path, found: Bands) -> None:
    """Write bands and their picture into a model's card.

    Raises:
        SpeechXAIError: a folder that cannot be written.
    """
    with naming_folder(folder, "write the card"):
        write_atomically(folder / CARD_PICTURE, found.picture().in_format("svg"))
        state_section(folder, TITLE, section(found, CARD_PICTURE))


# ---- of a run
def keep(session: Session, folder: RunFolder) -> None:
    """Ask which bands the model of a run uses on at most MOST of its recordings, and keep it in the run's folder;
    nothing is kept of a model without gradients.

    Raises:
        SpeechXAIError: the folder cannot be written.
    """
    answered = folder.table("predictions").dropna(subset=["predicted"])["recording"].astype(str).tolist()
    chosen = answered[:: max(1, -(-len(answered) // MOST))]

    def heard() -> Iterator[tuple[Classifier, Spectrogram]]:
        for name in chosen:
            job = session.load(name)
            waveform = job.recording.waveform[None].to(place_of(job.model))
            yield job.model, spectrogram(waveform, session.bundle.config.stft_config())  # type: ignore[misc]

    try:
        found = bands(heard())
    except SpeechXAIError:  # no gradients, no recordings: the report has one section less
        return
    write_run(folder.path, found)


def write_run(run: Path, found: Bands) -> None:
    """Keep bands in a run's folder. Raises SpeechXAIError where it cannot be written."""
    facts = {"hz": found.hz.tolist(), "use": found.use.tolist(), "energy": found.energy.tolist(), "n": found.n}
    with naming_folder(run, "write"):
        (run / RUN_FILE).parent.mkdir(exist_ok=True)
        write_atomically(run / RUN_FILE, sealed(facts, "bands"))


def kept(run: Path) -> Bands | None:
    """The bands that a run keeps; None where it keeps none."""
    facts = read_sealed(run / RUN_FILE, "bands")
    if facts is None:
        return None
    hz, use, energy = (np.asarray(facts[name]) for name in ("hz", "use", "energy"))
    return Bands(hz, use, energy, facts["n"])


def sections(run: Path) -> list[Section]:
    """The bands of a run as a section of its report; none where it keeps none."""
    from markupsafe import Markup

    from speechxai.evaluation.report import Section, data_uri

    found = kept(run)
    if found is None:
        return []
    text = Markup(
        '<p>{said}</p><figure><img src="{uri}" alt="{said}"><figcaption>{caption}</figcaption></figure>'
    ).format(
        said=found.sentence(),
        uri=data_uri(found.picture()),
        caption=f"{ABOUT} Percent of each within 100 Hz; gray is the energy.",
    )
    return [Section("bands", "Bands", "Which bands does it use at all?", str(text))]
