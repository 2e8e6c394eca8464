"""What a run's report and its tables say of made scores, by hand."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from speechxai.errors import SpeechXAIError
from speechxai.evaluation import paper, report
from speechxai.files import sealed
from speechxai.report import plots

NAN = math.nan


def line(recipe: str, metric: str, mean: float, n_nan: int = 0, **more: float) -> dict[str, Any]:
    """A row of a summary: the interval is .1 around the mean, ten values of ten speakers."""
    ends = {"low": mean - 0.1, "high": mean + 0.1}
    return {"recipe": recipe, "metric": metric, "mean": mean, **ends, "n": 10, "n_nan": n_nan, "n_speakers": 10, **more}


def versus(value: float, p: float) -> dict[str, float]:
    return {
        "vs_random_map": value,
        "vs_random_map_low": value - 0.05,
        "vs_random_map_high": value + 0.05,
        "vs_random_map_p": p,
    }


SUMMARY = pd.DataFrame(
    [
        line("saliency", "average_drop", 0.25, 3, **versus(-0.2, 0.01)),
        line("union(saliency, rise)", "average_drop", 0.5, **versus(0.1, 0.02)),
        line("random_map", "average_drop", 0.2),
        line("saliency", "comprehensiveness@10", 0.3, **versus(0.2, 0.2)),
        line("union(saliency, rise)", "comprehensiveness@10", 0.4, **versus(NAN, NAN)),
        line("random_map", "comprehensiveness@10", 0.1),
        line("saliency", "mean_mask", 0.1234),
        line("union(saliency, rise)", "mean_mask", 0.25),
        line("random_map", "mean_mask", 0.5),
    ]
)


def cells(table: Any) -> list[list[str]]:
    return [[row.group, row.name, *(f"{c.text}|{c.small}|{c.mark}" for c in row.cells)] for row in table.rows]


def test_scores_in_groups_with_the_best_marked_and_undefined_counted() -> None:
    table = report.score_table(
        SUMMARY, ["mean_mask", "average_drop", "comprehensiveness@10", "deletion_auc"], "t", note="n"
    )
    assert table is not None
    assert (table.title, table.note) == ("t", "n")
    assert table.columns == ("explanation", "mean mask", "AD (%) ↓", "comprehensiveness@10 ↑")
    # The control has the lowest drop; the best of all is never marked on a control.
    assert cells(table) == [
        ["Methods", "saliency", "0.1234||", "25.0|15.0 to 35.0 (3 undefined)|", "0.300|0.200 to 0.400|"],
        ["Unions", "union(saliency, rise)", "0.2500||", "50.0|40.0 to 60.0|", "0.400|0.300 to 0.500|best"],
        [report.BESIDE, "random_map", "0.5000||", "20.0|10.0 to 30.0|", "0.100|0.000 to 0.200|"],
    ]
    plain = report.score_table(SUMMARY, ["average_drop"], "t", small=False)
    assert plain is not None
    assert [row[2] for row in cells(plain)] == ["25.0||", "50.0||", "20.0||"]
    assert report.score_table(SUMMARY, ["mean_mask", "deletion_auc"], "t") is None


def test_differences_by_direction() -> None:
    table = report.difference_table(SUMMARY, ["average_drop", "comprehensiveness@10"])
    assert table is not None
    assert table.columns == ("explanation", "AD vs random_map", "comprehensiveness@10 vs random_map")
    found = {row.name: [cell.text for cell in row.cells] for row in table.rows}
    marks = {row.name: [cell.mark for cell in row.cells] for row in table.rows}
    assert list(found) == ["saliency", "union(saliency, rise)"]
    assert found["union(saliency, rise)"][1] == "–"
    # Less drop is better: -.2 is better, .1 is worse; p = .2 is neither.
    assert marks == {"saliency": ["better", ""], "union(saliency, rise)": ["worse", ""]}
    assert (
        report.difference_table(SUMMARY.drop(columns=[c for c in SUMMARY if c.startswith("vs_")]), ["average_drop"])
        is None
    )


@pytest.mark.parametrize(
    ("metric", "names", "best"),
    [
        ("average_drop", ["saliency", "union(saliency, rise)", "random_map"], "random_map"),
        ("comprehensiveness@10", ["saliency", "union(saliency, rise)", "random_map"], "union(saliency, rise)"),
    ],
)
def test_bars_stand_in_groups(metric: str, names: list[str], best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(plots, "score_bars", lambda *given, **more: asked.append((given, more)) or b"png")
    part = report.bars(SUMMARY, metric)
    assert part is not None
    (shown, means, _, controls), more = asked[0]
    assert (shown, controls, more) == (names, [False, False, True], {"higher": metric != "average_drop"})
    assert means == [SUMMARY.set_index(["recipe", "metric"])["mean"][name, metric] for name in names]
    assert part["alt"].startswith(f"Mean {metric} of 3 explanations with 95 % intervals; best is {best}.")
    assert report.bars(SUMMARY, "deletion_auc") is None
    more_of_one = pd.concat([SUMMARY, pd.DataFrame([line("rise", metric, 0.28)])])
    report.bars(more_of_one, metric)
    assert asked[1][0][0][:2] == ["saliency", "rise"]  # .25 before .28 where low is good, .30 before it where high is


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (None, "the final model"),
        (["final", "final"], "the final model; none of these speakers is among its training speakers"),
        (["0", "1", None], "fold models that never heard the speaker, for 2 recordings of the training data"),
        (
            ["0", "final", "final"],
            "fold models that never heard the speaker, for 1 recordings of the training data; the final model for 2",
        ),
    ],
)
def test_who_answered(folds: list[str | None] | None, words: str) -> None:
    assert report._folds(pd.DataFrame({"recording": []} if folds is None else {"fold": folds})) == words


def test_what_has_no_score() -> None:
    assert report._undefined(SUMMARY[SUMMARY["n_nan"] == 0]) is None
    table = report._undefined(SUMMARY)
    assert table is not None
    assert [[row.name, *(cell.text for cell in row.cells)] for row in table.rows] == [
        ["saliency", "average_drop", "3", "13"]
    ]
    lost = [
        {"recording": f"r{i}", "stage": "load", "message": f"m{i}", "kind": "failed", "recipe": ""} for i in range(52)
    ]
    refused = [
        {"recording": f"r{i}", "stage": "", "message": "no", "kind": "not_applicable", "recipe": "rise"}
        for i in range(3)
    ]
    failures = report._failures(SimpleNamespace(table=lambda _: pd.DataFrame(lost + refused)))  # type: ignore[arg-type]
    assert failures is not None
    assert failures.title == "Recordings and explanations without scores; 2 more in failures.csv"
    assert len(failures.rows) == report.N_FAILURES + 1
    assert [cell.text for cell in failures.rows[-1].cells] == ["not applicable to 3 recordings", "no"]
    assert [failures.rows[0].name, *(cell.text for cell in failures.rows[0].cells)] == ["r0", "load", "m0"]
    exact = report._failures(SimpleNamespace(table=lambda _: pd.DataFrame(lost[:50])))  # type: ignore[arg-type]
    assert exact is not None
    assert exact.title == "Recordings and explanations without scores"
    assert report._failures(SimpleNamespace(table=lambda _: pd.DataFrame())) is None  # type: ignore[arg-type]


def test_the_machine_and_the_examples(tmp_path: Path) -> None:
    session = {"wall_s": 1.25, "cpu_s": 2.04, "peak_memory_mb": 99.6}
    found = report._environment(
        {
            "device": "cpu",
            "python": "3",
            "x": 1,
            "libraries": {"torch": "2"},
            "sessions": [session],
            "model": {"sha256": "s"},
        }
    )
    assert found == [
        *(("python", "3"), ("device", "cpu"), ("torch", "2")),
        ("session 1", "1.2 s (2.0 s of processor time), peak memory 100 MB"),
        ("weights sha256", "s"),
    ]
    folder: Any = SimpleNamespace(path=tmp_path)
    assert report._examples(folder) == []
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"png")
    entry = {"recording": "r", "duration_s": 1.25, "recipes": ["a", "b"], "why": "sure"}
    index = sealed({"examples": [{**entry, "file": name} for name in ("gone.png", "a.png")]}, "pictures")
    (tmp_path / "pictures" / "index.json").write_bytes(
        index if isinstance(index, bytes) else json.dumps(index).encode()
    )
    (one,) = report._examples(folder)
    assert one["uri"] == "data:image/png;base64,cG5n"
    assert one["alt"] == "Spectrogram of r (1.2 s), alone and with the evidence of a, b."
    assert one["caption"] == "r, 1.2 s: sure."


def run() -> Any:
    """A run of four women and two men; one woman of HC is called PD, one man has no answer."""
    people = [f"s/{i}" for i in range(6)]
    predictions = pd.DataFrame(
        {
            "recording": list("abcdef"),
            "speaker": people,
            "label": [0, 0, 1, 1, 0, 1],
            "predicted": pd.array([0, 1, 1, 1, 0, None], dtype="Int64"),
            "p_HC": [0.9, 0.4, 0.1, 0.45, 0.8, NAN],
            "p_PD": [0.1, 0.6, 0.9, 0.55, 0.2, NAN],
        }
    )
    manifest = predictions[["recording", "speaker", "label"]].assign(
        sex=["F", "F", "F", "F", "M", "M"], classes="HC;PD", path="x"
    )
    values = {"saliency": 0.5, "random_map": 0.25}
    scores = pd.DataFrame(
        [
            {
                **{
                    "recording": r,
                    "speaker": s,
                    "label": 1,
                    "predicted": 1,
                    "model": "m",
                    "fold": "0",
                    "recipe": recipe,
                },
                **{"metric": "average_drop", "value": value + 0.1 * i},
            }
            for recipe, value in values.items()
            for i, (r, s) in enumerate(zip("abcdef", people, strict=True))
        ]
    )
    tables = {"predictions": predictions, "scores": scores, "summary": SUMMARY}
    return SimpleNamespace(
        path=Path("run"),
        table=tables.get,
        manifest=manifest,
        known=nullcontext,
        config={"model": "m", "data": "d"},
        environment={"model": {"classes": ["HC", "PD"]}},
    )


def test_groups_of_a_run() -> None:
    column, (answers, scores) = report.group_tables(run(), "SEX")
    assert column == "SEX"
    said = ("says HC", "says PD", "of HC right, % of speakers", "of PD right, % of speakers")
    assert answers.columns == ("", "recordings", "speakers", *said, "AUC")
    women, men = ([row.name, *(cell.text for cell in row.cells)] for row in answers.rows)
    # Three of four women are right. P(PD) of women .1 .6 (HC) and .9 .55 (PD): 3 of 4 pairs. Of men one answer alone.
    assert women[:5] == ["women", "4", "4", "1", "3"]
    # Sensitivity and specificity apart: a share of right answers would be the mix of the classes in a group.
    assert women[5].startswith("1 of 2: 50 ")
    assert women[6].startswith("2 of 2: 100 ")
    assert women[7] == "0.75"
    assert men[:5] == ["men", "2", "2", "1", "0"]
    assert men[5].startswith("1 of 1: 100")
    assert men[6:] == ["–", "–"]
    assert scores.title == "AD ↓: mean over the speakers of each group and 95 % interval"
    assert scores.columns == ("explanation", "women", "men")
    first = (
        [row.cells[0].text.split(" ")[0] for row in scores.rows],
        [row.cells[1].text.split(" ")[0] for row in scores.rows],
    )
    # In percent: women 50 + (0 + 10 + 20 + 30) / 4, men 50 + (40 + 50) / 2.
    assert first == (["65.0", "40.0"], ["95.0", "70.0"])
    assert [group.name for group in report.groups_by(run(), "label")] == ["labeled HC", "labeled PD"]
    nobody = run()
    nobody.table = {"predictions": nobody.table("predictions"), "scores": nobody.table("scores")[:0]}.get
    with pytest.raises(SpeechXAIError, match=r"^--by sex: no recording with scores belongs to any of its groups\.$"):
        report.groups_by(nobody, "sex")


def test_the_papers_table() -> None:
    frame = paper.published_frame(run()).set_index("recipe")
    assert list(frame.columns) == ["group", "mean_mask", "AD", "AD_low", "AD_high"]
    assert frame.loc["saliency"].tolist() == ["Methods", 0.1234, 25.0, pytest.approx(15.0), 35.0]
    assert report.asked_for(pd.DataFrame([line("a", "seed_stability", 1), line("a", "average_drop", 1)])) == [
        "seed_stability"
    ]
    text = paper.tables(run(), "csv").splitlines()
    assert text[0] == "recipe,group,mean_mask,AD,AD_low,AD_high"
    assert len(text) == 4
    both = paper.tables(run(), "csv", paper.Asked(by=("sex",))).splitlines()
    assert both[0].startswith("by,which,recipe,group,mean_mask,AD")
    assert sum(row.startswith("sex,women,") for row in both) == sum(row.startswith("sex,men,") for row in both) == 2
    page = paper.tables(run(), "markdown")
    assert "Model m, data d, n = 5 recordings of 5 speakers (3 HC, 2 PD). Means over speakers with 95 %" in page
    assert "). AD in percent. Protocol standard:" in page
    with pytest.raises(SpeechXAIError, match=r"^Unknown format 'latx'\. Did you mean 'latex'\? Known: .*$"):
        paper.tables(run(), "latx")
    none = run()
    none.table = {"summary": SUMMARY[SUMMARY["metric"] == "mean_mask"]}.get
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^run: the run has none of the paper's metrics\. Name others with --columns, or evaluate with "
            r"--metrics published or --metrics default\.$"
        ),
    ):
        paper.published_frame(none)


def test_the_table_of_a_terminal() -> None:
    shown = report.console_table(run())
    head = shown.splitlines()[0]
    assert head.split()[0] == "recipe"
    for name in ("mask", "compr@10 ↑", "AD ↓"):
        assert name in head
    assert "AD in percent; ↑ higher is better, ↓ lower is better. Compare rows by the @10 columns:" in shown
    soft = run()
    soft.table = {"summary": SUMMARY[SUMMARY["metric"] != "comprehensiveness@10"]}.get
    assert "Rows keep different shares of the bins (mask):\n--metrics default adds" in report.console_table(soft)
    none = run()
    none.table = {"summary": SUMMARY[:0]}.get
    assert report.console_table(none) == "The run has no scores."
