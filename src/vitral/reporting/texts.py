"""How figures and reports say things: the texts of one language, and how numbers and paths are written there."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath

from vitral.errors import UsageError
from vitral.reporting.english import ENGLISH
from vitral.reporting.portuguese import PORTUGUESE


@dataclass(frozen=True)
class Wording:
    """One language: its texts under their keys, and its way of writing numbers."""

    words: dict[str, str]
    decimal: str
    thousands: str
    date: str

    def __getitem__(self, key: str) -> str:
        return self.words[key]

    def say(self, key: str, **values: object) -> str:
        """The text under `key` with its gaps filled in."""
        return self.words[key].format(**values)

    def counted(self, key: str, count: int, **values: object) -> str:
        """The text under `key` for so many things; it holds the wording for one and for more, with `|` between."""
        one, more = self.words[key].split("|")
        return (one if count == 1 else more).format(count=self.number(count), **values)

    def label(self, text: str) -> str:
        """A label as files keep it, for people: `a + b` for `a|b`, `no class` for none."""
        return text.replace("|", " + ") or self.words["no_label"]

    def number(self, value: float, digits: int = 0) -> str:
        """`1234.5` with one digit is `1,234.5` in English and `1.234,5` in Portuguese."""
        marks = str.maketrans({",": self.thousands, ".": self.decimal})
        return f"{value:,.{digits}f}".translate(marks)

    def percent(self, fraction: float, digits: int = 1) -> str:
        """`0.842` is `84.2%`."""
        return self.number(100 * fraction, digits) + "%"

    def signed(self, value: float, digits: int = 1) -> str:
        """A number with its sign: `+1.2`, `−0.3`, `0.0`."""
        text = self.number(abs(value), digits)
        if not any(digit in text for digit in "123456789"):
            return text
        return ("+" if value > 0 else "−") + text

    def significant(self, value: float) -> str:
        """A number of any size in at most four significant digits: `0.003`, `1e-05`, `5.76`."""
        return f"{value:.4g}".replace(".", self.decimal)

    def large(self, value: float) -> str:
        """A large number with a metric prefix: `5.7 M`, `1.26 G`."""
        for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
            if value >= size:
                scaled = value / size
                return self.number(scaled, 2 if scaled < 10 else 1) + prefix
        return self.number(value)

    def duration(self, seconds: float) -> str:
        """`75` is `1 min 15 s`."""
        if seconds < 10:
            return self.number(seconds, 1) + " s"
        whole = round(seconds)
        hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
        if hours:
            return f"{self.number(hours)} h {minutes:02d} min"
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

    def moment(self, text: str) -> str:
        """An ISO 8601 time as a reader writes it, in UTC."""
        return datetime.fromisoformat(text).astimezone(UTC).strftime(self.date)


_WORDINGS = {
    "en": Wording(ENGLISH, decimal=".", thousands=",", date="%Y-%m-%d %H:%M UTC"),
    "pt": Wording(PORTUGUESE, decimal=",", thousands=".", date="%d/%m/%Y %H:%M UTC"),
}


def of_measure(key: str, measure: str) -> str:
    """The key of a text that is worded otherwise where a run is not judged by its accuracy."""
    return key if measure == "accuracy" else f"{key}_{measure}"


def wording_of(code: str) -> Wording:
    """The language for `"en"` or `"pt"`; anything else is a UsageError."""
    if code not in _WORDINGS:
        raise UsageError(f"unknown language {code!r}: choose one of {', '.join(_WORDINGS)}")
    return _WORDINGS[code]


def printable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of file names that are none become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown_path(path: str) -> str:
    """A path as the data spells it; of an absolute one only folder and name, since reports travel."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return "/".join(kind(path).parts[1:][-2:])
    return path
