"""Names of classes from the table to the report: any order, any names, and never a wrong one."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from app import boards, sources, state, widgets
from speechxai import cli, stats
from speechxai.auxiliary.folder import finished_studies
from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import Bundle, save_bundle
from speechxai.classifiers.fit import recording_logits
from speechxai.data.cards import import_folder
from speechxai.data.manifest import write_manifest
from speechxai.data.synthetic import corpus
from speechxai.evaluation.runs import RunFolder
from speechxai.testing import noise_recording, tiny_bundle

RECIPES = ("-r", "saliency", "-r", "deep_lift", "-m", "average_drop", "-m", "comprehensiveness@10", "--pictures", "0")


def says(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    """Exit status, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code, *capsys.readouterr()


def model(folder: Path, names: tuple[str, ...] = ("HC", "PD"), order: tuple[int, ...] = (0, 1)) -> Bundle:
    """Write a network of random weights that says each class of half of some noises; its outputs have these names, and
    are those of `order`."""
    bundle = tiny_bundle(folder, n_folds=0)
    network = bundle.classifier()
    last = network.backbone.get_submodule("classifier")
    with torch.no_grad():
        last.bias.zero_()
        voices = [noise_recording(seed=seed, duration_s=0.6) for seed in range(8)]
        voices = [replace(voice, waveform=2 * voice.waveform) for voice in voices]  # as it is read, peak 1
        logits = recording_logits(network, voices)
        last.bias[0] += (logits[:, 1] - logits[:, 0]).median() - 1e-4
        for values in (last.weight, last.bias):
            values.copy_(values[list(order)].clone())
    network.class_names = names
    config = bundle.config.model_copy(update={"classes": names})
    return save_bundle(folder, config, {"final": network}, bundle.card)


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Eight recordings of eight speakers, half of them in each folder."""
    for index in range(8):
        path = tmp_path / "voices" / ("HC", "PD")[index % 2] / f"s{index}_a.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise_recording(seed=index, duration_s=0.6).waveform.numpy(), 8_000)
    return tmp_path / "voices"


def manifest(voices: Path, out: Path, classes: str, names: dict[str, str]) -> Path:
    """Import the voices with another name for each folder, or each file."""
    table = voices.parent / "labels.csv"
    lines = [f"{p.name},{names.get(p.stem) or names[p.parent.name]},{p.stem}" for p in sorted(voices.rglob("*.wav"))]
    table.write_text("\n".join(["file,label,speaker", *lines]))
    write_manifest(import_folder(voices, table, "voices", classes=classes.split(",") if classes else None), out)
    return out


def test_the_order_of_outputs_changes_nothing(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle of the classes (Parkinson's, control) gives the report of its twin of (HC, PD)."""
    model(tmp_path / "as-is")
    model(tmp_path / "swapped", ("Parkinson's", "control"), (1, 0))
    found = {}
    for name in ("as-is", "swapped"):
        run = tmp_path / f"run-{name}"
        code, _, told = says(capsys, "evaluate", "--data", voices, "--model", tmp_path / name, *RECIPES, "--out", run)
        assert code == 0, told
        found[name] = RunFolder.open(run)
    first = found["as-is"]
    assert set(first.table("predictions")["predicted"]) == {0, 1}  # or the test says nothing
    other = found["swapped"]
    pd.testing.assert_frame_equal(
        other.table("scores").assign(model="as-is"), first.table("scores").astype({"model": "str"})
    )
    columns = ["recording", "label", "predicted", "p_HC", "p_PD"]
    pd.testing.assert_frame_equal(other.table("predictions")[columns], first.table("predictions")[columns])
    assert sections(other) == sections(first)


def sections(folder: RunFolder) -> str:
    """What a report says of the classifier and the scores."""
    text = (folder.path / "report.html").read_text(encoding="utf-8")
    parts = re.findall(r'<section id="(?:short|scores|controls|classifier)".*?</section>', text, re.DOTALL)
    assert len(parts) == 4
    return re.sub("swapped|as-is", "", "".join(parts))


def test_what_has_no_common_name_is_explained_and_not_scored(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model(tmp_path / "model")
    data = manifest(voices, tmp_path / "m.csv", "", {"HC": "healthy", "PD": "pathological"})
    run = tmp_path / "run"
    code, _, told = says(capsys, "evaluate", "--data", data, "--model", tmp_path / "model", *RECIPES, "--out", run)
    assert code == 0, told
    sentence = "The data say healthy/pathological, the model says HC/PD: nothing is scored against the labels;"
    assert sentence in told
    folder = RunFolder.open(run)
    rows, scores = folder.table("predictions"), folder.table("scores")
    assert rows["label"].isna().all()
    assert scores["label"].isna().all()
    assert scores["value"].notna().any()
    assert rows["labeled"].value_counts().to_dict() == {"healthy": 4, "pathological": 4}
    report = (run / "report.html").read_text(encoding="utf-8")
    assert sentence in report
    assert "8 of 8 speakers: 4 healthy, 4 pathological" in report
    for word in ("AUC", "is right for", "predicted HC"):
        assert word not in re.sub('src="[^"]*"', "", report)
    # The protocol of the paper must know which answer is the disease.
    code, _, told = says(
        capsys, "evaluate", "--data", data, "--model", tmp_path / "model", "--protocol", "mancini2025", "--out", "p"
    )
    assert code == 2
    assert "must know which of them is the disease" in told


@pytest.fixture
def app_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Start the app's state, without a browser, on a manifest."""
    cached = (sources.memory, sources.disk, sources.catalogue, sources.bundle_and_lock, sources.rows_by_name)

    def start(data: Path) -> None:
        for each in cached:
            each.clear()
        monkeypatch.setattr(sources, "settings", lambda: sources.Settings(data=str(data), keep_cache=False))
        monkeypatch.setattr(state, "settings", sources.settings)

    yield start
    for each in cached:
        each.clear()


def test_the_app_compares_by_name(voices: Path, tmp_path: Path, app_on: Callable[[Path], None]) -> None:
    model(tmp_path / "as-is")
    model(tmp_path / "swapped", ("Parkinson's", "control"), (1, 0))
    app_on(manifest(voices, tmp_path / "m.csv", "", {"HC": "control", "PD": "PD"}))
    first, other = (state.predictions(str(tmp_path / name)) for name in ("as-is", "swapped"))
    pd.testing.assert_frame_equal(other, first)
    assert set(first["predicted"]) == {0, 1}
    key = ("catalogue", str(first["recording"][0]))
    cards = []
    for name in ("as-is", "swapped"):
        heard = state.heard(str(tmp_path / name), key)
        index = state.classes(str(tmp_path / name)).index(int(first["label"][0]))
        card = widgets.verdict(heard, "HC", index == heard.predicted)
        drawing = base64.b64decode(card.split("base64,")[1].split('"')[0]).decode()
        card = re.sub('base64,[^"]*', drawing, card)
        cards.append(
            re.sub("Healthy control|Parkinson's disease|control|HC|PD|Parkinson(&#x27;|')s( disease)?", "C", card)
        )
    assert cards[0] == cards[1]
    # A data set of other names: answers stand, and nothing is called right or wrong.
    app_on(manifest(voices, tmp_path / "m.csv", "", {"HC": "healthy", "PD": "pathological"}))
    found = state.predictions(str(tmp_path / "as-is"))
    assert found["label"].isna().all()
    assert found["p_PD"].notna().all()
    assert state.classes(str(tmp_path / "as-is")).index(1) is None
    assert "labeled pathological" in widgets.verdict(heard, "pathological", None)


def test_the_app_shows_three_classes(voices: Path, tmp_path: Path, app_on: Callable[[Path], None]) -> None:
    three = save_three(tmp_path / "three", ("HC", "PD", "MSA"))
    texts = {p.stem: ("HC", "PD", "MSA")[i % 3] for i, p in enumerate(sorted(voices.rglob("*.wav")))}
    app_on(manifest(voices, tmp_path / "m.csv", "HC,PD,MSA", texts))
    rows = state.predictions(str(three.folder))
    p = rows[["p_HC", "p_PD", "p_MSA"]].to_numpy(float)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert rows["predicted"].tolist() == p.argmax(axis=1).tolist()
    assert rows["probability"].tolist() == p.max(axis=1).tolist()


def save_three(folder: Path, names: tuple[str, ...]) -> Bundle:
    """Write a network of three classes with random weights."""
    bundle = tiny_bundle(folder, n_folds=0)
    options = {**bundle.config.options, "n_classes": 3}
    torch.manual_seed(0)
    backbone = build("cnn", bundle.config.stft_config(), **options)
    segment = bundle.config.segment_config()
    network = Classifier(backbone, bundle.config.stft_config(), segment, names, "features").eval()
    config = bundle.config.model_copy(update={"classes": names, "options": options})
    return save_bundle(folder, config, {"final": network}, "")


def test_a_clinics_table_walks_from_import_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels healthy / pathological, sex male / female, a diagnosis, a score, audio scaled to [0, 1]: no file is
    touched by hand."""
    draw = stats.resamples
    monkeypatch.setattr(stats, "resamples", lambda n_speakers, n=20, seed=0: draw(n_speakers, 20, seed))
    lines = ["file;Diagnosis group;label;speaker;Sex;age;Diagnosis;VHI"]
    (tmp_path / "voices").mkdir()
    for index, voice in enumerate(corpus(12, 7, tasks=["vowel-a"])):
        samples = voice.waveform[: 16_000 if index % 2 else 15_000].numpy()
        soundfile.write(tmp_path / "voices" / f"voice{index:03d}.wav", 0.43 + 0.5 * samples, 16_000, subtype="PCM_16")
        ill = voice.label == 1
        diagnosis = ("polyp", "reflux laryngitis", "polyp")[index % 3] if ill else "healthy"
        sex = "female" if voice.metadata["sex"] == "F" else "male"
        label = "pathological" if ill else "Healthy"
        score = 10 * index if ill else ""
        lines.append(f"voice{index:03d}.wav;g;{label};{index:03d};{sex};{50 + index};{diagnosis};{score}")
    (tmp_path / "info.csv").write_text("\n".join(lines))
    data, bundle, run = tmp_path / "voiced.csv", tmp_path / "voiced", tmp_path / "run"

    table = ("--labels", tmp_path / "info.csv", "--out", data)
    code, said, told = says(capsys, "data", "import", tmp_path / "voices", *table)
    assert code == 0, told
    assert "12 recordings of 12 speakers (6 healthy, 6 pathological)" in said
    assert "  kept beside: diagnosis (3 different texts)" in said
    assert "  kept beside: vhi (numbers)" in said

    code, said, told = says(capsys, "data", "check", data)
    assert code == 0, told
    assert "12 files, 6 healthy, 6 pathological; 12 speakers" in said
    assert "separates healthy from pathological" in said

    tiny = ("--option", "channels=[4, 4]", "--option", "n_mels=16", "--epochs", "2", "--folds", "3", "--crop-s", "0.5")
    code, said, told = says(capsys, "train", data, "--out", bundle, *tiny)
    assert code == 0, told
    card = (bundle / "card.md").read_text(encoding="utf-8")
    for words in ("probability of healthy and pathological", "P(pathological)", "| group | healthy | pathological |"):
        assert words in card
    code, said, _ = says(capsys, "predict", tmp_path / "voices" / "voice000.wav", "--model", bundle, "-f", "json")
    assert code == 0
    assert '"p_pathological"' in said

    code, _, told = says(capsys, "evaluate", "--data", data, "--model", bundle, *RECIPES, "--out", run, "--by", "SEX")
    assert code == 0, told
    assert says(capsys, "report", run, "--by", "diagnosis", "--by", "sex", "--by", "vhi")[0] == 0
    report = (run / "report.html").read_text(encoding="utf-8")
    for words in (
        *("12 of 12 speakers: 6 healthy, 6 pathological", "predicted pathological", "says pathological", "By sex"),
        *("By diagnosis", "diagnosis polyp", "diagnosis reflux laryngitis", "women", "men", "vhi "),
    ):
        assert words in report
    for text in (card, re.sub('src="[^"]*"', "", report), said):
        assert not re.search(r"\b(HC|PD)\b|Parkinson", text)
    code, said, _ = says(capsys, "report", run, "--by", "diagnosis", "-f", "csv")
    found = pd.read_csv(io.StringIO(said), keep_default_na=False)
    groups = ["diagnosis healthy", "diagnosis polyp", "diagnosis reflux laryngitis"]
    assert [*dict.fromkeys(found["which"])][1:] == groups
    code, _, told = says(capsys, "report", run, "--by", "diagnoses")
    assert code == 2
    assert "--by diagnoses: Unknown column 'diagnoses'. Did you mean 'diagnosis'?" in told


def test_three_classes_walk_from_training_to_the_auxiliary_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names, lines = ("healthy", "PD", "MSA"), ["file,label,speaker"]
    (tmp_path / "voices").mkdir()
    for index in range(12):
        waveform = noise_recording(seed=index, duration_s=0.6).waveform.numpy()
        soundfile.write(tmp_path / "voices" / f"v{index}.wav", waveform, 8_000)
        lines.append(f"v{index}.wav,{names[index % 3]},s{index}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    quick = ("--folds", 3, "--epochs", 1, "--restarts", 0, "--option", "channels=[2, 2]", "--option", "n_mels=8")
    recipes = ("-r", "saliency", "-m", "faithfulness", "--no-controls", "--pictures", 0)
    for words in (
        ("data", "import", "voices", "--labels", "labels.csv", "--classes", ",".join(names), "--out", "m.csv"),
        ("train", "m.csv", "--out", "three", *quick),
        ("predict", "voices/v2.wav", "--model", "three", "--format", "csv"),
        ("explain", "voices/v2.wav", "--model", "three", "-r", "saliency", "--out", "explained"),
        ("evaluate", "--data", "m.csv", "--model", "three", *recipes, "--maps", "--out", "run"),
        ("auxiliary", "run", "--split", "speaker", "--seeds", 1, "--folds", 3, "--epochs", 1, "--n-mels", 16),
        ("report", "run", "--overwrite"),
    ):
        code, said, told = says(capsys, *words)
        assert code == 0, told
        if words[0] == "predict":
            assert "p_healthy,p_PD,p_MSA" in said.splitlines()[0]
    (study,) = finished_studies(tmp_path / "run")
    assert study.class_counts == {"healthy": 4, "PD": 4, "MSA": 4}
    p = pd.read_parquet(study.path / "predictions.parquet")
    assert p[[f"probability_{name}" for name in names]].sum(axis=1).to_numpy() == pytest.approx(np.ones(len(p)))
    assert set(study.table("coefficients")["class"]) == set(names)
    text = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "12 of 12 speakers (4 healthy, 4 PD, 4 MSA recordings)" in text
    assert "saliency: MSA" in text
    shown = boards.study(study)
    assert "(4 healthy, 4 PD, 4 MSA)" in shown.facts
    assert {row["class"] for row in shown.coefficients[boards.input_words("saliency")]} == set(names)
    published = ("auxiliary", "run", "--architecture", "cnn14-linear", "--split", "speaker")
    code, _, told = says(capsys, *published)
    assert code == 2
    assert "tells two classes apart, and there are 3" in told
