"""One module a kind of source; `list_images` recognises what DATA means."""

from collections.abc import Callable, Mapping
from pathlib import Path

from vitral.data.sources.digits import list_digits
from vitral.data.sources.folder import list_folder
from vitral.data.sources.food import list_food_vision_mini
from vitral.data.sources.listing import Item, Listing, grouped
from vitral.data.sources.table import list_table
from vitral.errors import UsageError

__all__ = ["Item", "Listing", "grouped", "list_images"]

FORMS = "a folder of class folders, a .csv with columns path and label, digits, food-vision-mini, torchvision:NAME"


def list_images(
    spec: str,
    columns: Mapping[str, str] | None = None,
    data_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Listing:
    """What DATA names; an existing path wins over a name.

    Raises:
        UsageError: `spec` is none of DATA's forms, or an option goes with another form.
        DataError: as the form's own function says.
    """
    path = Path(spec).expanduser()
    table = bool(spec) and path.is_file()
    named = spec.startswith("torchvision:") and not path.exists()
    if columns and not table:
        raise UsageError("--columns goes with a .csv only: leave it out")
    if data_root is not None and not named:
        raise UsageError(
            "--data-root goes with torchvision:NAME only: leave it out, or give that folder as DATA"
        )
    if table:
        if path.suffix.lower() != ".csv":
            raise UsageError(f"{spec} is a file but no .csv; DATA is {FORMS}")
        return list_table(path, columns)
    if spec and path.is_dir():
        return list_folder(path)
    if named:
        # torchvision takes a second to import.
        from vitral.data.sources.torchvision_sets import list_torchvision

        return list_torchvision(spec.removeprefix("torchvision:"), data_root)
    if spec == "digits":
        return list_digits()
    if spec == "food-vision-mini":
        return list_food_vision_mini(progress)
    if spec.startswith("hf:") or (spec.startswith("shards-") or spec.endswith(".tar")):
        raise UsageError(f"DATA of the form {spec} is not supported yet; DATA is {FORMS}")
    raise UsageError(f"{spec!r} is neither an existing folder or file nor a known name; DATA is {FORMS}")
