"""Folders of class folders, with or without split folders around them."""

from pathlib import Path

from vitral.data.labelled import same_text, split_of
from vitral.data.sources.listing import Item, Listing
from vitral.errors import DataError
from vitral.images import IMAGE_SUFFIXES, find_images
from vitral.language import Sentence, count_of


def list_folder(root: Path, name: str | None = None) -> Listing:
    """The images of a folder of class folders; see `contract.md` for the split folders' names.

    Whatever lies at any depth in a class folder belongs to the class. Class names are the folders' in NFC.

    Raises DataError where the classes cannot be told: no class folders, two of one name, split folders
    without class folders, or images beside the split folders.
    """
    root = root.absolute()
    folders = _folders(root)
    if not _has_splits(root, folders):
        places = [(None, folder) for folder in _class_folders(root, folders)]
        stray = _images_directly_in(root)
    else:
        places, stray = [], _images_directly_in(root)
        for split, split_folder in _split_folders(root, folders).items():
            inside = _folders(split_folder)
            stray += _images_directly_in(split_folder)
            places += [(split, folder) for folder in _class_folders(split_folder, inside)]
    items, sections = [], []
    for split, folder in places:
        section = folder.relative_to(root).as_posix()
        sections.append(section)
        for file in find_images(folder):
            below = file.relative_to(folder).parent.as_posix()
            items.append(
                Item(
                    path=file.relative_to(root).as_posix(),
                    label=same_text(folder.name),
                    split=split,
                    section=section,
                    folder="" if below == "." else below,
                    file=file,
                )
            )
    unused = Sentence(
        f"{count_of(stray, 'image')} in no class folder: not used",
        f"{count_of(stray, 'imagem|imagens', 'pt')} fora das pastas de classe, sem uso",
    )
    notes = (unused,) if stray else ()
    return Listing(name or root.resolve().name or "data", tuple(items), tuple(sections), notes=notes)


def _has_splits(root: Path, folders: list[Path]) -> bool:
    """Whether `folders` are split folders: two splits or more, and not merely classes that are called so."""
    named = [folder for folder in folders if split_of(folder.name)]
    if len({split_of(folder.name) for folder in named}) >= 2:
        return len(named) == len(folders) or any(_folders(folder) for folder in named)
    if named and len(named) == len(folders) and _folders(named[0]):
        raise DataError(
            f"{root} has a {named[0].name} folder only: add the other splits' folders, "
            f"or give {named[0]} as DATA to have it divided"
        )
    return False


def _split_folders(root: Path, folders: list[Path]) -> dict[str, Path]:
    """Split name -> folder."""
    found: dict[str, Path] = {}
    for folder in folders:
        split = split_of(folder.name)
        if split is None:
            if find_images(folder):
                raise DataError(
                    f"{root} has split folders and, beside them, images in {folder.name}: "
                    "move that folder into a split, or out of DATA"
                )
        elif split in found:
            raise DataError(
                f"{root}: {found[split].name} and {folder.name} both mean the {split} split: join them"
            )
        else:
            found[split] = folder
    return found


def _class_folders(parent: Path, folders: list[Path]) -> list[Path]:
    """`folders`, checked: at least one, no two of one name."""
    if not folders:
        direct = " (its images lie in no class folder)" if _images_directly_in(parent) else ""
        raise DataError(
            f"{parent} has no class folders{direct}: put each class's images in a folder of the class's name"
        )
    seen: dict[str, Path] = {}
    for folder in folders:
        name = same_text(folder.name)
        if name in seen:
            # !a shows the difference that the eye cannot see.
            raise DataError(
                f"{parent}: the class folders {seen[name].name!a} and {folder.name!a} are both "
                f"the class {name}: join them, or rename one"
            )
        seen[name] = folder
    return folders


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(
            entry for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"{parent} cannot be read ({error.strerror}): change its permissions") from None


def _images_directly_in(folder: Path) -> int:
    # A .npy beside class folders is a table rather than an image.
    suffixes = IMAGE_SUFFIXES - {".npy"}
    return sum(
        entry.suffix.lower() in suffixes and entry.is_file() and not entry.name.startswith(".")
        for entry in folder.iterdir()
    )
