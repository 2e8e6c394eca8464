"""One recording explained, by hand: a network whose logit is a weighted sum of a few bins, so that every figure is
known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from speechxai.classifiers.scope import Verdict
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection import inspect, report
from speechxai.inspection.inspect import Explained, Heard, Inspection
from speechxai.signal.audio import write
from speechxai.testing import noise_recording, tiny_bundle
from speechxai.types import Recording, Spectrogram, StftConfig

STFT = StftConfig(n_fft=8, win_length=8, hop_length=4, sample_rate=8_000)
N_BINS, N_FRAMES = 5, 10
PLACE = (slice(1, 3), slice(2, 7))  # 10 of 50 bins: the strongest 20 %


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


class Weighted(torch.nn.Module):
    """Logits (0, sum of weights x magnitude); notes how many recordings each pass holds."""

    class_names = ("HC", "PD")
    stft = STFT
    max_batch = 6
    segment = None
    cam_layer = None
    one_at_a_time = False

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = torch.from_numpy(weights).float()
        self.rows: list[int] = []

    def cut(self, values: torch.Tensor) -> torch.Tensor:
        return values[:, None]

    def stitch(self, values: torch.Tensor, n_frames: int) -> torch.Tensor:
        return values[:, 0]

    def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(magnitude))
        z = (magnitude * self.weights).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(z), z], dim=1)


def heard_by(weights: np.ndarray, magnitude: np.ndarray | None = None) -> Heard:
    """A recording of 36 samples whose explained magnitude is given, by default 1 everywhere."""
    values = torch.ones(1, N_BINS, N_FRAMES) if magnitude is None else torch.from_numpy(magnitude).float()[None]
    spec = Spectrogram(values, torch.zeros_like(values), 36, STFT)
    model: Any = Weighted(weights)
    logits = model(spec.magnitude, spec.phase)[0].numpy()
    p = torch.from_numpy(logits).softmax(-1)[None].numpy()
    bundle: Any = SimpleNamespace(
        name="by-hand",
        config=SimpleNamespace(architecture="cnn"),
        concerns=lambda fold: [],
        probability_words="p",
        top_hz=4_000.0,
    )
    inside = Verdict("inside")
    return Heard(bundle, Recording(torch.ones(36), 8_000, "r", "s"), "", None, logits, p, p, spec, model, inside)


def weights_at(value: float, place: tuple[slice, slice] = PLACE) -> np.ndarray:
    weights = np.zeros((N_BINS, N_FRAMES))
    weights[place] = value
    return weights


def map_of(mask: np.ndarray, heard: Heard) -> Explained:
    """A map with the fall that the weights give by hand."""
    bins = torch.from_numpy(inspect.strongest(mask))
    fall = float((heard.spec.magnitude[0] * heard.model.weights)[bins].sum())
    return Explained("m", mask.astype(np.float32), 1, 0.9, 0.9, 0.5, 0.9, 0.5, fall, True, 0.2)


def test_both_budgets_by_hand() -> None:
    # Ten bins weigh .3 and ten .1: the logit is 4; input x gradient has 1 and 1/3 of its maximum there.
    weights = weights_at(0.3) + weights_at(0.1, (slice(3, 5), slice(2, 7)))
    heard = heard_by(weights)
    found, reasons = inspect.explain(heard, ["input_x_gradient"])
    assert not reasons
    one = found["input_x_gradient"]
    assert one.target == heard.predicted == 1
    assert one.p == pytest.approx(sigmoid(4.0))
    assert one.p_kept == pytest.approx(sigmoid(3.0))
    assert one.p_removed == pytest.approx(sigmoid(1.0))
    assert one.soft_kept == pytest.approx(sigmoid(3.0 + 1 / 3))
    assert one.soft_removed == pytest.approx(sigmoid(2 / 3))
    assert one.margin_fall == pytest.approx(3.0)
    assert one.share == 0.2
    assert one.mean_mask == pytest.approx((10 + 10 / 3) / 50)
    np.testing.assert_array_equal(one.strongest, weights == 0.3)
    assert one.values is not None
    np.testing.assert_allclose(one.values, weights, atol=1e-6)


def test_what_is_kept_of_both_budgets() -> None:
    mask = np.zeros((5, 10), np.float32)
    mask[0] = 0.5
    one = Explained("m", mask, 1, 0.9, 0.8, 0.3, 0.7, 0.2, 1.0, True, 0.1)
    assert report.budgets(one) == {
        **{"probability_original": 0.9, "probability_kept": 0.8, "probability_removed": 0.3},
        **{"budget": 0.2, "share_of_bins": 0.2},
        "soft_mask": {"mean": 0.1, "probability_kept": 0.7, "probability_removed": 0.2},
    }


def test_another_class_is_explained_by_its_own_margin() -> None:
    heard = heard_by(weights_at(0.3))
    found, _ = inspect.explain(heard, ["energy_map"], inspect.How(target="HC"))
    one = found["energy_map"]
    assert one.target == 0
    assert one.p == pytest.approx(1 - sigmoid(3.0))
    n_hit = int(one.strongest[PLACE].sum())
    # Removing evidence for PD is a rise of HC: its margin grows by .3 a bin that goes.
    assert one.margin_fall == pytest.approx(-0.3 * n_hit, abs=1e-5)
    assert one.p_fall <= 0
    with pytest.raises(Exception, match=r"^The class 'XX' is not one of this model: auto, HC, PD\.$"):
        inspect.explain(heard, ["energy_map"], inspect.How(target="XX"))


def test_what_speaks_for_another_class_is_judged_as_such() -> None:
    """HC of a recording of which the model says PD: a corner speaks for it."""
    heard = heard_by(weights_at(0.3) + weights_at(-0.2, (slice(3, 5), slice(5, 10))))
    assert heard.predicted == 1
    bins = torch.from_numpy(inspect.strongest(weights_at(1.0, (slice(3, 5), slice(5, 10)))))
    mask = bins.float().numpy()
    found = inspect.judge(heard, inspect.of_mask(heard, "by hand", mask, 0))
    assert found.fall == pytest.approx(2.0)
    assert (found.key, found.of) == ("explains", "what speaks for Healthy control")
    assert found.label == "explains what speaks for Healthy control"
    assert found.text.startswith(
        "This map explains what speaks for Healthy control: without its strongest 20 % what speaks for Healthy control"
        " weakens more than without 20 of 20 copies"
    )


def test_evidence_against_has_the_scale_of_the_evidence_for() -> None:
    values = torch.tensor([[2.0, -1.0], [0.0, -6.0]])
    assert inspect._against(values).tolist() == [[0.0, 0.5], [0.0, 1.0]]  # type: ignore[union-attr]
    assert inspect._against(-values.abs()) is None  # nothing speaks for the class: no scale
    heard = heard_by(weights_at(0.3))
    found, _ = inspect.explain(heard, ["saliency", "input_x_gradient"])
    assert found["saliency"].against is None  # it does not tell


def test_verdict_of_the_right_map() -> None:
    heard = heard_by(weights_at(0.3))
    heard.model.rows.clear()  # type: ignore[attr-defined]
    found = inspect.judge(heard, map_of(weights_at(1.0), heard))
    assert found.fall == pytest.approx(3.0)
    assert len(found.copies) == 20
    # What a copy falls by is .3 for every bin of it that still lies in the place.
    bins = weights_at(1.0) > 0
    for fall, shift in zip(found.copies, inspect.shifts(N_BINS, N_FRAMES), strict=True):
        n_hit = int((np.roll(bins, shift, axis=(0, 1)) & bins).sum())
        assert fall == pytest.approx(0.3 * n_hit, abs=1e-5)
        assert n_hit < 10
    # All bins are equally loud: the energy map's ten are any ten, and a flat picture has no edge.
    n_loud = int((inspect.strongest(np.ones((N_BINS, N_FRAMES))) & bins).sum())
    assert found.energy == pytest.approx(0.3 * n_loud, abs=1e-5)
    assert found.edges == pytest.approx(0.0, abs=1e-6)
    # The same moved in time alone, by 1 to 9 of 10 frames.
    overlaps = [(np.roll(bins, frames, axis=1) & bins).sum() for frames in range(1, 10)]
    assert found.in_time == pytest.approx([0.3 * int(n) for n in overlaps], abs=1e-5)
    assert found.n_below_in_time == 9
    assert found.key == "explains"
    rows = heard.model.rows  # type: ignore[attr-defined]
    assert sum(rows) == 31  # the energy and edge maps, 20 copies, 9 moved in time
    assert max(rows) == 6  # max_batch


def test_a_map_of_frequencies_says_not_when() -> None:
    """A network that reads one band at all times, as of a held vowel: a map may mark any of its frames."""
    heard = heard_by(weights_at(0.3, (slice(1, 2), slice(None))))
    found = inspect.judge(heard, map_of(weights_at(1.0, (slice(1, 2), slice(None))), heard))
    assert found.fall == pytest.approx(3.0)
    assert found.n_below == 20
    assert found.in_time == pytest.approx((3.0,) * 9)
    assert (found.n_below_in_time, found.key) == (0, "frequencies")
    # What is decided already costs no more passes.
    heard.model.rows.clear()  # type: ignore[attr-defined]
    assert inspect.judge(heard, map_of(weights_at(1.0, (slice(3, 5), slice(5, 10))), heard)).in_time == ()
    assert sum(heard.model.rows) == 22  # type: ignore[attr-defined]


def test_verdict_where_the_loudest_bins_do_as_well() -> None:
    heard = heard_by(weights_at(0.3), 1 + weights_at(1.0))
    found = inspect.judge(heard, map_of(weights_at(1.0), heard))
    assert found.fall == pytest.approx(found.energy) == pytest.approx(6.0)
    assert found.key == "no_better"


def test_verdict_of_maps_that_point_elsewhere_nowhere_or_against_the_answer() -> None:
    elsewhere = (slice(3, 5), slice(5, 10))
    heard = heard_by(weights_at(0.3))
    assert inspect.judge(heard, map_of(weights_at(1.0, elsewhere), heard)).key == "nothing"
    empty = inspect.judge(heard, map_of(np.zeros((N_BINS, N_FRAMES)), heard))
    assert (empty.fall, set(empty.copies), empty.energy, empty.edges) == (0.0, {0.0}, 0.0, 0.0)
    assert empty.key == "nothing"
    # Bins that speak against the answer: without them it rises, and without most copies it rises less.
    heard = heard_by(weights_at(0.3) + weights_at(-0.1, elsewhere))
    against = inspect.judge(heard, map_of(weights_at(1.0, elsewhere), heard))
    assert against.fall == pytest.approx(-1.0, abs=1e-5)
    assert against.key == "nothing"


def test_a_map_with_few_bins_is_judged_beside_as_few() -> None:
    heard = heard_by(weights_at(0.3), 1 + weights_at(1.0))
    mask = np.zeros((N_BINS, N_FRAMES))
    mask[1, 2:4] = 1.0
    found = inspect.judge(heard, map_of(mask, heard))
    assert found.fall == pytest.approx(1.2)
    assert found.energy == pytest.approx(1.2)  # two of the ten loudest, not ten
    assert (found.n_below, found.key) == (18, "nothing")  # two copies lie in the place as well: no better, no worse


def test_shifts_are_seeded_and_never_stand_still() -> None:
    first = inspect.shifts(5, 10)
    assert first == inspect.shifts(5, 10)
    assert first != inspect.shifts(5, 10, seed=1)
    assert all(0 < df < 5 and 0 < dt < 10 for df, dt in first)
    assert inspect.shifts(1, 1, n=1) == [(1, 1)]  # an axis of one bin has nowhere to go


def test_strongest_has_equal_budgets_and_no_bins_without_evidence() -> None:
    ties = np.ones((5, 10))
    assert inspect.strongest(ties).sum() == 10
    few = np.zeros((5, 10))
    few[0, :3] = 0.5
    np.testing.assert_array_equal(inspect.strongest(few), few > 0)
    ramp = np.arange(50.0).reshape(5, 10)
    np.testing.assert_array_equal(inspect.strongest(ramp), ramp >= 40)


def test_margin_over_the_next_class() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.5], [0.0, -1.0, 4.0]])
    assert inspect.margin(logits, 1).tolist() == [0.5, -5.0]


def test_overlap_and_agreement_by_hand() -> None:
    first, second = np.zeros((5, 10)), np.zeros((5, 10))
    first[0], second[0, 5:], second[1, :5] = 1.0, 1.0, 1.0
    assert inspect.overlap(first, second) == pytest.approx(0.5)  # five of ten

    def explained(name: str, mask: np.ndarray) -> Explained:
        return Explained(name, mask.astype(np.float32), 1, 0.9, 0.9, 0.5, 0.9, 0.5, 1.0, True, 0.2)

    names = ("saliency", "gradcam", *CONTROLS)
    agreed = inspect.agreement({n: explained(n, second if n == "gradcam" else first) for n in names})
    assert agreed.names == names
    assert agreed.pairs == [(0, 1)]  # controls are shown and not counted
    assert agreed.mean == pytest.approx(0.5)
    assert agreed.overlaps[0, 2] == pytest.approx(1.0)
    assert agreed.shares.tolist() == [0.2] * 5
    first, second = (SimpleNamespace(mask=mask, share=0.2) for mask in (np.eye(5), np.eye(5)))
    joined: Any = {"saliency": first, "gradcam": second, "union(saliency, gradcam)": first}
    assert inspect.agreement(joined).pairs == [(0, 1)]  # nor are combinations, which agree with their parts


def test_a_map_that_loses_to_a_control_by_hand() -> None:
    def falls(recipe: str, fall: float) -> Any:
        return SimpleNamespace(recipe=recipe, margin_fall=fall)

    controls = {"random_map": falls("random_map", 0.1), "energy_map": falls("energy_map", 1.0)}
    assert inspect.loses_to(falls("saliency", 1.1), controls) == ()
    assert inspect.loses_to(falls("saliency", 1.00005), controls) == ("energy_map",)  # rounding
    assert inspect.loses_to(falls("saliency", 0.0), controls) == ("random_map", "energy_map")
    assert inspect.loses_to(falls("random_map", 0.1), controls) == ("energy_map",)


def test_regions_hold_half_of_the_strongest_evidence() -> None:
    # 100 frames a second. Ten bins of evidence 1 in frames 20 to 29, five of .5 in frames 60 to 79: half of 100 + 50 =
    # 75
    # needs the first stretch alone, which begins half a frame before its first center and ends half after its last.
    stft = StftConfig(n_fft=64, win_length=64, hop_length=32, sample_rate=3_200)
    mask = np.zeros((33, 101), np.float32)
    mask[:10, 20:30], mask[:5, 60:80] = 1.0, 0.5
    spec = Spectrogram(torch.ones(1, 33, 101), torch.zeros(1, 33, 101), 3_200, stft)
    heard: Any = SimpleNamespace(
        waveform=np.ones(3_200), sample_rate_hz=3_200, frame_rate_hz=stft.frame_rate_hz, spec=spec
    )
    map_ = Explained("m", mask, 1, 0.9, 0.9, 0.5, 0.9, 0.5, 1.0, True, 0.2)
    assert map_.strongest.sum() == 200  # all of it: less than the budget of 667
    (region,) = inspect.evidence_regions(heard, map_)
    assert region == pytest.approx((0.195, 0.275))  # 8 of 10 frames hold 80 of 150
    one, two = inspect.evidence_regions(heard, map_, share=0.99)
    assert one == pytest.approx((0.195, 0.295))
    assert two == pytest.approx((0.595, 0.795))
    assert inspect.evidence_regions(heard, Explained("m", 0 * mask, 1, *[0.5] * 6, True, 0.0)) == []


def test_a_combination_is_not_compared_with_its_own_parts() -> None:
    heard = heard_by(weights_at(1.0))
    assert inspect.beside(heard, "union(saliency, gradcam)") == (*CONTROLS, "input_x_gradient", "integrated_gradients")
    assert inspect.beside(heard, "energy_map") == CONTROLS


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = tmp_path_factory.mktemp("inspected")
    write(folder / "voice.wav", noise_recording("v", 1.6, seed=3).waveform, 8_000)
    return inspect.inspect(folder / "voice.wav", tiny_bundle(folder / "tiny"), "saliency")


def test_an_inspection_holds_everything_that_is_shown(inspected: Inspection) -> None:
    heard, map_ = inspected.heard, inspected.map
    assert tuple(inspected.controls) == CONTROLS
    assert tuple(inspected.others) == ("input_x_gradient", "integrated_gradients", "gradcam")
    assert inspected.sentences[0].text == inspected.verdict.text
    assert [c.name for c in inspected.checks][-2:] == ["Sample rate", "Voice"]
    assert (
        inspected.class_name == {"HC": "Healthy control", "PD": "Parkinson's disease"}[heard.class_names[map_.target]]
    )
    assert map_.target == heard.predicted == int(heard.probability.argmax())
    # The same bins, removed by hand.
    removed = heard.spec.magnitude * torch.from_numpy(~map_.strongest)[None]
    with torch.inference_mode():
        p = heard.model(removed, heard.spec.phase).softmax(-1)[0, map_.target]
    assert map_.p_removed == pytest.approx(float(p), abs=1e-6)
    low, high = heard.range(map_.target)
    assert low <= min(heard.folds[:, map_.target]) <= max(heard.folds[:, map_.target]) <= high
    assert len(heard.folds) == 3  # a speaker nobody heard: the final network and both folds


def test_the_case_report_says_what_the_inspection_holds(inspected: Inspection) -> None:
    page = report.case_html(inspected, "voice <1>").decode()
    assert "voice &lt;1&gt;" in page
    assert f"The model says {inspected.class_name.replace(chr(39), '&#x27;')}" in page
    assert f": {inspected.verdict.label}.</p>" in page
    for value in (inspected.map.p_kept, inspected.map.p_removed, inspected.map.soft_kept, inspected.map.soft_removed):
        assert f"<td>{inspected.heard.shown(value, inspected.map.target):.3f}</td>" in page
    for control in ("random map (control)", "energy map (control)", "edge map (control)"):
        assert f"<td>{control}</td>" in page
    assert "not a medical device" in page
    assert not any(link in page for link in ('src="http', 'href="http'))


def test_written_sounds_are_those_that_are_played(inspected: Inspection) -> None:
    played = report.sounds(inspected.heard, inspected.map)
    kept, removed = inspect.halves(inspected.heard, inspected.map.strongest)
    for half, plain in (("kept", kept), ("removed", removed)):
        sound, gain_db = played[half]
        np.testing.assert_allclose(sound, plain * 10 ** (gain_db / 20), atol=1e-5)
    np.testing.assert_allclose(kept + removed, inspected.heard.waveform, atol=1e-4)


def test_the_answer_is_shown_with_its_class_and_label(inspected: Inspection) -> None:
    from app import widgets

    heard = inspected.heard
    said, other = inspected.class_name.replace("'", "&#x27;"), 1 - heard.predicted
    name = heard.class_names[other]
    assert f"<b>{said}</b>" in widgets.verdict(heard)
    assert "(as labeled)" in widgets.verdict(heard, heard.class_names[heard.predicted], True)
    names = {"HC": "Healthy control", "PD": "Parkinson&#x27;s disease"}
    assert f"but labeled {names[name]}" in widgets.verdict(heard, name, False)
    assert "(labeled pathological)" in widgets.verdict(heard, "pathological"), "nobody knows whether that is the same"


@pytest.mark.parametrize(("n_frames", "known"), [(49, False), (50, True)])
def test_a_fifth_of_a_short_recording_is_not_left_out(n_frames: int, known: bool) -> None:
    model = Weighted(np.ones((N_BINS, 1)))
    values = torch.ones(1, N_BINS, n_frames)
    values[..., :10] = 3.0
    found = inspect._without_fifths(model, Spectrogram(values, 0 * values, 4 * (n_frames - 1), STFT))  # type: ignore[arg-type]
    assert (found is not None) == known
    if found is not None:
        # The first ten frames are three times as loud: without them 5 x 40, without others 5 x (30 + 30).
        logits = [200.0, *[300.0] * 4]
        np.testing.assert_allclose(found[:, 1], [sigmoid(z) for z in logits])


@pytest.mark.parametrize("n_pieces", [9, 10])
def test_many_segments_are_left_out_by_fifths(n_pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    cut: list[int] = []
    whole = torch.tensor([[0.5, 0.5]])
    monkeypatch.setattr(inspect, "class_probabilities", lambda _, part: cut.append(part.magnitude.shape[-1]) or whole)

    class InPieces(Weighted):
        def cut(self, values: torch.Tensor) -> torch.Tensor:
            return torch.arange(1.0, n_pieces + 1)[None, :, None, None].expand(1, -1, N_BINS, 6)

        def segment_logits(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            asked.append(len(magnitude))
            z = 0.1 * magnitude[:, 0, 0]
            return torch.stack([torch.zeros_like(z), z], dim=1)

    values = torch.ones(1, N_BINS, 60)
    found = inspect._without_fifths(InPieces(np.zeros((N_BINS, 1))), Spectrogram(values, values, 236, STFT))  # type: ignore[arg-type]
    assert found is not None
    if n_pieces == 9:  # few enough to cut the recording itself
        assert (asked, cut) == ([], [48] * 5)
    else:
        assert (asked, cut) == ([6, 4], [])  # max_batch
        # Without the pieces 2 k + 1 and 2 k + 2 of 1 ... 10: the mean of the others, a tenth of it.
        expected = [sigmoid(0.1 * (55 - (4 * k + 3)) / 8) for k in range(5)]
        np.testing.assert_allclose(found[:, 1], expected, rtol=1e-6)
