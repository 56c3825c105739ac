"""Tensors out of files: .npz, safetensors and PyTorch's own, recognised by their first bytes, never by their name.

Nothing that a file contains is ever run: pickles are read with `weights_only=True`, arrays without pickles.
"""

import json
import sys
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitral.errors import WeightsError

# Where training scripts put the weights among other things; the first one that is there is taken. DINO publishes its
# teacher; of a training with averaged weights, the average is the result.
WRAPPERS = ("teacher", "model_ema", "ema", "model", "state_dict", "model_state_dict", "module", "params")
LARGEST_ARCHIVE = 1 << 36  # bytes once unpacked, 64 GiB; the largest public Vision Transformers have a quarter of it


def read_tensors(file: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors in a file by their names, and the text that its header holds beside them.

    Where the system allows it they are mapped into memory, so that what nobody looks at is never read.

    Raises:
        WeightsError: no weights file, or a damaged one; the text says what was found.
    """
    file = Path(file)
    try:
        with file.open("rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error.strerror}): check the path and its permissions") from error
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30:
        return _read_safetensors(file)
    if start.startswith(b"PK\x03\x04") or start.startswith(b"PK\x05\x06"):
        return _read_archive(file), {}
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return _read_pytorch(file, mapped=False), {}
    if file.suffix == ".safetensors":
        raise WeightsError(f"{file} is no whole safetensors file, but {_what_it_is(start)}: copy it again")
    raise WeightsError(
        f"{file} is {_what_it_is(start)}: vitral reads .npz, .safetensors, and PyTorch's .pth and .pt"
    )


def read_index(index: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The same for a model in several safetensors files, by the index that stands beside them.

    Raises:
        WeightsError: the index or one of its files is damaged or missing.
    """
    index = Path(index)
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of weights ({error}): fetch it again") from error
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, which is no file beside it: fetch it again")
        part, header = read_tensors(index.parent / name)
        tensors |= part
        metadata |= header
    return tensors, metadata


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{file} is no whole safetensors file ({_one_line(error)}): copy it again") from error
    if sys.platform == "win32":  # there a mapped file cannot be replaced, by a later training for one
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return tensors, metadata


def _read_archive(file: Path) -> dict[str, Tensor]:
    """A zip file: arrays of numpy's, or tensors of PyTorch's."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(f"{file} is no whole archive ({_one_line(error)}): copy it again") from error
    names = [member.filename for member in members]
    size = sum(member.file_size for member in members)
    if size > LARGEST_ARCHIVE:
        raise WeightsError(f"{file} says to hold {size >> 30} GiB once unpacked: that is no Vision Transformer")
    if names and all(name.endswith(".npy") for name in names):
        return _read_npz(file)
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsError(
            f"{file} is a TorchScript program, which vitral does not run: save the model's state_dict() instead"
        )
    if any(name.endswith("/data.pkl") for name in names):
        return _read_pytorch(file, mapped=sys.platform != "win32")
    held = f"with {names[0]!r} first of {len(names)}" if names else "an empty one"
    raise WeightsError(
        f"{file} is a zip archive without tensors, {held}: give the .npz or .pth file itself"
    )


def _read_npz(file: Path) -> dict[str, Tensor]:
    tensors = {}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                if array.dtype == np.dtype("V2"):  # how numpy keeps the bfloat16 of JAX
                    tensors[name] = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
                elif array.dtype.kind in "fiub":
                    tensors[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError, NotImplementedError) as error:
        raise WeightsError(f"{file} is no whole .npz file ({_one_line(error)}): copy it again") from error
    return tensors


def _read_pytorch(file: Path, mapped: bool) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([Namespace]):  # the options of the training script; nothing in it runs
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises whatever its many readers do
        if "weights_only" in str(error) or "Unsupported" in str(error):
            wanted = str(error).partition("GLOBAL ")[2].split(" ")[0] or "code of its own"
            raise WeightsError(
                f"{file} is a pickle that wants to run {wanted}, which vitral never does: "
                "ask its author for safetensors"
            ) from error
        raise WeightsError(f"{file} is no whole PyTorch file ({_one_line(error)}): copy it again") from error
    tensors = _unwrapped(content)
    if not tensors:
        raise WeightsError(f"{file} holds {_described(content)} and no named tensors: save model.state_dict()")
    return tensors


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """The named tensors of a state dict, however deep the training script put it."""
    while isinstance(content, Mapping):
        inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None or any(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
        content = inner
    return {}


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(map(repr, list(content)[:3]))
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
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return f"text beginning with {start[:20].decode()!r}"
    return f"no weights file, beginning with the bytes {start[:8].hex(' ')}"


def _one_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if len(text) < 160 else text[:157] + "..."
