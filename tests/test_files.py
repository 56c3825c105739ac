"""Files appear whole or not at all."""

import errno
import json
import math
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitral.errors import VitralError
from vitral.files import (
    cache_folder,
    locked,
    sha256,
    sha256_of_file,
    write_bytes,
    write_json,
    write_text,
    written_together,
    written_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_only_when_the_block_is_done(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "model.bin"
    with written_whole(file) as out:
        out.write(b"half")
        assert not file.exists()
        out.write(b" whole")
    assert file.read_bytes() == b"half whole"
    assert names(file.parent) == ["model.bin"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("there_before", [True, False])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException, there_before: bool) -> None:
    file = tmp_path / "run.json"
    if there_before:
        file.write_text("old")

    def fail() -> None:
        with written_whole(file, "w") as out:
            out.write("new" * 100_000)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == (["run.json"] if there_before else [])
    assert not there_before or file.read_text() == "old"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.safetensors"
    write_bytes(file, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(file, b"new")
    assert names(tmp_path) == ["model.safetensors"]
    assert file.read_bytes() == b"old"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only the superuser of a Linux machine mounts a small disk")
    if os.system(f"mount -t tmpfs -o size=64k none '{folder}' 2>/dev/null"):
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    os.system(f"umount '{folder}'")


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    write_bytes(small_disk / "a", b"x" * 40_000)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(small_disk / "a", b"y" * 40_000)
    assert (small_disk / "a").read_bytes() == b"x" * 40_000
    assert names(small_disk) == ["a"]


def test_what_is_replaced_is_on_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut there is the old file or the new one: its bytes are synchronised, then it takes the name."""
    order: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    write_bytes(tmp_path / "a", b"1")
    assert order == ["sync", "replace"]


def test_the_half_written_file_is_hidden_and_a_neighbour(tmp_path: Path) -> None:
    with written_whole(tmp_path / "image.png") as out:
        [part] = names(tmp_path)
        assert part.startswith(".image.png.")
        assert part.endswith(".part")
        out.write(b"")
    assert (tmp_path / "image.png").read_bytes() == b""


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    old = os.umask(0o027)
    try:
        write_bytes(file, b"")
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        file.chmod(0o604)
        write_bytes(file, b"again")
        assert stat.S_IMODE(file.stat().st_mode) == 0o604
        assert os.umask(0o027) == 0o027  # and the process's own are untouched
    finally:
        os.umask(old)


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ção\n图\n")
    assert (tmp_path / "a.txt").read_bytes() == "ção\n图\n".encode()


def test_a_file_name_that_is_no_utf8_goes_through(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png") if sys.platform.startswith("linux") else "café.png"
    write_text(tmp_path / "list.txt", name)
    assert (tmp_path / "list.txt").read_bytes() == os.fsencode(name)


def test_json_is_readable_and_strict(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"name": "pão", "values": [1, 0.1]})
    assert json.loads(file.read_text("utf-8")) == {"name": "pão", "values": [1, 0.1]}
    assert "pão" in file.read_text("utf-8")
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(file, {"loss": bad})
    assert json.loads(file.read_text("utf-8"))["name"] == "pão"
    assert names(tmp_path) == ["a.json"]


def test_hashes_are_sha256(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256(b"abc") == known
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc") == known


def test_caches_lie_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "mine"))
    assert cache_folder("data") == tmp_path / "mine" / "data"
    monkeypatch.setenv("VITRAL_CACHE", "~/mine")
    assert cache_folder("data") == Path.home() / "mine" / "data"
    monkeypatch.delenv("VITRAL_CACHE")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder("data") == tmp_path / "vitral" / "data"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder("data") == Path.home() / ".cache" / "vitral" / "data"
    assert cache_folder("data").name == "data"


def test_a_lock_keeps_others_out_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from vitral.files import locked\n"
        "with locked(sys.argv[1]):\n    print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "new" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"locked"
        with (
            pytest.raises(VitralError, match=r"another process writes to .*new: wait"),
            locked(tmp_path / "new" / ".lock"),
        ):
            pass
        process.kill()
    for _ in range(2):
        with locked(tmp_path / "new" / ".lock"):
            pass


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    place = tmp_path / "new" / "main.bin"
    with written_together(place) as folder:
        (folder / "main.bin").write_bytes(b"main")
        (folder / "beside.txt").write_bytes(b"beside")
        (folder / "trial").mkdir()
        (folder / "trial" / "main.bin").write_bytes(b"a trial")
        assert not place.exists()
    assert sorted(file.name for file in place.parent.iterdir()) == ["beside.txt", "main.bin"]
    assert place.read_bytes() == b"main"


def test_of_files_that_belong_together_none_appears_after_an_error(tmp_path: Path) -> None:
    place = tmp_path / "main.bin"
    place.write_bytes(b"old")

    def write_half() -> None:
        with written_together(place) as folder:
            (folder / "main.bin").write_bytes(b"half of i")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [file.name for file in tmp_path.iterdir()] == ["main.bin"]
    assert place.read_bytes() == b"old"
