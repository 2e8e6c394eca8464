"""What is drawn where in the pictures of a report, by hand: the figure is read instead of its PNG."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from speechxai.errors import SpeechXAIError
from speechxai.report import plots
from speechxai.report.plots import CONTROL_COLOR, METHOD_COLOR, Style
from speechxai.stats import share_interval
from speechxai.types import StftConfig

STFT = StftConfig(n_fft=8, win_length=8, hop_length=4, sample_rate=8_000)  # 5 bins of 1 kHz, 2000 frames a second
MAP = np.arange(20.0).reshape(5, 4) / 19


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures in place of their files."""
    found: list[Figure] = []
    monkeypatch.setattr(plots, "_png", lambda figure, kind="png": found.append(figure) or b"png")
    return found


def images(axes: Any) -> list[Any]:
    return [image.get_array() for image in axes.get_images()]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_map_alone_is_dark_to_bright_or_red_against_blue(drawn: list[Figure], sign: int) -> None:
    assert plots.map_picture(sign * MAP, STFT, Style(title="t", f_max_hz=3_000)) == b"png"
    axes, bar = drawn[0].axes
    (image,) = axes.get_images()
    np.testing.assert_allclose(image.get_array(), sign * MAP)
    assert (image.cmap.name, image.get_clim()) == (("cividis", (0, 1)) if sign > 0 else ("RdBu_r", (-1, 1)))
    assert image.get_extent() == pytest.approx((-0.00025, 0.00175, -500, 4_500))
    assert (axes.get_ylim(), axes.get_xlim()[0]) == ((0, 3_000), 0)
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == ("t", "time (s)", "frequency (Hz)")
    assert bar.get_ylim() == pytest.approx(image.get_clim())
    plots.map_picture(0 * MAP, STFT)
    assert drawn[1].axes[0].get_images()[0].get_clim() == (0, 1)
    assert drawn[1].axes[0].get_ylim() == (0, 4_000)


def test_wide_pictures_show_maxima_and_drop_a_rest() -> None:
    values = np.array([[1.0, 5, 2, 0, 9, 3, 7]])
    np.testing.assert_array_equal(plots._shrink(values, 3, "max"), [[5, 9]])
    np.testing.assert_allclose(plots._shrink(values, 3, "mean"), [[8 / 3, 4]])
    assert plots._shrink(values, 7, "max") is values
    assert plots._shrink(values, 6, "max").shape == (1, 3)


def test_a_grid_has_a_panel_a_map_and_labels_at_its_edges(drawn: list[Figure]) -> None:
    maps = {name: MAP * k / 3 for k, name in enumerate(("a", "b", "c"), 1)}
    plots.maps_grid(MAP, maps, STFT)
    figure = drawn[0]
    assert tuple(figure.get_size_inches()) == pytest.approx((9.2, 4.2))
    panels = figure.axes
    assert [panel.get_visible() for panel in panels] == [True, True, True, False]
    assert [panel.get_title(loc="left") for panel in panels[:3]] == ["a", "b", "c"]
    assert [bool(panel.get_ylabel()) for panel in panels[:3]] == [True, False, True]
    assert [bool(panel.get_xlabel()) for panel in panels[:3]] == [False, True, True]
    # Opacity is .9 of the root of the evidence.
    opacity = [images(panel)[1][..., 3].max() for panel in panels[:3]]
    np.testing.assert_allclose(opacity, 0.9 * np.sqrt(np.array([1, 2, 3]) / 3))
    plots.maps_grid(MAP, {"a": MAP}, STFT, Style(title="one"))
    assert len(drawn[1].axes) == 1
    plots.maps_grid(MAP, maps, STFT, Style(title="all"), n_columns=3)
    assert [(len(f.axes), f.get_suptitle()) for f in drawn[1:]] == [(1, ""), (3, "all")]


@pytest.mark.parametrize(("higher", "best"), [(True, 0.6), (False, 0.3)])
def test_score_bars(drawn: list[Figure], higher: bool, best: float) -> None:
    means, ends = [0.7, 0.3, 0.6], [(0.5, 0.8), (0.2, 0.4), (0.5, 0.65)]
    plots.score_bars(["m", "c", "d"], means, ends, [False, True, True], higher)
    (axes,) = drawn[0].axes
    line, *parts = axes.get_lines()
    assert list(line.get_xdata()) == [best, best]
    for row, (mean, interval, span, dot) in enumerate(zip(means, ends, parts[::2], parts[1::2], strict=True)):
        assert (tuple(span.get_xdata()), tuple(span.get_ydata())) == (interval, (row, row))
        assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([mean], [row])
        assert (dot.get_marker(), to_hex(dot.get_color())) == (("s", CONTROL_COLOR) if row else ("o", METHOD_COLOR))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["m", "c", "d"]
    assert axes.get_ylim() == (2.6, -0.6)  # the first on top
    assert drawn[0].get_size_inches()[1] == pytest.approx(0.8 + 0.25 * 3)
    plots.score_bars(["m"], [0.5], [(0.4, 0.6)], [False])
    assert len(drawn[1].axes[0].get_lines()) == 2


def test_an_agreement_matrix_is_written_out(drawn: list[Figure]) -> None:
    matrix = np.array([[1.0, 0.56, np.nan], [0.55, 1.0, -0.25], [0.0, 0.1, 1.0]])
    plots.agreement_heatmap(["a", "b", "c"], matrix)
    (axes,) = drawn[0].axes
    texts = {tuple(map(int, text.get_position())): text for text in axes.texts}
    assert texts[1, 0].get_text() == "0.56"  # (column, row)
    assert texts[0, 1].get_text() == "0.55"
    assert texts[2, 0].get_text() == "–"
    assert [texts[place].get_color() for place in ((1, 0), (0, 1), (2, 0))] == ["black", "white", "white"]
    assert axes.get_images()[0].get_clim() == (-0.25, 1.0)
    plots.agreement_heatmap(["a"], np.array([[0.5]]))
    assert drawn[1].axes[0].get_images()[0].get_clim() == (0.0, 1.0)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", "c"]
    assert tuple(drawn[0].get_size_inches()) == pytest.approx((3.44, 2.84))


def test_a_calibration_curve_has_bins_of_equal_counts(drawn: list[Figure]) -> None:
    # In order: .1 .2 .3 | .6 .8, labels 0 1 0 | 1 1.
    plots.calibration_curve([0.8, 0.1, 0.3, 0.2, 0.6], [1, 0, 0, 1, 1], 2, of="PD", share="share")
    (axes,) = drawn[0].axes
    diagonal, *parts = axes.get_lines()
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    spans, dots = parts[::2], parts[1::2]
    assert [(float(dot.get_xdata()[0]), float(dot.get_ydata()[0])) for dot in dots] == [
        (pytest.approx(0.2), pytest.approx(1 / 3)),
        (pytest.approx(0.7), 1.0),
    ]
    assert [tuple(span.get_ydata()) for span in spans] == [share_interval(1, 3), share_interval(2, 2)]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted probability of PD", "share")
    plots.calibration_curve([0.5], [1], of="x", share="y")
    assert len(drawn[1].axes[0].get_lines()) == 3


def test_an_inspected_recording(drawn: list[Figure]) -> None:
    import torch

    spec = SimpleNamespace(magnitude=torch.from_numpy(MAP)[None], stft=STFT)
    shown: Any = SimpleNamespace(
        heard=SimpleNamespace(spec=spec),
        map=SimpleNamespace(recipe="rise", mask=MAP**2, p=0.1236),
        class_name="PD",
        explains_nothing=False,
    )
    plots.plot_map(shown)
    (axes,) = drawn[0].axes
    assert axes.get_title(loc="left") == "rise: evidence for PD, probability 0.124"
    np.testing.assert_allclose(images(axes)[1][..., 3], 0.9 * MAP)
    plots.plot_map(shown, Style(title="mine", dynamic_db=20))
    assert drawn[1].axes[0].get_title(loc="left") == "mine"
    assert drawn[1].axes[0].get_images()[0].get_clim() == (-20, 0)
    # A map that explains nothing is drawn in stripes: a third of it is seen.
    shown.explains_nothing = True
    plots.plot_map(shown)
    path: Any = drawn[2].axes[0].get_images()[1].get_clip_path()
    path = path.get_fully_transformed_path()
    seen = [path.contains_point(drawn[2].axes[0].transAxes.transform((x, 0.5))) for x in np.linspace(0.01, 0.99, 400)]
    assert 0.25 < np.mean(seen) < 0.42


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.map_picture(MAP[:4], STFT), r"The 'map' must have shape \(F, T\) with F = 5\. Got \(4, 4\)"),
        (lambda: plots.map_picture(MAP[0], STFT), "Got"),
        (lambda: plots.evidence_overlay(MAP[:, :0], None, STFT), "The 'magnitude' must have shape"),
        (lambda: plots.evidence_overlay(MAP, MAP[:, :3], STFT), r"shape \(5, 3\), the spectrogram \(5, 4\)"),
        (lambda: plots.maps_grid(MAP, {}, STFT), "at least one map"),
        (lambda: plots.maps_grid(MAP, {"rise": MAP[:3]}, STFT), "The 'rise' must have shape"),
        (lambda: plots.agreement_heatmap(["a"], np.ones((2, 2))), r"of 1 methods needs shape \(1, 1\)"),
        (lambda: plots.calibration_curve([0.5], [1, 0], of="x", share="y"), "Got 2 and 1"),
        (lambda: plots.calibration_curve([], [], of="x", share="y"), "Got 0 and 0"),
    ],
)
def test_shapes_that_do_not_fit_are_named(call: Any, words: str) -> None:
    with pytest.raises(SpeechXAIError, match=words):
        call()


def test_the_legend_names_the_class_and_stripes(drawn: list[Figure]) -> None:
    magnitude = np.ones((5, 6))
    for against, hatched, told in (
        (None, False, ["evidence for Parkinson's disease"]),
        (
            np.zeros((5, 6)),
            True,
            ["evidence for Parkinson's disease (in stripes: this map explains nothing)", "evidence against it"],
        ),
    ):
        style = plots.Style(legend="Parkinson's disease", hatched=hatched)
        plots.evidence_overlay(magnitude, np.zeros((5, 6)), STFT, style, against)
        assert [text.get_text() for text in drawn[-1].legends[0].get_texts()] == told


@pytest.mark.parametrize("file_format", plots.FILE_FORMATS)
def test_the_same_picture_is_the_same_bytes(file_format: plots.FileFormat) -> None:
    first, second = (plots.maps_grid(MAP, {"a": MAP, "b": MAP}, STFT).in_format(file_format) for _ in range(2))
    assert first == second
