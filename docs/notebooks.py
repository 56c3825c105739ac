"""The chapters as notebooks for Jupyter and Colab, made from the same sources when the guide is built.

A notebook has a chapter's text and its cells, without their outputs: whoever opens it runs them. Figures of the text
come along, numbers that a cell computed stand in the text as they were when the guide was built.
"""

import ast
import base64
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

INSTALL = {
    "en": "# vitral, where it is not installed yet",
    "pt": "# o vitral, se ainda não estiver instalado",
}
MIME = {".svg": "image/svg+xml", ".png": "image/png"}


def write_notebooks(language: str, sources: Path, executed: Path, output: Path) -> None:
    """Write the notebook of every page that was executed.

    Args:
        language: en or pt.
        sources: where the pages lie, for their pictures and to know which of them have notebooks.
        executed: the executed pages as notebooks, in folders as the pages are.
        output: the folder to write to, in folders as the pages are.
    """
    for path in sorted(executed.rglob("*.ipynb")):
        name = path.relative_to(executed)
        page = nbformat.read(path, as_version=4)
        notebook = convert(page.cells, glued(path), language, (sources / name).parent)
        nbformat.validate(notebook)
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, output / name)


def convert(cells: list[Any], values: dict[str, str], language: str, pictures: Path) -> Any:
    """A notebook of a page's cells.

    Args:
        cells: as they were executed.
        values: what `glued` finds.
        language: en or pt.
        pictures: the folder that the text's pictures are named from.
    """
    made = []
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            text, attached = plain(cell.source, values, pictures)
            made.append(
                new_markdown_cell(text, attachments=attached) if attached else new_markdown_cell(text)
            )
        elif "remove-cell" not in tags:
            folded = {"jupyter": {"source_hidden": True}} if {"hide-cell", "hide-input"} & set(tags) else {}
            made.append(new_code_cell(cell.source, metadata=folded))
    made.insert(1, new_code_cell(f"{INSTALL[language]}\n%pip install --quiet 'vitral[fast,onnx]'"))
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"  # the same at every build
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=made, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def glued(page: Path) -> dict[str, str]:
    """What an executed page's cells computed for its text, by name; MyST-NB keeps it beside the page."""
    kept = page.with_suffix(".glue.json")
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    return {name: ast.literal_eval(value["data"]["text/plain"]) for name, value in found.items()}


def plain(text: str, values: dict[str, str], pictures: Path) -> tuple[str, dict[str, Any]]:
    """MyST as Markdown that Jupyter and Colab show, and the pictures that go with it."""
    text = re.sub(r"\{glue:text\}`([^`]+)`", lambda role: values[role[1]], text)
    text = re.sub(r"\{(?:src|manual|py:\w+)\}`[!~]?([^`]+)`", r"`\1`", text)
    text = re.sub(r"^(:{3,})\{(\w+)\}(.*)\n((?:.*\n)*?)\1$", _quoted, text, flags=re.MULTILINE)
    text = re.sub(r"\]\((?!\w+:)([^)#]*?)\.md(#[^)]*)?\)", _link, text)
    attached: dict[str, Any] = {}

    def attach(picture: re.Match[str]) -> str:
        file = pictures / picture[2]
        data = base64.b64encode(file.read_bytes()).decode()
        attached[file.name] = {MIME[file.suffix]: data}
        return f"![{picture[1]}](attachment:{file.name})"

    return re.sub(r"!\[([^\]]*)\]\((?!\w+:)([^)]+)\)", attach, text), attached


def _quoted(directive: re.Match[str]) -> str:
    """An admonition as a quotation."""
    lines = [f"**{directive[3].strip()}**", "", *directive[4].strip().splitlines()] if directive[3] else []
    lines = lines or directive[4].strip().splitlines()
    return "\n".join(f"> {line}".rstrip() for line in lines if not line.startswith(":class:"))


def _link(link: re.Match[str]) -> str:
    """A link to another chapter leads to its notebook."""
    return f"]({link[1]}.ipynb)"
