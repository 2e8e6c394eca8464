"""What `data check` prints of a made account, and sizes that packages are asked for, by hand."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from speechxai.commands import data
from speechxai.data.cards import MatchReport
from speechxai.data.corpus import CheckReport, Confound
from speechxai.explain import captum_bridge
from speechxai.metrics.quantus_bridge import sized

NAN = float("nan")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r" {2,}", "  ", line).rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def cells(lines: list[str], first: str) -> list[str]:
    """Cells of the row of a drawn table that begins with `first`."""
    (row,) = [line for line in lines if line.startswith("│") and line.split("│")[1].strip() == first]
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_what_matched(capsys: pytest.CaptureFixture[str]) -> None:
    unmatched = tuple((f"{i}.wav", "no label") for i in range(4))
    left_out = (("x", "noise"), ("y", "noise"), ("z", "test"))
    data._print_match(MatchReport("mine", "r", 9, 2, unmatched, left_out, ("c.wav",), (), ("note",) * 4), 3)
    assert said(capsys) == [
        "mine: 9 audio files, 2 matched, 4 not matched, 3 left out on purpose",
        *(
            "Not matched:",
            "  0.wav: no label",
            "  1.wav: no label",
            "  2.wav: no label",
            "  and 1 more; --all names them",
        ),
        *("Left out:", "  2 files: noise", "  1 files: test"),
        *("Not the publisher's bytes (sha256 differs):", "  c.wav"),
        *("Notes:", *["  note"] * 4),
    ]
    data._print_match(MatchReport("mine", "r", 3, 0, unmatched[:3], (), (), (), ()), 3)
    lines = said(capsys)
    assert lines[0] == "mine: 3 audio files, 0 matched, 3 not matched"
    assert not any("more" in line for line in lines)


def test_what_was_found_in_a_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {
        "duration_s": [1.0, 2.0, 4.5],
        "rms_dbfs": [-30.0, -20.0, -25.125],
        "peak": [0.5, 0.25, 1.0],
        "clipping_share": [0.0, 0.0, 0.0126],
        "silence_share": [0.1, NAN, 0.3],
        "snr_db": [NAN] * 3,
        "bandwidth_hz": [4_000.0, 3_999.6, 8_000.0],
    }
    quality = pd.DataFrame({"recording": list("abc"), "sample_rate": [16_000, 8_000, 8_000], **measured})
    manifest = pd.DataFrame(
        {"recording": list("abc"), "speaker": ["s1", "s1", "s2"], "label": [0, 1, 1], "classes": "HC;PD"}
    )
    confounds = (
        Confound("age", 0.8125, 0.7, 1, 2, "PD", True, "they are older"),
        Confound("sex", NAN, NAN, 0, 0, "", False, "unknown"),
    )
    found = CheckReport(
        3,
        {"HC": 1, "PD": 2},
        {"HC": 1},
        {"vowel-a": 2, "reading": 1},
        (("a", "b"), ("b", "c")),
        (),
        (("c", "broken"),),
        (("a", "noise: loud"), ("b", "noise: low"), ("c", "silence: long")),
        (),
        (),
        quality,
        confounds,
    )
    data._print_report(found, manifest, 10)
    lines = said(capsys)
    # 1 + 2 + 4.5 s are printed as 8, half to even.
    assert lines[0] == "3 files, 1 HC, 2 PD; 2 speakers, 8 s in all"
    assert cells(lines, "HC") == ["HC", "1", "1"]
    assert cells(lines, "PD") == ["PD", "2", "0"]
    assert "Tasks: vowel-a (2), reading (1)" in lines
    assert "Sample rates: 8000 Hz (2), 16000 Hz (1)" in lines
    assert cells(lines, "duration, s")[1:] == ["1.00", "2.00", "4.50"]
    assert cells(lines, "level, dB of full scale")[1:] == ["-30.00", "-25.12", "-20.00"]
    assert cells(lines, "clipped share")[1:] == ["0.000", "0.000", "0.013"]
    assert cells(lines, "silent share (2 of 3)")[1:] == ["0.100", "0.200", "0.300"]
    assert cells(lines, "speech above background, dB")[1:] == ["not known"] * 3
    assert cells(lines, "bandwidth, Hz")[1:] == ["4000", "4000", "8000"]
    at = lines.index("Quality warnings:")
    # Noise is in two of three, more than half: counted; the other is named.
    assert lines[at + 1 : at + 3] == ["  noise: 2 of 3 recordings", "  c: silence: long"]
    at = lines.index("Same file twice (byte by byte):")
    assert lines[at + 1 : at + 3] == ["  a = b: LABELS HC and PD", "  b = c: speakers s1 and s2"]
    assert not any(line.startswith("Same sound") for line in lines)
    assert lines[lines.index("Cannot be read:") + 1] == "  broken"
    assert cells(lines, "age") == ["age", "0.812", "0.700", "PD", "ALARM: they are older"]
    assert cells(lines, "sex") == ["sex", "not known", "not known", "", "unknown"]
    assert any("separates HC from PD (AUC" in line for line in lines)
    end = "tells the classes apart without any speech. A good score on this set may not be about the voice."
    assert lines[-1] == f"Beware: age (AUC 0.812) {end}"


def test_sizes_that_suit_a_recording() -> None:
    # 20 x 30 = 600 bins: 30 steps of 20, patches of the root of 20; subsets of 1 in 224, k of 1000 in 224 squared.
    assert sized("PixelFlipping", 20, 30) == sized("FaithfulnessEstimate", 20, 30) == {"features_in_step": 20}
    assert sized("MonotonicityCorrelation", 20, 30) == {"features_in_step": 20, "nr_samples": 10}
    assert sized("Selectivity", 20, 30) == {"patch_size": 4}
    assert sized("RegionPerturbation", 20, 30) == {"patch_size": 1, "regions_evaluation": 30}
    assert sized("RegionPerturbation", 200, 300)["patch_size"] == 15  # the root of 2000 is 44.7
    assert sized("FaithfulnessCorrelation", 20, 30) == {"subset_size": 3}
    assert sized("TopKIntersection", 20, 30) == {"k": 12}
    assert sized("PixelFlipping", 7, 91) == {"features_in_step": 49}  # 637 / 30 = 21.2: the next that divides
    assert sized("ROAD", 2, 2) == {"percentages": [5, 10, 20, 40]}
    for name in ("MaxSensitivity", "AvgSensitivity", "LocalLipschitzEstimate", "RelativeInputStability"):
        assert sized(name, 20, 30) == {"nr_samples": 10}
    assert {*sized("Selectivity", 1, 1).values(), *sized("TopKIntersection", 1, 1).values()} == {1}


@pytest.mark.parametrize(("n_patches", "n_drawn"), [(3, 64), (32, 64), (33, 66), (250, 500), (400, 500)])
def test_perturbed_recordings_a_patch(n_patches: int, n_drawn: int) -> None:
    assert captum_bridge._drawn(None, "Lime")(n_patches) == n_drawn
    assert captum_bridge._drawn(7, "Lime")(n_patches) == 7
