"""Import published speech networks: SSL4PR's fold_1.pt ... fold_10.pt become a bundle that speechxai explains.

    python scripts/import_checkpoint.py CHECKPOINTS --out models/ssl4pr --splits PC-GITA_SPLITS

With --check, prints what a checkpoint, a Hugging Face folder or a file of torchaudio's weights holds, and writes
nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from speechxai.classifiers.imports import import_folds, pretrained, ssl4pr
from speechxai.errors import SpeechXAIError


def check(source: str, config: str | None) -> None:
    """Print the architecture and the number of weights of one source."""
    path = Path(source)
    imported = ssl4pr(path, config) if path.name.startswith("fold_") else pretrained(source)
    imported.backbone()
    n_weights = sum(value.numel() for value in imported.state.values())
    print(f"{source}: fits the backbone 'ssl', {n_weights / 1e6:.1f} M weights")
    for name, value in imported.options.items():
        print(f"  {name} = {value}")


def main() -> int:
    """Read the arguments and import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source", help="folder of fold_<k>.pt; with --check also one file, a save_pretrained folder or HUBERT_BASE"
    )
    parser.add_argument("--out", help="folder of the bundle")
    parser.add_argument(
        "--splits", help="folder with the published TRAIN_TEST_<k>: who is heard by which fold's network"
    )
    parser.add_argument(
        "--config", help="config.json of the foundation model, where its shapes do not tell the architecture"
    )
    parser.add_argument("--check", action="store_true", help="only say what the source holds")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check(arguments.source, arguments.config)
            return 0
        if arguments.out is None:
            parser.error("--out is needed: the folder of the bundle")
        bundle = import_folds(
            arguments.source,
            arguments.out,
            arguments.splits,
            arguments.config,
            lambda done, n, what: print(f"{what}: {done} of {n}", flush=True),
        )
    except SpeechXAIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{bundle.folder}: {bundle.n_folds} networks, {len(bundle.config.speakers)} speakers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
