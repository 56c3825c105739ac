"""What people read of a tuning, in English and Brazilian Portuguese; numbers are the reports' wording."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vitral.language import Language, said_in
from vitral.reporting.texts import Wording, wording_of

ENGLISH = {
    # figure
    "title": "{weights}: speed and accuracy of {images}, {device}",
    "speed_unit": "images per second, {batch} at a time (logarithmic)",
    "accuracy_unit": "accuracy on the {split} images (%)",
    "mean_average_precision_unit": "mean average precision on the {split} images (%)",
    "train": "training",
    "validation": "validation",
    "test": "test",
    "split_images": "{count} {split} image|{count} {split} images",
    "front": "Pareto front, 95% intervals",
    "others": "beaten by these",
    "level": "fp32 less {points} points",
    # both
    "recommended": "recommended",
    "default": "today's default",
    "reference": "fp32, torch",
    "merge": "merge {count}",
    # table and lines
    "network": "network",
    "merged": "merge",
    "pixels": "px",
    "accuracy": "accuracy (95%)",
    "mean_average_precision": "mAP (95%)",
    "difference": "points against fp32 (95%)",
    "changed": "answers changed",
    "rate": "images/s",
    "latency": "ms for one",
    "interval": "{value} ({low} to {high})",
    "fastest": "the fastest that loses at most {points} points: {name}, {times} times as fast as today's default, "
    "{difference} points",
    "fastest_default": "the fastest that loses at most {points} points is today's default: {name}, "
    "{difference} points",
    "not_shown": "{count} more that others beat is in {file}|{count} more that others beat are in {file}",
    "left_out": "left out: {name}: {reason}",
    "more": "{count} more to try: about {duration}",
    "turns": "speed in turns",
}

PORTUGUESE = {
    "title": "{weights}: velocidade e acurácia, {images}, {device}",
    "speed_unit": "imagens por segundo, {batch} por vez (logarítmica)",
    "accuracy_unit": "acurácia nas imagens de {split} (%)",
    "mean_average_precision_unit": "precisão média (mAP) nas imagens de {split} (%)",
    "train": "treino",
    "validation": "validação",
    "test": "teste",
    "split_images": "{count} imagem de {split}|{count} imagens de {split}",
    "front": "fronteira de Pareto, intervalos de 95%",
    "others": "superadas por estas",
    "level": "fp32 menos {points} pontos",
    "recommended": "recomendada",
    "default": "padrão de hoje",
    "reference": "fp32, torch",
    "merge": "fusão {count}",
    "network": "rede",
    "merged": "fusão",
    "pixels": "px",
    "accuracy": "acurácia (95%)",
    "mean_average_precision": "mAP (95%)",
    "difference": "pontos frente a fp32 (95%)",
    "changed": "respostas mudadas",
    "rate": "imagens/s",
    "latency": "ms para uma",
    "interval": "{value} ({low} a {high})",
    "fastest": "a mais rápida que perde no máximo {points} pontos: {name}, {times} vezes a velocidade do padrão de "
    "hoje, {difference} pontos",
    "fastest_default": "a mais rápida que perde no máximo {points} pontos é o padrão de hoje: {name}, "
    "{difference} pontos",
    "not_shown": "mais {count}, superada por outras, está em {file}|"
    "mais {count}, superadas por outras, estão em {file}",
    "left_out": "fora: {name}: {reason}",
    "more": "mais {count} a tentar: cerca de {duration}",
    "turns": "velocidade em turnos",
}

_WORDS: dict[str, dict[str, str]] = {"en": ENGLISH, "pt": PORTUGUESE}
ROLES = ("recommended", "default", "reference")


def tuning_wording(language: Language) -> Wording:
    """The texts of a tuning, with numbers as that language writes them; an unknown one is a UsageError."""
    return replace(wording_of(language), words=_WORDS[language])


def name_of(candidate: Mapping[str, Any], words: Wording) -> str:
    """`openvino int8, merge 4, 98 px`, of a candidate as tune.json keeps it."""
    parts = [
        f"{candidate['backend']} {candidate['precision']}",
        words.say("merge", count=candidate["merge"]) if candidate["merge"] else "",
        f"{size_text(candidate['image_size'])} px",
    ]
    return ", ".join(part for part in parts if part)


def size_text(size: tuple[int, int] | list[int]) -> str:
    """`98`, or height and width as `98x112`."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def roles_of(found: Mapping[str, Any], place: int) -> list[str]:
    """Which of `ROLES` the candidate at a place has."""
    return [role for role in ROLES if found[role] == place]


def shown(found: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The front, then what else took turns when speed was measured, with their places among all."""
    return [(place, one) for place, one in enumerate(found["candidates"]) if one["front"] or one["in_turns"]]


def tuning_table(found: Mapping[str, Any], language: Language) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of what tune.json says of the front, and of what it is compared with."""
    words, measure = tuning_wording(language), found["measure"]
    headings = ["", *(words[name] for name in ("network", "merged", "pixels", measure, "difference"))]
    headings += [*(words[name] for name in ("changed", "rate", "latency")), ""]
    rows = []
    for place, one in shown(found):
        interval = words.say(
            "interval",
            value=words.percent(one[measure]),
            low=words.number(100 * one[f"{measure}_interval"][0], 1),
            high=words.number(100 * one[f"{measure}_interval"][1], 1),
        )
        difference, low, high = (
            words.signed(100 * value) for value in (one["difference"], *one["difference_interval"])
        )
        is_reference = place == found["reference"]
        rows.append(
            [
                str(place + 1) if one["front"] else "",
                f"{one['backend']} {one['precision']}",
                str(one["merge"] or "–"),
                size_text(one["image_size"]),
                interval,
                "–" if is_reference else words.say("interval", value=difference, low=low, high=high),
                "–" if is_reference else words.percent(one["changed"]),
                rate_text(one["images_per_second"], words),
                latency_text(one["latency_ms"], words),
                ", ".join(words[role] for role in roles_of(found, place)),
            ]
        )
    return headings, rows


def tuning_lines(found: Mapping[str, Any], language: Language) -> Iterator[str]:
    """What follows from it: what is left out, the recommendation, and what to type."""
    words = tuning_wording(language)
    for one in found["left_out"]:
        yield words.say("left_out", name=name_of(one, words), reason=said_in(language, one["reason"]))
    hidden = len(found["candidates"]) - len(shown(found))
    if hidden:
        yield words.counted("not_shown", hidden, file=found["files"]["numbers"])
    best, default = (found["candidates"][found[role]] for role in ("recommended", "default"))
    times = best["images_per_second"] / default["images_per_second"]
    yield words.say(
        "fastest_default" if best is default else "fastest",
        points=words.significant(found["max_drop"]),
        name=name_of(best, words),
        times=words.number(times, 1),
        difference=words.signed(100 * best["difference"]),
    )
    yield from found["usage"].values()
    yield found["files"]["figure"]


def rate_text(rate: float, words: Wording) -> str:
    """Images a second: `231`, `8.4`."""
    return words.number(rate, 0 if rate >= 20 else 1)


def latency_text(milliseconds: float | None, words: Wording) -> str:
    """Milliseconds for one image: `36.6`, `0.42`; – where they were not measured."""
    if milliseconds is None:
        return "–"
    return words.number(milliseconds, 1 if milliseconds >= 1 else 2)
