"""Does a reader of either language find every text, and numbers written as at home?"""

import re

import pytest

from vitral.errors import UsageError
from vitral.reporting import looks_texts
from vitral.reporting.texts import ENGLISH, PORTUGUESE, Wording, shown_path, wording_of


@pytest.mark.parametrize(
    ("english", "portuguese"),
    [(ENGLISH, PORTUGUESE), (looks_texts.ENGLISH, looks_texts.PORTUGUESE)],
    ids=["reports", "looks"],
)
def test_both_languages_say_the_same_things_with_the_same_values(
    english: dict[str, str], portuguese: dict[str, str]
) -> None:
    assert list(english) == list(portuguese)
    for key, text in english.items():
        gaps = set(re.findall(r"{\w+}", text))
        assert gaps == set(re.findall(r"{\w+}", portuguese[key])), key
        assert text.count("|") == portuguese[key].count("|"), key


def test_no_text_hides_behind_a_method_of_the_same_name() -> None:
    # A template reaches texts and methods alike with a dot.
    assert not set(ENGLISH) & set(dir(Wording))


@pytest.mark.parametrize(
    ("written", "english", "portuguese"),
    [
        (lambda words: words.number(1234567.891, 2), "1,234,567.89", "1.234.567,89"),
        (lambda words: words.percent(0.8425), "84.2%", "84,2%"),
        (lambda words: words.signed(-0.3), "−0.3", "−0,3"),
        (lambda words: words.signed(2.25, 2), "+2.25", "+2,25"),
        (lambda words: words.signed(-0.04), "0.0", "0,0"),
        (lambda words: words.large(5717416), "5.72 M", "5,72 M"),
        (lambda words: words.large(17_580_000_000), "17.6 G", "17,6 G"),
        (lambda words: words.significant(0.0005), "0.0005", "0,0005"),
        (lambda words: words.duration(3.21), "3.2 s", "3,2 s"),
        (lambda words: words.duration(59.7), "1 min 00 s", "1 min 00 s"),
        (lambda words: words.duration(7384), "2 h 03 min", "2 h 03 min"),
        (lambda words: words.moment("2026-03-04T05:06:07Z"), "2026-03-04 05:06 UTC", "04/03/2026 05:06 UTC"),
        (
            lambda words: words.moment("2026-03-04T05:06:07+02:00"),
            "2026-03-04 03:06 UTC",
            "04/03/2026 03:06 UTC",
        ),
        (lambda words: words.counted("epoch_count", 1), "1 epoch", "1 época"),
        (lambda words: words.counted("epoch_count", 1000), "1,000 epochs", "1.000 épocas"),
    ],
)
def test_numbers_are_written_as_at_home(written, english: str, portuguese: str) -> None:
    assert written(wording_of("en")) == english
    assert written(wording_of("pt")) == portuguese


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'fr'.*en, pt"):
        wording_of("fr")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("train/pizza/1.jpg", "train/pizza/1.jpg"),
        ("digits/0123", "digits/0123"),
        ("/home/ana/photos/pizza/1.jpg", "pizza/1.jpg"),
        ("C:\\Users\\ana\\pizza\\1.jpg", "pizza/1.jpg"),
        ("/1.jpg", "1.jpg"),
    ],
)
def test_a_report_does_not_tell_where_somebody_keeps_the_files(path: str, shown: str) -> None:
    assert shown_path(path) == shown
