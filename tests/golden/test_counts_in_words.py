"""How many more there are than a message names, at the edge where all are named and beyond it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from speechxai.classifiers import bundle, imports
from speechxai.commands import evaluate
from speechxai.data import cards
from speechxai.data.cards import MOST_NAMED, find, import_folder
from speechxai.data.manifest import write_manifest
from speechxai.errors import SpeechXAIError, in_range
from speechxai.evaluation.config import short
from speechxai.report.render import listing


def voices(root: Path, n: int) -> list[str]:
    for i in range(n):
        soundfile.write(root / f"{i}.wav", np.full(80, 0.01 * (i + 1)), 8_000)
    return [f"{i}.wav" for i in range(n)]


def problems(n: int) -> str:
    """What is said of weights of which `n` are missing."""
    wanted = {f"w{i}": torch.zeros(2) for i in range(n)}
    with pytest.raises(SpeechXAIError) as error:
        bundle._check_fit(Path("w.safetensors"), "final", {}, wanted)
    return str(error.value)


def test_weights_that_do_not_fit() -> None:
    assert problems(3).count("is missing") == 3
    assert "more" not in problems(3).split("Restore")[0]
    assert "'final.w2' is missing; and 1 more. Restore" in problems(4)
    assert "; and 4 more." in problems(7)
    weights = {"a": torch.zeros(3), "b": torch.tensor([float("nan")]), "c": torch.zeros(1)}
    wanted = {"a": torch.zeros(2), "b": torch.zeros(1), "d": torch.zeros(1)}
    with pytest.raises(SpeechXAIError) as error:
        bundle._check_fit(Path("w.safetensors"), "fold0", weights, wanted)
    assert str(error.value) == (
        "w.safetensors: the weights do not fit config.toml: 'fold0.d' is missing; 'fold0.c' belongs to no layer;"
        " 'fold0.a' has shape [3] and must have [2]; and 1 more. Restore the bundle or train the model again."
    )
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^w: the weights do not fit config\.toml: 'x\.b' has NaN or infinite values\. Restore the "
            r"bundle or train the model again\.$"
        ),
    ):
        bundle._check_fit(Path("w"), "x", {"b": weights["b"]}, {"b": wanted["b"]})
    bundle._check_fit(Path("w"), "x", {"b": wanted["b"]}, {"b": wanted["b"]})


def test_names_in_a_row() -> None:
    letters = list("abcdefghij")
    assert imports._some(reversed(letters[:8])) == "a, b, c, d, e, f, g, h"
    assert imports._some(letters) == "a, b, c, d, e, f, g, h and 2 more"
    assert [listing(letters[:n], 3) for n in (1, 2, 3, 4)] == ["a", "a and b", "a, b and c", "a, b, c and 1 more"]


@pytest.mark.parametrize(("n", "cut"), [(118, False), (119, True)])
def test_long_values_are_cut(n: int, cut: bool) -> None:
    text = short("x" * n)  # and two quotes
    assert len(text) == 120
    assert text.endswith("...") == cut
    with pytest.raises(SpeechXAIError) as error:
        in_range("A", "b", "x" * (n - 60), 1, 2)
    got = str(error.value).split("Got ")[1]
    assert len(got) == 61  # and a full stop
    assert ("..." in got) == cut


@pytest.mark.parametrize("n", [1, 2, 4])
def test_files_without_a_row(tmp_path: Path, n: int) -> None:
    files = voices(tmp_path, n + 1)
    (tmp_path / "labels.csv").write_text(f"file,label,speaker\n{files[-1]},HC,1\n")
    more = f" (and {n - 1} more)" if n > 1 else ""
    with pytest.raises(SpeechXAIError, match=re.escape(f"0.wav: has no row in {tmp_path / 'labels.csv'}{more}. Add")):
        import_folder(tmp_path, tmp_path / "labels.csv", "set")


@pytest.mark.parametrize("n", [MOST_NAMED, MOST_NAMED + 2])
def test_labels_that_nobody_knows(tmp_path: Path, n: int) -> None:
    files = voices(tmp_path, n)
    rows = "\n".join(f"{file},kind{i},s{i}" for i, file in enumerate(files))
    (tmp_path / "labels.csv").write_text(f"file,label,speaker\n{rows}\n")
    with pytest.raises(SpeechXAIError) as error:
        import_folder(tmp_path, tmp_path / "labels.csv", "set")
    assert ("kind7 and 2 more are not those" in str(error.value)) == (n > MOST_NAMED)
    assert ("kind7 are not those" in str(error.value)) == (n == MOST_NAMED)


@pytest.mark.parametrize("n", [1, 3])
def test_spellings_of_speakers(tmp_path: Path, n: int) -> None:
    names = [name for i in range(n) for name in (f"anna{i}", f"Anna{i}")]
    rows = [{"recording": s, "path": s, "speaker": f"x/{s}", "label": 0, "task": "a", "dataset": "x"} for s in names]
    write_manifest(pd.DataFrame(rows), tmp_path / "m.csv")
    more = f" (and {n - 1} more)" if n > 1 else ""
    with pytest.warns(UserWarning, match=rf"anna0.*{re.escape(more)} Speakers are compared as they are written\.$"):
        find(tmp_path / "m.csv")
    assert cards.root_of(tmp_path / "m.csv") == tmp_path


@pytest.mark.parametrize("n", [2, 3])
def test_recordings_without_scores(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [{"recording": f"r{i}", "kind": "failed", "message": f"{'r0: ' * (i == 0)}why"} for i in range(n)]
    frame = pd.DataFrame([*lost, {"recording": "r9", "kind": "not_applicable", "message": "no"}])
    folder: Any = SimpleNamespace(
        path=Path("run"), failures=lambda: frame, failed=lambda: [{"traceback": "x"}] * (n - 2)
    )
    evaluate.show_failures(folder, 2)
    assert capsys.readouterr().err.splitlines() == [
        f"{n} recordings have no scores (run/failures.csv):",
        *("  r0: why", "  r1: why"),
        *["  and 1 more", "  Tracebacks of errors that nobody foresaw: run/units/*.failed"] * (n - 2),
    ]
