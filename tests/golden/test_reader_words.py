"""What a reader sees is true: names of classes, verdicts, and every sentence with a map that calls for it and one that
does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from speechxai.classifiers.held_out import HeldOut
from speechxai.classifiers.scope import Scope
from speechxai.inspection import words
from speechxai.inspection.words import Facts, Verdict

N_BINS, N_FRAMES = 161, 100  # 50 Hz a bin up to 8 kHz, 10 ms a frame
VOICED = np.array([0] * 20 + [1] * 10 + [2] * 70)


def block(low_hz: float, high_hz: float, first: int, last: int, value: float = 1.0) -> np.ndarray:
    """Evidence of `value` inside a rectangle, 0 elsewhere."""
    evidence = np.zeros((N_BINS, N_FRAMES))
    evidence[round(low_hz / 50) : round(high_hz / 50), first:last] = value
    return evidence


def facts(evidence: np.ndarray, **changes: object) -> Facts:
    base = Facts(
        evidence=evidence,
        loudness=np.ones((N_BINS, N_FRAMES)),
        voicing=VOICED,
        bin_hz=50.0,
        frame_rate_hz=100.0,
        class_name="Parkinson's disease",
        p=0.9,
        p_removed=0.4,
        verdict=Verdict(2.0, (0.5,) * 20, energy=1.0, edges=1.5),
        controls={"energy_map": 0.6, "random_map": 0.8, "edge_map": 0.55},
        overlaps={"saliency": 0.55, "gradcam": 0.45},
        range_p=(0.8, 0.95),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_where_names_the_bands_that_hold_half() -> None:
    said = words.where(facts(block(1_000, 2_000, 30, 100)))
    assert said.key == "bands"
    # all evidence between 1 and 2 kHz; 20 of 161 bins are 12 % of a flat loudness
    assert (
        said.text
        == "100 % of the evidence lies between 1 kHz and 2 kHz, where a map of loudness alone would have 12 %."
    )


def test_where_joins_neighboring_bands_and_says_below() -> None:
    evidence = block(0, 250, 0, 100, 0.5) + block(250, 500, 0, 100, 0.5) + block(4_000, 8_000, 0, 100, 0.05)
    # 5 bins each of .5 in the two low bands = 2.5 + 2.5, 80 bins of .05 above = 4: 5 of 9 are 56 %
    said = words.where(facts(evidence))
    assert said.text.startswith("56 % of the evidence lies below 500 Hz")


def test_where_says_spread_when_no_band_stands_out() -> None:
    even = sum(
        block(lo, hi, 0, 100, 1 / ((hi - lo) / 50))
        for lo, hi in ((0, 250), (250, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000))
    )
    # a sixth in each of six bands: half of the axis is needed to hold half of the evidence
    assert words.where(facts(even)).key == "spread"
    tilted = even + block(1_000, 2_000, 0, 100, 0.05)  # (1 + 1) of 7: 29 %
    assert (
        words.where(facts(tilted)).text
        == "The evidence is spread over low and high frequencies; the largest part, 29 %, lies between 1 kHz and 2 kHz "
        "(a map of loudness alone: 12 %)."
    )
    two_bands = even + 0.04 * block(1_000, 4_000, 0, 100)  # (1 + .8 + 1 + 1.6) of 8.4 are 52 %
    assert words.where(facts(two_bands)).text.startswith("52 % of the evidence lies between 1 kHz and 4 kHz")


def test_when_names_the_kind_of_sound() -> None:
    assert words.when(facts(block(0, 8_000, 30, 100))).key == "voiced"
    said = words.when(facts(block(0, 8_000, 20, 30)))
    assert said.text == "It gathers in unvoiced sound: 100 % of the evidence in 10 % of the time."
    assert words.when(facts(block(0, 8_000, 0, 20))).key == "pause"


def test_when_names_a_stretch_of_a_held_vowel() -> None:
    held = np.full(N_FRAMES, 2)
    said = words.when(facts(block(0, 8_000, 40, 50), voicing=held))
    assert said.text == "Its densest tenth, 0.40 to 0.49 s, holds 100 % of it."
    assert words.when(facts(np.ones((N_BINS, N_FRAMES)), voicing=held)).key == "even"


def test_removing_is_compared_with_all_three_controls() -> None:
    said = words.control(facts(np.ones((N_BINS, N_FRAMES))))
    assert said.key == "fall"
    assert said.text == (
        "Removing it lowers P(PD) from 0.90 to 0.40; removing as many of the loudest places to 0.60, of the edges to"
        " 0.55 and random places to 0.80."
    )
    assert words.control(facts(np.ones((N_BINS, N_FRAMES)), controls={})).text.endswith("from 0.90 to 0.40.")
    # A map that is itself a control is compared with the others.
    for left, text in (
        ({"edge_map": 0.55, "random_map": 0.8}, "removing as many of the edges to 0.55 and random places to 0.80."),
        (
            {"energy_map": 0.6, "random_map": 0.8},
            "removing as many of the loudest places to 0.60 and random places to 0.80.",
        ),
        ({"random_map": 0.8}, "removing as many random places to 0.80."),
    ):
        assert words.control(facts(np.ones((N_BINS, N_FRAMES)), controls=left)).text.endswith(text)


@pytest.mark.parametrize(
    ("p_removed", "key", "does"),
    [
        (0.881, "no_effect", "hardly changes"),
        (0.919, "no_effect", "hardly changes"),
        (0.879, "fall", "lowers"),
        (0.921, "rise", "raises"),  # a rise is no fall
    ],
)
def test_a_rise_is_called_a_rise(p_removed: float, key: str, does: str) -> None:
    said = words.control(facts(np.ones((N_BINS, N_FRAMES)), p_removed=p_removed))
    assert said.key == key
    assert said.text.startswith(f"Removing it {does} P(PD) from 0.90 to ")


@pytest.mark.parametrize(
    ("p_removed", "said"),
    [
        (0.4, "raises P(PD) from 0.10 to 0.60, away from Healthy control;"),
        (0.95, "lowers P(PD) from 0.10 to 0.05, towards Healthy control;"),
        (0.91, "hardly changes P(PD) from 0.10 to 0.09;"),
    ],
)
def test_of_two_classes_there_is_one_scale(p_removed: float, said: str) -> None:
    one = facts(block(500, 1_000, 30, 100), p_removed=p_removed, mirrored=True, class_name="Healthy control")
    assert f"Removing it {said}" in words.control(one).text
    assert words.control(one).text.endswith("places to 0.40, of the edges to 0.45 and random places to 0.20.")
    unsure = replace(one, p=0.55, range_p=(0.42, 0.6))
    assert [s.text for s in words.cautions(unsure)] == ["The model is unsure: P(PD) 0.45 is close to 0.50."]
    (fragile,) = words.cautions(replace(unsure, p=0.7))
    assert fragile.text == ("The answer hangs on a part of the recording: without one fifth of it P(PD) is 0.58.")


HELD = HeldOut(
    labels=(0,) * 6 + (1,) * 2 + (0,) * 1 + (1,) * 2 + (0,) * 3 + (1,) * 6,
    probabilities=(0.1,) * 8 + (0.5,) * 3 + (0.9,) * 9,
)
"""Of 10 ill ones 6 have .9, 2 have .5 and 2 have .1; of 10 healthy ones 3 have .9, 1 has .5 and 6 have .1."""


def test_chances_of_an_alarm_by_hand() -> None:
    assert words.chances(HELD, ("HC", "PD"), 0.85, says_ill=True) == [
        "Of 9 people with a value like this (0.8 to 1.0) 6 had Parkinson's disease.",
        "It finds 6 of 10 with Parkinson's disease and wrongly alarms 3 of 10 without.",
        # .6 x .5 / (.6 x .5 + .3 x .5) = .667; .6 x .01 / (.6 x .01 + .3 x .99) = .0198
        "Of 100 of whom it says Parkinson's disease, 67 have Parkinson's disease where 50 % have it, as in its data; 2"
        " where 1 in 100 has it.",
    ]


def test_chances_of_an_all_clear_by_hand() -> None:
    said = words.chances(HELD, ("HC", "PD"), 0.3, says_ill=False, share=0.1, people="made voices")
    assert said[0] == "None of its made voices had a value like this (0.2 to 0.4)."
    # .4 x .5 / (.4 x .5 + .7 x .5) = .3636; .4 x .1 / (.4 x .1 + .7 x .9) = .0597
    assert said[2] == (
        "Of 1,000 of whom it says Healthy control, 364 have Parkinson's disease where 50 % have it, as in its data; 60"
        " where 1 in 10 has it."
    )
    perfect = HeldOut(labels=(0, 0, 1, 1), probabilities=(0.1, 0.2, 0.8, 0.9))
    assert "fewer than 1 where 1 in 100 has it." in words.chances(perfect, ("HC", "PD"), 0.1, says_ill=False)[2]
    silent = HeldOut(labels=(0, 1), probabilities=(0.1, 0.2))
    assert "none have Parkinson's disease where 50 %" in words.chances(silent, ("HC", "PD"), 0.6, says_ill=True)[2]
    assert words.chances(None, ("HC", "PD"), 0.6, says_ill=True) == [
        "How often it is right about people it never heard is not known: the model states no figures."
    ]


@pytest.mark.parametrize(
    ("fall", "n_below", "energy", "edges", "key"),
    [
        (1.0, 20, 0.9, 0.8, "explains"),
        (1.0, 19, 0.9, 0.8, "explains"),
        (1.0, 18, 0.9, 0.8, "nothing"),
        (1.0, 20, 1.0, 0.8, "no_better"),
        (1.0, 20, 0.99995, 0.8, "no_better"),  # rounding
        (1.0, 20, 0.9, 1.1, "no_better"),
        (1.0, 0, 0.0, 0.0, "nothing"),
        (0.0, 20, -1.0, -1.0, "nothing"),
        (-0.5, 20, -1.0, -1.0, "nothing"),  # the answer rises: that the copies raise it further is no explanation
    ],
)
def test_verdict(fall: float, n_below: int, energy: float, edges: float, key: str) -> None:
    found = Verdict(fall, (fall - 1.0,) * n_below + (fall,) * (20 - n_below), energy, edges)
    assert found.n_below == n_below  # a copy that falls as far does not count
    assert found.key == key
    assert found.label == words.VERDICTS[key]  # type: ignore[index]


def test_what_is_not_known_yet_is_left_out() -> None:
    known = facts(block(1_000, 2_000, 0, N_FRAMES), controls={}, overlaps={}, verdict=None)
    early, later = words.summary(known), words.summary(facts(block(1_000, 2_000, 0, N_FRAMES)))
    assert [s.kind for s in early] == ["where", "when", "control"]
    assert early[-1].text == "Removing it lowers P(PD) from 0.90 to 0.40."
    assert early[:2] == later[1:3]  # what stands there first stays when the rest comes
    empty = words.summary(facts(np.zeros((N_BINS, N_FRAMES)), verdict=None))
    assert [s.key for s in empty] == ["empty"]


def test_verdicts_say_why() -> None:
    copies = (0.1,) * 19 + (2.0,)
    began = "without its strongest 20 % the answer"
    moved = "19 of 20 copies of it moved elsewhere in time and frequency"
    assert Verdict(1.0, copies, 0.9, 0.9).text == (
        f"This map explains the answer: {began} weakens more than without {moved}, and more than without as many of the"
        " loudest places or of the edges."
    )
    assert Verdict(1.0, copies, 0.9, 1.5).text == (
        f"This map is no better than loudness or edges: {began} weakens more than without {moved}, but not more than"
        " without as many of the edges."
    )
    assert Verdict(1.0, copies, 0.9, 0.9, (0.5,) * 18 + (1.0, 1.0)).text == (
        f"This map is no better than its own frequencies at other moments: {began} weakens more than without {moved},"
        " but not more than without 2 of 20 moved in time alone. It tells which frequencies matter, not when."
    )
    assert Verdict(1.0, copies, 0.9, 0.9, (0.5,) * 19 + (1.0,)).key == "frequencies"
    assert Verdict(1.0, copies, 0.9, 0.9, (0.5,) * 20).key == "explains"
    assert Verdict(1.0, copies, 1.5, 0.9, (1.0,) * 20).key == "no_better"
    assert Verdict(1.0, copies, 1.5, 1.5).text.endswith("without as many of the loudest places or of the edges.")
    assert Verdict(0.05, copies, 0.0, 0.0).text == (
        f"This map explains nothing: {began} weakens more than without 0 of 20 copies of it moved elsewhere in time and"
        " frequency; only 19 or more would show that its place matters."
    )
    assert Verdict(-0.2, copies, 0.0, 0.0).text == f"This map explains nothing: {began} grows stronger."
    assert Verdict(0.0, (0.0,) * 20, 0.0, 0.0).text == f"This map explains nothing: {began} stays what it was."


def test_names_of_classes_recipes_and_cues() -> None:
    assert words.class_words("PD") == "Parkinson's disease"
    assert words.class_words("HC") == "Healthy control"
    assert words.class_words("pathological") == "pathological"
    assert words.recipe_words("union(saliency, input_x_gradient)") == "union(saliency, input x gradient)"
    for control in ("random_map", "energy_map", "edge_map"):
        assert words.recipe_words(control) == f"{control.replace('_', ' ')} (control)"
    assert words.recipe_words("truth_map") == "the truth itself"
    assert words.cue_words("synthetic/burst_weakening/1") == "Burst weakening in synthetic voices"
    assert words.cue_words("librispeech/tremor/0.5") == "Tremor in librispeech voices, severity 0.5"
    assert words.cue_words("figshare-cnn") == "figshare-cnn"


@pytest.mark.parametrize(
    ("overlaps", "key"),
    [
        ({"a": 0.55, "b": 0.45}, "agree"),  # mean .50 against .20 by chance
        ({"a": 0.35, "b": 0.31}, "partly"),
        ({"a": 0.22, "b": 0.15}, "disagree"),
        ({"a": float("nan"), "b": 0.6}, "agree"),
    ],
)
def test_agreement(overlaps: dict[str, float], key: str) -> None:
    said = words.agree(facts(np.ones((N_BINS, N_FRAMES)), overlaps=overlaps))
    assert said is not None
    assert said.key == key
    assert "unrelated maps have 20 %" in said.text


def test_agreement_names_its_methods_and_maps_with_little_evidence() -> None:
    said = words.agree(
        facts(
            np.ones((N_BINS, N_FRAMES)),
            overlaps={"saliency": 0.55, "input_x_gradient": 0.45, "gradcam": 0.5},
            shares={"": 0.2, "saliency": 0.199, "gradcam": 0.05},
        )
    )
    assert said is not None
    assert said.text == (
        "It agrees with saliency, input x gradient and gradcam: 50 % of the strongest places in common on average; two"
        " unrelated maps have 20 %. gradcam holds evidence in 5.0 % of the places only."
    )
    one = words.agree(facts(np.ones((N_BINS, N_FRAMES)), overlaps={"a": 0.2}, shares={"": 0.01}))
    assert one is not None
    assert one.text == (
        "It does not agree with a: 20 % of the strongest places in common; two unrelated maps have 20 %. This map holds"
        " evidence in 1.0 % of the places only."
    )


def test_agreement_is_silent_without_others() -> None:
    assert words.agree(facts(np.ones((N_BINS, N_FRAMES)), overlaps={})) is None


def keys(found: Facts) -> set[str]:
    return {sentence.key for sentence in words.cautions(found)}


def test_no_caution_where_nothing_speaks_against_it() -> None:
    assert keys(facts(block(500, 1_000, 30, 100))) == set()


def test_caution_evidence_in_pauses() -> None:
    assert "silence" in keys(facts(block(500, 1_000, 0, 60)))  # 20 of 60 frames are pauses: 33 %
    assert "silence" not in keys(facts(block(500, 1_000, 10, 100)))  # 10 of 90: 11 %


def test_caution_unsure_and_fragile() -> None:
    evidence = block(500, 1_000, 30, 100)
    assert "unsure" in keys(facts(evidence, p=0.55, range_p=(0.5, 0.6)))
    assert "unsure" not in keys(facts(evidence, p=0.65, range_p=(0.6, 0.7)))
    assert "fragile" in keys(facts(evidence, p=0.7, range_p=(0.42, 0.8)))
    assert "fragile" not in keys(facts(evidence, p=0.7, range_p=(0.51, 0.8)))


def test_caution_disagreement() -> None:
    evidence = block(500, 1_000, 30, 100)
    assert "disagreement" in keys(facts(evidence, overlaps={"a": 0.2}))
    assert "disagreement" not in keys(facts(evidence, overlaps={"a": 0.5}))


def test_caution_evidence_where_there_is_nothing_to_explain() -> None:
    nothing = [(3_940.0, "the network hears nothing")]
    said = [s.text for s in words.cautions(facts(block(3_000, 5_000, 30, 100), nothing_above=nothing))]
    # 40 bins of 50 Hz from 3,000 Hz, of which those from 3,950 Hz lie above: 21 of 40.
    assert said == [
        "52 % of the evidence lies above 3.9 kHz, where the network hears nothing: there it explains nothing."
    ]
    assert "band" not in keys(facts(block(500, 4_000, 30, 100), nothing_above=nothing))  # one bin of 70


def test_caution_that_the_map_explains_nothing() -> None:
    evidence = block(500, 1_000, 30, 100)
    nothing = Verdict(2.0, (2.0,) * 20, energy=1.0, edges=1.5)
    assert keys(facts(evidence, verdict=nothing)) == {"nothing"}
    assert keys(facts(evidence, verdict=replace(nothing, copies=(0.5,) * 20, energy=3.0))) == set()


def test_caution_recording_and_training() -> None:
    evidence = block(500, 1_000, 30, 100)
    found = words.cautions(
        facts(evidence, warnings=["noisy: speech is only 9 dB above the background"], unlike=["Unlike."])
    )
    assert [s.text for s in found] == [
        "Unlike.",
        "The recording check says noisy: speech is only 9 dB above the background.",
    ]


def test_cautions_word_by_word_and_at_their_bounds() -> None:
    """All four at once; and each bound: pauses above 0.20, unsure under 0.10 from one half, fragile from one half."""
    evidence = block(500, 1_000, 0, 100)
    at_once = facts(evidence, p=0.59, range_p=(0.42, 0.8), overlaps={"a": 0.2})
    assert [s.text for s in words.cautions(at_once)] == [
        "The model is unsure: P(PD) 0.59 is close to 0.50.",
        "The methods do not agree, so no single map should be read as the reason.",
    ]
    weak = facts(evidence, p=0.7, range_p=(0.499, 0.8), warnings=["w"], unlike=["Unlike."])
    weak = replace(weak, evidence=block(500, 1_000, 0, 21) * 4 + block(500, 1_000, 21, 100))
    # 20 frames of 4 in pauses, of 84 + 79
    assert [s.text for s in words.cautions(weak)] == [
        "49 % of the evidence lies in pauses, where nobody speaks: the model may have learned the room or the"
        " microphone.",
        "The answer hangs on a part of the recording: without one fifth of it P(PD) is 0.50.",
        "Unlike.",
        "The recording check says w.",
    ]
    assert keys(facts(evidence, p=0.61)) == set()  # 20 of 100 frames are pauses: not above one fifth
    assert keys(facts(evidence, p=0.41, range_p=(0.41, 0.45))) == {"unsure"}
    assert keys(facts(evidence, p=0.7, range_p=(0.5, 0.8))) == set()
    assert keys(facts(evidence, p=0.39, range_p=(0.3, 0.45))) == set()


def test_a_map_without_evidence_says_only_that() -> None:
    found = words.summary(facts(np.zeros((N_BINS, N_FRAMES))))
    assert [s.key for s in found] == ["explains", "empty"]
    assert [s.kind for s in words.summary(facts(block(500, 1_000, 30, 100)))] == [
        "verdict",
        "where",
        "when",
        "control",
        "agreement",
    ]


def test_shares_add_up_for_every_grid() -> None:
    for n_bins in (81, 161, 513):
        evidence = np.random.default_rng(n_bins).random((n_bins, 20))
        _, shares = words.band_shares(evidence, 8_000 / (n_bins - 1))
        assert shares.sum() == pytest.approx(1.0)
    _, telephone = words.band_shares(np.ones((81, 3)), 50.0)  # up to 4 kHz: five bands
    assert len(telephone) == 5


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        (("vowel-a",), "Hold an /a/ on one breath, 0.8 to 13.9 s long."),
        (
            ("ddk", "phrase", "vowel-u"),
            "Repeat /pa-ta-ka/ as fast and evenly as you can, say a sentence or hold an /u/ on",
        ),
        (("readtext", "monologue"), "Read a text aloud or speak freely, 0.8 to 13.9 s long."),
        (("cough",), "Do what its data call 'cough', 0.8"),
        ((), "What to say is not known: its data do not tell, 0.8"),
    ],
)
def test_what_to_record_comes_from_the_models_scope(tasks: tuple[str, ...], says: str) -> None:
    scope = Scope(
        tasks=tasks, languages=("en",), device="telephone, 8 kHz", band_hz=4000, ranges={"duration_s": (0.79, 13.95)}
    )
    found = words.instructions(scope)
    assert found[0].startswith(says)
    assert found[0].endswith("One person, in a quiet room. Of anything else this model gives no answer.")
    assert ("In English." in found) == (tasks != ("vowel-a",))  # a vowel has no language
    assert found[-1] == "It learned from recordings of this kind: telephone, 8 kHz."
    made = words.instructions(scope.model_copy(update={"synthetic": True}))
    assert made[-1].startswith("It learned from voices made by a program: it may give no answer about a real person")
    nothing = ["This model does not say which recordings it was made for, so it names no class for any."]
    assert words.instructions(None) == words.instructions(Scope(band_hz=8000)) == nothing
