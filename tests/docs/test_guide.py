"""Are the guide's two books the same chapters, and do all of them have what a chapter has?"""

import re
import shutil
import subprocess
import sys

import pytest

from guide import DOCS, LANGUAGES, ROOT, prose, sources

CHAPTERS = [name for name in sources("en") if re.match(r"\d\d-", name)]
PAIRS = [name for name in sources("en") if name in sources("pt")]
WORDS = {
    "en": ("What you will know at the end", "## Exercises", "## Where to read on"),
    "pt": ("O que você vai saber no fim", "## Exercícios", "## Para continuar"),
}


def test_no_page_is_missing_in_one_language():
    assert set(sources("en")) == set(sources("pt"))
    assert [name[:2] for name in CHAPTERS] == [f"{number:02}" for number in range(1, len(CHAPTERS) + 1)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_in_the_table_of_contents(language):
    index = (DOCS / language / "index.md").read_text(encoding="utf-8")
    for name in sources(language):
        assert name == "index" or re.search(rf"^{re.escape(name)}$", index, re.MULTILINE), name


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_run_the_same_cells_under_the_same_headings(name):
    english, portuguese = sources("en")[name], sources("pt")[name]
    assert english.tags == portuguese.tags
    assert english.headings == portuguese.headings
    needs = [re.findall(r"^guide_needs: .*$", page.text, re.MULTILINE) for page in (english, portuguese)]
    assert needs[0] == needs[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_what_it_teaches_asks_and_leads_on(name, language):
    text = sources(language)[name].text
    what, exercises, further = WORDS[language]
    assert what in text
    asked = text.partition(exercises)[2].partition(further)
    questions = re.findall(r"^\*\*\d+\.", asked[0], re.MULTILINE)
    assert len(questions) >= 2
    assert asked[0].count("[hide-cell]") == len(questions)
    assert "](http" in asked[2]
    assert ".md)" in asked[2]


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_is_no_copy_of_the_other_languages(name):
    """Lines that name papers are alike in both."""
    lines = [
        {
            line
            for line in prose(sources(language)[name].text).splitlines()
            if len(line) > 60 and "](" not in line
        }
        for language in LANGUAGES
    ]
    assert not lines[0] & lines[1]


def test_english_has_no_common_misspelling():
    checked = ["docs/en", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]
    words = ["--ignore-words", str(DOCS / "en" / "words.txt")]
    found = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *words, *checked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_portuguese_is_spelt_as_a_dictionary_has_it():
    if shutil.which("hunspell") is None:
        pytest.skip("needs hunspell with its Brazilian dictionary: apt install hunspell hunspell-pt-br")
    known = {word.strip() for word in (DOCS / "pt" / "words.txt").read_text(encoding="utf-8").splitlines()}
    pages = {name: page.text for name, page in sources("pt").items()}
    pages["README"] = (ROOT / "README.pt-BR.md").read_text(encoding="utf-8")
    unknown = {}
    for name, text in pages.items():
        # Titles of papers are English, what links to elsewhere is named by them.
        text = re.sub(r"\[[^\]]*\]\(http[^)]*\)", " ", text)
        sentences = re.sub(r"\]\([^)]*\)", " ", prose(text))
        found = subprocess.run(
            ["hunspell", "-d", "pt_BR", "-i", "utf-8", "-l"],
            input=sentences,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
        words = {word for word in found.stdout.split() if word not in known and word.lower() not in known}
        if words:
            unknown[name] = sorted(words)
    assert not unknown
