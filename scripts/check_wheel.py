"""Build the wheel, install it into another environment, and use it from an empty folder outside the checkout: the demo,
a small training, the configurations that ship.

The new environment borrows the heavy dependencies of the one that runs this script, so that nothing is downloaded
twice.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, show it, and return what it printed; stop with its output when it fails."""
    print("$", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{done.stderr}\nThe command failed with exit status {done.returncode}.")
    return done.stdout


def main() -> None:
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


if __name__ == "__main__":
    main()
