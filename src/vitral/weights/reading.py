"""What a family's `read` is given and what it finds out."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from torch import Tensor

from vitral.errors import UsageError, WeightsError
from vitral.images import Preprocessing
from vitral.model import ViTConfig

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Heads of the sizes where they are not dim / 64 (Table 1 and its successors).
HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16, 1792: 16}


def _check(holds: bool, text: str) -> None:
    if not holds:
        raise UsageError(text)


def _are(values: Any, kind: type | tuple[type, ...], count: int | None = None) -> bool:
    """Whether these are numbers above 0, so many of them; of means, 0 will do."""
    good = isinstance(values, (list, tuple)) and all(isinstance(value, kind) for value in values)
    return good and (count is None or (len(values) == count and all(value > 0 for value in values)))


@dataclass(frozen=True)
class Overrides:
    """What the user says about weights that their files do not settle, or settle wrongly; None leaves it to them.

    Args:
        family: whose format it is, where two fit.
        grid: rows and columns of patches that the positions were learned on.
        heads, activation, norm_epsilon, pool, position_interpolation: as in `ViTConfig`.
        merge: as in `ViTConfig`; it goes with any weights.
        mean, std, interpolation, fit, crop_share: as in `Preprocessing`.
    """

    family: str | None = None
    grid: tuple[int, int] | None = None
    heads: int | None = None
    activation: str | None = None
    norm_epsilon: float | None = None
    pool: str | None = None
    position_interpolation: str | None = None
    merge: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    fit: str | None = None
    crop_share: float | None = None

    def __post_init__(self) -> None:
        _check(self.grid is None or _are(self.grid, int, 2), f"grid is {self.grid!r}: give (rows, columns)")
        _check(
            self.heads is None or _are((self.heads,), int, 1), f"heads is {self.heads!r}: give a whole number"
        )
        _check(
            self.merge is None or (_are((self.merge,), int) and self.merge >= 0),
            f"merge is {self.merge!r}: give a whole number, 0 or more",
        )
        for name in ("norm_epsilon", "crop_share"):
            value = getattr(self, name)
            _check(value is None or _are((value,), (int, float), 1), f"{name} is {value!r}: give a number")
        for name in ("mean", "std"):
            if getattr(self, name) is not None:
                value = tuple(getattr(self, name))
                _check(_are(value, (int, float)), f"{name} is {value!r}: give one number a channel")
                object.__setattr__(self, name, value)

    def of(self, kind: type) -> dict[str, Any]:
        """Those given that are fields of `kind`."""
        names = {one.name for one in fields(kind)} & {one.name for one in fields(self)}
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Found:
    """A checkpoint of somebody else's, as its files give it.

    Args:
        tensors: by their own names.
        config: their config.json, {} where there is none.
        processor: their preprocessor_config.json.
        header: the text in a safetensors file's header; of a file of PyTorch's, its `wrapper`.
        overrides: what the user says.
        image_size: that the user wants the network for.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    image_size: int | tuple[int, int] | None = None

    def size(self, name: str, axes: int | None = None) -> tuple[int, ...]:
        """The shape of one of the tensors.

        Raises:
            WeightsError: there is none of this name, or it has not so many axes.
        """
        if name not in self.tensors:
            raise WeightsError(f"the tensor {name} is missing from the weights: fetch the whole file again")
        sizes = tuple(self.tensors[name].shape)
        if axes is not None and len(sizes) != axes:
            found = "x".join(map(str, sizes)) or "one number"
            raise WeightsError(
                f"the tensor {name} is {found} instead of one of {axes} axes: fetch the file again"
            )
        return sizes

    def count(self, pattern: str) -> int:
        """One more than the largest number that the pattern's group finds in the names: layers, stages, units."""
        numbers = [int(match[1]) for name in self.tensors if (match := re.match(pattern, name))]
        return max(numbers, default=-1) + 1


@dataclass(frozen=True)
class Reading:
    """What a family makes of a checkpoint.

    Args:
        config, preprocessing, class_names: as in `Checkpoint`.
        assumed: what nothing in the files settles: the field, and why it is taken to be so.
    """

    config: ViTConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    assumed: Mapping[str, str]


def heads_of(found: Found, dim: int, house: str) -> int:
    """The number of heads, which fused weights do not tell: the user's word, else dim / 64 and the known exceptions.

    Raises:
        WeightsError: dim gives no hint.
    """
    heads = found.overrides.heads or HEADS.get(dim) or (dim // 64 if dim % 64 == 0 else 0)
    if not heads:
        raise WeightsError(
            f"nothing tells how many heads share dim {dim} in these weights of {house}: say heads=N, or --heads N"
        )
    return heads


def grid_of(
    found: Found,
    positions: int,
    special: Sequence[int],
    reach: tuple[int, int],
    assumed: dict[str, str],
    image_size: Any = None,
) -> tuple[tuple[int, int], int]:
    """Rows and columns of a table of positions, and how many special tokens have one.

    Counting decides only where nothing else does: the user's grid, the size that the metadata name, a square, and at
    last the size that the user wants the network for.

    Args:
        found: the checkpoint.
        positions: the length of the table.
        special: how many of its rows may be those of special tokens, the likeliest first.
        reach: height and width of a patch in the image's pixels.
        assumed: takes the note that it is a square.
        image_size: as the metadata say, one number or (height, width).

    Raises:
        WeightsError: nothing tells.
    """
    for size in (found.overrides.grid, _grid(image_size, reach)):
        for count in special:
            if size is not None and size[0] * size[1] == positions - count:
                return size, count
    if found.overrides.grid is not None:
        rows, columns = found.overrides.grid
        raise WeightsError(
            f"a grid of {rows} x {columns} does not give the {positions} positions of these weights"
        )
    sides = {count: math.isqrt(max(positions - count, 0)) for count in special}
    squares = [count for count, side in sides.items() if side and side * side == positions - count]
    if squares:
        side, others = (
            sides[squares[0]],
            " or ".join(f"{sides[count]} x {sides[count]}" for count in squares[1:]),
        )
        assumed.setdefault(
            "image_size", "that of a square of patches" + (f"; {others} would fit too" if others else "")
        )
        return (side, side), squares[0]
    hint = _grid(found.image_size, reach)
    for count in special:
        if hint is not None and hint[0] * hint[1] == positions - count:
            return hint, count
    raise WeightsError(
        f"{positions - special[0]} patches are no square, and nothing tells how many rows they are: "
        "say grid=(rows, columns), or --grid ROWSxCOLUMNS"
    )


def grid_without_table(
    found: Found, reach: tuple[int, int], assumed: dict[str, str], image_size: Any = None
) -> tuple[int, int]:
    """The same where positions are fixed or rotary and tell no size: what metadata or user say, else that of 224 px."""
    grid = found.overrides.grid or _grid(image_size, reach) or _grid(found.image_size, reach)
    if grid is None:
        assumed["image_size"] = "near 224 px, as usual: these positions fit any size"
        grid = max(224 // reach[0], 1), max(224 // reach[1], 1)
    return grid


def _grid(image_size: Any, reach: tuple[int, int]) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, (list, tuple)) else (image_size, image_size)
    if len(sides) != 2 or any(not isinstance(side, int) or side < 1 for side in sides):
        return None
    return sides[0] // reach[0], sides[1] // reach[1]


def class_names_for(
    count: int, assumed: dict[str, str], names: Sequence[str] | Mapping[Any, Any] | None = None
) -> tuple[str, ...]:
    """Names for `count` outputs: the metadata's where they are whole, ImageNet-1k's for 1000, else "output 0" on."""
    if isinstance(names, Mapping):
        numbered = {str(index): name for index, name in names.items()}
        names = [numbered[str(index)] for index in range(count) if str(index) in numbered]
    if names and len(names) == count:
        return unique(list(map(str, names)))
    if count == 1000:
        assumed["class_names"] = "1000 outputs, so ImageNet-1k's in their usual order"
        return unique(imagenet_names())
    return tuple(f"output {index}" for index in range(count))  # no name that classes of the user's could have


def imagenet_names() -> list[str]:
    """ImageNet-1k's classes in their usual order, as torchvision has them.

    The import of `torchvision.models` takes longer than torch's own, so the one file that lists them is run by itself
    where it is as known; where torchvision has put it elsewhere, its public name is asked.
    """
    package = find_spec("torchvision")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        spec = spec_from_file_location("torchvision_categories", Path(folder) / "models" / "_meta.py")
        if spec is None or spec.loader is None or not Path(spec.origin or "").is_file():
            continue
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        names = getattr(module, "_IMAGENET_CATEGORIES", None)
        if isinstance(names, list) and len(names) == 1000:
            return names
    from torchvision.models import ViT_B_16_Weights

    return ViT_B_16_Weights.IMAGENET1K_V1.meta["categories"]


def for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A mean or standard deviation for another number of channels: the colours' average for each."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that come again with their number behind: ImageNet has two kinds of crane."""
    counts = Counter(names)
    return tuple(name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names))


def take(tensors: Iterable[tuple[str, Tensor]], ignored: str) -> dict[str, Tensor]:
    """The tensors but for those whose whole name the pattern matches."""
    return {name: tensor for name, tensor in tensors if not re.fullmatch(ignored, name)}
