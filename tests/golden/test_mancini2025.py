"""Every defect of the published code, by hand, beside the corrected definition, so that tests show where they
differ."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import iou
from speechxai.explain.combination import evidence
from speechxai.mancini2025 import report
from speechxai.mancini2025.maps import (
    PUBLISHED_DEFINITIONS,
    PosteriorLogits,
    published_evidence,
    published_iou,
    published_running_means,
    score_published,
)
from speechxai.mancini2025.study import ROW, batch_maxima
from speechxai.mancini2025.unit import facts_of
from speechxai.metrics import METRICS, PUBLISHED_METRICS, Case
from speechxai.types import Attribution, Recording, Spectrogram, StftConfig

TINY = StftConfig(n_fft=2, win_length=2, hop_length=1)
LN2 = math.log(2)


class Linear(nn.Module):
    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = (magnitude * torch.tensor([[2 * LN2, -LN2], [0.0, 0.0]])).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.fixture
def case() -> Case:
    # z = 2 ln 2 a - ln 2 b for the first row a b of a recording
    # 0: a b = 1 0, E = 1 0: P(PD) 4/5, kept 4/5, removed 1/2          predicted PD
    # 1: a b = 1 4, E = 0 1: z = -2 ln 2: 1/5, kept -4 ln 2: 1/17, removed 2 ln 2: 4/5   predicted HC
    # 2: a b = 1 4, E = 1 0: 1/5, kept 2 ln 2: 4/5, removed -4 ln 2: 1/17               predicted HC
    magnitude = torch.tensor([[[1.0, 0], [0, 0]], [[1.0, 4], [0, 0]], [[1.0, 4], [0, 0]]])
    mask = torch.tensor([[[1.0, 0], [0, 0]], [[0.0, 1], [0, 0]], [[1.0, 0], [0, 0]]])
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 1, TINY)
    return Case(Linear(), spec, Attribution(mask, torch.tensor([1, 0, 0]), "by_hand"))


GOLDEN = {
    # name: (published on P(PD), corrected on the explained class)
    # explained class: p 4/5 4/5 4/5, kept 4/5 16/17 1/5
    "average_increase": ([0, 0, 1], [0, 1, 0]),
    # published: (1/5 - 1/17) / (1/5) = 12/17 for the map that helps, 0 for the one that hurts; corrected: (4/5 - 1/5) /
    # (4/5)
    "average_drop": ([0, 12 / 17, 0], [0, 0, 3 / 4]),
    # published: (4/5 - 1/5) / (4/5); corrected: (16/17 - 4/5) / (1/5) = 12/17
    "average_gain": ([0, 0, 3 / 4], [0, 12 / 17, 0]),
    # kept classes PD HC PD against originals PD HC HC; published: how many of the three originals share the kept class
    "input_fidelity": ([1, 2, 1], [1, 1, 0]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_and_corrected(name: str, case: Case) -> None:
    published, corrected = GOLDEN[name]
    got = PUBLISHED_DEFINITIONS[name](case)
    torch.testing.assert_close(got, torch.tensor(published).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(METRICS[name](case), torch.tensor(corrected).float(), atol=1e-6, rtol=0)
    assert not torch.allclose(got, METRICS[name](case))


def test_faithfulness_is_that_of_the_predicted_class_in_both(case: Case) -> None:
    # 4/5 - 1/2; removed P(HC) = 1/5: 4/5 - 1/5; removed P(HC) = 16/17: 4/5 - 16/17
    expected = torch.tensor([0.3, 0.6, -12 / 85])
    torch.testing.assert_close(PUBLISHED_DEFINITIONS["faithfulness"](case), expected, atol=1e-6, rtol=0)


def test_all_seven_published_metrics_have_a_published_definition(case: Case) -> None:
    assert tuple(PUBLISHED_DEFINITIONS) == PUBLISHED_METRICS
    values = score_published(case)
    # the raw count and, beside it, the corrected value
    assert list(values) == [*PUBLISHED_METRICS, "input_fidelity_corrected"]
    torch.testing.assert_close(values["input_fidelity_corrected"], torch.tensor([1.0, 1, 0]))


def test_raw_fidelity_depends_on_the_batch(case: Case) -> None:
    alone = Case(
        Linear(),
        Spectrogram(case.spec.magnitude[:1], case.spec.phase[:1], 1, TINY),
        Attribution(case.attribution.values[:1], case.target[:1], "by_hand"),
    )
    assert PUBLISHED_DEFINITIONS["input_fidelity"](alone).tolist() == [1]


def test_maximum_over_the_batch() -> None:
    values = torch.tensor([[[4.0, -2.0]], [[1.0, 0.5]]])
    assert published_evidence(values).tolist() == [[[1, 0.5]], [[0.25, 0.125]]]
    assert evidence(values, "absolute").tolist() == [[[1, 0.5]], [[1, 0.5]]]


def test_second_map_thresholded_by_the_first_maps_maximum() -> None:
    first, second = torch.tensor([[[10.0, 5.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 1.0]]])
    # threshold 4 leaves nothing of the second map: 0 of 2; by its own maximum it holds bins 1 2: 1 of 3
    assert published_iou(first, second).tolist() == [0]
    assert iou(first, second).item() == pytest.approx(1 / 3)
    # a second map of larger scale passes almost whole: {0 1} against {0 1 2}: 2 of 3; by its own maximum {0}: 1 of 2
    second = torch.tensor([[[100.0, 5.0, 4.0]]])
    assert published_iou(first, second).item() == pytest.approx(2 / 3)
    assert iou(first, second).item() == pytest.approx(1 / 2)


def test_running_means() -> None:
    # pair 1 has .2 .4, pair 2 has .9 .9: the store still holds pair 1, so pair 2 is printed as (.2 + .4 + .9 + .9) / 4
    # = .6
    assert published_running_means({"a | b": [0.2, 0.4], "a | c": [0.9, 0.9]}) == pytest.approx(
        {"a | b": 0.3, "a | c": 0.6}
    )


def test_post_sigmoid_is_what_is_explained() -> None:
    magnitude = torch.tensor([[[1.0, 0], [0, 0]]], requires_grad=True)
    output = PosteriorLogits(Linear())(magnitude, torch.zeros(1, 2, 2))
    # P(PD) = 4/5; its gradient is p (1 - p) w = 4/25 * 2 ln 2 in the first bin
    torch.testing.assert_close(output, torch.tensor([[0.2, 0.8]]))
    gradient = torch.autograd.grad(output[0, 1], magnitude)[0]
    assert gradient[0, 0, 0].item() == pytest.approx(0.16 * 2 * LN2)


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(SpeechXAIError, match=r"^The 'mancini2025' protocol is for two classes\. This network has 3\.$"):
        PosteriorLogits(lambda m, p: torch.zeros(1, 3))(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))  # type: ignore[arg-type]


def cells(table: Any) -> list[list[str]]:
    return [[row.group, row.name, *(cell.text for cell in row.cells)] for row in table.rows]


def test_what_each_correction_changes_in_words_and_numbers() -> None:
    # means of 40 and 50, of 44 and 42: +4 and -8, the largest by size; the rest was not run
    changed = pd.DataFrame(
        [
            ("level", "average_increase", "saliency", 40.0, 44.0, 4.0),
            ("level", "average_increase", "smoothgrad", 50.0, 42.0, -8.0),
            ("level", "faithfulness", "saliency", 0.5, math.nan, math.nan),
            ("leak", "", "", math.nan, math.nan, math.nan),
        ],
        columns=["correction", "metric", "recipe", "published", "corrected", "difference"],
    )
    table = report.correction_table(changed)
    assert table.title == "What each correction changes by itself, everything else as published: means over maps"
    assert table.columns == ("metric", "published", "corrected", "difference", "largest", "maps or pairs")
    level, leak = report.CORRECTIONS["level"], report.CORRECTIONS["leak"]
    assert cells(table) == [
        [level, "AI (%)", "45.00", "43.00", "−2.00", "−8.00", "2"],
        [level, "FF", "0.5000", "–", "–", "–", "0"],
        [leak, "not run", "–", "–", "–", "–", "0"],
    ]
    detail = report.detail_table(changed)
    assert (detail.title, detail.columns) == (
        "The same, map by map",
        ("map and metric", "published", "corrected", "difference"),
    )
    assert cells(detail) == [
        [level, "saliency, AI (%)", "40.00", "44.00", "4.00"],
        [level, "smoothgrad, AI (%)", "50.00", "42.00", "−8.00"],
        [level, "saliency, FF", "0.5000", "–", "–"],
    ]


def test_the_classifier_over_folds() -> None:
    # fold 0: 2 of 3 right, of PD 1 of 2, of HC 1 of 1; fold 1: 1 of 2, of PD 1 of 1, of HC 0 of 1
    predictions = pd.DataFrame(
        {"fold": [0, 0, 0, 1, 1, 1], "label": [1, 1, 0, 1, 0, math.nan], "predicted": [1, 0, 0, 1, 1, 1]}
    )
    folder: Any = SimpleNamespace(table=lambda name: predictions)
    table = report.classifier_table(folder)
    assert table.title == "The classifier, by recording: percent, mean ± standard deviation over folds"
    assert table.columns == ("measure", "ours", "authors")
    authors = report.reference()["classifier"]
    assert [row[1:3] for row in cells(table)] == [
        ["accuracy", "58.3 ± 8.3"],
        ["sensitivity", "75.0 ± 25.0"],
        ["specificity", "50.0 ± 50.0"],
    ]
    assert cells(table)[1][3] == f"{authors['sensitivity'][0]:.1f} ± {authors['sensitivity'][1]:.1f}"
    assert report.accuracy_by_fold(folder) == pytest.approx([200 / 3, 50])
    assert report.mean_std([1.0, math.nan, 3.0]) == (2.0, 1.0)


def test_maps_beside_the_authors() -> None:
    part = pd.DataFrame(
        [
            {
                **{"recipe": "guided_gradcam", "metric": "average_drop", "published": 12.0, "published_std": 1.5},
                **{"authors": 11.0, "authors_std": math.nan, "corrected": 9.0, "low": 8.0, "high": 10.5},
                **{"degenerate": True, "noise": True, "undefined": 3},
            }
        ]
    )
    table = report.comparison_table(part, "Methods", ["average_drop", "sparseness"])
    assert table.title == "Methods: AD (%), SPS"
    assert table.columns[:4] == ("map", "AD (%) published", "AD (%) authors", "AD (%) corrected")
    assert cells(table) == [
        ["", "guided_gradcam †‡", "12.00 ± 1.50 (3 undefined)", "11.00", "9.00 [8.00, 10.50]", "–", "–", "–"]
    ]
    plain = report.comparison_table(part.assign(degenerate=False, noise=False, undefined=0, low=math.nan), "M", ["iou"])
    assert cells(plain) == [["", "guided_gradcam", "–", "–", "–"]]


def test_a_leak_and_rounding_are_called_so() -> None:
    known = report.reference()["auxiliary"]["saliency"][0]
    leak = report.auxiliary_table({"saliency": {"by_recording": 0.9, "by_speaker": 0.6}, "mine": leaky(0.5, 0.4)})
    assert leak.title == (
        "Auxiliary classifier, accuracy: split by clip the tested speakers are in the training data (a leak, never a"
        " result)"
    )
    assert leak.columns == ("input", "by clip: LEAKS", "authors, by clip", "by speaker")
    assert cells(leak) == [["", "saliency", "0.900", f"{known:.2f}", "0.600"], ["", "mine", "0.500", "–", "0.400"]]
    scores = pd.DataFrame(
        [("average_gain", 5.0, 7.0, 2.0, 30.0)], columns=["metric", "published", "nudged", "difference", "largest"]
    )
    noise = report.Rounding(10, 4, 3e-7, 0.25, scores)
    table = report.noise_table(noise)
    assert (
        table.title == "Guided Grad-CAM when every bin of a recording moves by at most 1e-07 of its largest magnitude"
    )
    assert table.columns == ("metric", "published", "moved", "difference", "largest of one recording")
    assert cells(table) == [["", "AG (%)", "5.00", "7.00", "2.00", "30.00"]]
    (said,) = report.warnings_of(noise)
    assert said.startswith(
        "‡ Rounding noise: in 4 of 10 recordings the weights of the published guided Grad-CAM are 3e-07"
    )
    assert "moves the mask by 25 % of its size (median)" in said
    assert report.warnings_of(None) == report.warnings_of(report.Rounding(10, 0, 1.0, 0.0, scores)) == []


def leaky(by_recording: float, by_speaker: float) -> dict[str, float]:
    return {"by_recording": by_recording, "by_speaker": by_speaker}


def test_what_a_report_of_the_protocol_lacks(tmp_path: Path) -> None:
    folder: Any = SimpleNamespace(path=tmp_path)
    assert report.missing_parts(folder) == [
        "The second pass is missing (the run kept no maps): published numbers are by each recording's own maximum.",
        "The maps were not made at the other level.",
        "The corrected protocol was not run.",
        "No auxiliary study with both splits belongs to this run: the configuration mancini2025-auxiliary makes one.",
    ]


def test_who_shares_a_maximum_by_hand() -> None:
    # batches of two: a with b, c with d, e alone; another fold on its own
    published = SimpleNamespace(batch=2)
    session: Any = SimpleNamespace(
        recordings=list("abcdef"),
        manifest=pd.DataFrame({"recording": list("abcdef")}),
        settings=SimpleNamespace(recipes=("saliency",)),
        config=SimpleNamespace(published=published),
    )
    tops = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 0.5, "e": 8.0, "f": 3.0}
    units: Any = {
        name: SimpleNamespace(facts={"fold": "1" if name == "f" else "0", "top_saliency": top})
        for name, top in tops.items()
    }
    found = batch_maxima(session, SimpleNamespace(), units)  # type: ignore[arg-type]
    assert {name: each["shares"]["saliency"] for name, each in found.items()} == {
        **{"a": 0.25, "b": 1.0, "c": 1.0, "d": 0.25, "e": 1.0, "f": 1.0}
    }
    # Rows of the published test set: between a and b one is missing, so a is alone and b stands with c; d has failed,
    # so e stands alone where it stood beside d
    session.manifest[ROW] = [0.0, 2, 3, 4, 5, 1]
    del units["d"]
    found = batch_maxima(session, SimpleNamespace(), units)  # type: ignore[arg-type]
    assert {name: each["shares"]["saliency"] for name, each in found.items()} == {
        **{"a": 1.0, "b": 1.0, "c": 0.5, "e": 1.0, "f": 1.0}
    }


def test_what_a_table_says_of_a_recording() -> None:
    spec = Spectrogram(torch.ones(1, 2, 8), torch.zeros(1, 2, 8), 7, TINY)
    recording = Recording(torch.ones(10), 5, "r", "s/1", 0)
    job: Any = SimpleNamespace(recording=recording, model=Classifier(Linear(), TINY), facts={"fold": "2"})
    assert facts_of(job, spec, torch.tensor([[0.25, 0.75]])) == {
        **{"speaker": "s/1", "label": 0, "predicted": 1, "p_HC": 0.25, "p_PD": 0.75},
        **{"duration_s": 2.0, "n_frames": 8, "fold": "2"},
    }
    assert facts_of(job, spec, torch.tensor([[0.75, 0.25]]))["predicted"] == 0


def test_the_raw_count_follows_the_kept_class() -> None:
    # predicted 1 0 0, kept as predicted: yes no yes, so kept 1 1 0; each is compared with all: 1 1 2 -> mean 4/3
    part = pd.DataFrame({"predicted": [1, 0, 0, 1], "value": [1.0, 0.0, 1.0, math.nan]})
    assert report._count(part) == pytest.approx(4 / 3)
    assert math.isnan(report._count(part[3:]))


def test_protocol_options_are_options_that_the_methods_take() -> None:
    from speechxai.explain.explain import check_options
    from speechxai.mancini2025.maps import PROTOCOL_OPTIONS

    check_options(PROTOCOL_OPTIONS)
