"""A network that learns how strong a sign is, and what its explanations point at: the tables of docs/severity.md.

    python scripts/severity.py docs/results/severity/lines.jsonl                     computes what is missing
    python scripts/severity.py docs/results/severity/lines.jsonl --table             prints what is there

The same as `speechxai benchmark --target severity`, with its results in one file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from speechxai.planted.severity import SeveritySettings, findings, read_lines, run, table


def main() -> None:
    """Compute what is missing of all signs and seeds, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path, help="where results stand, a line each")
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--at-most", type=int, default=100, help="tasks computed in this call")
    asked = parser.parse_args()
    if asked.table:
        lines = read_lines(asked.lines)
        print("\n".join([table(lines), "", *(f"- {text}" for text in findings(lines))]))
        return
    torch.set_num_threads(1)
    for line in run(asked.lines, SeveritySettings(), at_most=asked.at_most):
        print(f"{line['cue']}, seed {line['seed']}: {line['cpu_s']:.0f} s of processor time", file=sys.stderr)


if __name__ == "__main__":
    main()
