"""What the verdict on one map says of maps that should explain the answer, and of maps that cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from speechxai.classifiers.bundle import load_bundle
from speechxai.inspection import inspect
from speechxai.inspection.words import VERDICTS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import verdicts

N = 10


def test_wrong_maps_do_not_explain_and_the_right_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    found = verdicts.verdicts(N)
    with capsys.disabled():
        for name, counts in found.items():
            print(f"\n{name}: " + ", ".join(f"{VERDICTS[key]} {counts[key]}" for key in VERDICTS), end="")
    assert all(sum(counts.values()) == N for counts in found.values())
    assert found["integrated_gradients"]["explains"] >= 8
    for name in ("random_map", "another network"):
        assert found[name]["nothing"] + found[name]["no_better"] >= 9
    # Rolled in time a map still marks the right frequencies of a held vowel: that is said, and no more.
    assert found["rolled by half"]["explains"] <= 1


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_has_learned_nothing_is_found_out(seed: int) -> None:
    said = inspect.says_the_same(verdicts.untrained(seed))
    assert said.startswith("This network separates nobody: of 6 made voices, with and without simulated signs,")


def test_a_network_that_has_learned_is_not() -> None:
    assert inspect.says_the_same(load_bundle("synthetic-cnn").classifier()) == ""
    constant = verdicts.untrained(0)
    constant.temperature.fill_(torch.inf)  # whatever it hears, both classes are alike
    assert "it says nearly the same, P(PD) 0.50 to 0.50." in inspect.says_the_same(constant)
