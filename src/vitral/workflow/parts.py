"""Vectors on disk: a folder of Parquet parts of path and vector, each whole, and how they were made."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vitral.errors import VitralError
from vitral.files import write_json, written_whole

ERRORS, LOCK = "errors.csv", ".lock"
# A part is written when it has so many rows or so many seconds have gone by: what a kill costs at most.
ROWS, SECONDS = 4096, 60.0

_DESCRIPTION = "embeddings.json"
_FORMAT, _VERSION = "vitral embeddings", 1
_METADATA = b"vitral"
_PART = re.compile(r"part-(\d{5,9})\.parquet")
_LEFT_BY_A_KILL = re.compile(r"\.(part-\d+\.parquet|errors\.csv|embeddings\.json)\.\w+\.part")


@dataclass(frozen=True)
class Made:
    """How vectors were made, so that no others come to lie among them.

    Args:
        weights: WEIGHTS, a path that is here as an absolute one.
        weights_sha256: of their files.
        said: what the user said about them, see `vitral.weights.Overrides`.
        image_size: that the user asked for, [height, width]; None: the weights' own.
        architecture, preprocessing: as in config.json.
        pool: how a vector comes from the tokens.
        dim: its length.
        precision: what the network computed in.
    """

    weights: str
    weights_sha256: str | None
    said: dict[str, Any]
    image_size: list[int] | None
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    pool: str
    dim: int
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """For embeddings.json, and for every part."""
        return {"format": _FORMAT, "version": _VERSION, **asdict(self)}

    def difference(self, other: "Made") -> str | None:
        """Why vectors made so cannot lie beside those of `other`; None if they can.

        What only one of them says, another version of vitral says, and leaves what the other knows as it was.
        """
        if self.weights_sha256 != other.weights_sha256:
            return f"with other weights ({self.weights})"
        for name in ("precision", "pool"):
            if getattr(self, name) != getattr(other, name):
                return f"with {name} {getattr(self, name)}, not {getattr(other, name)}"
        for name in ("preprocessing", "architecture"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for field in sorted(mine.keys() & theirs.keys()):
                if mine[field] != theirs[field]:
                    return f"with {field} {mine[field]}, not {theirs[field]}"
        return None


class PartWriter:
    """Rows that become parts; with `with`, what has come when the block ends, however it ends, is a part too."""

    def __init__(self, folder: Path, made: Made, number: int) -> None:
        self.folder, self.number = folder, number
        self.schema = _columns(made.dim).with_metadata({_METADATA: json.dumps(made.to_dict())})
        self.paths: list[str] = []
        self.vectors: list[np.ndarray] = []
        self.began = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write()

    def add(self, path: str, vector: np.ndarray) -> None:
        """One more row: a path in UTF-8 and float32 `(dim,)`."""
        self.paths.append(path)
        self.vectors.append(vector)
        if len(self.paths) >= ROWS or monotonic() - self.began >= SECONDS:
            self.write()

    def write(self) -> None:
        """Make a part of the rows that have come since the last one, if there are any."""
        paths, vectors = self.paths, self.vectors
        self.paths, self.vectors, self.began = [], [], monotonic()
        if not paths:
            return
        flat = pa.array(np.concatenate(vectors))
        column = pa.FixedSizeListArray.from_arrays(flat, type=self.schema.field("vector").type)
        table = pa.Table.from_arrays([pa.array(paths, pa.string()), column], schema=self.schema)
        with written_whole(self.folder / f"part-{self.number:05d}.parquet") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=False, write_page_checksum=True)
        self.number += 1


def number_of(part: Path) -> int:
    """That of a part, counted from 0 in the order of writing."""
    match = _PART.fullmatch(part.name)
    assert match is not None
    return int(match[1])


def find_parts(folder: Path) -> list[Path]:
    """The parts in a folder, in the order of writing.

    Raises:
        VitralError: Parquet files of another name lie among them.
    """
    found = [file for file in folder.glob("*.parquet") if not file.name.startswith(".")]
    for file in found:
        if not _PART.fullmatch(file.name):
            raise VitralError(f"{file} is no part of vitral's: move it to another folder")
    return sorted(found, key=number_of)


def count_rows(part: Path, made: Made) -> int:
    """How many rows a part has; raises what `read_paths` raises."""
    with _opened(part, made) as file:
        return file.metadata.num_rows


def read_paths(part: Path, made: Made) -> list[str]:
    """The paths of a part.

    Raises:
        VitralError: it is damaged, or made otherwise; the text names it.
    """
    with _opened(part, made) as file:
        return file.read(columns=["path"]).column("path").to_pylist()


def read_vectors(part: Path, made: Made) -> tuple[list[str], np.ndarray]:
    """The paths of a part and their vectors, float32 `(rows, dim)`; raises what `read_paths` raises."""
    with _opened(part, made) as file:
        table = file.read()
        values = table.column("vector").combine_chunks().flatten().to_numpy()
        return table.column("path").to_pylist(), values.reshape(-1, made.dim)


def read_description(folder: Path) -> Made | None:
    """How the vectors of a folder were made; None where nothing says so.

    Raises:
        VitralError: what says so is damaged, somebody else's or of a newer version.
    """
    file = folder / _DESCRIPTION
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise VitralError(
            f"{file} cannot be read ({error}): delete it, and `vitral embed` writes it again"
        ) from error
    return _described(content, file)


def write_description(folder: Path, made: Made) -> None:
    """Write embeddings.json, whole or not at all."""
    write_json(folder / _DESCRIPTION, made.to_dict())


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for file in folder.iterdir():
        if _LEFT_BY_A_KILL.fullmatch(file.name):
            file.unlink()


def remove_embeddings(folder: Path) -> None:
    """Remove every part and what belongs to them, and nothing else.

    Raises:
        VitralError: Parquet files that are not vitral's lie among them; then nothing is removed.
    """
    parts = find_parts(folder)
    if read_description(folder) is None:  # nothing says that these files are vitral's but they themselves
        for part in parts:
            with _parquet_errors(part), pq.ParquetFile(part) as file:
                _description_in(file, part)
    for file in (*parts, folder / ERRORS, folder / _DESCRIPTION):
        file.unlink(missing_ok=True)


@contextmanager
def error_table(folder: Path) -> Iterator[Any]:
    """A csv writer for errors.csv, path and error, which appears when the block ends well."""
    with written_whole(folder / ERRORS, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "error"))
        yield table


@contextmanager
def _opened(part: Path, made: Made) -> Iterator[pq.ParquetFile]:
    with _parquet_errors(part), pq.ParquetFile(part, page_checksum_verification=True) as file:
        difference = _description_in(file, part).difference(made)
        if difference is not None:
            raise VitralError(
                f"{part} was made {difference}: move it to another folder, or start anew with --overwrite"
            )
        yield file


def _description_in(file: pq.ParquetFile, part: Path) -> Made:
    try:
        content = json.loads((file.schema_arrow.metadata or {})[_METADATA])
    except (KeyError, ValueError, RecursionError):
        raise VitralError(f"{part} is no part of vitral's: move it to another folder") from None
    made = _described(content, part)
    if not file.schema_arrow.equals(_columns(made.dim)):
        raise VitralError(f"{part} has other columns than vitral gives it: move it to another folder")
    return made


def _columns(dim: int) -> pa.Schema:
    return pa.schema({"path": pa.string(), "vector": pa.list_(pa.float32(), dim)})


def _described(content: Any, file: Path) -> Made:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise VitralError(f"{file} is not vitral's: choose another folder")
    if content.get("version") != _VERSION:
        raise VitralError(
            f"{file} is of version {content.get('version')!r}, this vitral reads {_VERSION}: upgrade vitral"
        )
    try:
        return Made(**{field.name: content[field.name] for field in fields(Made)})
    except KeyError as error:
        raise VitralError(f"{file} lacks {error}: start anew with `vitral embed --overwrite`") from None


@contextmanager
def _parquet_errors(part: Path) -> Iterator[None]:
    """What pyarrow raises about a damaged file, as one line."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise VitralError(
            f"{part} is damaged ({reason[:200]}): delete it, and `vitral embed` computes its images again"
        ) from error
