"""The leaderboard of a benchmark as HTML, Markdown and LaTeX: the same tables, rendered three ways."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from speechxai import __version__
from speechxai.benchmark import MIN_AUC, SPECIFICATION
from speechxai.errors import SpeechXAIError
from speechxai.io.files import naming_folder, write_atomically
from speechxai.registry import did_you_mean
from speechxai.report_benchmark_findings import findings
from speechxai.report_benchmark_parts import Part, parts

if TYPE_CHECKING:
    from speechxai.io.benchmark_runs import BenchmarkFolder

FORMATS = ("html", "markdown", "latex")
_LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "−": "$-$", "–": "--", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "§": r"\S", "×": r"$\times$", "≥": r"$\ge$",
}  # fmt: skip


def write_reports(folder: BenchmarkFolder) -> Path:
    """Write `report.html`, `leaderboard.md` and `leaderboard.tex` into a benchmark's folder; returns the path of the first.

    Raises:
        SpeechXAIError: tables that are missing, or a folder that cannot be written.
    """
    with naming_folder(folder.path, "write the report"):
        for name, format in (("report.html", "html"), ("leaderboard.md", "markdown"), ("leaderboard.tex", "latex")):
            write_atomically(folder.path / name, leaderboard(folder, format).encode())
    return folder.path / "report.html"


def leaderboard(folder: BenchmarkFolder, format: str) -> str:
    """Render the tables of a finished benchmark as "html", "markdown" or "latex".

    Raises:
        SpeechXAIError: an unknown format, or tables that are missing.
    """
    if format not in FORMATS:
        raise SpeechXAIError(did_you_mean(format, list(FORMATS), "format"))
    found = parts(folder)
    said = findings(folder)
    if format == "html":
        return _html(folder, said, found)
    if format == "latex":
        return "\n".join(["% needs \\usepackage{booktabs}", *(_latex(part) for part in found)])
    head = ["# Which explanation points at the truth?", "", _subtitle(folder), "", *(f"- {line}" for line in said), ""]
    return "\n".join([*head, *(_markdown(part) for part in found)])


def _subtitle(folder: BenchmarkFolder) -> str:
    status = folder.status()
    return (
        f"Benchmark version {SPECIFICATION}; material: {folder.config['data']}; {status.n_done} of {status.n_units} tasks done"
        f"{f', {status.n_failed} failed' if status.n_failed else ''}. Not a medical device."
    )


def _markdown(part: Part) -> str:
    lines = [f"## {part.title}", "", part.text, ""]
    lines += [f"| {' | '.join(part.header)} |", f"|---|{'---:|' * (len(part.header) - 1)}"]
    group = ""
    for row in part.rows:
        if row.group != group:
            lines.append(f"| **{row.group}** |{' |' * (len(part.header) - 1)}")
            group = row.group
        lines.append(
            f"| {' | '.join([row.name, *(f'**{c}**' if i in row.best else c for i, c in enumerate(row.cells))])} |"
        )
    return "\n".join([*lines, ""])


def _latex(part: Part) -> str:
    def clean(text: str) -> str:
        return "".join(_LATEX.get(sign, sign) for sign in text)

    lines = [
        r"\begin{table*}", r"\centering", f"\\caption{{{clean(part.title)}. {clean(part.text)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(part.header) - 1)}}}", r"\toprule",
        " & ".join(clean(name) for name in part.header) + r" \\", r"\midrule",
    ]  # fmt: skip
    group = ""
    for row in part.rows:
        if row.group != group:
            lines.append(f"\\multicolumn{{{len(part.header)}}}{{l}}{{\\emph{{{clean(row.group)}}}}} \\\\")
            group = row.group
        cells = [f"\\textbf{{{clean(c)}}}" if i in row.best else clean(c) for i, c in enumerate(row.cells)]
        lines.append(" & ".join([clean(row.name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def shade(kind: str, value: float) -> str:
    """Style of a cell: a bar for a share (0 to 1), blue above and orange below zero for a correlation.

    >>> shade("share", 0.25)
    'background: linear-gradient(90deg, var(--mark) 25%, transparent 25%)'
    >>> shade("correlation", -0.5)
    'background: rgba(201, 106, 18, 0.20)'
    """
    if kind == "share":
        width = f"{100 * min(max(value, 0), 1):.0f}%"
        return f"background: linear-gradient(90deg, var(--mark) {width}, transparent {width})"
    color = "45, 116, 196" if value > 0 else "201, 106, 18"
    return f"background: rgba({color}, {0.4 * min(abs(value), 1):.2f})"


def _html(folder: BenchmarkFolder, said: list[str], found: list[Part]) -> str:
    import jinja2

    source = resources.files("speechxai").joinpath("templates", "benchmark.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text: str = environment.from_string(source).render(
        title="Which explanation points at the truth?",
        subtitle=_subtitle(folder),
        version=__version__,
        min_auc=MIN_AUC,
        synthetic=bool(folder.environment.get("synthetic")),
        findings=said,
        shade=shade,
        parts=found,
        config_text=(folder.path / "config.toml").read_text("utf-8"),
    )
    return text
