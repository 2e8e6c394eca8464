"""What concepts and merging owe, worked out by hand: what a projection removes, what an autoencoder finds, how weights
are interpolated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import BundleConfig, StftSettings, load_bundle, save_bundle
from speechxai.classifiers.fit import initialized
from speechxai.classifiers.hidden import (
    ANCESTOR,
    Concept,
    inside,
    read_concepts,
    stages,
    trunk_sha256,
    write_concepts,
)
from speechxai.classifiers.merge import ancestor_of, interpolated, merge_networks, merged, save_merged
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.recipe import parse
from speechxai.inside import concepts as work
from speechxai.inside.concepts import QUICK, ConceptSettings, difference_of_means, find_concepts, logistic, word_changes
from speechxai.inside.report import facts_of, findings, steering, tables
from speechxai.inside.sparse import fit_sparse, found_again
from speechxai.planted.material import make_material
from speechxai.planted.settings import BenchmarkSettings, Task
from speechxai.signal.stft import spectrogram
from speechxai.types import StftConfig


def network(seed: int = 0) -> Classifier:
    made = initialized(lambda: Classifier(build("cnn", StftConfig(), channels=(4, 6)), StftConfig()), seed)
    return made.eval().requires_grad_(False)


def bundle(folder: Path, parts: dict[str, Classifier], **training: Any) -> Any:
    config = BundleConfig(
        name=folder.name,
        architecture="cnn",
        options={"channels": [4, 6]},
        stft=StftSettings(**vars(StftConfig())),
        training=training,
    )
    return save_bundle(folder, config, parts, "# A model\n")


def test_a_projection_removes_the_direction_and_nothing_else() -> None:
    concept = Concept("x", "s", torch.tensor([0.6, 0.8]), torch.tensor([1.0, 2.0]), 1.0, "")
    frames = torch.tensor([[2.0, 2.0], [1.0, 3.0], [1.8, 1.4]])
    # (frames - center) . direction by hand: .6, .8, .48 - .48
    assert torch.allclose(concept.active(frames), torch.tensor([0.6, 0.8, 0.0]), atol=1e-6)
    left = concept.removed(frames)
    assert torch.allclose(concept.active(left), torch.zeros(3), atol=1e-6)
    across = torch.tensor([-0.8, 0.6])
    assert torch.allclose(left @ across, frames @ across, atol=1e-6)
    assert torch.allclose(left[0], torch.tensor([2.0 - 0.36, 2.0 - 0.48]), atol=1e-6)


def test_directions_of_frames_by_hand() -> None:
    without, with_sign = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 4.0], [7.0, 4.0]])
    direction, center = difference_of_means(with_sign, without)
    assert torch.allclose(center, torch.tensor([1.0, 0.0]))
    assert torch.allclose(direction, torch.tensor([0.6, 0.8]))
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn(400, 3, generator=draw)
    found, _ = logistic(frames + torch.tensor([0.0, 2.0, 0.0]), frames)
    assert float(found[1]) > 0.95


def test_an_autoencoder_finds_planted_features() -> None:
    draw = torch.Generator().manual_seed(1)
    truth = torch.nn.functional.normalize(torch.randn(12, 16, generator=draw), dim=1)
    amounts = torch.rand(4000, 12, generator=draw) + 0.5
    keep = torch.rand(4000, 12, generator=draw).argsort(dim=1) < 2
    frames = (amounts * keep) @ truth
    one, two = (fit_sparse(frames, 16, 2, seed=seed, n_steps=600, batch=256) for seed in (0, 1))
    assert found_again(truth, one.decoder, 0.9) >= 0.8
    assert found_again(truth, torch.randn(16, 16, generator=draw), 0.9) == 0.0
    alive = [each.decoder[(each.features(frames) > 0).float().mean(dim=0) > 0.01] for each in (one, two)]
    assert found_again(*alive) >= 0.6
    assert (one.features(frames) > 0).sum(dim=1).max() <= 2
    level = torch.tensor([0.0])
    # Taking a feature out moves a frame along its decoder row alone, by what was active.
    which = int(one.features(frames).mean(dim=0).argmax())
    moved = one.clamped(frames[:50], [which], level) - frames[:50]
    wanted = -one.scale * one.features(frames[:50])[:, which : which + 1] * one.decoder[which]
    assert torch.allclose(moved, wanted, atol=1e-5)
    assert torch.allclose(one.clamped(frames[:50], [which], level, 0.25) - frames[:50], wanted / 4, atol=1e-5)


def test_features_found_again_are_counted_one_to_one() -> None:
    one = torch.eye(3)
    assert found_again(one, one[[2, 0]]) == pytest.approx(2 / 3)
    # Two that are alike share one partner.
    assert found_again(torch.tensor([[1.0, 0.0], [1.0, 0.01]]), torch.eye(2)) == 0.5


def test_stages_are_seen_and_changed() -> None:
    model = network()
    spec = spectrogram(torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)))
    with inside(model) as seen:
        before = model(spec.magnitude, spec.phase)
    assert torch.allclose(before, model(spec.magnitude, spec.phase), atol=1e-6)
    assert [stage.name for stage in stages(model)] == ["block1", "block2"]
    assert [values[0].shape[-1] for values in seen.values()] == [4, 6]
    with inside(model, {"block2": torch.zeros_like}):
        after = model(spec.magnitude, spec.phase)
    # Without features only the bias speaks.
    bias = model.get_submodule("backbone.classifier").bias
    assert torch.allclose(after, bias.expand(2, -1), atol=1e-6)
    with pytest.raises(SpeechXAIError, match="block3"), inside(model, {"block3": torch.zeros_like}):
        pass
    with pytest.raises(NotApplicable, match="states no hidden layers"):
        stages(Classifier(torch.nn.Linear(1, 2)))


def test_a_concept_over_time(tmp_path: Path) -> None:
    made = bundle(tmp_path / "m", {"final": network()})
    model = made.classifier()
    spec = spectrogram(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)))
    target = torch.tensor([1])
    assert str(parse("union(concept:breathiness, saliency)")) == "union(concept:breathiness, saliency)"
    with pytest.raises(SpeechXAIError, match="breathiness"):
        parse("concept:breathines")
    method = METHODS["concept:breathiness"]
    with pytest.raises(NotApplicable, match=r"speechxai concepts .* --signs breathiness --out FOLDER"):
        method(model, spec, target)
    direction = torch.zeros(6)
    direction[2] = 1.0
    concept = Concept("breathiness", "block2", direction, torch.zeros(6), 0.9, trunk_sha256(model))
    write_concepts(made.folder, {"breathiness": concept})
    found = method(model, spec, target)
    with inside(model) as seen:
        model(spec.magnitude, spec.phase)
    channel = seen["block2"][0][0, :, :, 2].mean(dim=1)
    wanted = torch.nn.functional.interpolate(channel[None, None], size=found.shape[-1], mode="linear")[0, 0]
    assert found.shape == spec.magnitude.shape
    assert torch.allclose(found[0, 5], wanted, atol=1e-5)
    assert torch.equal(found[:, :1].expand_as(found), found)
    back = read_concepts(made.folder)["breathiness"]
    assert (back.stage, back.auc, back.trunk) == ("block2", 0.9, concept.trunk)
    write_concepts(made.folder, {"breathiness": replace(concept, trunk="0" * 64)})
    with pytest.raises(NotApplicable, match="another network"):
        method(model, spec, target)
    (made.folder / "concepts.safetensors").write_bytes(b"none")
    with pytest.raises(SpeechXAIError, match="damaged"):
        method(model, spec, target)


def test_who_is_held_out_says_what_was_learned_from() -> None:
    """Every sound and both sexes on both sides, nobody on two; and the same of the halves that choose a layer."""
    settings = ConceptSettings(signs=("breathiness",), n_speakers=18, n_takes=1, duration_s=1.0)
    learned, held_out = work.made_twins("breathiness", settings, 16_000)
    how = BenchmarkSettings(cues=("breathiness",), n_speakers=18, n_takes=1, duration_s=1.0)
    pairs = make_material(Task("synthetic", "breathiness", 1.0, 0), how, []).pairs
    kind = {p.with_cue.speaker: (p.with_cue.task, p.with_cue.metadata["sex"]) for p in pairs}
    assert len(set(kind.values())) == 6
    halves = work.in_blocks(sorted(set(learned.speakers)), 2)
    for group in (learned.speakers, held_out.speakers, *halves):
        assert {kind[speaker] for speaker in group} == set(kind.values())
    assert not set(learned.speakers) & set(held_out.speakers)
    assert sorted([*learned.speakers, *held_out.speakers]) == sorted(kind)


def test_what_takes_a_sign_out_with_least_change() -> None:
    """Variances .5 and 2 and a ridge of .03 * 1.25; means differ by (1, 1), so q is (1 / .5375, 1 / 2.0375) scaled."""
    everything = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    without = torch.tensor([[2.0, 1.0], [4.0, 1.0]])
    along, reading, center = work.least_change(without + 1.0, without, everything)
    assert along.tolist() == [1.0, 1.0]
    assert center.tolist() == [3.0, 1.0]
    assert reading.tolist() == pytest.approx([0.791262, 0.208738], abs=1e-5)
    # Where q says two of the sign all of it goes and half of it stays; across q nothing moves.
    frames = center + torch.stack([2 * along, torch.tensor([0.208738, -0.791262])])
    whole, half = (work._lessened(frames, along, reading, center, share) for share in (1.0, 0.5))
    assert torch.allclose(whole[0], center, atol=1e-5)
    assert torch.allclose(half[0], center + along, atol=1e-5)
    assert torch.allclose(whole[1], frames[1], atol=1e-5)
    # A projection along the same direction moves those frames more: 1.25 beside .80.
    moved = (work._lessened(everything, along, reading, torch.zeros(2), 1.0) - everything).square().sum(dim=1).mean()
    unit = along / along.norm()
    projected = ((everything @ unit)[:, None] * unit).square().sum(dim=1).mean()
    assert (float(moved), float(projected)) == (pytest.approx(0.8004, abs=1e-3), pytest.approx(1.25))


def test_a_share_is_what_the_other_half_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps of 2 and 4 in two halves; what is learned from one takes 1.2 and 3 out of the other's, whole: .4 and .25
    are left, mean .325; of shares .6 leaves .64 and .55, and .8 is the least that leaves half (.52 and .4)."""
    waveforms = torch.tensor([[2.0], [0.0], [4.0], [0.0]])
    twins = work.Twins(waveforms, ("a", "b"), torch.ones(2, 1))
    frames = {"s": waveforms[:, None]}

    def look(network: Any, heard: torch.Tensor, edits: Any = None) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return {"s": edits["s"](heard[:, None]) if edits else heard[:, None]}, heard[:, 0]

    def lessened(frames: torch.Tensor, share: float, by: float) -> torch.Tensor:
        return frames - share * by * (frames > 0)

    def head(pooled: torch.Tensor) -> torch.Tensor:
        return pooled[:, 0, 0]

    monkeypatch.setattr(work, "look", look)
    for by, left, share in (((1.2, 3.0), 0.325, 0.8), ((2.0, 4.0), 0.0, 0.5), ((0.4, 0.4), 0.85, 1.0)):
        tried = [({"s": partial(lessened, by=amount)}, [k]) for k, amount in enumerate(by)]
        crossed = work.Crossed(cast(Any, None), cast(Any, head), twins, frames, tried)
        assert crossed.left(1.0, ["s"]) == pytest.approx(left)
        assert crossed.enough(["s"]) == share


def test_units_are_set_by_a_share() -> None:
    frames = torch.tensor([[1.0, 2.0, 3.0]])
    which, levels = torch.tensor([2, 0]), torch.tensor([1.0, 0.0])
    assert work._set_units(frames, which, levels).tolist() == [[0.0, 2.0, 1.0]]
    assert work._set_units(frames, which, levels, share=0.5).tolist() == [[0.5, 2.0, 2.0]]
    assert frames.tolist() == [[1.0, 2.0, 3.0]]


def test_words_are_counted() -> None:
    assert word_changes("the cat sat on the mat", "The cat sat, on a mat.") == 1
    assert word_changes("a b c", "b c d") == 2
    assert word_changes("", "one two") == 2


def test_concepts_of_a_small_network() -> None:
    """Everything once, in the short form: a network that was never trained has frames as well."""
    settings = ConceptSettings(signs=("breathiness",), **{**QUICK, "n_steps": 20, "n_seeds": 2})
    found = find_concepts(network(), settings)
    facts = facts_of(found)
    ways = [(row["how"], row["reach"]) for row in found.rows if row["sign"]]
    assert len(ways) == 2 * (7 + settings.n_random)
    assert set(found.concepts) == {"breathiness"}
    assert found.n_words is None
    assert float(found.concepts["breathiness"].direction.norm()) == pytest.approx(1, abs=1e-5)
    assert {table.title.split()[0] for table in tables(facts)} == {"Which", "How", "Features"}
    # The head reads means over frames, and the direction is their difference: taken out, most of the gap goes.
    everywhere = next(r for r in found.rows if (r["how"], r["reach"]) == (work.MEANS, work.ALL))
    assert 0.5 < everywhere["auc"] <= 1  # the network learned nothing: a direction that points the right way, no more
    assert abs(everywhere["left"]["breathiness"]) < 0.5
    # Of layers that lie one behind the other some share of it is enough, as half of the speakers said of the others.
    least = next(r for r in found.rows if (r["how"], r["reach"]) == (work.ERASURE, work.ALL))
    assert least["left"]["breathiness"] < 0.7
    assert sum(row["how"] == work.ERASURE for row in found.layers) == len(stages(network()))
    assert len(findings(facts)) == 4


def test_what_steers_is_cheap() -> None:
    def row(sign: str, how: str, left: float, words: int, area: float | None = 0.95) -> dict[str, Any]:
        facts = {"sign": sign, "how": how, "reach": work.ONE, "left": {"x": left}, "words": words, "auc": area}
        return facts | {"group": work.CONTROL if how == work.RANDOM else work.TOP_DOWN}

    chance = [row("", work.RANDOM, 0.99, 1, None), row("", work.RANDOM, 1.01, 2, None)]
    for own, found in (
        (row("x", work.MEANS, 0.4, 3), True),
        (row("x", work.MEANS, 0.4, 4), False),
        (row("x", work.MEANS, 0.6, 0), False),
        (row("x", work.MEANS, 0.4, 0, 0.89), False),
        (row("x", work.MEANS, -0.6, 0), False),
    ):
        facts = {"rows": [own, *chance], "heads": {"x": 1.0}, "stability": [], "layers": [], "n_words": 9}
        assert (steering(facts, "x", (work.MEANS,)) is not None) is found


def test_interpolation_by_hand() -> None:
    states = [
        {"a": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"a": torch.tensor([3.0, 6.0]), "n": torch.tensor(5)},
    ]
    assert interpolated(states, [0.25, 0.75])["a"].tolist() == [2.5, 5.0]
    assert interpolated(states, [0.25, 0.75])["n"].item() == 3
    # 1 + .5 (1 - 1) + 1 (3 - 1) and 0 + .5 (2 - 0) + 1 (6 - 0)
    start = {"a": torch.tensor([1.0, 0.0]), "n": torch.tensor(0)}
    assert interpolated(states, [0.5, 1.0], start)["a"].tolist() == [3.0, 7.0]
    with pytest.raises(SpeechXAIError, match=r"sum to 1\.5"):
        interpolated(states, [0.5, 1.0])
    with pytest.raises(SpeechXAIError, match="one weight"):
        interpolated(states, [1.0])
    with pytest.raises(SpeechXAIError, match="names and shapes"):
        interpolated([states[0], {"a": torch.zeros(3)}], [0.5, 0.5])


def test_two_alike_merge_to_the_same(tmp_path: Path) -> None:
    one = network()
    parts = {"final": one, "fold0": one, "fold1": network(1)}
    same = merge_networks([one, one], [0.5, 0.5])
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())
    first, second = (bundle(tmp_path / name, parts, **{ANCESTOR: "a" * 64}) for name in ("first", "second"))
    found = merged([first, second])
    written = save_merged(str(tmp_path / "both"), found, [first, second])
    spec = spectrogram(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)))
    answers = [each.classifier()(spec.magnitude, spec.phase) for each in (first, load_bundle(written.folder))]
    assert torch.equal(*answers)
    assert ancestor_of(written) == "a" * 64
    folds = merged([first], [0.0, 1.0])
    assert folds.parts == ("first fold0", "first fold1")
    weight = folds.classifier.state_dict()["backbone.classifier.weight"]
    assert torch.equal(weight, first.classifier(1).state_dict()["backbone.classifier.weight"])


def test_what_shares_no_ancestor_is_not_merged(tmp_path: Path) -> None:
    parts = {"final": network(), "fold0": network(), "fold1": network(1)}
    alone = bundle(tmp_path / "alone", parts)
    with pytest.raises(SpeechXAIError, match="random weights and share no pretrained ancestor"):
        merged([alone])
    others = [bundle(tmp_path / name, parts, **{ANCESTOR: name * 64}) for name in ("a", "b")]
    with pytest.raises(SpeechXAIError, match="began from other weights"):
        merged(others)
    few = bundle(tmp_path / "few", {"final": network()}, **{ANCESTOR: "a" * 64})
    with pytest.raises(SpeechXAIError, match="0 fold networks"):
        merged([few])
