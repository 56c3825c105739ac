"""Is the site that `make docs` built what a reader needs: numbers that were computed, pages that a browser shows?"""

import json
import re
import subprocess
import sys
import time

import nbformat
import pytest

from chromium import Page
from guide import BUILT, DOCS, LANGUAGES, Executed, executed, prose, sources

PHONE, DESK = 390, 1440
NUMBER = re.compile(r"(?<![\w.,/×·^-])[-−–]?\d+(?:[.,]\d+)*(?:e-?\d+)?(?![\w/]|[.,]\d)")
# What is numbered elsewhere is no figure: equations, tables, sections of papers, chapters, exercises, and years.
NUMBERED = re.compile(
    r"(?:equations?|tables?|figures?|sections?|appendix|appendices|chapters?|exercises?|python|part|"
    r"equaç(?:ão|ões)|tabelas?|figuras?|seç(?:ão|ões)|apêndices?|capítulos?|exercícios?|parte|§)"
    r"\s*[A-Z]?\.?\d+(?:\.\d+)*(?:(?:,| and| to| or| e| a| ou|–)\s+[A-Z]?\.?\d+(?:\.\d+)*)*",
    re.IGNORECASE,
)
pytestmark = pytest.mark.slow
built = pytest.mark.skipif(not (BUILT / "index.html").exists(), reason="needs the site: make docs")


def figures(text: str, comma: bool) -> set[str]:
    """The numbers in a text, without signs and thousands' separators, with a decimal point."""
    found = set()
    for number in NUMBER.findall(text):
        plain = number.lstrip("-−–")
        plain = plain.replace(".", "").replace(",", ".") if comma else plain.replace(",", "")
        found.add(plain)
    return found


def typed(page: Executed, language: str) -> set[str]:
    """Numbers of a page's sentences that none of its cells shows."""
    text = re.sub(r"\[[^\]]*\]\([^)]*\)", " ", prose(page.text))
    text = re.sub(r"^\s*(?:\*\*)?\d+\.(?:\*\*)?\s", " ", text, flags=re.MULTILINE)
    text = NUMBERED.sub(" ", text).replace("**", " ")
    seen = set(re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", page.seen.replace("_", "").replace(",", "")))
    seen |= set(re.findall(r"\d+(?:\.\d+)?", page.seen))
    if language == "pt":  # cells may write 1.797 and 0,5 as the text does
        seen |= figures(page.seen, comma=True)
    return figures(text, comma=language == "pt") - seen


def test_a_typed_number_is_found(tmp_path):
    cells = [
        {
            "cell_type": "markdown",
            "source": ["Table 3: 97.4 % of 1,797 images at 16 × 16, ViT-B/16; {glue:text}`a`"],
        },
        {"cell_type": "code", "source": ["x = 16"], "metadata": {}, "outputs": [{"text": ["1797 images"]}]},
    ]
    file = tmp_path / "page.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    assert typed(Executed(file), "en") == {"97.4"}


@built
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_in_prose_comes_from_a_cell_of_its_page(language):
    wrong = {
        name: sorted(found) for name, page in executed(language).items() if (found := typed(page, language))
    }
    assert not wrong


@built
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_cell_ran(language):
    pages = executed(language)
    with_cells = {name for name, page in sources(language).items() if page.cells}
    assert set(pages) == with_cells
    for name, page in pages.items():
        code = [cell for cell in page.cells if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), name
        assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"], name
        shown = [out for cell in code for out in cell["outputs"] if out.get("name") == "stderr"]
        assert not shown, f"{name}: {shown[0]['text']}"


@built
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_a_notebook_too(language):
    for name, page in executed(language).items():
        notebook = nbformat.read(BUILT / language / "notebooks" / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        assert "%pip install" in code[0]
        shown = [
            "".join(cell["source"])
            for cell in page.cells
            if cell["cell_type"] == "code" and "remove-cell" not in cell["metadata"].get("tags", [])
        ]
        assert code[1:] == shown
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert not re.search(r"\{(glue|src|manual|py|admonition|note)", text), name
        assert ":::" not in text


def settled(page: Page, condition: str) -> bool:
    """Whether a condition in JavaScript comes true within ten seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if page.evaluate(condition):
            return True
        time.sleep(0.05)
    return False


def objections(page: Page, width: int, dark: bool) -> list[str]:
    """All that is wrong with a page in a browser."""
    formulas, drawn = (
        f"document.querySelectorAll('{what}').length" for what in (".math", "mjx-container svg")
    )
    found = [] if settled(page, f"{drawn} >= {formulas}") else ["formulas are not drawn"]
    if page.evaluate("document.querySelectorAll('mjx-merror, [data-mjx-error]').length"):
        found.append("a formula is wrong")
    across = page.evaluate("document.scrollingElement.scrollWidth")
    found += [f"{across} px wide at {width}"] if across > width else []
    asked = [one["request"]["url"] for one in page.happened("Network.requestWillBeSent")]
    found += [f"asks for {url}" for url in asked if not url.startswith(("file:", "data:"))]
    failed = [one for one in page.happened("Network.loadingFailed") if not one.get("canceled")]
    found += ["something was not loaded"] if failed else []
    found += ["an exception"] if page.happened("Runtime.exceptionThrown") else []
    found += page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    found += ["day and night are mistaken"] if (back != "rgb(255, 255, 255)") != dark else []
    return found


def test_a_broken_page_is_objected_to(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(
        "<body style='background: white'><p class=math>x</p><div style='width: 2000px'>wide</div>"
        "<img src=missing.png><script src='http://127.0.0.1:9/x.js'></script><script>throw Error('no')</script>"
    )
    with Page(browser, file, width=DESK) as page:
        found = " ".join(objections(page, DESK, dark=True))
    for fault in ("not drawn", "px wide", "127.0.0.1", "not loaded", "exception", "missing.png", "night"):
        assert fault in found


@built
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_in_a_browser(browser, language, width, dark):
    site = BUILT / language
    for name, source in sources(language).items():
        with Page(browser, site / f"{name}.html", width=width, dark=dark) as page:
            assert not objections(page, width, dark), name
            assert ("$$" not in source.text) or page.evaluate("document.querySelectorAll('.math').length") > 0
            assert page.evaluate("document.documentElement.lang").startswith(language)


@built
@pytest.mark.parametrize(("language", "word", "found"), [("en", "residual", "08-"), ("pt", "atenção", "06-")])
def test_search_finds_a_chapter(browser, language, word, found):
    with Page(browser, BUILT / language / "search.html", width=DESK) as page:
        page.evaluate(f"location.search = '?q={word}'")
        results = "[...document.querySelectorAll('ul.search a')].map(a => a.getAttribute('href')).join(' ')"
        assert settled(page, f"({results}).includes('{found}')"), page.evaluate(results)


@built
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_leads_to_the_other_language(language):
    for name in sources(language):
        html = (BUILT / language / f"{name}.html").read_text(encoding="utf-8")
        target = re.search(r'class="guide-language"><a href="([^"]+)"', html)
        assert target
        there = ((BUILT / language / name).parent / target[1]).resolve()
        assert there == (BUILT / ("pt" if language == "en" else "en") / f"{name}.html").resolve()
        assert there.exists()


@built
def test_links_between_pages_lead_somewhere():
    missing = set()
    for file in BUILT.rglob("*.html"):
        if "work" in file.relative_to(BUILT).parts:
            continue
        for target in re.findall(r'(?:href|src)="([^"#?]+)', file.read_text(encoding="utf-8")):
            if not re.match(r"\w+:|//", target) and not (file.parent / target).exists():
                missing.add(f"{file.relative_to(BUILT)}: {target}")
    assert not missing


def test_pages_that_lack_what_they_need_say_so(tmp_path):
    """Where neither photographs nor weights can be had, the text and the code are there all the same."""
    name, language = "14-why-pretrained", "pt"
    command = [sys.executable, str(DOCS / "build.py"), "--language", language, "--only", name]
    command += ["--output", str(tmp_path), "--without", "food", "weights"]
    subprocess.run(command, check=True, capture_output=True)
    html = (tmp_path / language / f"{name}.html").read_text(encoding="utf-8")
    assert "sem o que suas células precisam (food-vision-mini, hf:facebook/dinov2-small)" in html
    assert "highlight-python" in html
    assert "cell_output" not in html
