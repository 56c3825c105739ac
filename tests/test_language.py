"""In which language does vitral speak to whom?"""

import json
import pickle

import pytest

from vitral.errors import UsageError
from vitral.language import Sentence, choose_language, count_of, in_both, said_in


@pytest.mark.parametrize(
    ("option", "environment", "language"),
    [
        (None, {"LANG": "pt_BR.UTF-8"}, "pt"),
        (None, {"LANG": "pt_PT"}, "pt"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, {"LANG": "C"}, "en"),
        (None, {"LANG": "pt_BR.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        (None, {"LANG": "en_US.UTF-8", "LC_ALL": "", "LC_MESSAGES": "pt_BR.UTF-8"}, "pt"),
        (None, {"LANG": "pt_BR.UTF-8", "VITRAL_LANGUAGE": "en"}, "en"),
        (None, {"LANG": "C", "VITRAL_LANGUAGE": "pt"}, "pt"),
        ("en", {"LANG": "pt_BR.UTF-8", "VITRAL_LANGUAGE": "pt"}, "en"),
        ("pt-BR", {"LANG": "C"}, "pt"),
    ],
)
def test_the_option_wins_over_the_variable_and_that_over_the_system(
    option: str | None, environment: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("VITRAL_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert choose_language(option) == language


def test_windows_names_its_languages_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("VITRAL_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("locale.getlocale", lambda: ("Portuguese_Brazil", "1252"))
    assert choose_language() == "pt"


def test_a_language_that_vitral_does_not_speak_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRAL_LANGUAGE", "fr")
    with pytest.raises(UsageError, match=r"VITRAL_LANGUAGE is 'fr'.*en or pt"):
        choose_language()


def test_a_sentence_is_english_unless_portuguese_is_asked_for() -> None:
    sentence = Sentence("no GPU is here", "não há GPU")
    assert sentence == "no GPU is here" == said_in("en", sentence)
    assert said_in("pt", sentence) == "não há GPU"
    kept = json.loads(json.dumps(in_both(sentence)))
    assert [said_in(language, kept) for language in ("en", "pt")] == ["no GPU is here", "não há GPU"]
    assert said_in("pt", "a file's name") == "a file's name"
    assert json.dumps([sentence]) == '["no GPU is here"]'
    assert said_in("pt", pickle.loads(pickle.dumps(sentence))) == "não há GPU"


def test_things_are_counted_in_both_languages() -> None:
    assert [count_of(number, "image") for number in (1, 1200)] == ["1 image", "1,200 images"]
    assert count_of(1, "imagem|imagens", "pt") == "1 imagem"
    assert count_of(1200, "imagem|imagens", "pt") == "1.200 imagens"
