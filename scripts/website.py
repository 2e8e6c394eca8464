"""What the documentation's site takes from outside of docs/, and the notebooks: hooks of mkdocs, and a command.

    mkdocs build --strict                      uses the hooks below (make docs)
    python scripts/website.py                  executes every notebook of docs/notebooks and keeps what it shows
    python scripts/website.py own_data         one of them

A notebook is executed in an empty folder, so that it needs nothing but an installation. Kept with its outputs are a
hash of its code and its seconds of processor time: a test sees when code was changed and not executed again.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "docs" / "notebooks"
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "models/figshare-cnn/card.md": "models/figshare-cnn.md",
    "models/synthetic-cnn/card.md": "models/synthetic-cnn.md",
}
"""Pages that stand outside of docs/, by their place in the repository: where the site has them."""
MOST_CHARACTERS = 3_000


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside, and each notebook as a page with its pictures."""
    from mkdocs.structure.files import File

    for source, name in OUTSIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, name, content=from_the_root(text, name)))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text, pictures = page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of docs/ that leave it lead to the site's own pages."""
    up = "../" * page.file.src_uri.count("/")
    for source, name in OUTSIDE.items():
        markdown = markdown.replace(f"]({up}../{source}", f"]({up}{name}")
    return re.sub(r"\]\(((?:\.\./)*notebooks/\w+)\.ipynb", r"](\1.md", markdown)


def from_the_root(text: str, name: str) -> str:
    """A page of the repository's root, its links as the site has them."""
    up = "../" * name.count("/")
    text = text.replace("](docs/", f"]({up}")
    for source, target in OUTSIDE.items():
        text = text.replace(f"]({source}", f"]({up}{target}")
    return text


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name."""
    notebook, parts, pictures = json.loads(path.read_text("utf-8")), [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above shows]({name})")
            else:
                shown = "".join(output.get("text") or data.get("text/plain") or "")
                parts.append(f"```text\n{shown.rstrip()}\n```")
    seconds = notebook["metadata"]["speechxai"]["seconds"]
    parts.append(f"*It took {seconds} s of one processor. The notebook: `docs/notebooks/{path.name}`.*")
    return "\n\n".join(parts) + "\n", pictures


def code_hash(notebook: dict[str, Any]) -> str:
    """Hash of the code of all cells."""
    code = "\0".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return hashlib.sha256(code.encode()).hexdigest()


def execute(path: Path) -> None:
    """Execute a notebook in an empty folder, and write it with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    os.environ.update(TERM="dumb", COLUMNS="100")  # no bar that is painted again and again
    # The commands of cells are those of the environment that executes them, activated or not.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    notebook = nbformat.read(path, as_version=4)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.coalesce_streams = True
        client.execute()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = round(spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime)
    for cell in notebook.cells:
        cell.metadata = {}
        if "outputs" in cell:  # what libraries say of this machine is left out
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            output.pop("execution_count", None) if output["output_type"] == "stream" else None
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = small(output["data"]["image/png"])
            if "text" in output:
                output["text"] = tidy(output["text"].replace(f"{folder}/", ""))
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "speechxai": {"code": code_hash(json.loads(nbformat.writes(notebook))), "seconds": seconds},
    }
    nbformat.write(notebook, path)
    print(f"{path.name}: {seconds} s of processor time, {path.stat().st_size / 1000:.0f} kB")


def small(picture: str) -> str:
    """A PNG in base64, at most 800 pixels wide and of 64 colors."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.thumbnail((800, 800))
    kept = io.BytesIO()
    image.quantize(64).save(kept, "PNG", optimize=True)
    return base64.b64encode(kept.getvalue()).decode()


def tidy(text: str) -> str:
    """What was printed, without bars of progress, and cut where it is long."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    shown = "\n".join(line for line in lines if not re.match(r"\w.*━━.*(left|%)|Evaluating: ", line))
    return shown if len(shown) <= MOST_CHARACTERS else shown[:MOST_CHARACTERS].rsplit("\n", 1)[0] + "\n…\n"


if __name__ == "__main__":
    wanted = [NOTEBOOKS / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for each in wanted:
        execute(each)
