"""Who stands on which side: by DATA's own splits, by a draw, in folds, or as a run's splits.csv says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

from vitral.data.folds import draw_folds, draw_validation
from vitral.data.labelled import SPLITS
from vitral.data.scan import Facts
from vitral.data.sources import Item
from vitral.data.splits import (
    Relations,
    draw_splits,
    leaks,
    read_splits,
    relate,
    splits_from,
    take_validation,
)
from vitral.errors import UsageError
from vitral.language import Sentence, count_of

IN_PORTUGUESE = {"train": "treino", "validation": "validação", "test": "teste"}


@dataclass(frozen=True)
class Sides:
    """Who stands where.

    Args:
        splits: one an item.
        folds: one an item; empty without folds.
        left_out: position -> reason.
        notes: about all of this.
    """

    splits: list[str]
    folds: list[int | None] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)
    notes: list[Sentence] = field(default_factory=list)


def assign_sides(
    items: Sequence[Item],
    facts: Sequence[Facts],
    validation: float | None,
    split_seed: int,
    folds: int | None,
    splits: str | PathLike[str] | None,
) -> Sides:
    """Say on which side every image is.

    Args:
        items, facts: the usable images and what is known of them.
        validation, split_seed, folds, splits: as `open_data` has them.

    Raises:
        UsageError: --validation where there is a validation split already, or too few folds.
        DataError: images of `splits` are missing or changed, or the folds cannot be drawn.
    """
    given = [item.split for item in items if item.split is not None]
    if splits is not None:
        table = {row.path: row for row in read_splits(splits)}
        assigned = splits_from(table, items, facts)
        numbers = [table[item.path].fold if item.path in table else None for item in items]
        reasons = {
            index: f"not among the images of {splits}" for index, split in enumerate(assigned) if not split
        }
        note = Sentence(
            f"{count_of(len(reasons), 'image')} left out: not among those of {splits}",
            f"{count_of(len(reasons), 'imagem|imagens', 'pt')} fora da conta: não estão entre as de {splits}",
        )
        return Sides(assigned, numbers, reasons, [note] if reasons else [])
    if (
        folds is None
        and validation is not None
        and (not given or "validation" in given or "train" not in given)
    ):
        there = "DATA without splits is divided 70/15/15" if not given else f"DATA has {_listed(given)}"
        raise UsageError(
            f"--validation takes images from train where there is no validation, but {there}: leave it out"
        )
    related = relate(items, facts)
    if folds is not None:
        numbers = draw_folds(items, facts, related, folds, split_seed)
        assigned = ["train"] * len(items)
        if validation is not None:
            assigned = draw_validation(items, facts, related, numbers, validation, split_seed)
        notes = [_folds_note(numbers, given, split_seed), *_relation_notes(items, related)]
        return Sides(assigned, list(numbers), notes=notes)
    if not given:
        assigned = draw_splits(items, facts, related, split_seed)
        notes = [_drawn_note(assigned, split_seed), *_relation_notes(items, related)]
        return Sides(assigned, notes=notes)
    assigned = given
    if validation is not None:
        assigned = take_validation(assigned, items, facts, related, validation, split_seed)
    reasons = leaks(assigned, items, related)
    return Sides(assigned, left_out=reasons, notes=_leak_notes(assigned, reasons))


def _drawn_note(assigned: Sequence[str], seed: int) -> Sentence:
    counts = Counter(assigned)
    shares = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    parts = ", ".join(f"{IN_PORTUGUESE[split]} {counts[split]:,}".replace(",", ".") for split in SPLITS)
    return Sentence(
        f"no splits in DATA: divided 70/15/15 by content with split seed {seed} into {shares}",
        f"DATA não traz divisão: repartida 70/15/15 pelo conteúdo (--split-seed {seed}): {parts}",
    )


def _folds_note(numbers: Sequence[int], given: Sequence[str], seed: int) -> Sentence:
    sizes = sorted(Counter(numbers).values())
    smallest, largest = sizes[0], sizes[-1]
    each = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    cada = each.replace(",", ".").replace(" to ", " a ")
    images = count_of(len(numbers), "imagem|imagens", "pt")
    joined = f"; DATA's own splits ({_listed(given)}) are joined" if given else ""
    juntas = f"; a divisão de DATA ({_listed_in_portuguese(given)}) não conta" if given else ""
    return Sentence(
        f"{len(sizes)} folds over all {len(numbers):,} images, by content with split seed {seed}: "
        f"{each} images each, tested once{joined}",
        f"{len(sizes)} dobras com todas as {images}, pelo conteúdo (--split-seed {seed}): "
        f"{cada} imagens em cada, testadas uma vez{juntas}",
    )


def _relation_notes(items: Sequence[Item], related: Relations) -> list[Sentence]:
    """Which images stay together, by group or by likeness."""
    notes = []
    groups = {item.group for item in items if item.group}
    if groups:
        grouped_images = sum(bool(item.group) for item in items)
        notes.append(
            Sentence(
                f"{count_of(grouped_images, 'image')} in {count_of(len(groups), 'group')}, each kept on one side",
                f"{count_of(grouped_images, 'imagem|imagens', 'pt')} em "
                f"{count_of(len(groups), 'grupo, inteiro|grupos, cada um inteiro', 'pt')} em um só lado",
            )
        )
    repeated = [count for count in Counter(related.near.tolist()).values() if count > 1]
    if repeated:
        notes.append(
            Sentence(
                f"{sum(repeated):,} images are near-duplicates of one another and stay on one side: "
                f"{count_of(len(repeated), 'set')}, the largest of {max(repeated):,}",
                f"{count_of(sum(repeated), 'imagem|imagens', 'pt')} quase iguais entre si ficam do mesmo lado: "
                f"{count_of(len(repeated), 'conjunto|conjuntos', 'pt')}, o maior com {max(repeated)}",
            )
        )
    return notes


def _leak_notes(assigned: Sequence[str], reasons: Mapping[int, str]) -> list[Sentence]:
    """How many images left which split, and for which kind of reason."""
    kinds = {
        "the same image": ("the same image is also in", "a mesma imagem está também em"),
        "nearly the same": ("a near-duplicate is in", "há uma quase igual em"),
        "its group": ("a member of their group is in", "há uma do mesmo grupo em"),
    }
    notes = []
    for split, others in (("validation", ("train",)), ("test", ("train", "validation"))):
        for start, (said, dito) in kinds.items():
            count = sum(
                assigned[index] == split and reason.startswith(start) for index, reason in reasons.items()
            )
            if count:
                where = " ou ".join(IN_PORTUGUESE[other] for other in others)
                notes.append(
                    Sentence(
                        f"{count_of(count, f'{split} image')} left out: {said} {' or '.join(others)}",
                        f"{count_of(count, 'imagem|imagens', 'pt')} de {IN_PORTUGUESE[split]} fora da conta: "
                        f"{dito} {where}",
                    )
                )
    return notes


def _listed(given: Sequence[str]) -> str:
    return " and ".join(split for split in SPLITS if split in given)


def _listed_in_portuguese(given: Sequence[str]) -> str:
    return " e ".join(IN_PORTUGUESE[split] for split in SPLITS if split in given)
