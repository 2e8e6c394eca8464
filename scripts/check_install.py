"""Whether an installation works for a stranger: `dependencies`, `wheel`, `minimum`, `pythons`, `release`,
`audit`.

`dependencies` resolves those of pyproject.toml as on a machine without any pip configuration, from metadata, without
installing. A torch and a torchaudio that do not fit fail, and so do dependencies that contradict each other. Without a
network nothing is checked, and it says so.

`wheel` builds it, compares what it holds with what git knows, installs it into another environment, and uses it from
an empty folder outside the checkout: the demo, a small training, the configurations that ship. The new environment
borrows the heavy dependencies of the one that runs this script, so that nothing is downloaded twice.

`minimum` installs the lowest version of everything that pyproject.toml declares, extras too, into another environment
and runs the demo and a part of the tests there. It downloads gigabytes and takes a quarter of an hour: run it when a
bound or a use of a library changes.

`pythons` asks for every version of Python that pyproject.toml names, on Linux, Windows and macOS, whether everything
that it declares, extras too, is there as a wheel, so that nobody needs a compiler; and reads every file of the project
by the grammar of that version. Nothing is installed or run: that takes the interpreter.

`release` is for the day before a tag. It builds wheel and sdist, has them checked by twine, installs the wheel with
nothing beside it into an empty environment, runs the demo there, adds one extra after the other, and prints seconds and
sizes. It downloads gigabytes.

`audit` asks which versions that a fresh installation would get have known weaknesses (pip-audit). Where the data cannot
be had, nothing is checked, and it says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

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


def check_dependencies() -> None:
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


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, show it, and return what it printed; stop with its output when it fails."""
    print("$", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{done.stderr}\nThe command failed with exit status {done.returncode}.")
    return done.stdout


DATA = ("app", "data_cards", "models")
"""Folders beside the package in a checkout, inside it in a wheel."""


def strange_content(wheel: Path) -> list[str]:
    """What a wheel lacks or has too much, compared with what git knows of the checkout."""
    listed = run("git", "ls-files", "-z", "speechxai", *DATA, cwd=CHECKOUT).split("\0")
    wanted = {name if name.startswith("speechxai/") else f"speechxai/_data/{name}" for name in listed if name}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    return [*(f"lacks {name}" for name in sorted(wanted - held)), *(f"has {name}" for name in sorted(held - wanted))]


def check_wheel() -> None:
    """Fail with the output of the first step that fails."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            work / "dist",
            CHECKOUT,
            cwd=work,
        )
        (wheel,) = (work / "dist").glob("*.whl")
        if strange := strange_content(wheel):
            sys.exit(f"{wheel.name} is not what git knows:\n" + "\n".join(strange))
        venv.create(work / "env", with_pip=True)
        python = work / "env" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=work)
        packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=work).strip()
        # A path file adds the packages but not the editable install of the checkout, which hides behind an import hook.
        (Path(packages) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        where = run(python, "-c", "import speechxai; print(speechxai.__file__)", cwd=work).strip()
        if str(CHECKOUT) in where:
            sys.exit(f"The wheel was not used: speechxai came from {where}.")
        speechxai = work / "env" / "bin" / "speechxai"
        print(run(speechxai, "demo", "--out", work / "runs" / "demo", cwd=work)[-2000:])
        if not (work / "runs" / "demo" / "report.html").is_file():
            sys.exit("The demo wrote no report.html.")
        listed = run(speechxai, "list", "configs", cwd=work)
        missing = [path.stem for path in (CHECKOUT / "speechxai" / "configs").glob("*.toml") if path.stem not in listed]
        if missing:
            sys.exit(f"The wheel lacks the configurations {missing}.")
        small = ("--speakers", "12", "--folds", "3", "--epochs", "1")
        run(speechxai, "train", "synthetic", "--out", work / "models" / "small", *small, cwd=work)
        run(
            speechxai,
            "evaluate",
            "--model",
            work / "models" / "small",
            "--data",
            "synthetic",
            "--limit",
            "2",
            "--recipes",
            "saliency",
            "--metrics",
            "published",
            "--out",
            work / "runs" / "small",
            cwd=work,
        )
    print(f"{wheel.name}: demo, training and evaluation run from the installed wheel.")


SMOKE = (
    "tests/golden/test_methods_golden.py",
    "tests/golden/test_metrics.py",
    "tests/golden/test_quality.py",
    "tests/oracle/test_captum.py",
    "tests/oracle/test_quantus.py",
    "tests/oracle/test_praat.py",
    "tests/unit/test_acoustics.py",
    "tests/unit/test_align.py",
    "tests/unit/test_audio.py",
    "tests/unit/test_config.py",
    "tests/unit/test_executors.py",
    "tests/unit/test_files.py",
    "tests/unit/test_manifest.py",
    "tests/unit/test_report.py",
    "tests/unit/test_runs.py",
    "tests/unit/test_ssl.py",
    "tests/unit/test_tables.py",
    "tests/surface/test_app_parts.py",
    "tests/surface/test_cli.py",
)
"""Tests that together call every declared library."""


def check_minimum() -> None:
    """Fail with the output of the first step that fails; print how long each step took."""
    began = time.monotonic()

    def took(what: str) -> None:
        print(f"{what}: {time.monotonic() - began:.0f} s after the beginning", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "tools", with_pip=True)
        tools = work / "tools" / "bin" / "python"
        # pip takes the newest of everything; uv can be asked for the lowest of what is declared.
        run(tools, "-m", "pip", "install", "--quiet", "uv", cwd=work)
        python = work / "env" / "bin" / "python"
        run(tools, "-m", "uv", "venv", "--quiet", "--python", sys.executable, work / "env", cwd=work)
        lowest = ("--resolution", "lowest-direct", "--editable", f"{CHECKOUT}[all]")
        run(tools, "-m", "uv", "pip", "install", "--quiet", "--python", python, *lowest, cwd=work)
        print(run(tools, "-m", "uv", "pip", "list", "--python", python, cwd=work))
        took("installed")
        run(work / "env" / "bin" / "speechxai", "demo", "--out", work / "runs" / "demo", cwd=work)
        took("demo")
        # What old libraries call deprecated is no matter here: warnings are no errors.
        lenient = ("-o", "filterwarnings=default", "-o", "timeout=1200")  # old cluster workers start slowly
        print(run(python, "-m", "pytest", "-q", *lenient, *SMOKE, cwd=CHECKOUT)[-2000:])
        took("tests")
    print("Demo and tests run with the lowest versions that pyproject.toml declares.")


PLATFORMS = ("linux", "windows", "macos")


def declared_pythons() -> list[str]:
    """Versions of Python that pyproject.toml names, such as "3.11"."""
    named = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    found = [name.rsplit(" :: ", 1)[1] for name in named if name.startswith("Programming Language :: Python :: 3.")]
    return sorted(found, key=major_minor)


def check_pythons() -> None:
    """Print how many packages each version of Python gets, and fail where one needs a compiler or does not exist."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "tools", with_pip=True)
        tools = work / "tools" / "bin" / "python"
        run(tools, "-m", "pip", "install", "--quiet", "uv", cwd=work)
        wheels = (tools, "-m", "uv", "pip", "compile", "--quiet", "--only-binary", ":all:", CHECKOUT / "pyproject.toml")
        for python in declared_pythons():
            grammar = ("check", "--quiet", "--isolated", "--select", "E9,F821", "--target-version")
            run(Path(sys.executable).with_name("ruff"), *grammar, f"py{python.replace('.', '')}", ".", cwd=CHECKOUT)
            for platform in PLATFORMS:
                asked = (*wheels, "--python-version", python, "--python-platform", platform)
                listed, missing = resolved(asked, "all")
                # One by one where all of them together have no answer, so that the extra is named.
                where = [extra for extra in ("", *extras) if missing and extra != "all" and resolved(asked, extra)[1]]
                problems += [
                    f"Python {python} on {platform}, {extra or 'without extras'}: {missing}" for extra in where
                ]
                print(f"Python {python} on {platform}: {len(listed)} packages, all as wheels" if listed else missing)
    if problems:
        sys.exit("\n".join(problems))


def resolved(command: tuple[str | Path, ...], extra: str) -> tuple[list[str], str]:
    """What uv would install with an extra, and why there is no answer, of which one is empty."""
    words = [str(part) for part in (*command, *(("--extra", extra) if extra else ()))]
    done = subprocess.run(words, cwd=CHECKOUT, text=True, capture_output=True)
    listed = [line for line in done.stdout.splitlines() if "==" in line and not line.startswith(" ")]
    return (listed, "") if done.returncode == 0 else ([], " ".join(done.stderr.split()))


def megabytes(folder: Path) -> int:
    """What the files of a folder take, MB (10^6 bytes)."""
    return round(sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6)


def check_release() -> None:
    """Fail with the output of the first step that fails."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "tools", with_pip=True)
        tools = work / "tools" / "bin" / "python"
        run(tools, "-m", "pip", "install", "--quiet", "build", "twine", "uv", cwd=work)
        run(tools, "-m", "build", "--outdir", work / "dist", CHECKOUT, cwd=work)
        [wheel], [sdist] = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")
        print(run(tools, "-m", "twine", "check", "--strict", wheel, sdist, cwd=work))
        if strange := strange_content(wheel):
            sys.exit(f"{wheel.name} is not what git knows:\n" + "\n".join(strange))
        for file in (wheel, sdist):
            print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
        run(tools, "-m", "uv", "venv", "--quiet", "--python", sys.executable, work / "env", cwd=work)
        python = work / "env" / "bin" / "python"
        install = (tools, "-m", "uv", "pip", "install", "--quiet", "--python", python)
        # The archive of the sources builds the same wheel: it is what is installed first.
        run(*install, sdist, cwd=work)
        before = megabytes(work / "env")
        for number, extra in enumerate(["", *(each for each in extras if each != "all")]):
            started = time.monotonic()
            run(*install, f"{wheel}[{extra}]" if extra else wheel, cwd=work)
            after = megabytes(work / "env")
            print(f"{extra or 'speechxai'}: {after - (before if number else 0)} MB, {time.monotonic() - started:.0f} s")
            before = after
            if not extra:
                run(work / "env" / "bin" / "speechxai", "demo", "--out", work / "runs" / "demo", cwd=work)
        print(run(work / "env" / "bin" / "speechxai", "env", cwd=work))
    print("Wheel and sdist are whole, and install with and without extras.")


def check_audit() -> None:
    """Print what is known of the versions of a fresh installation, and fail where one has a known weakness."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        venv.create(work / "tools", with_pip=True)
        tools = work / "tools" / "bin" / "python"
        run(tools, "-m", "pip", "install", "--quiet", "pip-audit", cwd=work)
        listed = run(sys.executable, "-m", "pip", "list", "--format=freeze", "--exclude-editable", cwd=CHECKOUT)
        (work / "versions.txt").write_text(listed)
        audit = [str(tools), "-m", "pip_audit", "--no-deps", "--disable-pip", "--format=json", "-r"]
        done = subprocess.run([*audit, str(work / "versions.txt")], cwd=work, text=True, capture_output=True)
    found = json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []
    print(audited(found) or f"not checked: no data on weaknesses. {done.stderr.strip()[-300:]}")
    if any(package.get("vulns") for package in found):
        sys.exit(1)


def audited(found: list[dict[str, Any]]) -> str:
    """What pip-audit's answer says, in lines; nothing where it knew none of the packages."""
    known = [package for package in found if "skip_reason" not in package]
    weak = [f"{p['name']} {p['version']}: {', '.join(v['id'] for v in p['vulns'])}" for p in known if p["vulns"]]
    return (
        "\n".join([f"{len(known)} of {len(found)} packages are known, {len(weak)} are weak.", *weak]) if known else ""
    )


CHECKS = {
    "dependencies": check_dependencies,
    "wheel": check_wheel,
    "minimum": check_minimum,
    "pythons": check_pythons,
    "release": check_release,
    "audit": check_audit,
}

if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in CHECKS):
        sys.exit(f"{__doc__}\nUse: {Path(__file__).name} {' | '.join(CHECKS)}")
    CHECKS[sys.argv[1]]()
