"""Tables: a csv with the columns path and label, and optionally split and group; `a|b` are two labels."""

import csv
from collections.abc import Mapping
from pathlib import Path

from vitral.data.labelled import SPLIT_WORDS, LeftOut, label_names, label_text, same_text, split_of
from vitral.data.sources.listing import Item, Listing
from vitral.errors import DataError, UsageError
from vitral.images import IMAGE_SUFFIXES

COLUMNS = ("path", "label", "split", "group")


def list_table(file: Path, columns: Mapping[str, str] | None = None) -> Listing:
    """The images that a csv names. Paths are relative to the file; labels are always text.

    A `|` in any label makes the table multi-label: `a|b` has the classes a and b in whatever order, and an empty label
    is an image of none of the classes. Without one, an empty label is an error.

    Args:
        file: comma, semicolon or tab between the columns; UTF-8 or Windows-1252.
        columns: other headings, {"path": "id_code", "label": "diagnosis"}. A path without an image's ending
            (an id) finds the file of that name with one.

    Raises:
        DataError: naming the line, for a missing column, an empty path or label, an unknown split, or a path
            that is listed with two labels.
        UsageError: `columns` names something else than path, label, split and group.
    """
    columns = dict(columns or {})
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise UsageError(f"--columns {unknown[0]}=…: the columns are {', '.join(COLUMNS)}")
    reader = csv.reader(_text(file).splitlines(keepends=True), delimiter=_delimiter(file, columns))
    items: dict[str, Item] = {}
    lines: dict[str, int] = {}
    unlabelled, multi_label = 0, False
    left_out = []
    try:
        headings = next(reader)
        places = _places(file, headings, columns)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num
            if len(cells) > len(headings):
                raise DataError(
                    f"{file}, line {line}: {len(cells)} columns under {len(headings)} headings: "
                    "put a cell that holds the separator in double quotes"
                )
            row = {name: _cell(cells, place) for name, place in places.items()}
            item = _item(file, line, row)
            multi_label = multi_label or "|" in row["label"]
            unlabelled = unlabelled or (0 if item.label else line)
            earlier = items.get(item.path)
            if earlier is None:
                items[item.path], lines[item.path] = item, line
            elif earlier.label != item.label or earlier.split != item.split:
                raise DataError(
                    f"{file}: {item.path} stands in line {lines[item.path]} as {_said(earlier)} and in line "
                    f"{line} as {_said(item)}: keep one of them, or write several labels in one line as a|b"
                )
            else:
                left_out.append(LeftOut(item.path, f"listed a second time in line {line}"))
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}: save it as csv again") from None
    if unlabelled and not multi_label:
        raise DataError(
            f"{file}, line {unlabelled}: the label is empty: fill it in, or delete the line "
            "(it means none of the classes only in tables with labels such as a|b)"
        )
    if not items:
        raise DataError(f"{file} has headings but no rows: add one row an image")
    undivided = [path for path, item in items.items() if item.split is None]
    if undivided and len(undivided) < len(items):
        raise DataError(
            f"{file}, line {lines[undivided[0]]}: no split, while other lines have one: fill in all or none"
        )
    classes = (name for item in items.values() for name in (item.names if multi_label else (item.label,)))
    return Listing(
        file.stem,
        tuple(items.values()),
        tuple(dict.fromkeys(classes)),
        left_out=tuple(left_out),
        multi_label=multi_label,
    )


def _item(file: Path, line: int, row: dict[str, str]) -> Item:
    if not row["path"]:
        raise DataError(f"{file}, line {line}: the path is empty: fill it in, or delete the line")
    label = label_text(label_names(same_text(row["label"])))
    split = row.get("split", "")
    if split and split_of(split) is None:
        raise DataError(
            f"{file}, line {line}: {split!r} is no split: say one of {', '.join(sorted(SPLIT_WORDS))}"
        )
    folder = row["path"].replace("\\", "/").rpartition("/")[0]
    return Item(
        path=row["path"],
        label=label,
        split=split_of(split) if split else None,
        group=same_text(row.get("group", "")),
        section=label,
        folder=folder,
        file=_find(file.absolute().parent, row["path"]),
    )


def _find(folder: Path, path: str) -> Path:
    """The file that a row means; where there is none, the path as written, which the scan reports as missing."""
    file = folder / path
    if file.exists():
        return file
    if "\\" in path:
        file = folder / path.replace("\\", "/")
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        # Last .npy: beside a photograph it is something about it.
        for suffix in sorted(IMAGE_SUFFIXES, key=lambda suffix: (suffix == ".npy", suffix)):
            candidate = file.with_name(file.name + suffix)
            if candidate.exists():
                return candidate
    return file


def _places(file: Path, headings: list[str], columns: dict[str, str]) -> dict[str, int]:
    """Column name -> position; spelling first, then without regard to case and spaces around."""
    folded = [heading.strip().casefold() for heading in headings]
    places = {}
    for name in COLUMNS:
        heading = columns.get(name, name)
        if heading in headings:
            places[name] = headings.index(heading)
        elif heading.strip().casefold() in folded:
            places[name] = folded.index(heading.strip().casefold())
        elif name in ("path", "label") or name in columns:
            raise DataError(
                f"{file} has no column {heading!r}, only {', '.join(map(repr, headings))}: "
                f"say which it is with --columns {name}=HEADING"
            )
    return places


def _delimiter(file: Path, columns: dict[str, str]) -> str:
    """Whichever separates the headings into the most known ones, then into the most."""
    wanted = {columns.get(name, name).strip().casefold() for name in COLUMNS}

    def score(delimiter: str) -> tuple[int, int]:
        headings = next(csv.reader([first], delimiter=delimiter))
        return sum(heading.strip().casefold() in wanted for heading in headings), len(headings)

    first = _text(file).partition("\n")[0]
    return max((",", ";", "\t"), key=score)


def _text(file: Path) -> str:
    """The file's text from its first line that is not blank."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): change its permissions") from None
    if b"\0" in content:
        raise DataError(f"{file} is neither UTF-8 nor Windows-1252 text: save it as csv in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Windows-1252 leaves five bytes without a meaning.
        text = content.decode("cp1252", errors="replace")
    text = text.lstrip("\r\n")
    if not text.strip():
        raise DataError(f"{file} is empty: it needs the headings path,label and one row an image")
    return text


def _cell(cells: list[str], place: int) -> str:
    return cells[place].strip() if place < len(cells) else ""


def _said(item: Item) -> str:
    return item.label if item.split is None else f"{item.label} ({item.split})"
