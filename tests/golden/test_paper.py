"""A run for a paper: widths by the font's own metrics, captions, references, codebooks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import get_data_path
from matplotlib._afm import AFM
from test_run_report import run

from speechxai.classifiers import BACKBONES
from speechxai.errors import SpeechXAIError
from speechxai.evaluation import paper
from speechxai.explain import METHODS
from speechxai.explain.captum_bridge import captum_names
from speechxai.explain.combination import COMBINATIONS
from speechxai.metrics import METRICS
from speechxai.metrics.quantus_bridge import quantus_names
from speechxai.registry import Registry
from speechxai.report.latex import COLUMN_PT, GAP_PT, PAGE_PT, SIZES, Layout, latex, width_pt
from speechxai.report.render import Cell, Row, Table
from speechxai.signs.dials import SIGNS

ROOT = Path(__file__).resolve().parents[2]

PLAIN = {r"\_": "_", r"\%": "%", r"$\uparrow$": "0", r"$\downarrow$": "0", "$-$": "+;", r"$\cup$": "+;"}
"""What LaTeX prints for a macro, as signs at least as wide."""


def afm(name: str) -> AFM:
    with (Path(get_data_path()) / "fonts" / "pdfcorefonts" / f"{name}.afm").open("rb") as file:
        return AFM(file)


def measured_pt(tex: str) -> float:
    """Width of a tabular by the metrics files of Times, cell by cell of the text that was written."""
    size = SIZES[re.search(r"^\\(small|footnotesize|scriptsize)$", tex, re.M)[1]]  # type: ignore[index]
    fonts = {False: afm("Times-Roman"), True: afm("Times-Bold")}
    body = tex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    widths: list[float] = []
    for line in body.splitlines():
        if "&" not in line:
            continue
        for n, cell in enumerate(re.split(r"(?<!\\)&", line.removesuffix(r"\\"))):
            at = SIZES["scriptsize"] if "scriptsize" in cell else size
            bold = "textbf" in cell
            text = re.sub(r"\{\\scriptsize (.*)\}", r"\1", cell.strip())
            text = re.sub(r"\\textbf\{(.*)\}", r"\1", text)
            for macro, sign in PLAIN.items():
                text = text.replace(macro, sign)
            width = sum(fonts[bold].get_width_char(ord(sign)) for sign in text) * at / 1000
            widths += [0.0] * (n + 1 - len(widths))
            widths[n] = max(widths[n], width)
    return sum(widths) + GAP_PT * (len(widths) - 1)


def wide(n_columns: int, n_rows: int, name: str = "integrated_gradients ∪ guided_gradcam") -> Table:
    cell = Cell("−0.123", "−0.456 to 0.789, p = 0.031", "best")
    rows = tuple(Row(f"{name} {n}", (cell,) * n_columns, "Unions") for n in range(n_rows))
    return Table("A table", ("explanation", *(f"suff@{n} (%) ↑" for n in range(n_columns))), rows, "A note")


def test_widths_are_those_of_times() -> None:
    for bold, name in ((False, "Times-Roman"), (True, "Times-Bold")):
        font = afm(name)
        for code in (*range(32, 60), 61, *range(63, 127)):  # LaTeX takes < and > from another font
            assert width_pt(chr(code), 1000, bold=bold) == font.get_width_char(code), chr(code)
    # 500 + 250 + 500 thousandths of 8 pt.
    assert width_pt("0.1", 8.0) == 10.0


@pytest.mark.parametrize("n_columns", [1, 2, 3, 5, 8, 14])
@pytest.mark.parametrize("layout", [Layout(), Layout(split=True), Layout(width="column"), Layout(size="scriptsize")])
def test_no_table_is_wider_than_its_place(n_columns: int, layout: Layout) -> None:
    floats = re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", latex(wide(n_columns, 3), layout), re.S)
    assert floats
    n_shown = 0
    for each in floats:
        limit = COLUMN_PT if r"\begin{table}" in each else PAGE_PT
        assert measured_pt(each) <= limit
        assert "resizebox" not in each
        n_shown += each.split(r"\\")[0].count("suff@")
    assert n_shown == n_columns  # all columns, each once


def test_what_fits_a_column_stays_in_it_and_what_does_not_is_cut() -> None:
    small = latex(wide(1, 2, "saliency"), Layout(label="tab:a"))
    assert r"\begin{table}" in small
    assert r"\small" in small
    assert r"\label{tab:a}" in small
    assert r"\textbf{$-$0.123 [$-$0.456, 0.789] (p = 0.031)} \\" in small
    below = latex(wide(2, 1), Layout(split=True))
    assert r" & {\scriptsize [$-$0.456, 0.789]} & {\scriptsize [$-$0.456, 0.789]} \\" in below
    many = latex(wide(20, 1), Layout(label="tab:b"))
    assert many.count(r"\begin{table*}") > 1
    assert r"\label{tab:b-2}" in many
    assert r"\caption{A table (continued).}" in many
    long = latex(wide(1, 80, "m"), Layout(split=False))
    assert long.count(r"\begin{table}") == 2  # 80 lines are more than a page holds
    sentences = Table("t", ("what", "why"), (Row("a", (Cell("word " * 60, words=True),)),))
    assert "p{" in latex(sentences)
    with pytest.raises(SpeechXAIError, match=r"^Unknown size 'smal'\. Did you mean 'small'\?"):
        Layout(size="smal")


def test_a_table_of_a_run_says_who_was_heard_and_how() -> None:
    tex = paper.tables(run(), "latex")
    assert "Model m, data d, n = 5 recordings of 5 speakers (3 HC, 2 PD)" in tex
    assert r"95 \% intervals (bias-corrected and accelerated bootstrap over speakers)" in tex
    assert "Protocol standard: evidence is the positive part of signed maps, removed bins become silence." in tex
    assert "AD in percent." in tex
    for part in re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", tex, re.S):
        assert measured_pt(part) <= (COLUMN_PT if r"\begin{table}" in part else PAGE_PT)
    chosen = paper.tables(run(), "csv", paper.Asked(columns=("ad",), recipes=("Methods",))).splitlines()
    assert chosen[0] == "recipe,group,AD,AD_low,AD_high"
    assert [line.split(",")[0] for line in chosen[1:]] == ["saliency"]
    with pytest.raises(SpeechXAIError, match=r"^--columns FX: Unknown metric of this run 'FX'"):
        paper.tables(run(), "csv", paper.Asked(columns=("FX",)))
    with pytest.raises(
        SpeechXAIError, match=r"^--recipes salienc: Unknown recipe of this run 'salienc'\. Did you mean"
    ):
        paper.tables(run(), "csv", paper.Asked(recipes=("salienc",)))


def test_the_largest_p_against_the_controls_stands_in_a_cell() -> None:
    rows = {"recipe": ["a", "random_map"], "metric": ["average_drop"] * 2}
    frame = pd.DataFrame({**rows, "vs_random_map_p": [0.01, 1.0], "vs_edge_map_p": [0.2, 1.0]})
    assert paper.largest_p(frame) == {("a", "average_drop"): 0.2}


def test_json_has_fractions_and_no_nan() -> None:
    found = json.loads(paper.tables(run(), "json"))
    assert found["model"] == "m"
    rows = {(row["recipe"], row["metric"]): row for row in found["tables"][0]["rows"]}
    assert rows["saliency", "average_drop"]["mean"] == 0.25  # not 25 percent
    assert "NaN" not in paper.tables(run(), "json")


def test_a_run_calls_its_data_by_their_name() -> None:
    """What the recordings say that they belong to; else what was asked for, a manifest by its folder."""
    one = run()
    one.config = {**one.config, "data": "clinic/manifest.csv"}
    assert paper.data_name(one) == "clinic"
    one.manifest = one.manifest.assign(dataset="unknown")
    assert paper.data_name(one) == "clinic"
    one.manifest = one.manifest.assign(dataset=["kiel"] * 5 + ["unknown"])
    assert paper.data_name(one) == "kiel"
    assert "data kiel," in paper.caption(one, ["average_drop"])
    one.manifest = one.manifest.assign(dataset=["kiel"] * 3 + ["ulm"] * 3)
    assert paper.data_name(one) == "kiel and ulm"
    one.config = {**one.config, "data": "synthetic"}
    assert paper.data_name(one) == "synthetic voices"


FAMILIES: dict[str, Registry] = {
    "methods": METHODS,
    "combinations": COMBINATIONS,
    "metrics": METRICS,
    "backbones": BACKBONES,
    "signs": SIGNS,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_that_is_cited_has_an_entry(family: str) -> None:
    registry = FAMILIES[family]
    names = [*registry, *(captum_names() if family == "methods" else quantus_names() if family == "metrics" else [])]
    keys = {str(registry.facts(name)["cites"]) for name in names} - {"own"}
    known = paper.references()
    assert keys <= set(known)
    assert {key for keys in paper.STATISTICS.values() for key in keys} | set(paper.PROGRAM) <= set(known)


def test_references_are_bibtex() -> None:
    for key, entry in paper.references().items():
        assert entry.startswith("@")
        assert entry.count("{") == entry.count("}"), key
        for need in ("author", "title", "year"):
            assert re.search(rf"^  {need} = \{{.+\}},?$", entry, re.M), f"{key} lacks {need}"
        assert re.search(r"\d{4}", key)[0] == re.search(r"year = \{(\d+)\}", entry)[1]  # type: ignore[index]


CITED_IN = ("speechxai", "app", "data_cards", "models", "docs", "scripts", "tests")
"""Folders of a checkout whose texts cite by key, such as "fisher1935design"."""


def cited_keys() -> dict[str, str]:
    """Every citation key of the checkout's texts, with a file that cites it."""
    found: dict[str, str] = {}
    for folder in CITED_IN:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in {".py", ".toml", ".md", ".html", ".json"} and file != Path(__file__).resolve():
                for key in re.findall(r"\b[a-z]+(?:18|19|20)\d\d[a-z]+\b", file.read_text("utf-8")):
                    found.setdefault(key, file.relative_to(ROOT).as_posix())
    return found


def test_every_cited_key_has_an_entry_and_every_entry_is_cited() -> None:
    cited, known = cited_keys(), paper.references()
    # One of each kind of place, so that a pattern that finds nothing cannot pass.
    assert {"fisher1935design", "nanda2023attribution", "bowen2013effects", "hillis2005comparison"} <= set(cited)
    missing = {key: file for key, file in cited.items() if key not in known}
    assert not missing, f"cited without an entry in templates/references.bib: {missing}"
    assert not set(known) - set(cited), f"entries that nothing cites: {set(known) - set(cited)}"


def test_identifiers_of_references_are_well_formed() -> None:
    entries = paper.references()
    for key, entry in entries.items():
        fields = _fields(entry)
        assert re.fullmatch(r"10\.\d{4,}/\S+", fields.get("doi", "10.1000/x")), key
        assert re.fullmatch(r"arXiv:\d{4}\.\d{5}|arXiv:1[0-4]\d\d\.\d{4}", fields.get("note", "arXiv:2007.07584")), key
        assert re.fullmatch(r"\d+(--\d+)?|e\d+", fields.get("pages", "1")), key
        assert {"journal", "booktitle", "publisher", "institution", "note"} & set(fields), (
            f"{key} says not where it stands"
        )
    doubled = [entry["doi"] for entry in map(_fields, entries.values()) if "doi" in entry]
    assert len(doubled) == len(set(doubled))


def _fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.M))


def test_the_published_work_is_named_alike_everywhere() -> None:
    """One title, one number, the same authors: references, CITATION.cff, README and documents."""
    entry = _fields(paper.references()["mancini2025investigating"])
    number = entry["note"].removeprefix("arXiv:")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"https://arxiv.org/abs/{number}" in citation
    assert entry["title"].replace("{", "").replace("}", "") in citation
    names = re.findall(r"family-names: (\w+), given-names: (\w+)", citation)
    assert " and ".join(f"{family}, {given}" for family, given in names) == entry["author"]
    assert f"year: {entry['year']}" in citation
    for file in ["README.md", "docs/protocol-mancini2025.md"]:
        found = set(re.findall(r"\b2411\.\d{5}", (ROOT / file).read_text("utf-8")))
        assert number in found, file


def test_names_of_the_tidy_tables_hold_in_spss_and_r() -> None:
    names = ["comprehensiveness@10", "comprehensiveness_10", "größe", "_x", "9", "a" * 90, "deletion_auc:margin"]
    made = paper._clean(names)
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}[A-Za-z0-9]|[A-Za-z]", name) for name in made)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: widths are computed instead")
def test_a_table_compiles_in_two_columns(tmp_path: Path) -> None:
    head = r"\documentclass[10pt,twocolumn]{article}\usepackage{times,booktabs,array,amssymb}\begin{document}"
    body = "\n".join(latex(wide(n, 12)) for n in (1, 4, 9, 20))
    (tmp_path / "a.tex").write_text(f"{head}\n{body}\\end{{document}}\n")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
