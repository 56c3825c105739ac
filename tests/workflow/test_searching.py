"""Are the nearest images found, as scikit-learn finds them?"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from vitral.errors import ImageError, UsageError, VitralError, WeightsError
from vitral.inference import Embedder
from vitral.workflow import Run, embed, parts, search
from vitral.workflow.parts import PartWriter, read_description, write_description

EXACT: dict[str, Any] = {"device": "cpu", "precision": "fp32", "progress": False}


@pytest.fixture
def album(make_folder: Callable[..., Path], tmp_path: Path) -> Path:
    return make_folder(tmp_path / "album", counts=24)


@pytest.fixture
def indexed(headless: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The album's vectors, in eight parts."""
    monkeypatch.setattr(parts, "ROWS", 10)
    assert embed(headless, album, tmp_path / "index", **EXACT)["parts"] == 8
    return tmp_path / "index"


def stored(index: Path) -> tuple[list[str], np.ndarray]:
    tables = [pq.read_table(part) for part in sorted(index.glob("*.parquet"))]
    paths = [path for table in tables for path in table["path"].to_pylist()]
    return paths, np.array([vector for table in tables for vector in table["vector"].to_pylist()])


def test_the_nearest_are_those_that_scikit_learn_finds(
    indexed: Path, headless: Path, draw: Callable[..., None], tmp_path: Path
) -> None:
    draw(tmp_path / "query.png", (150, 150, 40), 99)
    paths, vectors = stored(indexed)
    query = Embedder.load(headless, device="cpu", precision="fp32").embed(tmp_path / "query.png")
    for top in (1, 7, 72, 100):
        answer = search(indexed, tmp_path / "query.png", top=top, device="cpu")
        found = answer.pop("nearest")
        assert answer == {"images": 72, "device": "cpu", "backend": "torch", "precision": "fp32"}
        neighbours = NearestNeighbors(n_neighbors=min(top, 72), metric="cosine").fit(vectors)
        distances, places = neighbours.kneighbors(query[None])
        assert [one["path"] for one in found] == [paths[place] for place in places[0]]
        np.testing.assert_allclose([one["similarity"] for one in found], 1 - distances[0], atol=1e-6)
    similarities = cosine_similarity(query[None], vectors)[0]
    assert [one["path"] for one in found] == [paths[place] for place in np.argsort(-similarities)]


def test_an_image_of_the_folder_finds_itself_first(indexed: Path, album: Path) -> None:
    photo = album / "green" / "11.png"
    first, second = search(indexed, photo.read_bytes(), top=2, device="cpu")["nearest"]
    assert first["path"] == str(photo)
    assert first["similarity"] == pytest.approx(1, abs=1e-6)
    assert second["similarity"] < first["similarity"] <= 1


def test_of_equal_ones_the_earlier_comes_first_and_nothing_is_like_zero(
    indexed: Path, headless: Path, album: Path, tmp_path: Path
) -> None:
    made, photo = read_description(indexed), album / "green" / "11.png"
    assert made is not None
    query = Embedder.load(headless, device="cpu", precision="fp32").embed(photo)
    direction = np.eye(made.dim, dtype=np.float32)[0] * np.sign(query[0])
    write_description(tmp_path / "other", made)
    with PartWriter(tmp_path / "other", made, 0) as writer:
        writer.add("opposite.png", -direction)
        writer.add("zero.png", 0 * direction)
        for number in range(
            25
        ):  # in three parts: of one direction, and of lengths that rounding leaves alone
            writer.add(f"{number}.png", direction * np.float32(2.0 ** (number % 7)))
    found = search(tmp_path / "other", photo, top=27, device="cpu")["nearest"]
    assert [one["path"] for one in found] == [
        *(f"{number}.png" for number in range(25)),
        "zero.png",
        "opposite.png",
    ]
    assert found[0]["similarity"] > found[-2]["similarity"] == 0


def test_weights_that_moved_or_changed(headless: Path, run: Run, album: Path, tmp_path: Path) -> None:
    here, photo = tmp_path / "here", album / "red" / "00.png"
    shutil.copytree(headless, here)
    embed(here, album, tmp_path / "index", pool="average", image_size=24, **EXACT)
    expected = search(tmp_path / "index", photo, device="cpu")
    here.rename(tmp_path / "there")
    with pytest.raises(UsageError, match=f"no longer at {here}: say where, with --weights"):
        search(tmp_path / "index", photo)
    assert search(tmp_path / "index", photo, weights=tmp_path / "there", device="cpu") == expected
    with pytest.raises(WeightsError, match=rf"made with other weights \({here}\)"):
        search(tmp_path / "index", photo, weights=run.path, precision="bf16")
    shutil.copytree(run.path, here)
    with pytest.raises(WeightsError, match=rf"made with other weights \({here}\)"):
        search(tmp_path / "index", photo)


def test_precision_is_the_folders_unless_asked(indexed: Path, album: Path) -> None:
    photo = album / "red" / "00.png"
    assert search(indexed, photo, device="cpu")["precision"] == "fp32"
    half = search(indexed, photo, device="cpu", precision="bf16")
    assert half["precision"] == "bf16"
    assert 0.99 < half["nearest"][0]["similarity"] < 1


def test_what_cannot_be_searched_is_said(indexed: Path, album: Path, tmp_path: Path) -> None:
    photo = album / "red" / "00.png"
    with pytest.raises(UsageError, match="--top 0"):
        search(indexed, photo, top=0)
    with pytest.raises(UsageError, match="holds no embeddings: write some with `vitral embed`"):
        search(album, photo)
    with pytest.raises(ImageError, match=r"nowhere\.png: there is no such file"):
        search(indexed, tmp_path / "nowhere.png")
    part = indexed / "part-00003.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 0xFF  # among the numbers: what one flipped bit on a disk does
    part.write_bytes(content)
    with pytest.raises(VitralError, match=r"part-00003\.parquet is damaged"):
        search(indexed, photo)
