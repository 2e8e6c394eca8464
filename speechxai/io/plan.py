"""What an evaluation will cost, counted on a stand-in: the same recipes and metrics through a network of no weight."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from speechxai.classifiers import Classifier, build
from speechxai.io.session import Session
from speechxai.pipeline import Job, protocol_of
from speechxai.types import Recording

DEFAULT_DURATION_S = 5.0


@dataclass(frozen=True)
class Plan:
    """Numbers of an evaluation before it runs; passes are those of one recording of `duration_s`."""

    n_recordings: int
    n_speakers: int
    classes: str
    duration_s: float
    n_forward: float
    n_backward: float
    maps_mb: float
    not_applicable: dict[str, str]


def plan(session: Session) -> Plan:
    """Count passes by running every recipe and metric once on noise, through a CNN of a few weights.

    The counts are exact for that network; another one may refuse methods. They do not depend on what is heard, and only
    occlusion's depend on how long.
    """
    manifest, classes = session.manifest, session.bundle.config.classes
    stft = session.bundle.config.stft_config()
    duration_s = _duration_s(session)
    backbone = build("cnn", stft, n_mels=16, channels=[2, 2], n_classes=len(classes))
    stand_in = Classifier(backbone, stft, session.bundle.config.segment_config(), classes, "features").eval()
    noise = torch.randn(round(duration_s * stft.sample_rate), generator=torch.Generator().manual_seed(0)) * 0.1
    result = protocol_of(session.settings)(
        Job(Recording(noise, stft.sample_rate, "noise", "noise/noise"), stand_in),
        replace(session.settings, keep_maps=False),
        [],
    )
    counts = ", ".join(f"{int((manifest['label'] == index).sum())} {name}" for index, name in enumerate(classes))
    n_bins = stft.n_bins * stft.n_frames(len(noise))
    return Plan(
        n_recordings=len(manifest),
        n_speakers=int(manifest["speaker"].nunique()),
        classes=counts,
        duration_s=duration_s,
        n_forward=float(result.facts["n_forward"]),
        n_backward=float(result.facts["n_backward"]),
        maps_mb=2 * n_bins * len(session.settings.recipes) * len(manifest) / 2**20,
        not_applicable=result.not_applicable,
    )


def _duration_s(session: Session) -> float:
    """Length of the first recording that can be read."""
    from speechxai.io.audio import probe
    from speechxai.io.session import root_of

    for row in session.manifest.head(5).to_dict("records"):
        voice = session.voices.get(str(row["recording"]))
        if voice is not None:
            return voice.duration_s
        with suppress(Exception):  # the run itself says what is wrong with this one
            return min(30.0, max(0.2, float(probe(root_of(session.config) / str(row["path"])).duration_s)))
    return DEFAULT_DURATION_S
