"""The frame of every page: one HTML file that carries its style and pictures, and loads nothing."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vitral.files import write_text
from vitral.reporting.texts import Wording, printable
from vitral.runs import versions


def write_page(path: Path, template: str, words: Wording, **content: Any) -> Path:
    """Render one template of this package to `path`. Whatever it is given is text, unless it is Markup."""
    environment = Environment(
        loader=PackageLoader("vitral.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(words=words, version=versions()["vitral"], **content)
    write_text(path, printable(html))
    return path
