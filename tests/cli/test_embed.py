"""`vitral embed` and `vitral search`: what they print where, their JSON, their exit status."""

import io
import sys
from pathlib import Path

import pytest

from .calling import Capture, call, call_json


def test_embed_then_search(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "vectors"
    said, err = call(capsys, "embed", run, photos / "test", "--output", out, "--precision", "fp32")
    assert said.startswith(f"12 vectors of 128 numbers in {out}, 12 of them new; ")
    assert said.endswith("images/s (cpu, fp32)\n")
    assert err == ""
    done = call_json(capsys, "embed", run, photos / "train", "--output", out, "--precision", "fp32")
    assert (done["images"], done["new"], done["parts"], done["folder"]) == (36, 24, 2, str(out))

    query = photos / "test" / "green" / "02.png"
    found = call_json(capsys, "search", out, query, "--top", 3)
    assert found["path"] == str(query)
    assert found["images"] == 36
    assert len(found["nearest"]) == 3
    assert found["nearest"][0]["path"] == str(query)
    assert {Path(one["path"]).parent.name for one in found["nearest"]} == {"green"}
    printed, _ = call(capsys, "search", out, query)
    lines = printed.splitlines()
    assert len(lines) == 10
    assert lines[0] == f"1.0000  {query}"


def test_search_takes_bytes(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(capsys, "embed", run, photos / "test", "--output", tmp_path / "vectors")
    query = photos / "test" / "blue" / "01.png"
    by_path = call_json(capsys, "search", tmp_path / "vectors", query)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(query.read_bytes())))
    assert call_json(capsys, "search", tmp_path / "vectors", "-") == by_path | {"path": "-"}


def test_bad_files_cost_the_status_and_are_said(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "cut.png").write_bytes((photos / "test" / "red" / "00.png").read_bytes()[:200])
    words = ["embed", run, tmp_path / "cut.png", photos / "test" / "red", "--output", tmp_path / "vectors"]
    said, err = call(capsys, *words, "--language", "pt", status=1)
    assert said.startswith("4 vetores de 128 números")
    assert err == f"arquivos que não podem ser lidos: 1, listados em {tmp_path / 'vectors'}/errors.csv\n"
    done = call_json(capsys, *words, status=1)
    assert (done["new"], done["bad"]) == (0, 1)


def test_wrong_command_lines(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "vectors"
    call(capsys, "embed", run, photos / "test", "--output", out, "--precision", "fp32")
    for words, said in (
        (["--image-size", "24"], f"the vectors in {out} were made with size [16, 16], not [24, 24]"),
        (["--workers", "0"], "--workers 0 reads no image"),
        (["--pool", "mean"], 'invalid value "mean" for --pool'),
    ):
        _, err = call(capsys, "embed", run, photos, "--output", out, "--precision", "fp32", *words, status=2)
        (line,) = err.splitlines()
        assert said in line
    _, err = call(capsys, "embed", run, photos, status=2)
    assert "--output" in err
