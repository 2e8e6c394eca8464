"""Whether a fresh installation works: what the declared dependencies resolve to today must be a torch and a torchaudio
that fit.

Resolves the dependencies of pyproject.toml as on a machine without any pip configuration, from metadata, without
installing.
A pair that does not fit fails, and so do dependencies that contradict each other. Without a network nothing is checked,
and it
says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
FITS = {(2, 11): ((2, 11), (2, 15))}
"""By torchaudio's major.minor: the first torch that it was built for, and the first that it refuses at import."""
LIMIT_S = 300


def major_minor(version: str) -> tuple[int, int]:
    """(2, 14) for "2.14.1+cpu"."""
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)


def misfit(torch: str, torchaudio: str) -> str | None:
    """Why these versions are no pair, or None where they fit. A torchaudio not listed in FITS wants its own
    major.minor."""
    ours, theirs = major_minor(torch), major_minor(torchaudio)
    first, refused = FITS.get(theirs, (theirs, (theirs[0], theirs[1] + 1)))
    if first <= ours < refused:
        return None
    return (
        f"torch {torch} and torchaudio {torchaudio} do not fit: this torchaudio takes torch from {first[0]}.{first[1]}"
        f" to below {refused[0]}.{refused[1]}. Set bounds in pyproject.toml that give a pair."
    )


def resolve(requirements: list[str]) -> subprocess.CompletedProcess[str]:
    """Pip's report (stdout) on what it would install, without its configuration files, variables and constraints."""
    # An index that offers no metadata by itself is asked for the ends of its files (fast-deps) instead of all 3 GB.
    options = ["--dry-run", "--ignore-installed", "--use-feature=fast-deps", "--quiet", "--retries=1", "--report=-"]
    return subprocess.run(
        [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", *options, *requirements],
        # Isolated alone leaves the machine's configuration in force.
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def contradiction(messages: str) -> bool:
    """Whether pip's messages tell of requirements that no versions meet, rather than of an index that did not
    answer."""
    unmet = "ResolutionImpossible" in messages or "No matching distribution" in messages
    return unmet and "Retrying" not in messages and "from versions: none" not in messages


def main() -> None:
    """Print the pair, or fail with what is wrong."""
    requirements = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    try:
        done = resolve(requirements)
    except subprocess.TimeoutExpired:
        print(f"not checked: the package index gave no full answer within {LIMIT_S} s")
        return
    if done.returncode != 0:
        if contradiction(done.stderr):
            sys.exit(f"{done.stderr}\nThe dependencies of pyproject.toml contradict each other.")
        print(f"not checked: pip found no answer ({(done.stderr.strip() or 'no message').splitlines()[-1]})")
        return
    versions = {p["metadata"]["name"].lower(): p["metadata"]["version"] for p in json.loads(done.stdout)["install"]}
    problem = misfit(versions["torch"], versions["torchaudio"])
    if problem:
        sys.exit(problem)
    print(f"A fresh installation gets {len(versions)} packages; torch {versions['torch']} and ", end="")
    print(f"torchaudio {versions['torchaudio']} fit.")


if __name__ == "__main__":
    main()
