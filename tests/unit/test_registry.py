"""Entries are refused at import for what they do not state, and wrong names are answered with the right ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.registry import Registry, code_of
from speechxai.types import Attribution, Recording


def make() -> Registry[Callable[..., Any]]:
    return Registry("thing", required=("cites",))


def documented() -> int:
    """Say one."""
    return 1


def test_missing_fact_missing_docstring_and_duplicates_are_refused() -> None:
    registry = make()
    with pytest.raises(SpeechXAIError, match=r"^The thing 'documented' does not state cites\.$"):
        registry.register()(documented)
    with pytest.raises(SpeechXAIError, match=r"^The thing '<lambda>' has no docstring\.$"):
        registry.register(cites="own")(lambda: 1)
    registry.register(cites="own")(documented)
    with pytest.raises(SpeechXAIError, match=r"^The thing 'documented' is registered twice: choose another name\.$"):
        registry.register(cites="own")(documented)
    assert list(registry) == ["documented"]
    assert registry.summary("documented") == "Say one."


def define(text: str, module: str, spec: object, file: str = "plugin.py") -> Callable[..., Any]:
    """A function of a module, as one load of it would define it."""
    scope: dict[str, Any] = {"__name__": module, "__spec__": spec}
    exec(compile(text, file, "exec"), scope)
    return scope["mine"]  # type: ignore[no-any-return]


def test_a_module_that_is_loaded_again_replaces_its_entries_and_no_others() -> None:
    registry, first, second = make(), object(), object()
    old, new = "def mine():\n    'Say one.'\n", "def mine():\n    'Say two.'\n"
    registry.register(cites="own")(define(old, "plugin", first))
    registry.register(cites="own")(define(new, "plugin", second))  # importlib.reload
    assert registry.summary("mine") == "Say two."
    with pytest.raises(SpeechXAIError, match=r"^The thing 'mine' is registered twice: choose another name\.$"):
        registry.register(cites="own")(define(old, "plugin", second))  # twice in one file
    with pytest.raises(SpeechXAIError, match=r"^The thing 'mine' is registered twice: choose another name\.$"):
        registry.register(cites="own")(define(old, "other", object(), "other.py"))
    registry.register(cites="own")(define(old, "package.plugin", object()))  # the file under another name
    assert registry.summary("mine") == "Say one."
    notebook = make()
    notebook.register(cites="own")(define(old, "__main__", None, "<cell 1>"))
    notebook.register(cites="own")(define(new, "__main__", None, "<cell 1, run again>"))
    assert notebook.summary("mine") == "Say two."


def test_facts_cannot_be_changed() -> None:
    registry = make()
    registry.register(cites="own")(documented)
    with pytest.raises(TypeError):
        registry.facts("documented")["cites"] = "other"  # type: ignore[index]


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(0), "a: the recording is empty"),
        (torch.zeros(2, 5), "a: a recording must have one channel"),
        (torch.tensor([0.0, float("nan"), float("inf")]), "a: 2 samples are NaN or infinite"),
    ],
)
def test_recording_names_itself_in_its_errors(waveform: torch.Tensor, message: str) -> None:
    with pytest.raises(SpeechXAIError, match=message):
        Recording(waveform, 16_000, "a", "s")


def test_attribution_refuses_maps_that_are_none() -> None:
    with pytest.raises(SpeechXAIError, match=r"^saliency: the map has NaN or infinite values\.$"):
        Attribution(torch.full((1, 2, 3), float("nan")), torch.zeros(1, dtype=torch.long), "saliency")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^saliency: an attribution needs values \(B, F, T\) and target \(B,\)\. Got \(2, 2, 3\) and "
            r"\(1,\)\.$"
        ),
    ):
        Attribution(torch.ones(2, 2, 3), torch.zeros(1, dtype=torch.long), "saliency")


@pytest.mark.parametrize(
    ("changed", "is_part"),
    [
        ("own_code.py", True),
        ("own_helper.py", True),
        ("own_package/deep/inner.py", True),  # of a package that the helper imports
        ("own_neighbor.py", False),
        ("own_package/notes.txt", False),
    ],
)
def test_the_code_of_a_module_is_its_files_and_those_beside_it_that_it_imports(
    changed: str, is_part: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_package" / "deep").mkdir(parents=True)
    files = {
        "own_code.py": "import torch, own_helper",
        "own_helper.py": "from own_package.deep import inner\nimport json",
        "own_package/__init__.py": "",
        "own_package/deep/inner.py": "SCALE = 1",
        "own_package/notes.txt": "1",
        "own_neighbor.py": "SCALE = 1",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    before = code_of(("own_code",))
    assert list(before) == ["the code of own_code"]
    assert code_of(("own_code", "nowhere")) == before
    (tmp_path / changed).write_text("SCALE = 2")
    assert (code_of(("own_code",)) != before) == is_part
    assert "own_code" not in sys.modules


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("saliensy", "'saliency'"),
        ("captum:Limee", "'captum:Lime'"),
        ("Lime", "'captum:Lime'"),
        ("captum:Nothing", ""),
        ("quantus:Zzz", ""),
        ("xyz", ""),
    ],
)
def test_only_near_names_are_offered(name: str, hint: str) -> None:
    said = did_you_mean(name, ["saliency", "captum:Lime", "captum:KernelShap", "quantus:Sparseness"], "recipe")
    assert said.partition("Known:")[0] == f"Unknown recipe '{name}'." + (f" Did you mean {hint}? " if hint else " ")
