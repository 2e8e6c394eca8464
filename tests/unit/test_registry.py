"""Entries are refused at import for what they do not state, and wrong names are answered with the right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from speechxai.errors import SpeechXAIError
from speechxai.registry import Registry
from speechxai.types import Attribution, Recording


def make() -> Registry[Callable[..., Any]]:
    return Registry("thing", required=("cites",))


def documented() -> int:
    """Say one."""
    return 1


def test_missing_fact_missing_docstring_and_duplicates_are_refused() -> None:
    registry = make()
    with pytest.raises(SpeechXAIError, match="does not state cites"):
        registry.register()(documented)
    with pytest.raises(SpeechXAIError, match="no docstring"):
        registry.register(cites="own")(lambda: 1)
    registry.register(cites="own")(documented)
    with pytest.raises(SpeechXAIError, match="registered twice"):
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
    with pytest.raises(SpeechXAIError, match="The thing 'mine' is registered twice: choose another name"):
        registry.register(cites="own")(define(old, "plugin", second))  # twice in one file
    with pytest.raises(SpeechXAIError, match="registered twice"):
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
    with pytest.raises(SpeechXAIError, match="saliency: the map has NaN"):
        Attribution(torch.full((1, 2, 3), float("nan")), torch.zeros(1, dtype=torch.long), "saliency")
    with pytest.raises(SpeechXAIError, match="needs values"):
        Attribution(torch.ones(2, 2, 3), torch.zeros(1, dtype=torch.long), "saliency")
