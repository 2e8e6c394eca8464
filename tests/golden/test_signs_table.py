"""What the table of what-ifs says, by hand: which of two confounded cues counts, and what random names score."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "signs.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("signs_script", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def test_of_two_cues_the_one_that_moves_a_network_further_is_what_it_uses(script: ModuleType) -> None:
    assert script.used_of({"what": "breathiness"}) == "breathiness"
    line = {"what": "amplitude_tremor+breathiness", "alone": {"amplitude_tremor": -4.0, "breathiness": 2.5}}
    assert script.used_of(line) == "amplitude_tremor"


def judged(script: ModuleType, null: tuple[int, ...]) -> Any:
    return script.Judged(False, 16, max(null), 0, 0, 0.25, (4,), Counter(), null, "x", True, (), ())


def test_names_are_permuted_within_a_network_and_not_within_a_recording(script: ModuleType) -> None:
    # Two networks of four dials each, one name first in all 16 recordings: a name drawn at random has 16 or none.
    drawn = script.null_of([judged(script, (16, 0, 0, 0)), judged(script, (0, 16, 0, 0))], 4000)
    assert set(drawn) == {0, 16, 32}
    np.testing.assert_allclose([(drawn == k).mean() for k in (0, 16, 32)], [9 / 16, 6 / 16, 1 / 16], atol=0.03)
    # Where names share the recordings evenly nothing is left to chance.
    assert set(script.null_of([judged(script, (4, 4, 4, 4))], 100)) == {4}


def test_a_detector_hears_the_spectrum_and_no_loudness(script: ModuleType) -> None:
    time_s = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 1000 * time_s)
    heard = script.spectrum_of(tone)
    assert heard.shape == (80,)
    np.testing.assert_allclose(script.spectrum_of(0.1 * tone), heard, atol=1e-9)
    # The mel scale has 1000 mel at 1000 Hz and 2840 at 8000: of 40 bands the 15th, counted from 1.
    assert int(np.argmax(heard[:40])) in (13, 14)
