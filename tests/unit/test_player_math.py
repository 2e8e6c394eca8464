"""The player's JavaScript: its pure functions under node, its color tables against matplotlib's, its container."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app import player

HERE = Path(__file__).resolve().parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed: the player's JavaScript cannot be tested")


@needs_node
def test_pure_functions() -> None:
    done = subprocess.run(
        [str(NODE), "--test", str(HERE / "test_player_math.test.mjs")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout or "fail 0" in done.stdout


@needs_node
def test_bundle_is_one_module_without_imports(tmp_path: Path) -> None:
    bundle = tmp_path / "player.mjs"
    bundle.write_text(player.script(), encoding="utf-8")
    done = subprocess.run([str(NODE), "--check", str(bundle)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = bundle.read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if line.startswith("import ")]
    assert text.count("export ") == 1, "only the component itself is exported"


@needs_node
@pytest.mark.parametrize("name", ["viridis", "magma", "cividis"])
def test_color_tables_are_the_published_ones(name: str) -> None:
    import matplotlib

    code = (
        f"import {{ colorTable }} from '{player.FOLDER / 'colors.js'}';"
        f" console.log(JSON.stringify(Array.from(colorTable('{name}'))))"
    )
    done = subprocess.run([str(NODE), "--input-type=module", "-e", code], capture_output=True, text=True, check=True)
    ours = np.array(json.loads(done.stdout)).reshape(256, 3)
    theirs = 255 * matplotlib.colormaps[name](np.arange(256))[:, :3]
    # 33 places of a table of 256: the worst is a kink of cividis, under 3 % of the range
    assert np.abs(ours - theirs).max() <= 7


def view(**changes: object) -> player.View:
    generator = np.random.default_rng(0)
    n_bins, n_frames = 5, 7
    settings: dict[str, object] = {
        "title": "voice",
        "recording": "abc",
        "magnitude": generator.random((n_bins, n_frames)),
        "frame_rate_hz": 100.0,
        "sample_rate_hz": 16_000,
        "maps": [player.Map("m", "Map", generator.random((n_bins, n_frames)))],
        "sounds": [player.Voice("original", "Original", generator.uniform(-1, 1, 960))],
        "voicing": np.array([0, 1, 2, 2, 2, 0, 0]),
        "f0_hz": np.array([np.nan, np.nan, 100, 101, 102, np.nan, np.nan]),
        "summary": "words",
    }
    return player.View(**{**settings, **changes})  # type: ignore[arg-type]


def read(data: bytes) -> tuple[dict[str, object], bytes]:
    assert data[:4] == b"SXP1"
    length = struct.unpack("<I", data[4:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_container_holds_the_codes() -> None:
    shown = view()
    header, blobs = read(player.pack(shown))
    offset, size = header["maps"][0]["blob"]  # type: ignore[index]
    codes = np.frombuffer(blobs[offset : offset + size], np.uint8).reshape(7, 5).T
    np.testing.assert_allclose((codes / 255) ** 2, shown.maps[0].values, atol=1 / 255)
    offset, size = header["sounds"][0]["blob"]  # type: ignore[index]
    samples = np.frombuffer(blobs[offset : offset + size], "<i2") / 32767
    np.testing.assert_allclose(samples, shown.sounds[0].samples, atol=1 / 32767)
    assert header["duration_s"] == pytest.approx(0.06)
    assert header["bin_hz"] == 2000


def test_every_level_weighs_its_log_magnitude() -> None:
    shown = view()
    header, _ = read(player.pack(shown))
    # Code 255 is the loudest bin, code 0 nothing, code 187 is 20 dB down: a tenth of the magnitude.
    top, energy = float(shown.magnitude.max()), header["energy"]
    assert energy[255] == pytest.approx(np.log1p(top), abs=1e-6)  # type: ignore[index]
    assert energy[187] == pytest.approx(np.log1p(top / 10), rel=1e-2)  # type: ignore[index]
    assert energy[0] == 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("rate", "last"),
    [(16_000, ("4k–8k", 4000, 8001)), (8_000, ("2k–4k", 2000, 4001)), (11_025, ("4k–5.51k", 4000, 5513.5))],
)
def test_the_last_band_ends_where_the_recording_does(rate: int, last: tuple[str, float, float]) -> None:
    header, _ = read(player.pack(view(sample_rate_hz=rate)))
    band = header["bands"][-1]  # type: ignore[index]
    assert (band["label"], band["low"], band["high"]) == last


def test_levels_are_decibels_under_the_loudest_bin() -> None:
    codes = player.level_codes(np.array([[1.0, 0.1, 0.0]]))
    # 0 dB is 255; -20 dB is 255 * (1 - 20 / 75) = 187; silence is 0
    assert codes.tolist() == [[255, 187, 0]]
    assert player.level_codes(np.zeros((2, 2))).max() == 0


def test_version_changes_with_every_part() -> None:
    generator = np.random.default_rng(1)
    base, _ = read(player.pack(view()))
    same, _ = read(player.pack(view()))
    other_map, _ = read(player.pack(view(maps=[player.Map("m", "Map", generator.random((5, 7)))])))
    other_words, _ = read(player.pack(view(summary="other")))
    assert base["version"] == same["version"]
    assert len({base["version"], other_map["version"], other_words["version"]}) == 3


def test_long_recordings_are_pooled_by_maxima() -> None:
    n_frames = 2 * player.MAX_FRAMES + 1
    values = np.zeros((3, n_frames))
    values[1, -1] = 1.0
    header, blobs = read(
        player.pack(
            view(
                magnitude=np.ones((3, n_frames)),
                maps=[player.Map("m", "Map", values)],
                voicing=np.zeros(n_frames),
                f0_hz=np.full(n_frames, np.nan),
            )
        )
    )
    assert header["n_frames"] == -(-n_frames // 3)
    assert header["frame_rate_hz"] == pytest.approx(100 / 3)
    offset, size = header["maps"][0]["blob"]  # type: ignore[index]
    assert np.frombuffer(blobs[offset : offset + size], np.uint8).reshape(-1, 3)[-1].tolist() == [0, 255, 0]
