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
