"""Cutting and stitching keep every frame in its place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import SegmentConfig, cut, starts, stitch


@given(n_frames=st.integers(1, 300), length=st.integers(1, 80), data=st.data())
def test_stitch_undoes_cut(n_frames: int, length: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, length))
    pad = data.draw(st.booleans())
    values = torch.randn(2, 3, n_frames, dtype=torch.float64)
    assert torch.allclose(stitch(cut(values, length, hop, pad=pad), n_frames, hop), values)


@given(n_frames=st.integers(1, 500), length=st.integers(1, 80), data=st.data())
def test_every_frame_is_heard_and_none_twice_more_than_needed(n_frames: int, length: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, length))
    heard = {t for start in starts(n_frames, length, hop) for t in range(start, min(start + length, n_frames))}
    assert heard == set(range(n_frames))
    assert all(start + length <= n_frames for start in starts(n_frames, length, hop)) or n_frames < length


def test_overlaps_are_averaged() -> None:
    # Frames 0..5, segments of 4 with hop 2: frames 2 and 3 are in both. First says 1, second says 3: the overlap is 2.
    segments = torch.stack([torch.full((1, 1, 4), 1.0), torch.full((1, 1, 4), 3.0)], dim=1)
    assert stitch(segments, 6, 2).flatten().tolist() == [1, 1, 2, 2, 3, 3]


def test_padding_is_silence_and_is_dropped() -> None:
    padded = cut(torch.ones(1, 2, 3), 5, 2, pad=True)
    assert padded.shape == (1, 1, 2, 5)
    assert padded[..., 3:].sum() == 0
    assert stitch(padded, 3, 2).shape == (1, 2, 3)


def test_lengths_in_seconds_become_frames() -> None:
    assert SegmentConfig(5.0, 2.5).frames(86.02) == (430, 215)


@pytest.mark.parametrize("settings", [{"hop_s": 6.0}, {"hop_s": 0.0}, {"short": "tile"}])
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SpeechXAIError, match="SegmentConfig"):
        SegmentConfig(**settings)  # type: ignore[arg-type]
