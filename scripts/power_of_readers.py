"""What reader studies of several sizes can find: the table of docs/readers.md.

python scripts/power_of_readers.py
"""

from __future__ import annotations

from speechxai.readers.design import Expected
from speechxai.readers.simulate import power

TWO, FOUR = ("answer", "map"), ("sound", "answer", "map", "what-if")
DESIGNS = (
    (FOUR, 8, 40, False),
    (TWO, 8, 40, True),
    (TWO, 8, 80, True),
    (TWO, 16, 80, True),
    (FOUR, 16, 160, False),
)


def main() -> None:
    """Print the table."""
    print("| arms | readers | cases | power for a fall of 10 points | false alarms |\n|---|---|---|---|---|")
    for arms, n_readers, n_cases, crossed in DESIGNS:
        found = power(Expected.model_validate({}), arms, n_readers, n_cases, crossed)
        name = f"{len(arms)}, {'crossed' if crossed else 'each case in one'}"
        ends = f"{found.low:.2f} to {found.high:.2f}"
        print(f"| {name} | {n_readers} | {n_cases} | {found.power:.2f} ({ends}) | {found.alarms:.2f} |")


if __name__ == "__main__":
    main()
