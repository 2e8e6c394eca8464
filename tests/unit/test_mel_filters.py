"""The mel filters: torchaudio's, with which the embedded models were trained, without torchaudio."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from speechxai.classifiers.bundle import bundle_names, load_bundle
from speechxai.classifiers.cnn import LogMel, mel_filters
from speechxai.signal.stft import spectrogram
from speechxai.testing import noise_recording
from speechxai.types import StftConfig


def of_torchaudio(stft: StftConfig, n_mels: int, f_min_hz: float, f_max_hz: float) -> torch.Tensor:
    # No importorskip: a torchaudio that does not fit raises more than ImportError.
    try:
        from torchaudio.functional import melscale_fbanks
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        pytest.skip(f"torchaudio does not import here: {error}")
    return melscale_fbanks(stft.n_bins, f_min_hz, f_max_hz, n_mels, stft.sample_rate)


def test_two_bands_by_hand() -> None:
    # 8 bins of 1000 Hz up to 8000 Hz. HTK's mel of f: 2595 log10(1 + f / 700); of 0 Hz it is 0, of 8000 Hz 2840.02.
    # Thirds:
    # 946.67 mel is 700 (10^(946.67 / 2595) - 1) = 921.46 Hz and 1893.35 mel is 3055.89 Hz. Band 0 has its corners at 0,
    # 921.46 and 3055.89 Hz, band 1 at 921.46, 3055.89 and 8000 Hz.
    stft = StftConfig(n_fft=16, win_length=16, hop_length=8)
    rise, fall = 3055.89 - 921.46, 8000 - 3055.89
    band_0 = [0.0, (3055.89 - 1000) / rise, (3055.89 - 2000) / rise, (3055.89 - 3000) / rise, *[0.0] * 5]
    band_1 = [0.0, *[(k * 1000 - 921.46) / rise for k in (1, 2, 3)], *[(8000 - k * 1000) / fall for k in range(4, 9)]]
    expected = torch.tensor([band_0, band_1]).T
    assert torch.allclose(mel_filters(stft, 2, 0.0, 8000.0), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("stft", "n_mels", "f_min_hz", "f_max_hz"),
    [
        (StftConfig(), 64, 50.0, 8000.0),
        (StftConfig(), 48, 50.0, 4000.0),
        (StftConfig(n_fft=512, win_length=400, hop_length=160), 40, 0.0, 7600.0),
        (StftConfig(n_fft=256, win_length=200, hop_length=100, sample_rate=8_000), 12, 50.0, 4000.0),
    ],
)
def test_the_filters_are_those_of_torchaudio(stft: StftConfig, n_mels: int, f_min_hz: float, f_max_hz: float) -> None:
    found, theirs = mel_filters(stft, n_mels, f_min_hz, f_max_hz), of_torchaudio(stft, n_mels, f_min_hz, f_max_hz)
    assert found.dtype == theirs.dtype
    assert found.is_contiguous()
    # Theirs are computed in float32: corners at 8000 Hz are known to 0.001 Hz, of a band of some 50 Hz.
    assert torch.allclose(found, theirs, rtol=0, atol=2e-5)


def test_they_need_no_folder_that_can_be_written() -> None:
    # As in a read-only container whose user has no home: of numba's places for a cache only a named one is left.
    code = (
        "from numba.core.caching import CacheImpl as c; c._locator_classes = [p for p in c._locator_classes if"
        " 'UserProvided' in p.__name__]; assert c._locator_classes; from speechxai.classifiers.cnn import mel_filters;"
        " from speechxai.types import StftConfig; print(*mel_filters(StftConfig(), 64, 50.0, 8000.0).shape)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.split() == ["513", "64"], done.stderr


@pytest.mark.parametrize("name", bundle_names())
def test_embedded_models_say_what_they_said_with_the_filters_of_torchaudio(name: str) -> None:
    bundle = load_bundle(name)
    recordings = [noise_recording(f"n{seed}", 3.0, seed, 16_000) for seed in range(3)]
    spec = spectrogram(torch.stack([recording.waveform for recording in recordings]), bundle.config.stft_config())
    for fold in (None, *range(bundle.n_folds)):
        model = bundle.classifier(fold)
        front_end = model.backbone.front_end
        assert isinstance(front_end, LogMel)
        before = front_end.filters
        options = bundle.config.options
        with torch.no_grad():
            found = model(spec.magnitude, spec.phase).softmax(-1)
            try:
                front_end.filters = of_torchaudio(
                    front_end.stft, options.get("n_mels", 64), 50.0, options.get("f_max_hz", 8000.0)
                )
                theirs = model(spec.magnitude, spec.phase).softmax(-1)
            finally:
                front_end.filters = before
        assert torch.allclose(found, theirs, rtol=0, atol=1e-6)
