"""Pictures as PNG: evidence over spectrograms, maps, scores with intervals, agreement, calibration.

Object-oriented matplotlib only, so that pictures can be drawn from several threads; perceptually uniform, color-blind
safe.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from speechxai.errors import SpeechXAIError
from speechxai.stats import share_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from speechxai.types import Array, Spectrogram, StftConfig

EVIDENCE_COLOR = "#e8590c"
AGAINST_COLOR = "#1864ab"
METHOD_COLOR = "#2b6cb0"
CONTROL_COLOR = "#868e96"


FileFormat = Literal["png", "svg", "pdf"]

FILE_FORMATS: tuple[FileFormat, ...] = ("png", "svg", "pdf")
"""Formats that a picture can be written in."""

VECTORS: tuple[FileFormat, ...] = ("svg", "pdf")
"""Those in which letters, axes and lines stay sharp; a spectrogram stays an image in them."""


@dataclass(frozen=True)
class Style:
    """How a picture is drawn.

    Args:
        width_in, height_in: size, inches.
        dpi: pixels per inch; 100 draws at screen size.
        title: text over the picture; None for none.
        f_max_hz: highest frequency shown; None shows all.
        dynamic_db: range of levels shown below the loudest, dB.
        hatched: whether evidence is drawn in stripes, as of a map that explains nothing.
        legend: what the evidence speaks for, for a legend under the picture; "" for none.
        file_format: of the file.
    """

    width_in: float = 8.0
    height_in: float = 2.6
    dpi: int = 100
    title: str | None = None
    f_max_hz: float | None = None
    dynamic_db: float = 70.0
    hatched: bool = False
    legend: str = ""
    file_format: FileFormat = "png"


class Picture(bytes):
    """A PNG file as bytes, which a notebook shows as a picture; it can be written in other formats too."""

    _figure: Figure | None = None
    _others: Mapping[str, bytes] = MappingProxyType({})

    @classmethod
    def kept(cls, png: bytes, others: Mapping[str, bytes]) -> Picture:
        """A picture that was drawn and written before.

        Args:
            png: its PNG file.
            others: the same picture by format.
        """
        picture = cls(png)
        picture._others = others
        return picture

    def __repr__(self) -> str:
        return f"<PNG of {len(self):,} bytes>"

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Picture, (bytes(self),)  # kept and sent on as the file alone

    def in_format(self, file_format: FileFormat) -> bytes:
        """Write the picture as "png", "svg" or "pdf". One that is a file alone, not drawn here, is laid into the page
        as it is."""
        if file_format == "png":
            return bytes(self)
        if file_format in self._others:
            return self._others[file_format]
        return bytes(_png(self._figure or _pasted(self), file_format))


def _pasted(png: bytes) -> Figure:
    """A figure of the size of a PNG file that shows it, point for point."""
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(png), format="png")
    figure = Figure(figsize=(pixels.shape[1] / 100, pixels.shape[0] / 100), dpi=100)
    FigureCanvasAgg(figure)
    figure.figimage(pixels)
    return figure


def _figure(style: Style, n_rows: int = 1, n_columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(style.width_in, style.height_in), dpi=style.dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    if style.title and n_rows * n_columns > 1:
        figure.suptitle(style.title, fontsize=10)
    elif style.title:
        axes[0, 0].set_title(style.title, fontsize=10, loc="left")
    return figure, list(axes.flat)


def _png(figure: Figure, file_format: FileFormat = "png") -> Picture:
    buffer = io.BytesIO()
    # No date and no library version in the file: the same picture is the same bytes.
    nothing: dict[FileFormat, dict[str, None]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    with rc_context({"svg.hashsalt": "speechxai"}):  # names of parts of an SVG are drawn anew without it
        figure.savefig(buffer, format=file_format, metadata=nothing[file_format])
    figure.set_layout_engine("none")  # every part has its place now, in other formats too
    picture = Picture(buffer.getvalue())
    picture._figure = figure
    return picture


def _shrink(values: Array, n_columns: int, reduce: Literal["mean", "max"]) -> Array:
    """Bring (F, T) to at most `n_columns` columns, so that drawing costs what the screen shows."""
    step = -(-values.shape[1] // n_columns)
    if step <= 1:
        return values
    short = values[:, : values.shape[1] // step * step].reshape(values.shape[0], -1, step)
    return short.max(axis=2) if reduce == "max" else short.mean(axis=2)  # type: ignore[no-any-return]


def _level_db(magnitude: Array, stft: StftConfig, dynamic_db: float) -> Array:
    linear = np.expm1(magnitude) if stft.scale == "log1p" else magnitude
    level = 20 * np.log10(np.maximum(linear, 1e-10))
    top = float(level.max())
    return np.clip(level - top, -dynamic_db, 0.0)


def _extent(shape: tuple[int, ...], stft: StftConfig) -> tuple[float, float, float, float]:
    half_frame, half_bin = 0.5 / stft.frame_rate_hz, stft.bin_hz / 2
    return (-half_frame, shape[1] / stft.frame_rate_hz - half_frame, -half_bin, shape[0] * stft.bin_hz - half_bin)


def _check(values: Array, stft: StftConfig, name: str) -> Array:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != stft.n_bins or values.shape[1] < 1:
        raise SpeechXAIError(f"The '{name}' must have shape (F, T) with F = {stft.n_bins}. Got {values.shape} instead.")
    return values


def _axes_of_sound(axes: Axes, stft: StftConfig, f_max_hz: float | None) -> None:
    axes.set_xlabel("time (s)", fontsize=9)
    axes.set_ylabel("frequency (Hz)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_ylim(0, f_max_hz or stft.sample_rate / 2)
    axes.set_xlim(left=0)


def _stripes(style: Style) -> Path:
    """Slanted stripes over a whole picture, in parts of its axes: a third of the area."""
    slant, step = style.height_in / style.width_in, 0.12 / style.width_in
    lefts = np.arange(-slant, 1.0, step)
    return Path.make_compound_path(
        *(Path([(x, 0), (x + step / 3, 0), (x + step / 3 + slant, 1), (x + slant, 1), (x, 0)]) for x in lefts)
    )


def _draw_evidence(axes: Axes, evidence: Array, stft: StftConfig, style: Style, hue: str) -> None:
    strength = _shrink(evidence, int(style.width_in * style.dpi), "max")
    color = np.zeros((*strength.shape, 4))
    color[..., :3] = [int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    color[..., 3] = np.sqrt(np.clip(strength, 0, 1)) * 0.9  # square root: weak evidence stays visible
    place = _extent(evidence.shape, stft)
    image = axes.imshow(color, interpolation="nearest", origin="lower", aspect="auto", extent=place)
    if style.hatched:
        image.set_clip_path(_stripes(style), transform=axes.transAxes)


def _draw_overlay(axes: Axes, magnitude: Array, evidence: Array | None, stft: StftConfig, style: Style) -> None:
    n_pixels = int(style.width_in * style.dpi)
    extent = _extent(magnitude.shape, stft)
    level = _level_db(_shrink(magnitude, n_pixels, "max"), stft, style.dynamic_db)
    settings: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent}
    axes.imshow(level, cmap="Greys", vmin=-style.dynamic_db, vmax=0, interpolation="nearest", **settings)
    if evidence is not None:
        _draw_evidence(axes, evidence, stft, style, EVIDENCE_COLOR)
    _axes_of_sound(axes, stft, style.f_max_hz)


def evidence_overlay(
    magnitude: Array,
    evidence: Array | None,
    stft: StftConfig,
    style: Style | None = None,
    against: Array | None = None,
) -> Picture:
    """Spectrogram in gray with evidence in orange over it, and evidence against in blue; opacity grows with the root of
    the evidence.

    Args:
        magnitude: (F, T) >= 0 in `stft.scale`.
        evidence: (F, T) in [0, 1]; None draws the spectrogram alone.
        stft: settings of the magnitude; gives the axes in Hz and s.
        style: size and title.
        against: (F, T) on the scale of the evidence; None draws none.

    Raises:
        SpeechXAIError: shapes that do not fit.
    """
    style = style or Style()
    magnitude = _check(magnitude, stft, "magnitude")
    if evidence is not None and np.asarray(evidence).shape != magnitude.shape:
        raise SpeechXAIError(f"The evidence has shape {np.asarray(evidence).shape}, the spectrogram {magnitude.shape}.")
    figure, (axes,) = _figure(style)
    _draw_overlay(axes, magnitude, None if evidence is None else np.asarray(evidence, dtype=np.float64), stft, style)
    if against is not None:
        _draw_evidence(axes, np.asarray(against, dtype=np.float64), stft, style, AGAINST_COLOR)
    if style.legend:
        striped = " (in stripes: this map explains nothing)" if style.hatched else ""
        handles = [Patch(color=EVIDENCE_COLOR, label=f"evidence for {style.legend}{striped}")]
        handles += [] if against is None else [Patch(color=AGAINST_COLOR, label="evidence against it")]
        figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    return _png(figure, style.file_format)


class _Heard(Protocol):
    @property
    def spec(self) -> Spectrogram: ...


class _Map(Protocol):
    @property
    def recipe(self) -> str: ...
    @property
    def mask(self) -> Array: ...
    @property
    def p(self) -> float: ...


class Inspected(Protocol):
    """What `plot_map` draws: an `inspection.Inspection`, or anything with its recording, map and class."""

    @property
    def heard(self) -> _Heard:
        """The recording: `spec` (1, F, T)."""

    @property
    def map(self) -> _Map:
        """Its map: `recipe`, `mask` (F, T) in [0, 1], and `p`, the probability of the explained class."""

    @property
    def class_name(self) -> str:
        """The explained class as people read it."""

    @property
    def explains_nothing(self) -> bool:
        """Whether the map explains nothing, so that its evidence is drawn in stripes."""


def plot_map(inspection: Inspected, style: Style | None = None) -> Picture:
    """Draw an inspected recording: its spectrogram in gray, and in orange what speaks for the explained class.

    Args:
        inspection: what `inspect` gives.
        style: size and title; by default recipe, class and its probability are the title.
    """
    map_, spec = inspection.map, inspection.heard.spec
    title = f"{map_.recipe}: evidence for {inspection.class_name}, probability {map_.p:.3f}"
    style = replace(style or Style(title=title), hatched=inspection.explains_nothing)
    return evidence_overlay(spec.magnitude[0].cpu().numpy(), map_.mask, spec.stft, style)


def map_picture(values: Array, stft: StftConfig, style: Style | None = None) -> Picture:
    """One map (F, T) with its color bar: red against blue where it has negative values, else dark to bright."""
    style = style or Style()
    values = _check(values, stft, "map")
    figure, (axes,) = _figure(style)
    _draw_map(axes, values, stft, style, figure)
    return _png(figure)


def _draw_map(axes: Axes, values: Array, stft: StftConfig, style: Style, figure: Figure | None) -> None:
    signed = bool((values < 0).any())
    top = float(np.abs(values).max()) or 1.0
    limits: dict[str, Any] = (
        {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if signed else {"cmap": "cividis", "vmin": 0, "vmax": top}
    )
    n_pixels = int(style.width_in * style.dpi)
    shown = values if signed else _shrink(values, n_pixels, "max")
    image = axes.imshow(
        shown, origin="lower", aspect="auto", extent=_extent(values.shape, stft), interpolation="nearest", **limits
    )
    _axes_of_sound(axes, stft, style.f_max_hz)
    if figure is not None:
        figure.colorbar(image, ax=axes, pad=0.01).ax.tick_params(labelsize=7)


def maps_grid(
    magnitude: Array, maps: Mapping[str, Array], stft: StftConfig, style: Style | None = None, n_columns: int = 2
) -> Picture:
    """Several evidence maps (F, T) in [0, 1] of one recording, each over the spectrogram, the names as titles."""
    if not maps:
        raise SpeechXAIError("A grid of maps needs at least one map.")
    magnitude = _check(magnitude, stft, "magnitude")
    n_columns = min(n_columns, len(maps))
    n_rows = -(-len(maps) // n_columns)
    style = style or Style(width_in=4.6 * n_columns, height_in=2.1 * n_rows)
    figure, axes = _figure(style, n_rows, n_columns)
    small = Style(
        width_in=style.width_in / n_columns, dpi=style.dpi, f_max_hz=style.f_max_hz, dynamic_db=style.dynamic_db
    )
    for panel, (name, values) in zip(axes, maps.items(), strict=False):
        _draw_overlay(panel, magnitude, _check(values, stft, name), stft, small)
        panel.set_title(name, fontsize=9, loc="left")
    for index, panel in enumerate(axes):
        panel.set_visible(index < len(maps))
        if index % n_columns:
            panel.set_ylabel("")
        if index + n_columns < len(maps):
            panel.set_xlabel("")
    return _png(figure)


def dial_bars(
    names: Sequence[str],
    means: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    floors: Sequence[float],
    squares: Sequence[bool],
    style: Style | None = None,
) -> Picture:
    """Effects of dials as dots with their intervals, one line a dial, on what random changes do as a gray band.

    Args:
        names, means, intervals: of the dials, from top to bottom.
        floors: size of what random changes do; NaN where it is not known.
        squares: which are dials of the recording.
        style: size; by default as high as the names need.
    """
    style = style or Style(width_in=9.6, height_in=0.8 + 0.25 * max(len(names), 1))
    figure, (axes,) = _figure(style)
    axes.axvline(0, color=CONTROL_COLOR, linewidth=0.8)
    for row, (mean, (low, high), floor, square) in enumerate(zip(means, intervals, floors, squares, strict=True)):
        color = CONTROL_COLOR if square else METHOD_COLOR
        if floor == floor:
            axes.barh([row], [2 * floor], left=[-floor], height=0.8, color=CONTROL_COLOR, alpha=0.15, linewidth=0)
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="round", alpha=0.5)
        axes.plot([mean], [row], marker="s" if square else "o", color=color, markersize=6)
    _lines_named(axes, names)
    return _png(figure)


def unit_dots(
    panels: Sequence[tuple[str, Sequence[tuple[str, float, float, float]]]], style: Style | None = None
) -> Picture:
    """Evidence of units over their floors as dots with intervals, a panel each map, on a logarithmic axis from 0.01 to
    100 at most; 1 is dashed: what duration or loudness gives.

    Args:
        panels: of each map its name and its units, from top to bottom: name, mean, low and high, above 0 where known.
        style: size; by default as high as the units need.
    """
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    longest = max(len(units) for _, units in panels)
    figure, axes = _figure(style or Style(width_in=9.6, height_in=n_rows * (0.8 + 0.22 * longest)), n_rows, n_columns)
    for one in axes[len(panels) :]:
        one.set_axis_off()
    for one, (title, units) in zip(axes, panels, strict=False):
        for row, (_, mean, low, high) in enumerate(units):
            if low == low:
                one.plot([max(low, 1e-2), min(high, 1e2)], [row, row], color=METHOD_COLOR, linewidth=2.4, alpha=0.5)
            one.plot([max(mean, 1e-2)], [row], marker="o", color=METHOD_COLOR, markersize=5)
        _lines_named(one, [name for name, *_ in units])
        one.set_xscale("log")
        left, right = one.get_xlim()
        between = (1, 2, 5) if right < 50 * left else (1,)
        one.xaxis.set_major_locator(FixedLocator([each * 10.0**power for power in range(-2, 3) for each in between]))
        one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.xaxis.set_minor_locator(NullLocator())
        one.axvline(1, color=CONTROL_COLOR, linestyle="--", linewidth=1)
        one.set_title(title, fontsize=9.5, loc="left")
    return _png(figure)


def score_bars(
    names: Sequence[str],
    means: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    controls: Sequence[bool],
    higher: bool = True,
    style: Style | None = None,
) -> Picture:
    """Means as dots with their intervals, one line a recipe; controls are gray squares, a dashed line marks the best of
    them.

    Args:
        names, means, intervals: of the recipes, from top to bottom.
        controls: which of them are controls.
        higher: whether a higher mean is better.
        style: size; by default as high as the names need.
    """
    style = style or Style(width_in=9.6, height_in=0.8 + 0.25 * max(len(names), 1))
    figure, (axes,) = _figure(style)
    floor = [mean for mean, control in zip(means, controls, strict=True) if control]
    if floor:
        axes.axvline(max(floor) if higher else min(floor), color=CONTROL_COLOR, linestyle="--", linewidth=1)
    for row, (mean, (low, high), control) in enumerate(zip(means, intervals, controls, strict=True)):
        color = CONTROL_COLOR if control else METHOD_COLOR
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="round", alpha=0.5)
        axes.plot([mean], [row], marker="s" if control else "o", color=color, markersize=6)
    _lines_named(axes, names)
    return _png(figure)


def _lines_named(axes: Any, names: Sequence[str]) -> None:
    """Name the lines of a picture of dots, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=9.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", color="#dee2e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def agreement_heatmap(names: Sequence[str], matrix: Array, style: Style | None = None) -> Picture:
    """Symmetric matrix (M, M) of agreement between methods in [0, 1] or [-1, 1], every value written in its cell."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (len(names), len(names)):
        raise SpeechXAIError(
            f"An agreement matrix of {len(names)} methods needs shape {(len(names),) * 2}. Got {matrix.shape}."
        )
    side = 1.7 + 0.38 * len(names)
    figure, (axes,) = _figure(style or Style(width_in=side + 0.6, height_in=side))
    axes.imshow(matrix, cmap="cividis", vmin=min(0.0, float(np.nanmin(matrix))), vmax=1.0)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for row, column in np.ndindex(*matrix.shape):
        value = matrix[row, column]
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color="black" if value > 0.55 else "white")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return _png(figure)


def calibration_curve(
    probabilities: Sequence[float],
    labels: Sequence[int],
    n_bins: int = 5,
    style: Style | None = None,
    *,
    of: str,
    share: str,
) -> Picture:
    """Share of what was predicted among recordings of like predicted probability, in bins of equal counts, over the
    diagonal of perfect calibration.

    Args:
        probabilities: (n,) predicted.
        labels: (n,) 0 or 1.
        n_bins: bins of equal count.
        style: of the picture.
        of: whose probability it is, for example "PD".
        share: what the other axis shows, for example "share with PD".
    """
    if len(probabilities) != len(labels) or not len(labels):
        raise SpeechXAIError(
            f"Calibration needs a label for each probability. Got {len(labels)} and {len(probabilities)}."
        )
    order = np.argsort(np.asarray(probabilities, dtype=np.float64), kind="stable")
    figure, (axes,) = _figure(style or Style(width_in=3.6, height_in=3.4))
    axes.plot([0, 1], [0, 1], color=CONTROL_COLOR, linestyle="--", linewidth=1)
    for part in np.array_split(order, min(n_bins, len(order))):
        p, y = np.asarray(probabilities)[part].mean(), np.asarray(labels)[part].mean()
        ends = share_interval(int(np.asarray(labels)[part].sum()), len(part))
        axes.plot([p, p], ends, color=METHOD_COLOR, alpha=0.5, linewidth=2)
        axes.plot([p], [y], marker="o", color=METHOD_COLOR)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel(f"predicted probability of {of}", fontsize=9)
    axes.set_ylabel(share, fontsize=9)
    axes.tick_params(labelsize=8)
    return _png(figure)


def over_time(
    panels: Sequence[tuple[str, Mapping[str, tuple[Sequence[datetime.date], Sequence[float]]], bool]],
    style: Style | None = None,
) -> Picture:
    """Values over the days of recordings, a panel each, all on one axis of time.

    Args:
        panels: of each its name, the days and values (n,) of every line by name, and whether it is a probability.
        style: size; by default as large as the panels need.
    """
    if not panels:
        raise SpeechXAIError("An axis of time needs at least one panel.")
    style = style or Style(width_in=9.0, height_in=1.55 * len(panels) + 0.5)
    figure, axes = _figure(style, len(panels))
    days = [day for _, lines, _ in panels for line in lines.values() for day in line[0]]
    margin = max(datetime.timedelta(days=1), 0.04 * (max(days) - min(days)))
    names = list(dict.fromkeys(name for _, lines, _ in panels for name in lines))
    for panel, (title, lines, is_probability) in zip(axes, panels, strict=True):
        for name, (when, values) in lines.items():
            color = f"C{names.index(name) % 10}"
            panel.plot(when, values, "o-", color=color, markersize=5, linewidth=1.3, label=name)  # type: ignore[arg-type]
        if is_probability:
            panel.set_ylim(-0.03, 1.03)
            panel.axhline(0.5, color=CONTROL_COLOR, linestyle="--", linewidth=0.7)
        panel.set_xlim(min(days) - margin, max(days) + margin)  # type: ignore[arg-type]
        panel.set_title(title, fontsize=9, loc="left")
        panel.tick_params(labelsize=7.5)
        panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
        panel.xaxis.set_major_locator(locator)
        panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    return _png(figure)


def band_curves(hz: Array, use: Array, energy: Array, style: Style | None = None) -> Picture:
    """What a model uses of each frequency as a line, on the energy there as a gray area; percent of each in 100 Hz.

    Args:
        hz: of the bins (F,), evenly spaced from 0.
        use, energy: shares (F,).
        style: size.
    """
    figure, (axes,) = _figure(style or Style(width_in=9.6, height_in=2.4))
    per_100_hz = 100 * 100 / float(hz[1] - hz[0])
    axes.fill_between(hz / 1000, energy * per_100_hz, color=CONTROL_COLOR, alpha=0.25, linewidth=0, label="energy")
    axes.plot(hz / 1000, use * per_100_hz, color=METHOD_COLOR, linewidth=1.4, label="use")
    axes.set_xlim(0, float(hz[-1]) / 1000)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frequency, kHz", fontsize=9)
    axes.set_ylabel("% in 100 Hz", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def dose_curves(
    panels: Sequence[tuple[str, str, Sequence[float], Sequence[float], tuple[float, float], bool]],
    probability: str,
    style: Style | None = None,
    *,
    columns: int = 4,
    is_score: bool = False,
) -> Picture:
    """Probability over the dose of dials, a panel each; the dose 0 and the probability one half are dashed.

    Args:
        panels: of each dial its name, the axis of doses, doses and probabilities (n,), the range that a change must
            leave (NaN: none), and whether it belongs to the recording and not to the voice.
        probability: whose, for the shared axis.
        style: size; by default as large as the panels need.
        columns: panels side by side at most; of few, as for a phone, each is smaller beside its letters.
        is_score: whether a score is shown and no probability: panels then share the range of all their values.
    """
    if not panels:
        raise SpeechXAIError("Curves need at least one dial.")
    n_columns = min(columns, len(panels))
    n_rows = -(-len(panels) // n_columns)
    wide, high = (2.5, 2.1) if columns > 2 else (1.9, 1.8)
    style = style or Style(width_in=wide * n_columns + 0.6, height_in=high * n_rows + 0.4)
    figure, axes = _figure(style, n_rows, n_columns)
    low, high = -0.03, 1.03
    if is_score:
        shown = np.concatenate([np.asarray(each[3], dtype=float) for each in panels])
        room = 0.05 * max(float(shown.max() - shown.min()), 1e-6)
        low, high = float(shown.min()) - room, float(shown.max()) + room
    for panel, (name, unit, doses, values, floor, of_recording) in zip(axes, panels, strict=False):
        color = CONTROL_COLOR if of_recording else METHOD_COLOR
        if np.isfinite(floor).all():
            panel.axhspan(*floor, color="#dee2e6", linewidth=0)
        panel.axvline(0, color=CONTROL_COLOR, linestyle="--", linewidth=0.7)
        if not is_score:
            panel.axhline(0.5, color=CONTROL_COLOR, linestyle="--", linewidth=0.7)
        panel.plot(doses, values, marker="s" if of_recording else "o", color=color, markersize=4, linewidth=1.4)
        panel.set_ylim(low, high)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel(unit, fontsize=8)
        panel.tick_params(labelsize=7.5)
    for row in range(n_rows):
        axes[row * n_columns].set_ylabel(probability, fontsize=8)
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    return _png(figure)
