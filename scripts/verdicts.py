"""Print what the verdict on one map says of maps that should explain the answer and of maps that cannot.

    python scripts/verdicts.py 36

Synthetic voices, none of which the embedded network has heard. Maps that cannot explain it: random numbers, the map of
another network (telephone voices), and the right map rolled by half of the recording. The right map is that of
integrated gradients.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import load_bundle
from speechxai.data.synthetic import takes
from speechxai.inspection import inspect
from speechxai.inspection.words import VERDICTS
from speechxai.types import StftConfig

SEED = 1_000
RIGHT, WRONG = "integrated_gradients", ("random_map", "another network", "rolled by half")


def verdicts(n: int, model: str = "synthetic-cnn", other: str = "figshare-cnn") -> dict[str, Counter[str]]:
    """How often each verdict is given, by map, on the first `n` voices of every second speaker's takes."""
    bundle, stranger = load_bundle(model), load_bundle(other)
    found: dict[str, Counter[str]] = {name: Counter() for name in (RIGHT, *WRONG)}
    for take in takes(max(2, n), SEED)[: 2 * n : 2]:
        voice = take.recording()
        heard = inspect.hear(bundle, voice, steadiness=False)
        maps = dict(inspect.explain(heard, [RIGHT, "random_map"])[0])
        right = maps[RIGHT]
        theirs = inspect.explain(inspect.hear(stranger, voice, steadiness=False), [RIGHT])[0][RIGHT].mask
        rolled = np.roll(right.mask, right.mask.shape[1] // 2, axis=1)
        for name, mask in (("another network", theirs), ("rolled by half", rolled)):
            maps[name] = inspect.of_mask(heard, name, np.ascontiguousarray(mask), right.target)
        for name, map_ in maps.items():
            found[name][inspect.judge(heard, map_).key] += 1
    return found


def untrained(seed: int = 0) -> Classifier:
    """A network that has learned nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stft = StftConfig()
        return Classifier(build("cnn", stft), stft).eval()


def main() -> None:
    """Print the table, and what is said of networks that have learned nothing."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print("map", *VERDICTS, sep="  ")
    for name, counts in verdicts(n).items():
        print(name, *(f"{counts[key]} of {n}" for key in VERDICTS), sep="  ")
    for seed in range(5):
        print(inspect.says_the_same(untrained(seed)) or "an untrained network is not found out")


if __name__ == "__main__":
    main()
