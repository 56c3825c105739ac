"""Tensors out of files: .npz, safetensors and PyTorch's own, recognised by their first bytes, never by their name.

Nothing that a file contains is ever run: pickles are read with `weights_only=True`, arrays without pickles. Nor is what
a file claims about itself believed: an array that says to be larger than its bytes is refused before memory is taken.
"""

import math
import re
import sys
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors import safe_open
from torch import Tensor

from vitral.errors import WeightsError, one_line
from vitral.weights.index import parts_of

# Where training scripts put the weights among other things; the first one that is there is taken. DINO publishes its
# teacher; of a training with averaged weights, the average is the result.
WRAPPERS = (
    "teacher",
    "model_ema",
    "state_dict_ema",
    "ema",
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "params",
    "net",
    "model_state",
)
NUMPY_NUMBERS: tuple[Any, ...] = (
    np.dtype,
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")),
)
DEEPEST = 4  # wrappers around one another; a dictionary that holds itself has no end
# Bytes that an archive may say to have once unpacked. The largest public Vision Transformers have 16 GiB, and weights
# hardly become smaller by compression.
LARGEST_ARCHIVE, LARGEST_UNASKED, LARGEST_RATIO = 1 << 36, 1 << 30, 20
NPY_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_tensors(file: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors in a file by their names, and the text that its header holds beside them.

    Of PyTorch's own files that text is the `wrapper`, one of `WRAPPERS`, where the tensors stood in one.

    Where the system allows it they are mapped into memory, so that what nobody looks at is never read. What is done to
    them does not reach the file.

    Raises:
        WeightsError: no weights file, or a damaged one; the text says what was found.
    """
    file = Path(file)
    try:
        with file.open("rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be read ({error.strerror}): check the path and its permissions"
        ) from error
    header: dict[str, str] = {}
    if re.match(rb'\{\s*["}]', start[8:]):
        tensors, header = _read_safetensors(file)
    elif start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        tensors, header = _read_archive(file)
    elif re.match(rb"\x80[\x02-\x05]", start):
        tensors, header = _read_pytorch(file, mapped=False)
    elif file.suffix == ".safetensors":
        raise WeightsError(f"{file} is no safetensors file, but {_what_it_is(start)}: copy it again")
    else:
        readable = ".npz, .safetensors, and PyTorch's .pth and .pt"
        raise WeightsError(f"{file} is {_what_it_is(start)}: vitral reads {readable}")
    _check(file, tensors)
    return tensors, header


def read_index(index: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The same for a model in several safetensors files, by the index that stands beside them.

    Raises:
        WeightsError: the index or one of its files is damaged or missing.
    """
    index = Path(index)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name in parts_of(index):
        part, header = read_tensors(index.parent / name)
        tensors |= part
        metadata |= header
    return tensors, metadata


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
    except Exception as error:  # safetensors raises its own, and others where names or types are wrong
        raise WeightsError(
            f"{file} is no whole safetensors file ({one_line(error)}): copy it again"
        ) from error
    if sys.platform == "win32":  # there a mapped file cannot be replaced, by a later training for one
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return tensors, metadata


def _read_archive(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A zip file: arrays of numpy's, or tensors of PyTorch's."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except Exception as error:  # zipfile raises all sorts of things about damaged directories
        raise WeightsError(f"{file} is no whole archive ({one_line(error)}): copy it again") from error
    names = [member.filename for member in members]
    size, packed = sum(member.file_size for member in members), file.stat().st_size
    if size > LARGEST_ARCHIVE or size > max(LARGEST_UNASKED, LARGEST_RATIO * packed):
        raise WeightsError(
            f"{file} has {packed:,} bytes and says to hold {size:,} once unpacked: that is no Vision Transformer"
        )
    if len(set(names)) != len(names):
        raise WeightsError(f"{file} holds two entries of one name: save it again")
    if names and all(name.endswith(".npy") for name in names):
        return _read_npz(file, members), {}
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsError(
            f"{file} is a TorchScript program, which vitral does not run: save the model's state_dict() instead"
        )
    if any(name.endswith("/data.pkl") for name in names):
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        return _read_pytorch(file, mapped=stored and sys.platform != "win32")
    held = f"with {one_line(repr(names[0]), 60)} first of {len(names)}" if names else "an empty one"
    raise WeightsError(f"{file} is a zip archive without tensors, {held}: give the .npz or .pth file itself")


def _read_npz(file: Path, members: list[zipfile.ZipInfo]) -> dict[str, Tensor]:
    tensors = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in members:
                with archive.open(member) as stream:
                    _check_array(file, member, stream)
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                if array.dtype == np.dtype("V2"):  # how numpy keeps the bfloat16 of JAX
                    tensors[name] = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
                elif array.dtype.kind in "fiub":
                    tensors[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except WeightsError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have many words for damage
        raise WeightsError(f"{file} is no whole .npz file ({one_line(error)}): copy it again") from error
    return tensors


def _check_array(file: Path, member: zipfile.ZipInfo, stream: Any) -> None:
    """Compare what an array's header says with the bytes that there are, before numpy takes memory for it."""
    version = npy.read_magic(stream)
    if version not in NPY_HEADERS:
        raise ValueError(f"{member.filename} is of version {version}")
    sizes, _, kind = NPY_HEADERS[version](stream)
    if kind.hasobject:
        raise WeightsError(
            f"{file} holds pickled objects in {one_line(repr(member.filename), 60)}, which vitral never runs: "
            "save arrays of numbers"
        )
    claimed, there = math.prod(sizes) * kind.itemsize, member.file_size - stream.tell()
    if claimed != there:
        raise ValueError(f"{member.filename} says to have {claimed:,} bytes and has {there:,}")


def _read_pytorch(file: Path, mapped: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        # A namespace is what training scripts keep their options in, a numpy number what they measured; neither runs.
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals([Namespace, *NUMPY_NUMBERS]),
            file.open("rb") as stream,
        ):
            # A path may be mapped; but one that ends in .safetensors torch would not even try to unpickle.
            mapped = mapped and file.suffix != ".safetensors"
            content = torch.load(
                file if mapped else stream, map_location="cpu", weights_only=True, mmap=mapped
            )
    except Exception as error:  # torch raises whatever its many readers do
        raise _refused_pickle(file, error) from error
    tensors, wrapper = _unwrapped(content)
    if not tensors:
        raise WeightsError(
            f"{file} holds {_described(content)} and no named tensors: save model.state_dict()"
        )
    return tensors, {"wrapper": wrapper} if wrapper else {}


def _refused_pickle(file: Path, error: Exception) -> WeightsError:
    wanted = re.search(r"GLOBAL (\S*\w) (was not an allowed global|whose module)", str(error))
    if wanted:
        return WeightsError(
            f"{file} is a pickle that wants to run {one_line(wanted[1], 80)}, which vitral never does: "
            "where it comes from, save model.state_dict() alone, best as safetensors"
        )
    reason = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
    what = "no pickle that PyTorch reads as weights" if "Unsupported" in reason else "no whole PyTorch file"
    return WeightsError(
        f"{file} is {what} ({one_line(reason) or type(error).__name__}): copy it again, or save "
        "model.state_dict() anew with torch.save"
    )


def _unwrapped(content: Any, depth: int = DEEPEST) -> tuple[dict[str, Tensor], str]:
    """The named tensors of a state dict, however deep the training script put it, and the innermost wrapper or ""."""
    if not isinstance(content, Mapping) or depth == 0:
        return {}, ""
    own = {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    for wrapper in WRAPPERS:
        inner, innermost = _unwrapped(content.get(wrapper), depth - 1)
        if len(inner) > len(own):  # beside a state dict there may be a loss
            return inner, innermost or wrapper
    return own, ""


def _check(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what no rule could work with, or no line of text could name."""
    if not tensors:
        raise WeightsError(f"{file} holds no tensors: copy it again")
    for name, tensor in tensors.items():
        if not name.isprintable() or len(name) > 500:
            raise WeightsError(
                f"{file} calls a tensor {one_line(repr(name), 60)}: give it a name of one line"
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            raise WeightsError(
                f"{file} holds {name} sparse, quantised or without numbers: save it as a plain tensor"
            )


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(one_line(repr(name), 60) for name in list(content)[:3])
        return f"a dictionary of {names or 'nothing'}"
    return f"a {type(content).__name__}"


def _what_it_is(start: bytes) -> str:
    known = {
        b"version https://git-lfs": "a Git LFS pointer, not the file it stands for (run git lfs pull)",
        b"\x89HDF\r\n": "an HDF5 file, as Keras writes them",
        b"\x1f\x8b": "a gzip archive (unpack it first)",
        b"\x93NUMPY": "a single numpy array",
        b"\xff\xd8\xff": "a JPEG image",
        b"\x89PNG": "a PNG image",
        b"<": "a web page or XML, perhaps a download that failed",
        b"GGUF": "a GGUF file",
    }
    if not start:
        return "empty"
    for magic, name in known.items():
        if start.lstrip().startswith(magic):
            return name
    if start[257:262] == b"ustar":
        return "a tar archive (unpack it first)"
    if re.match(
        rb"\x08[\x01-\x20]\x12", start
    ):  # the fields that each of them begins with: version, producer
        return "an ONNX model, it seems"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return f"text beginning with {start[:20].decode()!r}"
    return f"of no known kind, beginning with the bytes {start[:8].hex(' ')}"
