"""The guide's pages as tests read them: text apart from code, and what the cells printed."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILT = ROOT / "build" / "docs"
LANGUAGES = ("en", "pt")
# In the English book alone: the manual, and what is made of docstrings.
ENGLISH_ONLY = ("manual", "reference")
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A page as it is written."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def cells(self) -> list[str]:
        return CELL.findall(self.text)

    @property
    def tags(self) -> list[str]:
        """Of every cell: its tags, or nothing."""
        found = [re.match(r":tags: \[(.*?)\]", cell) for cell in self.cells]
        return [match[1] if match else "" for match in found]

    @property
    def headings(self) -> list[int]:
        """How deep every heading is."""
        without_code = re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)
        return [len(marks) for marks in re.findall(r"^(#+) ", without_code, re.MULTILINE)]


def sources(language: str) -> dict[str, Source]:
    """The pages of a language that the other must have too, by name."""
    folder = DOCS / language
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.md")}
    return {name: Source(path) for name, path in sorted(found.items()) if not name.startswith(ENGLISH_ONLY)}


def prose(markdown: str) -> str:
    """The sentences of a text: without code, mathematics, addresses, roles, and marks of MyST."""
    text = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    text = re.sub(r"^(`{3,}).*?^\1$", " ", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^:{3,}(\{\w+\})?", " ", text, flags=re.MULTILINE)
    text = re.sub(r"\{[\w:]+\}`[^`]*`", " ", text)
    text = re.sub(r"``.+?``|`[^`]*`", " ", text)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$\n]+(\n[^$\n]+)?\$", " ", text)
    return re.sub(r"<[^>\n]+>|https?://[^\s)]+", " ", text)


@dataclass(frozen=True)
class Executed:
    """A page after its cells ran."""

    path: Path

    @property
    def cells(self) -> list[dict]:
        return json.loads(self.path.read_text(encoding="utf-8"))["cells"]

    @property
    def text(self) -> str:
        return "\n\n".join("".join(cell["source"]) for cell in self.cells if cell["cell_type"] == "markdown")

    @property
    def seen(self) -> str:
        """What stands in the cells and below them, the cells that no reader sees left out."""
        parts = []
        for cell in self.cells:
            if cell["cell_type"] != "code" or "remove-cell" in cell["metadata"].get("tags", []):
                continue
            parts.append("".join(cell["source"]))
            for output in cell["outputs"]:
                parts.append("".join(output.get("text", "")))
                for kind, data in output.get("data", {}).items():
                    if kind.startswith("text/"):
                        parts.append("".join(data))
        return "\n".join(parts)

    @property
    def glued(self) -> dict[str, str]:
        kept = self.path.with_suffix(".glue.json")
        found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        return {name: ast.literal_eval(value["data"]["text/plain"]) for name, value in found.items()}


def executed(language: str) -> dict[str, Executed]:
    """The pages of a language that `make docs` ran, by name."""
    folder = BUILT / "work" / language / "jupyter_execute"
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.ipynb")}
    return {name: Executed(path) for name, path in sorted(found.items())}
