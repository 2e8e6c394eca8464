"""Train a classifier: the same as `speechxai train`, for those who start trainings from scripts (see its --help)."""

import sys

from speechxai.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
