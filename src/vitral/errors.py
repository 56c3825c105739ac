"""Errors that a user can act on. Each text says what is wrong and what to do about it, in one line."""


class VitralError(Exception):
    """Something a user can put right; the text says how."""


class UsageError(VitralError):
    """The request itself is wrong: an unknown name, an impossible combination (exit status 2)."""


class DataError(VitralError):
    """DATA cannot be used as it is: no images, one class only, too many bad files, labels that do not fit."""


class ImageError(VitralError):
    """One image cannot be read; the text does not repeat its path."""


class ConfigError(VitralError):
    """An architecture, recipe or preprocessing that contradicts itself."""


class WeightsError(VitralError):
    """WEIGHTS are missing, damaged, foreign, or do not fit the model."""


def one_line(said: object, longest: int = 160) -> str:
    """An error, or whatever else stands in a file, as part of a line that people read."""
    text = " ".join(str(said).split())
    if isinstance(said, BaseException):
        text = text or type(said).__name__
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."
