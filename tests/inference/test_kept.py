"""Nothing is believed of what is kept unless it is whole and what its name says; and nothing kept costs no answer."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vitral.errors import WeightsError
from vitral.inference.backends import kept

MADE_OF = {"weights": "1", "precision": "fp32"}
OTHER = {"weights": "2", "precision": "fp32"}


@pytest.fixture(autouse=True)
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


def save(network: str, folder: Path) -> None:
    (folder / "network.xml").write_text(network)
    (folder / "network.bin").write_bytes(network.encode() * 100)


def load(folder: Path) -> str:
    network = (folder / "network.xml").read_text()
    assert (folder / "network.bin").read_bytes() == network.encode() * 100
    return network


def network_of(made_of: dict[str, str]) -> str:
    return f"network {made_of['weights']}"


def prepared(made_of: dict[str, str] = MADE_OF) -> tuple[str, bool]:
    """The network, and whether it was built anew."""
    built: list[str] = []

    def build() -> str:
        built.append(network_of(made_of))
        return built[0]

    answer = kept.prepared(made_of, load=load, build=build, save=save, start=lambda network: network)
    return answer, bool(built)


def entry_of(made_of: dict[str, str], compiled: Path) -> Path:
    for entry in compiled.iterdir():
        if json.loads((entry / "entry.json").read_text())["made_of"] == made_of:
            return entry
    raise AssertionError(f"there is no entry of {made_of}")


def test_what_was_built_is_kept_and_found(compiled: Path) -> None:
    assert prepared() == ("network 1", True)
    assert prepared() == ("network 1", False)
    assert prepared(dict(reversed(MADE_OF.items()))) == ("network 1", False)
    assert prepared(OTHER) == ("network 2", True)
    assert prepared() == ("network 1", False)
    assert sorted(os.listdir(entry_of(OTHER, compiled))) == ["entry.json", "network.bin", "network.xml"]


def flip_a_byte(entry: Path) -> None:
    content = bytearray((entry / "network.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (entry / "network.bin").write_bytes(content)


def damage(content: str) -> Callable[[Path], None]:
    def write(entry: Path) -> None:
        (entry / "entry.json").write_text(content)

    return write


def say_another(field: str, value: object) -> Callable[[Path], None]:
    def write(entry: Path) -> None:
        content = json.loads((entry / "entry.json").read_text())
        (entry / "entry.json").write_text(json.dumps(content | {field: value}))

    return write


def copy_another(entry: Path) -> None:
    prepared(OTHER)
    other = entry_of(OTHER, entry.parent)
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


def copy_files_of_another(entry: Path) -> None:
    prepared(OTHER)
    other = entry_of(OTHER, entry.parent)
    for name in ("network.xml", "network.bin"):
        shutil.copy(other / name, entry / name)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one byte": flip_a_byte,
    "cut short": lambda entry: (entry / "network.xml").write_text("netw"),
    "emptied": lambda entry: (entry / "network.bin").write_bytes(b""),
    "a file missing": lambda entry: (entry / "network.bin").unlink(),
    "a file too many": lambda entry: (entry / "network.pkl").write_bytes(b""),
    "a folder too many": lambda entry: (entry / "more").mkdir(),
    "no entry.json": lambda entry: (entry / "entry.json").unlink(),
    "entry.json is empty": damage(""),
    "entry.json is no JSON": damage("\x00\xff"),
    "entry.json is no object": damage("[]"),
    "entry.json says nothing": damage("{}"),
    "entry.json names no files": say_another("files", {}),
    "entry.json names files in a list": say_another("files", ["network.xml"]),
    "entry.json names all files in a list": say_another("files", ["network.bin", "network.xml"]),
    "entry.json names a file elsewhere": say_another("files", {"../../secret": "0"}),
    "entry.json is of something else": say_another("made_of", OTHER),
    "all gone but the folder": lambda entry: [file.unlink() for file in entry.iterdir()],
    "another's": copy_another,
    "another's files": copy_files_of_another,
}


@pytest.mark.parametrize("how", DAMAGES)
def test_what_is_damaged_or_foreign_is_thrown_away_and_built_anew(compiled: Path, how: str) -> None:
    prepared()
    DAMAGES[how](entry_of(MADE_OF, compiled))
    assert prepared() == ("network 1", True)
    assert prepared() == ("network 1", False)
    assert not [entry for entry in compiled.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("how", DAMAGES)
def test_what_is_checked_while_it_loads_is_not_believed_either(
    compiled: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LARGE", 0)
    prepared()
    DAMAGES[how](entry_of(MADE_OF, compiled))
    again = kept.prepared(MADE_OF, load=lambda folder: "damaged", build=lambda: "new", save=save, start=str)
    assert again == "new"


def test_what_does_not_load_is_built_anew() -> None:
    prepared()

    def refuse(folder: Path) -> str:
        raise WeightsError("spoiled before its hash was taken")

    again = kept.prepared(MADE_OF, load=refuse, build=lambda: "new", save=save, start=str.upper)
    assert again == "NEW"
    assert kept.prepared(MADE_OF, load=load, build=pytest.fail, save=save, start=str) == "new"


def test_what_does_not_start_is_not_kept(compiled: Path) -> None:
    def refuse(network: str) -> str:
        raise RuntimeError("unknown operation")

    with pytest.raises(RuntimeError):
        kept.prepared(MADE_OF, load=load, build=lambda: "new", save=save, start=refuse)
    assert not compiled.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("Can't open file")])
def test_a_full_disk_costs_no_answer(compiled: Path, error: Exception) -> None:
    def fill(network: str, folder: Path) -> None:
        (folder / "network.xml").write_text(network)
        raise error

    for _ in range(2):
        found = kept.prepared(MADE_OF, load=load, build=lambda: "new", save=fill, start=str.upper)
        assert found == "NEW"
        assert list(compiled.iterdir()) == []


def test_a_cache_that_cannot_be_made_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "file"))
    assert prepared() == ("network 1", True)
    assert prepared() == ("network 1", True)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_read_only_cache_costs_no_answer(compiled: Path, mode: int) -> None:
    compiled.mkdir(parents=True)
    compiled.chmod(mode)
    try:
        assert prepared() == ("network 1", True)
    finally:
        compiled.chmod(0o700)


def in_process(code: str, compiled: Path) -> "subprocess.Popen[str]":
    """A process of its own with what this file has."""
    head = (
        f"import os, signal, sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}\nfrom test_kept import *\n"
    )
    surroundings = {**os.environ, "VITRAL_CACHE": str(compiled.parent)}
    words = [sys.executable, "-c", head + code]
    return subprocess.Popen(
        words, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_processes_that_start_at_once_all_answer_and_leave_one_entry(compiled: Path) -> None:
    code = """
def slowly(network, folder):
    save(network, folder)
    time.sleep(1)  # so that all are at it
kept.prepared(MADE_OF, load=load, build=lambda: "network 1", save=slowly, start=print)
"""
    several = [in_process(code, compiled) for _ in range(3)]
    for process in several:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == "network 1\n"
    assert prepared() == ("network 1", False)
    assert len(list(compiled.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_process_leaves_is_not_believed_and_goes_after_a_day(compiled: Path) -> None:
    code = """
def killed(network, folder):
    (folder / "network.xml").write_text(network)
    os.kill(os.getpid(), signal.SIGKILL)
kept.keep(MADE_OF, lambda folder: killed("netw", folder))
"""
    process = in_process(code, compiled)
    _, err = process.communicate(timeout=120)
    assert process.returncode == -9, err
    (left,) = compiled.iterdir()
    assert prepared() == ("network 1", True)
    assert left.exists()  # its process might still be at work
    yesterday = time.time() - kept.LONGEST_AT_WORK - 60
    os.utime(left, (yesterday, yesterday))
    assert prepared(OTHER) == ("network 2", True)
    assert not left.exists()
    assert prepared() == ("network 1", False)


def test_what_was_unused_for_longest_goes_when_all_exceed_the_limit(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [{"weights": str(number)} for number in range(4)]
    for age, made_of in enumerate(several):
        prepared(made_of)
        used = time.time() - 1000 + age
        os.utime(entry_of(made_of, compiled), (used, used))
    size = sum(file.stat().st_size for file in entry_of(several[0], compiled).iterdir())
    assert prepared(several[0])[1] is False  # used just now: the second one is now the oldest
    monkeypatch.setattr(kept, "LIMIT", 4 * size + size // 2)
    prepared({"weights": "4"})
    assert len(list(compiled.iterdir())) == 4
    assert [prepared(made_of)[1] for made_of in (several[0], several[2], several[3])] == [False] * 3
    monkeypatch.setattr(kept, "LIMIT", 1)
    assert prepared({"weights": "5"})[1] is True
    assert prepared({"weights": "5"})[1] is False  # the only one that is left, whatever it takes
    assert len(list(compiled.iterdir())) == 1
