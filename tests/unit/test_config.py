"""Settings are checked before anything runs, and every refusal names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxai.errors import SpeechXAIError
from speechxai.evaluation.config import FORMAT, difference, from_dict, load, resolve_metrics, resolve_recipes
from speechxai.explain.recipe import published_recipes
from speechxai.files import to_toml

MINIMAL = {"data": "synthetic", "model": "m"}


def refusal(content: dict[str, object]) -> str:
    with pytest.raises(SpeechXAIError) as caught:
        from_dict(content, "study.toml").settings()
    return str(caught.value)


def test_unknown_key_names_the_file_and_the_nearest_key() -> None:
    assert refusal({**MINIMAL, "recipies": ["saliency"]}).startswith(
        "study.toml: Unknown key 'recipies'. Did you mean 'recipes'?"
    )


def test_missing_and_wrong_values_name_the_key() -> None:
    assert refusal({"data": "synthetic"}).startswith("study.toml: the key 'model' is missing. It says which classifier")
    assert (
        refusal({**MINIMAL, "seed": -1})
        == "study.toml: the key 'seed': input should be greater than or equal to 0. Got -1 instead."
    )
    assert (
        refusal({**MINIMAL, "fill": "zeros"})
        == "study.toml: the key 'fill': input should be 'silence', 'noise', 'mean' or 'neighbors'. Got 'zeros' instead."
    )
    assert refusal({**MINIMAL, "device": "gpu"}).startswith("study.toml: the key 'device': string should match pattern")


def test_a_protocol_that_nobody_brings_is_answered_when_the_settings_are_read() -> None:
    with pytest.raises(SpeechXAIError) as caught:
        from_dict({**MINIMAL, "protocol": "mancini2024"}, "study.toml")
    assert str(caught.value) == (
        "study.toml: the key 'protocol': Unknown protocol 'mancini2024'. Did you mean 'mancini2025'? Known: standard,"
        " mancini2025."
    )


def test_unknown_recipe_metric_and_option_are_answered() -> None:
    assert refusal({**MINIMAL, "recipes": ["salency"]}).startswith("Unknown recipe 'salency'. Did you mean 'saliency'?")
    assert refusal({**MINIMAL, "recipes": ["publshed"]}).startswith(
        "Unknown recipe 'publshed'. Did you mean 'published'?"
    )
    assert "position 7: Unknown method or combination 'salency'. Did you mean 'saliency'?" in refusal(
        {**MINIMAL, "recipes": ["union(salency, smoothgrad)"]}
    )
    assert refusal({**MINIMAL, "metrics": ["faithfullness"]}).startswith(
        "Unknown metric 'faithfullness'. Did you mean 'faithfulness'?"
    )
    assert "'n_step'" in refusal({**MINIMAL, "options": {"integrated_gradients": {"n_step": 3}}})
    assert "Did you mean 'n_steps'?" in refusal({**MINIMAL, "options": {"integrated_gradients": {"n_step": 3}}})


def test_published_preset_is_the_papers_39_maps_and_controls_can_be_left_out() -> None:
    assert list(resolve_recipes(("published",), controls=True)) == [str(r) for r in published_recipes()]
    assert len(resolve_recipes(("published",), controls=False)) == 39
    assert resolve_recipes(("saliency", "union( saliency,smoothgrad )", "saliency"), controls=False) == (
        "saliency",
        "union(saliency, smoothgrad)",
    )
    assert resolve_recipes(("saliency",), controls=True) == ("saliency", "random_map", "energy_map", "edge_map")
    assert len(resolve_metrics(("published",))) == 7
    assert resolve_metrics(("faithfulness", "published"))[0] == "faithfulness"


def test_file_and_flags_join_and_flags_win(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('data = "synthetic"\nmodel = "a"\nseed = 3\n[options.smoothgrad]\nn_samples = 4\n')
    config = load(path, {"model": "b", "seed": None})
    assert (config.model, config.seed, config.options) == ("b", 3, {"smoothgrad": {"n_samples": 4}})
    path.write_text("data = ")
    with pytest.raises(SpeechXAIError, match=r": not valid TOML: .*$"):
        load(path)
    with pytest.raises(SpeechXAIError, match=r"/missing\.toml: no such file\.$"):
        load(tmp_path / "missing.toml")


def test_settings_survive_the_file(tmp_path: Path) -> None:
    config = from_dict(
        {
            **MINIMAL,
            "root": "a folder/ü\"'\\",
            "recipes": ["union(saliency, smoothgrad)"],
            "options": {"rise": {"n_masks": 5}},
            "maps": True,
        },
        "test",
    )
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config.to_dict()), "utf-8")
    assert load(path) == config


def test_settings_of_a_run_are_read_whatever_format_they_state_and_newer_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for line in ("", "format = 1\n", f"format = {FORMAT}\n"):
        path.write_text(f'{line}data = "synthetic"\nmodel = "m"\n')
        assert load(path) == from_dict(MINIMAL, "t")
    path.write_text(f'format = {FORMAT + 1}\ndata = "synthetic"\nmodel = "m"\nnew = 1\n')
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": this configuration has format 4, and this version of speechxai reads up to 3\. Use the "
            r"newer version that wrote it \('speechxai env' says which one this is\)\.$"
        ),
    ):
        load(path)


def test_difference_names_the_first_key_that_changes_numbers() -> None:
    stored = from_dict(MINIMAL, "t").to_dict()
    assert difference(stored, from_dict({**MINIMAL, "pictures": 0, "memory_mb": 64}, "t").to_dict()) is None
    assert difference(stored, from_dict({**MINIMAL, "seed": 1}, "t").to_dict()) == "'seed' is 0 in the run and 1 now"
