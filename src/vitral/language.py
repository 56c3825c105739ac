"""The language of what people read: reports, figures, summaries. Options, JSON keys and files stay English."""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping
from typing import Literal

from vitral.errors import UsageError

Language = Literal["en", "pt"]


class Sentence(str):
    """What a person should know, in English, and by `said_in` in Portuguese too.

    A room that notices something knows what to say about it, and not which language is read in the end.
    """

    portuguese: str

    def __new__(cls, english: str, portuguese: str) -> Sentence:
        sentence = super().__new__(cls, english)
        sentence.portuguese = portuguese
        return sentence

    def __reduce__(self) -> tuple[type[Sentence], tuple[str, str]]:
        return Sentence, (str(self), self.portuguese)


def joined(*sentences: str) -> Sentence:
    """Several sentences as one, each said once."""
    said = dict.fromkeys(sentences)
    return Sentence("; ".join(said), "; ".join(said_in("pt", one) for one in said))


def in_both(text: str) -> dict[Language, str]:
    """A sentence as files keep it, since a report may be written anew in the other language."""
    return {"en": said_in("en", text), "pt": said_in("pt", text)}


def said_in(language: Language, text: str | Mapping[str, str]) -> str:
    """A sentence in that language, also as `in_both` keeps it; any other text as it is."""
    if isinstance(text, Mapping):
        return text[language]
    return text.portuguese if language == "pt" and isinstance(text, Sentence) else str(text)


def count_of(number: int, noun: str, language: Language = "en") -> str:
    """`1 test image`, `1,200 test images`; in Portuguese, of `imagem|imagens`, `1.200 imagens`."""
    if language == "pt":
        one, more = noun.split("|")
        return f"{number:,} {one if number == 1 else more}".replace(",", ".")
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def choose_language(wanted: str | None = None) -> Language:
    """The language asked for, else that of `VITRAL_LANGUAGE`, else the system's: Portuguese or else English.

    Args:
        wanted: "en", "pt", or a fuller form of these such as "pt-BR"; None when the user did not say.

    Raises:
        UsageError: a language that vitral does not speak was asked for by name.
    """
    for asked, place in ((wanted, "--language"), (os.environ.get("VITRAL_LANGUAGE"), "VITRAL_LANGUAGE")):
        if asked:
            known = _known(asked)
            if known is None:
                raise UsageError(f"{place} is {asked!r}, which vitral does not speak; choose en or pt")
            return known
    return _known(_system_locale()) or "en"


def _known(tag: str) -> Language | None:
    """The language of a tag such as `pt`, `pt-BR`, `pt_BR.UTF-8` or (on Windows) `Portuguese_Brazil.1252`."""
    name = tag.replace("-", "_").split("_")[0].split(".")[0].lower()
    if name in ("pt", "portuguese"):
        return "pt"
    if name in ("en", "english"):
        return "en"
    return None


def _system_locale() -> str:
    # The order in which POSIX looks; an empty variable counts as unset. Windows sets none of them.
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(variable):
            return os.environ[variable]
    return locale.getlocale()[0] or ""
