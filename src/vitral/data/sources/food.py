"""food-vision-mini: the tutorial's pizza, steak and sushi, fetched once from its public repository."""

import http.client
import os
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from vitral.data.sources.folder import list_folder
from vitral.data.sources.listing import Listing
from vitral.errors import DataError
from vitral.files import cache_folder, written_whole

URL = "https://raw.githubusercontent.com/mrdbourke/pytorch-deep-learning/main/data/pizza_steak_sushi.zip"
SECONDS = 30  # without an answer
DOWNLOAD_LIMIT = 200 << 20  # bytes; the file has 16 MB
UNPACKED_LIMIT = 1 << 30  # bytes


def list_food_vision_mini(progress: Callable[[int, int], None] | None = None) -> Listing:
    """The images of food-vision-mini with the tutorial's own train and test split.

    The zip is fetched unless it (or what it holds) already lies in the cache, where it may be put by hand.

    Args:
        progress: called with the bytes fetched so far and in all.

    Raises DataError where the zip cannot be fetched or is no complete zip.
    """
    folder = cache_folder("data") / "food-vision-mini"
    images = folder / "images"
    if not images.exists():
        archive = folder / "pizza_steak_sushi.zip"
        if not archive.exists():
            _fetch(URL, archive, progress)
        _unpack(archive, images)
    return list_folder(images, name="food-vision-mini")


def _fetch(url: str, target: Path, progress: Callable[[int, int], None] | None) -> None:
    """Fetch `url` into `target`, whole or not at all."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer, written_whole(target) as file:
            total = int(answer.headers.get("Content-Length") or 0)
            done = 0
            while block := answer.read(1 << 16):
                done += len(block)
                if done > DOWNLOAD_LIMIT:
                    raise DataError(
                        f"{url} answers with more than {DOWNLOAD_LIMIT >> 20} MB: {_by_hand(target)}"
                    )
                file.write(block)
                if progress:
                    progress(done, max(total, done))
            if done < total:
                raise OSError("the connection ended early")
    except (OSError, http.client.HTTPException) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        reason = said.removeprefix("<urlopen error ").removesuffix(">")
        raise DataError(f"food-vision-mini cannot be fetched ({reason}): {_by_hand(target)}") from None


def _by_hand(target: Path) -> str:
    return (
        f"put {target.name} from the folder data of the repository mrdbourke/pytorch-deep-learning "
        f"into {target.parent}"
    )


def _unpack(archive: Path, target: Path) -> None:
    """Unpack `archive` so that the folder `target` is there complete or not at all."""
    working = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/"))
                if parts.is_absolute() or ".." in parts.parts or ":" in member.filename:
                    raise DataError(f"{archive} wants to write outside its folder: delete it")
            if sum(member.file_size for member in members) > UNPACKED_LIMIT:
                raise DataError(f"{archive} unpacks to more than {UNPACKED_LIMIT >> 20} MB: delete it")
            packed.extractall(working, members)
        if not target.exists():  # else another process was quicker
            os.replace(working, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{archive} is no complete zip ({error}): delete it to have it fetched again"
        ) from None
    finally:
        shutil.rmtree(working, ignore_errors=True)
