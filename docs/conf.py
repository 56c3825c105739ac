"""The guide's two books, docs/en and docs/pt, built by docs/build.py with one configuration."""

import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

import vitral.errors
from vitral.cli.app import build_app

ROOT = Path(__file__).resolve().parent.parent
PORTUGUESE = os.environ.get("GUIDE_LANGUAGE") == "pt"
HAS = set(os.environ.get("GUIDE_HAS", "").split())
ONLY = [name for name in os.environ.get("GUIDE_ONLY", "").split(",") if name]

project = "vitral"
author = "The vitral authors"
copyright = f"{author}, Apache-2.0"
version = release = vitral.__version__
html_title = "vitral: o guia" if PORTUGUESE else "vitral: the guide"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = ["**.ipynb_checkpoints"]
if ONLY:
    include_patterns = ["index.md", *(f"{name}.md" for name in ONLY)]
    suppress_warnings = [
        "myst.xref_missing",
        "toc.excluded",
        "toc.not_readable",
        "toc.not_included",
        "ref.ref",
        "ref.doc",
    ]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # tables, too
# MyST-NB has one text for all folded cells; what stands here is replaced by FOLDED.
nb_code_prompt_show = nb_code_prompt_hide = "FOLDED {type}"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_use_rtype = False
default_role = "code"
# Other libraries' types are named, not linked: their pages are elsewhere, and a build asks nobody.
nitpick_ignore = [("py:class", name) for name in ("Batch", "Compute", "dict[str")]
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|torch|torchvision|PIL|pandas|matplotlib|collections|os|pathlib|typing|np|nn)\..*")
]

html_theme = "furo"
# MathJax in one file that draws formulas as vectors, so that a page asks nobody for anything.
html_static_path = [
    "_static",
    str(Path(find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax/tex-svg-full.js"),
]
mathjax_path = "tex-svg-full.js"
html_css_files = ["guide.css"]
html_copy_source = False
html_show_sourcelink = html_show_sphinx = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "language.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
templates_path = ["_templates"]
# What the theme says in Portuguese.
locale_dirs = [str(ROOT / "docs" / "locale")]
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
mathjax3_config = {"options": {"enableMenu": False}}

WITHOUT = {
    "en": "This page was built without what its cells need ({}), so they stand here unexecuted, and … is where a "
    "measured figure belongs.",
    "pt": "Esta página foi gerada sem o que suas células precisam ({}); por isso elas aparecem aqui sem ter sido "
    "executadas, e … está no lugar das medidas.",
}
# Plots and tables fold their code away, solutions of exercises fold all.
FOLDED = {
    "FOLDED source": "O código" if PORTUGUESE else "The code",
    "FOLDED content": "Solução" if PORTUGUESE else "Solution",
}
NEEDS = {"food": "food-vision-mini", "weights": "hf:facebook/dinov2-small"}
# The module under whose name each public thing is documented; what `vitral` itself offers stands there.
ROOMS = [
    "reporting",
    "training",
    "transfer",
    "runs",
    "inference",
    "inspection",
    "weights",
    "data",
    "images",
    "model",
    "workflow",
]
HOMES = {name: f"vitral.{room}" for room in ROOMS for name in import_module(f"vitral.{room}").__all__}
for public, room in HOMES.items():  # names that are imported when they are first used would not be seen
    setattr(import_module(room), public, getattr(import_module(room), public))
HOMES |= dict.fromkeys(vitral.__all__, "vitral")
HOMES |= {name: "vitral.errors" for name in vars(vitral.errors) if name.endswith("Error")}
# Napoleon takes what stands before a property's first colon for its type; ours begin with a sentence.
GoogleDocstring._parse_attribute_docstring = lambda self: self._consume_to_end()
log = logging.getLogger(__name__)


def without_cells(app: Sphinx, page: str, source: list[str]) -> None:
    """A page that needs what is not there keeps its text and its code, says so, and runs nothing."""
    needs = re.search(r"\A---\n.*?^guide_needs: *(.+?)$.*?^---$", source[0], re.DOTALL | re.MULTILINE)
    missing = [NEEDS[need] for need in needs[1].split() if need not in HAS] if needs else []
    if not missing:
        return
    text = source[0].split("\n---\n", 1)[1]
    text = re.sub(r"```\{code-cell\}[^\n]*\n:tags: \[remove-cell\].*?\n```\n", "", text, flags=re.DOTALL)
    text = re.sub(r"```\{code-cell\}[^\n]*\n(:tags:[^\n]*\n)?", "```python\n", text)
    text = re.sub(r"\{glue:text\}`[^`]*`", "…", text)
    note = WITHOUT["pt" if PORTUGUESE else "en"].format(", ".join(missing))
    source[0] = re.sub(r"\A(\s*# [^\n]*\n)", lambda title: f"{title[1]}\n:::{{note}}\n{note}\n:::\n", text)


def command_line(app: Sphinx, page: str, source: list[str]) -> None:
    """The page of the command line is what the commands say of themselves."""
    if page == "reference/cli":
        _, heading, rest = build_app().generate_docs(output_format="markdown").partition("\n## vitral demo\n")
        source[0] += heading + rest


class Source(SphinxRole):
    """The role src: a file of this repository, which stands among the pages."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A link to the file's page."""
        if not (ROOT / self.text).is_file():
            log.warning("%s is no file of this repository", self.text, location=self.get_location())
        if not hasattr(self.env, "guide_sources"):
            self.env.guide_sources = set()
        self.env.guide_sources.add(self.text)
        target = f"{'../' * self.env.docname.count('/')}source/{self.text}.html"
        shown = nodes.literal(self.text, self.text)
        return [nodes.reference(self.rawtext, "", shown, internal=True, refuri=target)], []


class Manual(SphinxRole):
    """The role manual: a page of the manual, which is in English."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A link to the page, by its title."""
        page = ROOT / "docs" / "en" / "manual" / f"{self.text}.md"
        heading = None
        if page.is_file():
            heading = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        else:
            log.warning("the manual has no page %s", self.text, location=self.get_location())
        target = f"{'../' * (self.env.docname.count('/') + 1)}en/manual/{self.text}.html"
        title = heading[1] if heading else self.text
        return [nodes.reference(self.rawtext, title, internal=True, refuri=target)], []


def public_name(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, text: nodes.Node
) -> nodes.Node | None:
    """What a docstring names by itself, or a signature by the file it is written in, is linked where it is public.

    A type of vitral's that is not public is named without a link.
    """
    target = node.get("reftarget", "")
    name = target.rpartition(".")[2]
    if node.get("refdomain") != "py" or not (target == name or target.startswith("vitral.")):
        return None
    if name in HOMES:
        return env.get_domain("py").resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"{HOMES[name]}.{name}", node, text
        )
    return text if target != name else None


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """The files that pages name by the role src."""
    for name in sorted(getattr(app.env, "guide_sources", ())):
        text = (ROOT / name).read_text(encoding="utf-8")
        shown = highlight(text, PythonLexer(), HtmlFormatter(linenos="inline", cssclass="highlight"))
        yield f"source/{name}", {"title": name, "body": f"<h1>{name}</h1>\n{shown}"}, "page.html"


def folded(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Say of folded cells what they are."""
    for mark, text in FOLDED.items():
        context["body"] = context.get("body", "").replace(mark, text)


def other_language(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Where the same page is in the other language, or that book's first page."""
    there = ROOT / "docs" / ("en" if PORTUGUESE else "pt") / f"{page}.md"
    known = there.exists() or page.startswith("source/") or page in ("search", "genindex")
    root = "../" * (page.count("/") + 1)
    context["other_language"] = f"{root}{'en' if PORTUGUESE else 'pt'}/{page if known else 'index'}.html"
    context["other_language_name"] = "English" if PORTUGUESE else "Português"
    source = Path(app.srcdir) / f"{page}.md"
    executed = source.exists() and "\n```{code-cell}" in source.read_text(encoding="utf-8")
    context["notebook"] = f"{'../' * page.count('/')}notebooks/{page}.ipynb" if executed else ""
    context["notebook_name"] = (
        "Esta página como caderno (.ipynb)" if PORTUGUESE else "This page as a notebook (.ipynb)"
    )


def setup(app: Sphinx) -> None:
    """What Sphinx calls to add this file's roles and steps."""
    app.add_role("src", Source())
    app.add_role("manual", Manual())
    app.connect("source-read", without_cells)
    app.connect("source-read", command_line)
    app.connect("missing-reference", public_name)
    app.connect("html-collect-pages", source_pages)
    app.connect("html-page-context", folded)
    app.connect("html-page-context", other_language)
