"""Is this recording fit to be explained? Checks in plain sentences, before the model says anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["good", "fair", "bad"]

SHORTEST_S = 0.5
SHORT_S = 1.5
QUIET_DBFS = -45.0
SILENT_DBFS = -65.0
CLIPPED = 0.001
NOISY_DB = 15.0
SPEECH_SHARE = 0.15
MIN_RATE_HZ = 8_000


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it stands, and what it means; "bad" keeps the model from answering."""

    name: str
    state: State
    text: str


def checks(quality: Mapping[str, float], sample_rate_hz: int, model_rate_hz: int, speech_share: float) -> list[Check]:
    """Judge a recording.

    Args:
        quality: fields of the library's quality measurement, at the recording's own rate and level.
        sample_rate_hz: of the file.
        model_rate_hz: what the model was trained at.
        speech_share: share of the time in which a voice was found, in [0, 1]; NaN where nothing could be checked.
    """
    duration, level, clipped = quality["duration_s"], quality["rms_dbfs"], quality["clipping_share"]
    snr = quality["snr_db"]
    found = []
    if duration < SHORTEST_S:
        found.append(Check("Length", "bad", f"{duration:.2f} s is too short; record at least {SHORT_S:g} s."))
    elif duration < SHORT_S:
        found.append(
            Check("Length", "fair", f"{duration:.2f} s is short; the answer will be shaky. Record 3 s or more.")
        )
    else:
        found.append(Check("Length", "good", f"{duration:.1f} s."))
    if level < SILENT_DBFS:
        found.append(
            Check("Level", "bad", f"{level:.0f} dB below full scale is close to silence; check the microphone.")
        )
    elif level < QUIET_DBFS:
        found.append(Check("Level", "fair", f"quiet, {level:.0f} dB; move closer to the microphone."))
    else:
        found.append(Check("Level", "good", f"{level:.0f} dB re full scale."))
    if clipped > CLIPPED:
        found.append(
            Check("Clipping", "fair", f"{100 * clipped:.1f} % of the samples are cut off; record at a lower level.")
        )
    else:
        found.append(Check("Clipping", "good", "none."))
    if snr != snr:
        found.append(Check("Noise", "good", "no pause to measure it in, as in a held vowel."))
    elif snr < NOISY_DB:
        found.append(Check("Noise", "fair", f"speech is only {snr:.0f} dB above the background; find a quieter room."))
    else:
        found.append(Check("Noise", "good", f"speech is {snr:.0f} dB above the background."))
    if sample_rate_hz < MIN_RATE_HZ:
        found.append(
            Check(
                "Sample rate", "bad", f"{sample_rate_hz} Hz is under {MIN_RATE_HZ} Hz; record again at 16 kHz or more."
            )
        )
    elif sample_rate_hz < model_rate_hz:
        found.append(
            Check(
                "Sample rate",
                "fair",
                f"{sample_rate_hz / 1000:g} kHz, under the model's {model_rate_hz / 1000:g} kHz: high frequencies are"
                " missing.",
            )
        )
    else:
        found.append(Check("Sample rate", "good", f"{sample_rate_hz / 1000:g} kHz."))
    if speech_share != speech_share:
        found.append(Check("Voice", "fair", "could not be checked."))
    elif speech_share <= 0:
        found.append(Check("Voice", "bad", "no voice found; the model would answer to noise."))
    elif speech_share < SPEECH_SHARE:
        found.append(
            Check("Voice", "fair", f"a voice in only {100 * speech_share:.0f} % of the time; cut the rest off.")
        )
    else:
        found.append(Check("Voice", "good", f"a voice in {100 * speech_share:.0f} % of the time."))
    return found


def usable(found: list[Check]) -> bool:
    """Whether the model may answer."""
    return all(check.state != "bad" for check in found)
