"""What explaining and scoring costs: ratios of processor time in one run, medians, and memory of processes of their
own.

    OMP_NUM_THREADS=1 python scripts/benchmark.py --quick                     a few minutes
    OMP_NUM_THREADS=1 python scripts/benchmark.py --part study --network hubert --seconds 10

Parts: methods (each in forward-pass units), study (six methods, 30 combinations, seven metrics, beside a naive
    pipeline), recordings
(1, 10, 100), length (2.5 to 20 s), memory (peak of every method on HuBERT-base, 10 s, two recordings). Random weights
and synthetic
voices: speed does not depend on what is heard.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does; PyTorch reads it when it is imported

import torch
from benchmark_children import work
from benchmark_naive import naive_work
from benchmark_tables import growth, memory, methods, study

from speechxai.evaluation.machine import configure

PARTS = ("methods", "study", "recordings", "length", "memory")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="only these (default: all)")
    parser.add_argument("--network", action="append", choices=("cnn", "hubert"), help="only these (default: both)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the recordings (default: 10)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each measurement (default: 3)")
    parser.add_argument(
        "--quick", action="store_true", help="2.5 s, one run, the six published methods, cnn alone unless asked"
    )
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps((naive_work if "naive" in given.child else work)(given.child)))
        sys.exit()
    if given.quick:
        given.seconds, given.repeats = min(given.seconds, 2.5), 1
    print(f"{configure(threads=int(os.environ.get('OMP_NUM_THREADS', 0)) or None)}, torch {torch.__version__}")
    for part in given.part or PARTS:
        for name in given.network or (("cnn",) if given.quick else ("cnn", "hubert")):
            if part in ("methods", "study"):
                {"methods": methods, "study": study}[part](name, given)
            elif part == "recordings" and name == "cnn":
                sizes = (1, 4, 16) if given.quick else (1, 10, 100)
                growth(
                    "recordings, cnn, 2.5 s", sizes, [{"network": name, "seconds": 2.5, "n": n} for n in sizes], given
                )
            elif part == "length":
                lengths = (2.5, 5.0, 10.0) if given.quick else (2.5, 5.0, 10.0, 20.0)
                # A spectrogram has one frame more than its hops, so segments of 2.5 s sharp would cut off one more.
                tasks = [{"network": name, "segment_s": 2.52, "seconds": s} for s in lengths]
                growth(f"length in s, {name}, segments of 2.5 s that do not overlap", lengths, tasks, given)
        if part == "memory" and (not given.quick or "hubert" in (given.network or ())):
            memory(given)
