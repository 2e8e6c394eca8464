"""What readers did, as tables and sentences: for a page, a paper, a spreadsheet and a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechxai.files import naming_folder, write_atomically
from speechxai.metrics import METRICS
from speechxai.readers import analysis
from speechxai.readers.analysis import FIGURES, Difference, Figure, MetricRow, arm_words
from speechxai.readers.design import KINDS, TRUE, WITH_MAP, Case, Study
from speechxai.readers.material import Shown
from speechxai.readers.store import Store, attention, exported, gaps_days, readings, remarks, scales, wordings
from speechxai.report import render
from speechxai.report.latex import LATEX_NEEDS, latex
from speechxai.report.render import Cell, Finding, Row, Table, number, p_text, signed, span, with_span
from speechxai.stats import FEWEST_READERS, MultiReader, direction, holm, multi_reader, reader_interval

if TYPE_CHECKING:
    import pandas as pd

CANNOT = "cannot decide"
"""What a sentence says where the numbers do not say more."""

HIGH_IS_GOOD = {key: key not in ("over_reliance", "under_reliance", "accepted_false") for key in FIGURES}


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is said of a study.

    Args:
        title: of the study.
        findings: a sentence for each number, what matters first.
        tables: the numbers.
        facts: what they rest on.
        simulated: whether no person answered.
    """

    title: str
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    facts: tuple[tuple[str, str], ...]
    simulated: bool = False


def of_store(study: Study, store: Store) -> Report:
    """The report of a study's answers, finished or not."""
    cases, facts = store.cases(), store.facts()
    table = readings(store, study)
    plausible = plausibility(study, store)
    return of_readings(
        study.title,
        study.arms,
        table,
        cases,
        scales=scales(store, study),
        attended=attention(store, study),
        plausible=plausible,
        planned=(study.readers, study.n_rounds * study.cases.n),
        simulated=bool(facts.get("simulated")),
        told=told(study, store),
    )


def of_readings(
    title: str,
    arms: Sequence[str],
    table: pd.DataFrame,
    cases: Sequence[Case],
    *,
    scales: dict[str, dict[str, list[int]]] | None = None,
    attended: dict[str, tuple[int, int]] | None = None,
    plausible: Sequence[Figure] = (),
    planned: tuple[int, int] | None = None,
    simulated: bool = False,
    told: tuple[Sequence[Finding], Sequence[tuple[str, str]]] = ((), ()),
) -> Report:
    """The report of a table of readings.

    Args:
        title: of the study.
        arms: in order; differences are to the first in which a figure is defined.
        table: READING_COLUMNS.
        cases: with their metrics.
        scales: answers to the two scales by scale and reader.
        attended: attention checks passed and answered, by reader.
        plausible: of `plausibility`.
        planned: readers, and readings of each.
        simulated: whether no person answered.
        told: of `told`.
    """
    figures: dict[str, list[Figure]] = {}
    differences: list[Difference] = []
    if len(table):
        for key in FIGURES:
            found, other = analysis.by_arm(table, key, arms)
            figures[key] = found
            differences += other
    differences = corrected(differences)
    more = [*analysis.seconds(table, arms), *analysis.kappas(table, arms)] if len(table) else []
    order = analysis.order_effect(table) if len(table) else None
    kinds = analysis.by_kind(table) if len(table) else []
    metrics = analysis.against_metrics(table, cases) if len(table) else []
    asked = _scale_figures(scales or {})
    said = findings(figures, differences, more, order, kinds, metrics, plausible, asked)
    if simulated:
        said.insert(0, Finding("Simulated readers: no person answered, and nothing here is evidence.", "caution"))
    said += _attention_words(attended or {})
    said += [*_left_out(figures, table), *told[0]]
    tables = [
        _arms_table(figures, more, plausible, arms),
        _difference_table(differences),
        _kind_table(kinds),
        _metric_table(metrics),
        _whole_table(order, asked),
    ]
    n_readers = table["reader"].nunique()
    rows = [
        ("Readers", f"{n_readers}" + (f" of {planned[0]}" if planned else "")),
        ("Readings", f"{len(table)}" + (f" of {planned[0] * planned[1]}" if planned else "")),
        ("Cases", f"{table['case'].nunique()}, of which {_condition_share(table)} have the condition"),
        (
            "Intervals",
            "95 %, for other readers and other cases like these: Obuchowski and Rockette with covariances by the"
            " jackknife, Hillis' degrees of freedom; of times and scales Student's t over readers; of kappa a bootstrap"
            " over cases; of correlations Bonett and Wright",
        ),
        *told[1],
    ]
    return Report(title, tuple(said), tuple(t for t in tables if t.rows), tuple(rows), simulated)


TEXTS = {
    "title": "title",
    "consent": "consent",
    "instructions": "instructions",
    "debriefing": "debriefing",
    "gap_days": "gap between rounds",
}
"""What readers are told, in words."""


def told(study: Study, store: Store) -> tuple[list[Finding], list[tuple[str, str]]]:
    """What readers were told and how long they waited: a caution where the file was changed while they answered, and
    lines for what the report rests on."""
    table = wordings(store)
    versions = {str(name): part for name, part in table.groupby("wording")}
    lines, said = [], []
    if len(versions) == 1:
        lines.append(("Texts", f"every reader was told the same (wording {next(iter(versions))}, in wordings.csv)"))
    elif versions:
        texts = [dict(zip(part["text"], part["content"], strict=True)) for part in versions.values()]
        moved = [words for name, words in TEXTS.items() if len({str(one.get(name)) for one in texts}) > 1]
        who = [f"{name}: {', '.join(part['readers'].iloc[0].split())}" for name, part in versions.items()]
        lines.append(("Texts", f"{len(versions)} wordings, in wordings.csv; answered under {'; under '.join(who)}"))
        said.append(
            Finding(
                f"While readers answered, the study's file was changed: {render.listing(moved)}. {len(versions)}"
                " wordings were in use; each answer names its own. Whoever had agreed to another consent was asked"
                " again.",
                "caution",
                "told",
            )
        )
    days = gaps_days(store, study)
    if days and versions:  # simulated readers wait for nothing
        planned = sorted({float(v) for v in table.loc[table["text"] == "gap_days", "content"]})
        asked = render.listing([f"{day:g}" for day in planned])
        lines.append(("Days between two readings of a case", f"{min(days):.1f} to {max(days):.1f}; planned {asked}"))
    return said, lines


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Differences with p corrected by Holm for their number, but for the one that the study is planned for: the first
    in appropriate reliance is tested alone."""
    planned = next((k for k, one in enumerate(differences) if one.key == "reliance"), None)
    rest = [k for k in range(len(differences)) if k != planned]
    found = list(differences)
    for k, p in zip(rest, holm([differences[k].p for k in rest]), strict=True):
        found[k] = replace(differences[k], p=float(p))
    return found


def _condition_share(table: pd.DataFrame) -> str:
    return str(int(table.drop_duplicates("case")["truth"].sum())) if len(table) else "0"


# Boxes.
def plausibility(study: Study, store: Store) -> list[Figure]:
    """How many times more evidence of the shown maps lies in readers' boxes than evenly spread evidence would, of true
    and of false explanations: mean over readers. `arm` holds "true" or "false"."""
    if not set(study.arms) & set(WITH_MAP):
        return []
    boxes, _ = remarks(store, study)
    boxes = boxes[boxes["arm"].isin(WITH_MAP)]
    kinds = {case.code: case.kind for case in store.cases()}
    rows: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    for code, part in boxes.groupby("case"):
        content = store.content(str(code))
        if content is None:
            continue
        shown = Shown.unpacked(content)
        bin_hz = shown.sample_rate / 2 / (shown.mask.shape[0] - 1)
        for row in part.itertuples():
            box = (row.start_s, row.end_s, row.low_hz, row.high_hz)
            value = analysis.in_box(shown.mask, box, shown.frame_rate_hz, bin_hz)  # type: ignore[arg-type]
            if not math.isnan(value):
                rows[kinds[str(code)] == TRUE].setdefault(str(row.reader), []).append(value)
    found = []
    for true, by_reader in rows.items():
        if by_reader:
            # The mean itself and not that of logarithms: evenly spread evidence gives 1, and a reader whose boxes miss
            # the map altogether 0.
            value, low, high = reader_interval([float(np.mean(values)) for values in by_reader.values()])
            low = max(low, 0.0) if low == low else low
            n = sum(map(len, by_reader.values()))
            found.append(Figure("in_box", "true" if true else "false", value, low, high, len(by_reader), n))
    return found


def _scale_figures(scales: dict[str, dict[str, list[int]]]) -> list[Figure]:
    found = []
    for name, score in (("sus", analysis.sus), ("scs", analysis.scs)):
        given = scales.get(name, {})
        if given:
            value, low, high = reader_interval([score(answers) for answers in given.values()])
            found.append(Figure(name, "", value, low, high, len(given), 0))
    return found


# Sentences.
def findings(
    figures: dict[str, list[Figure]],
    differences: Sequence[Difference],
    more: Sequence[Figure],
    order: Figure | None,
    kinds: Sequence[Figure],
    metrics: Sequence[MetricRow],
    plausible: Sequence[Figure],
    asked: Sequence[Figure],
) -> list[Finding]:
    """A sentence for each number."""
    said: list[Finding] = []
    if not any(figures.values()):
        return [Finding("Nobody has finished a reading yet: there is nothing to say.", "caution")]
    for one in figures.get("telling", []):
        said.append(_against_half(one, "Readers tell true from false explanations", "telling"))
    for key in ("first_auc", "auc"):
        for one in figures.get(key, []):
            said.append(_against_half(one, f"{_capital(FIGURES[key])} with {arm_words(one.arm)}", key))
    said += [_difference_words(one) for one in differences]
    for key in ("sensitivity", "specificity", "reliance", "over_reliance", "under_reliance", "won_over", "held_out"):
        said += [_plain(one, f"{_capital(FIGURES[key])} with {arm_words(one.arm)}", 2) for one in figures.get(key, [])]
    for one in figures.get("foretold", []):
        said.append(_against_half(one, f"Share of the model's answers foretold with {arm_words(one.arm)}", "foretold"))
    for true, false in zip(figures.get("accepted_true", []), figures.get("accepted_false", []), strict=False):
        said.append(
            Finding(
                f"With {arm_words(true.arm)} {_share(true)} of true and {_share(false)} of false explanations are"
                " accepted.",
                key="accepted",
            )
        )
    for one in kinds:
        what = "true ones" if one.arm == TRUE else f"false ones of the kind “{KINDS[one.arm]}”"
        said.append(Finding(f"Of {what} readers reject {_share(one)}.", key="rejected"))
    for one in more:
        if one.key == "seconds":
            said.append(_plain(one, f"Seconds for a case with {arm_words(one.arm)}", 0, key="seconds"))
        elif one.key == "kappa_first":
            said.append(_plain(one, "Agreement of two readers on the first decision (kappa)", 2, key="kappa"))
        elif one.key == "kappa":
            said.append(_plain(one, f"Agreement of two readers with {arm_words(one.arm)} (kappa)", 2, key="kappa"))
    if order is not None:
        said.append(_order_words(order))
    for one in plausible:
        said.append(_plain(one, f"In readers' boxes {one.arm} maps have so many times the evidence of an even one", 2))
    names = {"sus": "System Usability Scale (0 to 100)", "scs": "System Causability Scale (0.2 to 1)"}
    said += [_plain(one, names[one.key], 1 if one.key == "sus" else 2) for one in asked]
    said += [_metric_words(row) for row in metrics]
    return said


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _share(one: Figure) -> str:
    ends = span(100 * one.low, 100 * one.high, 0)
    return f"{number(100 * one.value, 0)} %" + (f" ({ends} %)" if ends else "")


def _few(n_readers: int) -> str:
    return f" With {n_readers} reader{'s' if n_readers != 1 else ''} nothing follows for others: {CANNOT}."


def _plain(one: Figure, what: str, digits: int, key: str = "") -> Finding:
    text = f"{what}: {with_span(one.value, one.low, one.high, digits)}."
    return Finding(text if not math.isnan(one.low) else text + _few(one.n_readers), key=key or one.key)


def _against_half(one: Figure, what: str, key: str) -> Finding:
    """A figure of which .5 is chance."""
    value = with_span(one.value, one.low, one.high, 2)
    if math.isnan(one.low):
        return Finding(f"{what}: {value}.{_few(one.n_readers)}", key=key)
    if one.low > 0.5:
        return Finding(f"{what}: {value}, better than chance (.5).", "good", key)
    if one.high < 0.5:
        return Finding(f"{what}: {value}, worse than chance (.5): they are misled.", "caution", key)
    return Finding(f"{what}: {value}. Whether better than chance (.5): {CANNOT}.", key=key)


def _difference_words(one: Difference) -> Finding:
    what = f"{_capital(FIGURES[one.key])}: {arm_words(one.arm)} minus {arm_words(one.other)}"
    ends = span(one.low, one.high, 2, signed)
    value = signed(one.value, 2) + (f" ({ends}, {p_text(one.p)})" if ends else "")
    if math.isnan(one.p):
        few = _few(one.n_readers) if one.n_readers < FEWEST_READERS else f" The readers do not differ: {CANNOT}."
        return Finding(f"{what}: {value}.{few}", key=one.key)
    way = direction(one.low, one.high, one.p)
    if not way:
        return Finding(f"{what}: {value}. Whether they differ: {CANNOT}.", key=one.key)
    better = (way > 0) == HIGH_IS_GOOD[one.key]
    return Finding(f"{what}: {value}: {'better' if better else 'worse'}.", "good" if better else "caution", one.key)


def _order_words(one: Figure) -> Finding:
    value = f"{signed(one.value, 2)}" + (f" ({span(one.low, one.high, 2, signed)})" if one.low == one.low else "")
    what = f"From a reader's first reading to the last, appropriate reliance changes by {value}"
    if math.isnan(one.low):
        return Finding(f"{what}.{_few(one.n_readers)}", key="order")
    if one.low <= 0 <= one.high:
        return Finding(f"{what}. Whether readers learn that some is false: {CANNOT}.", key="order")
    return Finding(f"{what}: readers change as they go, so read the arms beside the order.", "caution", "order")


def _metric_words(row: MetricRow) -> Finding:
    name = f"{row.name}, fitted to the other half of the cases" if row.name == "hybrid" else row.name
    value = with_span(row.success, row.success_low, row.success_high, 2)
    own = with_span(row.auc, row.auc_low, row.auc_high, 2)
    what = (
        f"{name}: tells true from false explanations with AUC {own}; rank correlation with readers' success, among true"
        f" and among false ones, {value}"
    )
    if row.success != row.success or row.success_low != row.success_low:
        return Finding(f"{what}: {CANNOT}.", key="metric")
    shown = row.success_low > 0 and (row.name == "hybrid" or row.p < 0.05)
    if shown:
        return Finding(f"{what}.", "good", "metric")
    if row.success_high < 0 and (row.name == "hybrid" or row.p < 0.05):
        return Finding(f"{what}: it is right where readers are wrong.", "caution", "metric")
    return Finding(f"{what}: whether it goes with readers, {CANNOT}.", key="metric")


def _attention_words(attended: dict[str, tuple[int, int]]) -> list[Finding]:
    missed = {code: n - passed for code, (passed, n) in attended.items() if n > passed}
    n = sum(n for _, n in attended.values())
    if not n:
        return []
    if not missed:
        return [Finding(f"All {n} attention checks were passed.", key="attention")]
    who = render.listing([f"{code} ({k})" for code, k in missed.items()])
    return [
        Finding(
            f"{sum(missed.values())} of {n} attention checks were missed: {who}. Decide before looking at the numbers"
            " whether these readers count.",
            "caution",
            "attention",
        )
    ]


def _left_out(figures: dict[str, list[Figure]], table: pd.DataFrame) -> list[Finding]:
    """Which figures rest on fewer readers than have answered: arms are compared within readers."""
    n_readers = table["reader"].nunique()
    less = {key: found[0].n_readers for key, found in figures.items() if found and found[0].n_readers < n_readers}
    less |= {key: 0 for key, found in figures.items() if not found and key in ("auc", "first_auc")}
    if not n_readers or not less:
        return []
    listed = render.listing([f"{FIGURES[key]} ({n})" for key, n in less.items()])
    few = [reader for reader, part in table.groupby("reader") if part["arm"].nunique() < table["arm"].nunique()]
    who = f" Not yet in every arm: {', '.join(map(str, few))}." if few else ""
    what = f"Of {n_readers} readers fewer have read enough in every arm to be counted: {listed}.{who}"
    return [Finding(what, "caution", "left-out")]


# Tables.
def _cell(one: Figure | None, digits: int = 2) -> Cell:
    if one is None:
        return Cell(render.NONE)
    return Cell(number(one.value, digits), span(one.low, one.high, digits))


def _arms_table(
    figures: dict[str, list[Figure]], more: Sequence[Figure], plausible: Sequence[Figure], arms: Sequence[str]
) -> Table:
    rows = []
    groups = {"first_auc": "Decision", "reliance": "Reliance on the answer", "telling": "Use of explanations"}
    group = ""
    for key, words in FIGURES.items():
        group = groups.get(key, group)
        by = {one.arm: one for one in figures.get(key, [])}
        if by:
            rows.append(Row(words, tuple(_cell(by.get(arm)) for arm in arms), group))
    for key, words, digits in (("seconds", "seconds for a case", 0), ("kappa", "kappa of two readers", 2)):
        by = {one.arm: one for one in more if one.key == key}
        if by:
            rows.append(Row(words, tuple(_cell(by.get(arm), digits) for arm in arms), "Time and agreement"))
    title = "By arm, with 95 % intervals over readers and cases"
    return Table(title, ("", *map(arm_words, arms)), tuple(rows))


def _difference_table(differences: Sequence[Difference]) -> Table:
    rows = [
        Row(
            FIGURES[one.key],
            (
                Cell(f"{arm_words(one.arm)} minus {arm_words(one.other)}", words=True),
                render.difference_cell(one.value, one.low, one.high, one.p, 2, higher_is_better=HIGH_IS_GOOD[one.key]),
            ),
        )
        for one in differences
    ]
    title = "Differences between arms; ▲ better, ▼ worse at p < 0.05"
    note = "The first in appropriate reliance is what the study is planned for; p of the others is corrected by Holm"
    return Table(title, ("", "arms", "difference"), tuple(rows), note)


def _kind_table(kinds: Sequence[Figure]) -> Table:
    rows = [Row("true" if one.arm == TRUE else KINDS[one.arm], (_cell(one), Cell(str(one.n_cases)))) for one in kinds]
    return Table("Share of explanations rejected, by what they are", ("", "rejected", "cases"), tuple(rows))


def _metric_table(metrics: Sequence[MetricRow]) -> Table:
    rows = []
    for row in metrics:
        best = f" {render.arrow(row.name)}" if row.name in METRICS else ""
        rows.append(
            Row(
                f"{row.name}{best}",
                (
                    Cell(number(row.auc, 2), span(row.auc_low, row.auc_high, 2)),
                    Cell(number(row.acceptance, 2), span(row.acceptance_low, row.acceptance_high, 2)),
                    Cell(number(row.success, 2), span(row.success_low, row.success_high, 2)),
                    Cell(p_text(row.p) if row.p == row.p else render.NONE),
                    Cell(str(row.n_cases)),
                ),
            )
        )
    columns = ("metric", "AUC true or false", "with readers' acceptance", "with readers' success", "p (Holm)", "cases")
    note = (
        "Metrics of the shown maps, turned so that high says true. Success: rank correlation with how often readers"
        " told what an explanation is, among true and among false ones, which readers who accept readily do"
        " not change. The hybrid is fitted to acceptance on one half of the cases and read on the other, both"
        " ways; it needs more than 20 cases"
    )
    return Table("Metrics held against readers", columns, tuple(rows), note)


def _whole_table(order: Figure | None, asked: Sequence[Figure]) -> Table:
    names = {
        "order": "change of appropriate reliance from first to last reading",
        "sus": "System Usability Scale, 0 to 100",
        "scs": "System Causability Scale, 0.2 to 1",
    }
    ones = [*([] if order is None else [order]), *asked]
    rows = [Row(names[one.key], (_cell(one), Cell(str(one.n_readers)))) for one in ones]
    return Table("Of the whole study", ("", "value", "readers"), tuple(rows))


# Ratings from elsewhere.
def of_ratings(title: str, table: pd.DataFrame) -> Report:
    """The report of ratings alone (reader, case, arm, rating, truth; notes of what is left out in `attrs`): area under
    the curve by arm, and the difference of every two arms, its p corrected by Holm for their number."""
    arms = sorted(table["arm"].unique(), key=lambda arm: (len(arm), arm))
    wide = table.pivot_table(index=["arm", "reader"], columns="case", values="rating")
    readers = sorted(table["reader"].unique())
    values = np.stack([wide.reindex([(arm, reader) for reader in readers]).to_numpy() for arm in arms])
    truth = table.drop_duplicates("case").set_index("case")["truth"].reindex(wide.columns).to_numpy()
    found = multi_reader(values, truth)
    n = len(found.readers)
    figures = []
    for k, arm in enumerate(arms):
        value = float(found.mean[k])
        ends = analysis.doubted(value, float(found.low[k]), float(found.high[k]), values[k], truth)
        figures.append(Figure("auc", arm, value, *ends, n, found.n_cases))
    pairs = [(k, other) for k in range(1, len(arms)) for other in range(k)]
    differences = [Difference("auc", arms[k], arms[m], *_of_pair(found, k, m), n, found.n_cases) for k, m in pairs]
    each = holm([one.p for one in differences])
    differences = [replace(one, p=float(p)) for one, p in zip(differences, each, strict=True)]
    said = [_against_half(one, f"Area under the curve in arm {one.arm}", "auc") for one in figures]
    said += [_difference_words(one) for one in differences]
    said = [Finding(note, "caution", "left-out") for note in table.attrs.get("notes", ())] + said
    rows = [
        Row(one.arm, (Cell(number(one.value, 5), span(one.low, one.high, 5)), *_readers_of(found, k)))
        for k, one in enumerate(figures)
    ]
    names = tuple(f"reader {readers[k]}" for k in found.readers)
    tables = [Table("Area under the curve by arm, with 95 % intervals", ("arm", "all readers", *names), tuple(rows))]
    if differences:
        lines = [
            Row(
                f"{one.arm} minus {one.other}",
                (Cell(signed(one.value, 4), span(one.low, one.high, 4, signed)), Cell(p_text(one.p))),
            )
            for one in differences
        ]
        corrected_p = "p" if len(pairs) == 1 else "p (Holm)"
        tables.append(Table("Differences", ("", "difference", corrected_p), tuple(lines)))
        parts = {
            "MS(T)": found.ms_t,
            "MS(TR)": found.ms_tr,
            "error variance": found.variance,
            "Cov1": found.cov1,
            "Cov2": found.cov2,
            "Cov3": found.cov3,
        }
        cells = [Row(name, (Cell(number(value, 6)),)) for name, value in parts.items()]
        cells += [Row("F", (Cell(number(found.f, 4)),)), Row("denominator df", (Cell(number(found.df, 2)),))]
        cells.append(Row("p", (Cell(number(found.p, 4)),)))
        tables.append(Table("Obuchowski and Rockette, readers and cases random", ("", "value"), tuple(cells)))
    facts = (("Readers", str(n)), ("Cases", str(found.n_cases)), ("With the condition", str(int(truth.sum()))))
    return Report(title, tuple(said), tuple(tables), facts)


def _of_pair(found: MultiReader, k: int, other: int) -> tuple[float, float, float, float]:
    each = (found.difference, found.difference_low, found.difference_high, found.difference_p)
    value, low, high, p = (float(matrix[k, other]) for matrix in each)
    return value, low, high, p


def _readers_of(found: MultiReader, k: int) -> tuple[Cell, ...]:
    return tuple(Cell(number(float(value), 5)) for value in found.figures[k])


# Files.
def page(report: Report) -> str:
    """The report as one page that asks no server for anything."""
    return render.page("readers.html.j2", report=report)


def files(report: Report) -> dict[str, bytes]:
    """The report by file name: a page, LaTeX, and one CSV for each table."""
    tex = "\n".join([LATEX_NEEDS, *map(latex, report.tables)])
    found = {"report.html": page(report).encode(), "report.tex": tex.encode()}
    sentences = render.plain_table("", ("tone", "sentence"), [(one.tone, one.text) for one in report.findings])
    found["sentences.csv"] = render.csv_text(sentences).encode()
    for number_, table in enumerate(report.tables, start=1):
        found[f"table-{number_}.csv"] = render.csv_text(table).encode()
    return found


def write(out: Path, report: Report, study: Study | None = None, store: Store | None = None) -> list[Path]:
    """Write the report, and of a study everything that was answered, into a folder. Returns the files."""
    contents: dict[str, bytes] = files(report)
    if study is not None and store is not None:
        contents |= exported(store, study) | textgrids(study, store)
    written = []
    with naming_folder(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (out / name).parent.mkdir(exist_ok=True)
            write_atomically(out / name, content)
            written.append(out / name)
    return written


def textgrids(study: Study, store: Store) -> dict[str, bytes]:
    """Readers' boxes of every case as a Praat TextGrid, by file name: a tier of the reader, the band as label. Boxes
    of one reader that overlap in time are cut, which the CSV of boxes does not."""
    from speechxai.data.textgrid import write_textgrid

    boxes, _ = remarks(store, study)
    found: dict[str, bytes] = {}
    for (code, reader), part in boxes.groupby(["case", "reader"]):
        content = store.content(str(code))
        if content is None:
            continue
        shown = Shown.unpacked(content)
        duration = len(shown.waveform) / shown.sample_rate
        lines = [
            (float(row["start_s"]), float(row["end_s"]), f"{row['low_hz']:.0f}-{row['high_hz']:.0f} Hz")
            for row in part.to_dict("records")
        ]
        found[f"boxes/{code}_{reader}.TextGrid"] = write_textgrid(lines, duration, tier=str(reader)).encode()
    return found
