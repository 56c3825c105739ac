"""What every source of DATA hands over before anything is decoded: which images, under which labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vitral.data.labelled import LeftOut, label_names
from vitral.errors import UsageError


@dataclass(frozen=True)
class Item:
    """One image that a source names.

    Args:
        path: unique within the source, see `Sample.path`.
        label: the class's name, in NFC; in multi-label listings `a|b`, its names sorted, "" for none.
        split: "train", "validation", "test", or None where the source has no splits.
        group: the name that a csv gives, "" where it gives none.
        section: what must hold a usable image: the class folder ("train/cats"), or the class elsewhere; in
            multi-label listings every class of `label` is one.
        folder: the folder that `--group-by folder` takes as the group; "" for none.
        file: None for images that are no files.
    """

    path: str
    label: str
    split: str | None
    group: str = ""
    section: str = ""
    folder: str = ""
    file: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The classes of a multi-label listing's item."""
        return label_names(self.label)


@dataclass(frozen=True)
class Listing:
    """Everything a source names.

    Args:
        name: short, for the names of runs.
        items: in a fixed order; all with a split or all without.
        sections: every class folder (or class), those without an image included.
        class_names: the source's own order; None for the alphabet's.
        arrays: one uint8 array (height, width, channels) an item where the images are no files.
        multi_label: whether `|` in a label separates classes.
    """

    name: str
    items: tuple[Item, ...]
    sections: tuple[str, ...]
    class_names: tuple[str, ...] | None = None
    arrays: np.ndarray | list[np.ndarray] | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    multi_label: bool = False


def grouped(items: Sequence[Item], rule: str) -> tuple[Item, ...]:
    """`items` with the groups that `--group-by` says, which replace those of a csv.

    Args:
        rule: "folder": the folder that holds the image, counted below the class folder (an image directly
            in its class folder belongs to itself only; folders of one name are one group across classes
            and splits; a csv's paths count as they are written). Else a regular expression that is
            searched in `Item.path`: its first group, or the whole match where it has none, is the group's
            name; an image that does not match belongs to itself only.

    Raises UsageError for an invalid expression, one that matches nothing, or folders where there are none.
    """
    if rule == "folder":
        if not any(item.file for item in items):
            raise UsageError("--group-by folder needs images that lie in folders: give a regular expression")
        return tuple(replace(item, group=item.folder) for item in items)
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UsageError(
            f"--group-by {rule!r} is no valid regular expression ({error}): correct it, or say folder"
        ) from None
    found = [pattern.search(item.path) for item in items]
    if not any(found):
        raise UsageError(
            f"--group-by {rule!r} matches none of the images, for instance not {items[0].path!r}"
        )
    return tuple(
        replace(item, group=((match[1] if pattern.groups else match[0]) or "") if match else "")
        for item, match in zip(items, found, strict=True)
    )
