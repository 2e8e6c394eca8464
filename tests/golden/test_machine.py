"""What a run asks of its machine and says of it, by hand: memory, threads, versions, lengths."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from speechxai.classifiers.base import device_of
from speechxai.errors import SpeechXAIError
from speechxai.evaluation import executors, machine, unit
from speechxai.types import Spectrogram, StftConfig


@pytest.mark.parametrize(("system", "mb"), [("linux", 3.0), ("darwin", 3 / 1024)])
def test_peak_memory_is_stated_in_kilobytes_and_on_macos_in_bytes(
    system: str, mb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = ModuleType("resource")
    made.RUSAGE_SELF, made.getrusage = 7, lambda who: SimpleNamespace(ru_maxrss=3 * 1024 if who == 7 else 0)
    monkeypatch.setitem(sys.modules, "resource", made)
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform=system))
    assert machine.peak_memory_mb() == pytest.approx(mb)


def test_versions_of_what_is_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.versions(("torchaudio-of-nobody", "pandas"))
    assert list(found) == [*machine.EXACT, "pandas"]
    assert machine.machine()["n_threads"] == torch.get_num_threads()


@pytest.mark.parametrize(
    ("usual", "fast", "setting"), [(3e-7, 6e-7, "medium"), (3e-7, 6.1e-7, "highest"), (3e-7, 1e-3, "highest")]
)
def test_fast_products_are_taken_where_they_are_as_exact(
    usual: float, fast: float, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {"highest": usual, "medium": fast}
    monkeypatch.setattr(machine, "product_error", lambda: errors[torch.get_float32_matmul_precision()])
    before = torch.get_float32_matmul_precision()
    machine.fastest_exact_products.cache_clear()
    try:
        assert machine.fastest_exact_products() == setting
    finally:
        machine.fastest_exact_products.cache_clear()
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("device", "gpus", "n"),
    [("cpu", 0, 5), ("auto", 0, 5), ("auto", 2, 2), ("cuda", 2, 2), ("cuda:1", 2, 1), ("mps", 0, 1)],
)
def test_workers_where_none_are_asked_for(device: str, gpus: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(executors, "n_cores", lambda: 5)
    assert executors.default_workers(device) == n


def test_a_gpu_is_asked_for_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default cuDNN rounds what it convolves to 10 bits; and cuBLAS does not repeat its sums."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        assert device_of("cpu").type == "cpu"
        assert torch.backends.cudnn.allow_tf32, "what runs on the processor leaves it alone"
        assert device_of("cuda").type == "cuda"
        assert not torch.backends.cudnn.allow_tf32
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.backends.cudnn.allow_tf32 = before
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def spec(n_bins: int = 129, n_frames: int = 100) -> Spectrogram:
    stft = StftConfig(n_fft=2 * n_bins - 2, win_length=2 * n_bins - 2, hop_length=64, sample_rate=8_000)
    values = torch.zeros(1, n_bins, n_frames)
    return Spectrogram(values, values, 64 * (n_frames - 1), stft)


def test_maps_that_are_tested_at_once() -> None:
    # 129 x 100 numbers of 4 bytes in N_TENSORS tensors: a megabyte holds 2^20 / (51600 N) of them, rounded down.
    at_once = 2**20 / (129 * 100 * 4 * unit.N_TENSORS)
    assert unit.stack_size(spec(), 1) == max(1, int(at_once))
    assert unit.stack_size(spec(), 100) == int(100 * at_once)
    assert unit.stack_size(spec(n_frames=100_000), 1) == 1


def test_a_recording_of_the_published_length() -> None:
    waveform = torch.arange(1.0, 8.0)
    assert unit.tiled(waveform, 4, 4.0).tolist() == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert unit.tiled(waveform, 4, 1.0).tolist() == [1, 2, 3, 4]
    assert unit.tiled(waveform, 7, 1.0).tolist() == waveform.tolist()
    assert len(unit.tiled(waveform, 3, 10.0)) == 30


def test_a_method_that_fails_costs_its_own_recipes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    bad: list[str] = []

    def explain(model: Any, spec: Any, recipes: list[Any], *rest: Any, **more: Any) -> Any:
        calls.append([str(recipe) for recipe in recipes])
        if len(calls) == 1 or any(name in bad for recipe in calls[-1] for name in bad if name in recipe):
            raise SpeechXAIError(f"{calls[-1][-1]} fails")
        return SimpleNamespace(not_applicable={})

    monkeypatch.setattr(unit, "explain_all", explain)
    settings: Any = SimpleNamespace(seed=0, options={}, evidence=None, recipes=("saliency", "union(saliency, rise)"))
    with pytest.raises(SpeechXAIError, match=r"^union\(saliency, rise\) fails$"):  # together, and nobody alone
        unit.explain_all_but_broken(None, None, None, settings)  # type: ignore[arg-type]
    assert calls == [["saliency", "union(saliency, rise)"], ["saliency"], ["rise"]]
    calls.clear()
    bad.append("rise")
    found = unit.explain_all_but_broken(None, None, None, settings)  # type: ignore[arg-type]
    assert calls[-1] == ["saliency"]
    assert found.not_applicable == {"union(saliency, rise)": "rise fails"}
