"""The documentation holds together: links lead somewhere, the menu is whole, notebooks were executed as they stand."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import speechxai

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
}
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def website() -> ModuleType:
    spec = importlib.util.spec_from_file_location("website", ROOT / "scripts" / "website.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def anchors(text: str) -> set[str]:
    """Addresses of headings, as GitHub and the site make them.

    >>> sorted(anchors("# A word, and `code`\\n## Networks of your own"))
    ['a-word-and-code', 'networks-of-your-own']
    """
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(place: str, text: str) -> list[str]:
    """Links within the repository that lead nowhere."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", without_code(text)):
        target = "".join(link)
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / place).parent / path if path else ROOT / place
        if not file.exists() or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            found.append(f"{place}: {target}")
    return found


def test_every_link_within_the_repository_leads_somewhere() -> None:
    assert sum(text.count("](") for text in TEXTS.values()) > 100
    assert not [wrong for place, text in TEXTS.items() for wrong in broken(place, text)]


@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](docs/app.md#no-such-heading)", '<img src="docs/x.png">'])
def test_a_link_that_leads_nowhere_is_seen(link: str) -> None:
    assert broken("README.md", f"See {link}.")
    assert not broken("README.md", "See [x](docs/architecture.md#networks-of-your-own), `[x](nowhere.md)`.")


def test_every_page_is_in_the_menu(website: ModuleType) -> None:
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    listed = set(re.findall(r"[\w/.-]+\.md", json.dumps(menu)))
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    docs = {name for name in docs if not name.startswith("results/")}
    assert listed == docs | set(website.OUTSIDE.values()) | {f"notebooks/{path.stem}.md" for path in NOTEBOOKS}


def test_the_reference_has_every_public_name() -> None:
    stub = (ROOT / "speechxai" / "__init__.pyi").read_text("utf-8")
    homes = {
        f"speechxai.{module}.{name.strip()}"
        for module, names in re.findall(r"^from \.([\w.]+) import (.+)$", stub, re.M)
        for name in names.split(",")
    }
    assert {home.rsplit(".", 1)[1] for home in homes} == set(speechxai.__all__) - {"__version__"}
    assert set(re.findall(r"^::: (\S+)$", TEXTS["docs/api.md"], re.M)) == homes


def test_the_table_of_extras_has_all_of_them() -> None:
    table = TEXTS["docs/install.md"].split("## Extras")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(SETTINGS["project"]["optional-dependencies"])


def test_the_container_is_an_ordinary_user_with_what_the_package_needs() -> None:
    text = (ROOT / "Containerfile").read_text("utf-8")
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER (?!root|0)\w+$", last, re.M)
    allowed = (ROOT / ".containerignore").read_text("utf-8")
    needed = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    for name in (*needed, *SETTINGS["project"]["license-files"], SETTINGS["project"]["readme"], "pyproject.toml"):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", text, re.M), name
        assert f"\n!{name}\n" in allowed, name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_its_code_gave(path: Path, website: ModuleType) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    about = notebook["metadata"]["speechxai"]
    assert about["code"] == website.code_hash(notebook), f"execute it anew: python scripts/website.py {path.stem}"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in code if not "".join(cell["source"]).startswith("import"))
    shown = json.dumps([cell["outputs"] for cell in code])
    assert not [word for word in ("Traceback", "Error:", "/tmp/", "/home/", "Warning:") if word in shown]
    assert path.stat().st_size < 500_000
    text, pictures = website.page(path)
    assert all(f"]({name})" in text for name in pictures)
    changed = {**notebook, "cells": [{**code[0], "source": ["other"]}]}
    assert website.code_hash(changed) != about["code"]


def test_four_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["auxiliary", "explain", "own_data", "own_network"]
    [first] = [json.loads(path.read_text("utf-8")) for path in NOTEBOOKS if path.stem == "explain"]
    lines = [line for cell in first["cells"][2:4] for line in cell["source"] if line.strip()]
    assert len(lines) <= 15


def test_what_is_kept_of_an_output_is_short_and_plain(website: ModuleType) -> None:
    assert (
        website.tidy("a\rb\n\x1b[31mred\x1b[0m\nEvaluating: 3 of 4\nEvaluating ━━━╸━━ 2/3 left 1\n┏━━┓ 5 %\n")
        == "b\nred\n┏━━┓ 5 %\n"
    )
    assert website.tidy("line\n" * 2_000).endswith("line\n…\n")
