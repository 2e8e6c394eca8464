"""Files at the edge: data files are found where they are, locks have one holder, settings come back as written."""

from __future__ import annotations

import threading
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from speechxai import files
from speechxai.errors import SpeechXAIError


def test_checkout_installed_and_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "speechxai"
    package.mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(package / "resources.py"))
    # A folder of that name beside the package belongs to somebody else, unless this is a checkout.
    (package.parent / "models").mkdir()
    with pytest.raises(
        SpeechXAIError,
        match=(r"/_data/models: the folder 'models' of speechxai is missing\. Install speechxai again\.$"),
    ):
        files.resource_folder("models")
    (package.parent / "pyproject.toml").touch()
    assert files.resource_folder("models") == package.parent / "models"
    (package / "_data" / "models").mkdir(parents=True)
    assert files.resource_folder("models") == package / "_data" / "models"


def test_a_lock_has_one_holder_and_leaves_nothing(tmp_path: Path) -> None:
    """The holder removes the file while it holds it: whoever opened it meanwhile must not hold the removed one."""
    path, inside, most = tmp_path / "unit.lock", [0], [0]
    taken: list[int] = []

    def work() -> None:
        for _ in range(150):
            with files.hold(path) as ours:
                if ours:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    taken.append(1)
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert taken
    assert not list(tmp_path.iterdir())


def test_waiting_ends_and_looking_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".tables.lock"
    assert not files.is_held(path)
    assert not path.exists()
    with files.hold(path) as ours:
        assert ours
        assert files.is_held(path)
        message = r"tables\.lock: held by another process for more than 0\.1 s"
        with pytest.raises(TimeoutError, match=message), files.wait_for(path, 0.1):
            pass
    path.touch()  # what a killed process leaves
    assert not files.is_held(path)
    with files.wait_for(path):
        assert files.is_held(path)


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    settings = {
        "a name": 'quote " backslash \\ tab \t line \n bell \x07 delete \x7f \u00e9',
        "numbers": [1, -2.5, 1e16, 1e-7, True],
        "folder": tmp_path,
        "nothing": None,
        "speakers": {"figshare-voice/AH_064F": 0, "none": None},
        "options": {"captum:KernelShap": {"n_samples": 50}, "empty": {}},
    }
    found = tomllib.loads(files.to_toml(settings))
    expected = {**settings, "folder": str(tmp_path), "speakers": {"figshare-voice/AH_064F": 0}}
    expected.pop("nothing")
    assert found == expected
    with pytest.raises(SpeechXAIError, match=r"^A value of type complex cannot be written as TOML: 1j\.$"):
        files.to_toml({"a": [1j]})


def test_the_cache_folder_is_the_one_that_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHXAI_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("SPEECHXAI_CACHE")
    assert files.cache_folder().name.lower() in ("speechxai", "cache")


@pytest.mark.parametrize("content", [{"b": [1, {"a": "x\n ü"}], "n": float("nan"), "e": {}, "l": []}, {"a": 1}, {}])
def test_a_seal_is_the_hash_of_the_values_however_it_is_read(tmp_path: Path, content: dict[str, object]) -> None:
    path = tmp_path / "unit.json"
    text = files.sealed(content, "unit")
    assert text == files.to_json({**content, "digest": files.fingerprint(["unit", content])})
    path.write_bytes(text)
    assert str(files.read_sealed(path, "unit")) == str(content)
    assert files.read_sealed(path, "session") is None
    path.write_bytes(text.replace(b"\n", b"\n "))  # laid out in another way: the values are the same
    assert str(files.read_sealed(path, "unit")) == str(content)
    path.write_bytes(text.replace(b'"a": ', b'"a":  1') if b'"a": 1' in text else text[:-1])
    assert files.read_sealed(path, "unit") is None


def test_tables_of_categories_and_numbers_are_written_as_other_tables_are() -> None:
    texts = ["=1+1", 'a "b", c', "ü", "two\nlines", "-1.5"]
    quick = pd.DataFrame(
        {
            "text": pd.Categorical([*texts, None]),
            "value": [0.1, 1e-9, float("nan"), 1.0, 1e22, -0.0],
            "label": pd.array([1, 0, None, 1, 0, 1], dtype="Int64"),
            "n": range(6),
        }
    )
    assert files.csv_table(quick) == files.csv_table(quick.astype({"text": object}))
    assert files.csv_table(quick[:0]) == b"text,value,label,n\n"
