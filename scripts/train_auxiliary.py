"""Train on a run's maps alone: the same as `speechxai auxiliary`, for those who start trainings from scripts."""

import sys

from speechxai.cli import main

if __name__ == "__main__":
    main(["auxiliary", *sys.argv[1:]])
