"""Does each command answer as the contract says: what it prints where, its JSON, its exit status?"""

import importlib
import io
import json
import re
import shutil
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from vitral.cli.app import main
from vitral.data import open_data
from vitral.model import config_for, model_names
from vitral.training import RECIPES, Recipe, recipe_for
from vitral.weights import DEFAULT

from .calling import Capture, call, call_json


def test_train_prints_the_result_and_json_is_pure(
    photos: Path, tiny: list[str], tmp_path: Path, capsys: Capture
) -> None:
    out, err = call(capsys, "train", photos, "--output", tmp_path / "a", *tiny)
    assert "test: " in out
    assert "95% interval" in out
    assert str(tmp_path / "a" / "report.html") in out
    assert "epoch 3/3" in err
    document = call_json(capsys, "train", photos, "--output", tmp_path / "b", *tiny)
    assert document["run"] == str(tmp_path / "b")
    assert document["evaluation"] == json.loads((tmp_path / "b" / "evaluation.json").read_text())


def test_run_json_keeps_the_command(
    photos: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", str(photos), "--output", str(tmp_path / "run"), *tiny]
    monkeypatch.setattr(sys, "argv", ["/opt/somewhere/bin/vitral", *words])
    assert main(words) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"] == ["vitral", *words]


def test_an_existing_run_is_refused_with_status_2(
    run: Path, photos: Path, tiny: list[str], capsys: Capture
) -> None:
    _, err = call(capsys, "train", photos, "--output", run, *tiny, status=2)
    (line,) = err.splitlines()
    assert line.startswith(f"error: {run} already holds a run: give --overwrite")


def test_a_dry_run_is_an_overview_as_json(
    photos: Path, tiny: list[str], tmp_path: Path, capsys: Capture
) -> None:
    document = call_json(capsys, "train", photos, "--output", tmp_path / "run", "--dry-run", *tiny)
    assert document["steps"] == 9
    assert document["recipe"]["batch_size"] == 8
    assert document["machine"]["precision_reason"] == "asked for"
    assert not (tmp_path / "run").exists()
    out, err = call(capsys, "train", photos, "--output", tmp_path / "run", "--dry-run", *tiny)
    assert out == ""
    assert "3 classes" in err


def test_every_field_of_the_recipe_is_an_option(capsys: Capture) -> None:
    out, _ = call(capsys, "train", "--help")
    for field in fields(Recipe):
        assert re.search(rf"--{field.name.replace('_', '-')}\b", out)
    assert "Share of steps that mix at all" in re.sub(r"[\s│]+", " ", out)


def test_print_recipe_prints_the_resolved_one_and_stops(tmp_path: Path, capsys: Capture) -> None:
    words = [
        "--recipe",
        "tutorial",
        "--epochs",
        "7",
        "--learning-rate",
        "0.01",
        "--flip",
        "both",
        "--print-recipe",
    ]
    printed = tomllib.loads(call(capsys, "train", *words)[0])
    expected = RECIPES["tutorial"].replace(epochs=7, learning_rate=0.01, flip="both").to_dict()
    assert printed == expected
    assert call_json(capsys, "train", *words) == expected
    # What it prints is a recipe again.
    (tmp_path / "mine.toml").write_text(call(capsys, "train", *words)[0])
    again = call(capsys, "train", "--recipe", tmp_path / "mine.toml", "--print-recipe")[0]
    assert tomllib.loads(again) == expected
    tuned = tomllib.loads(call(capsys, "train", "--from", "runs/a", "--print-recipe")[0])
    assert tuned == recipe_for("finetune-small").to_dict()
    # With DATA it is as the number of their images asks for.
    tuned = tomllib.loads(call(capsys, "train", "digits", "--from", "runs/a", "--print-recipe")[0])
    images = len(open_data("digits").split("train"))
    assert tuned == recipe_for("finetune-small", images).to_dict()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--model", "vit_tiny_patch8_16", "--time-limit", "30"],
            "--time-limit 30 is no duration: write 90s",
        ),
        (["--flip", "sideways"], 'invalid value "sideways" for --flip'),
        (["--learning-rate", "0", "--model", "vit_tiny_patch8_16"], "learning_rate must be above 0"),
    ],
)
def test_a_wrong_command_line_says_what_to_do(
    photos: Path, words: list[str], said: str, capsys: Capture
) -> None:
    _, err = call(capsys, "train", photos, *words, status=1 if "learning_rate" in said else 2)
    (line,) = err.splitlines()
    assert said in line


def test_durations_are_read_as_people_write_them() -> None:
    # The command is called as its module is, so the module is fetched by name.
    seconds = importlib.import_module("vitral.cli.values").seconds_from
    assert [seconds(text) for text in ("90s", "30m", "2h", "1h30m", "0.5m", None)] == [
        90,
        1800,
        7200,
        5400,
        30,
        None,
    ]


def test_evaluate_gives_the_runs_own_figures(run: Path, capsys: Capture) -> None:
    figures = call_json(capsys, "evaluate", run, "--precision", "fp32")
    kept = json.loads((run / "evaluation.json").read_text())
    assert {name: figures[name] for name in kept} == kept
    out, _ = call(capsys, "evaluate", run, "--split", "validation", "--language", "pt")
    assert out.startswith("validação: ")
    assert {"red", "green", "blue"} <= set(out.split())


def test_evaluate_says_what_it_left_out(run: Path, photos: Path, capsys: Capture) -> None:
    _, err = call(capsys, "evaluate", run, photos / "train", status=1)
    assert "error: " in err
    assert "trained or chose on every one" in err
    out, err = call(capsys, "evaluate", run, photos / "test")
    assert "no splits: all of its 12 images are measured" in err
    assert "of 12 images" in out


def test_predict_answers_in_order_and_a_bad_file_costs_the_status(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    whole = (photos / "test" / "red" / "00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:200])
    words = [photos / "test" / "green" / "01.png", tmp_path / "cut.png", photos / "test" / "red"]
    rows = call_json(capsys, "predict", run, *words, "--top", 2, status=1)
    assert [Path(row["path"]).name for row in rows] == [
        "01.png",
        "cut.png",
        "00.png",
        "01.png",
        "02.png",
        "03.png",
    ]
    assert set(rows[0]) == {"path", "label", "probability", "top"}
    assert len(rows[0]["top"]) == 2
    assert set(rows[1]) == {"path", "error"}
    out, err = call(capsys, "predict", run, *words, status=1)
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 6
    assert lines[1].startswith(f"{tmp_path / 'cut.png'}: error: ")
    assert "green" in lines[0]
    assert len(call_json(capsys, "predict", run, photos / "test" / "*" / "00.png")) == 3


def test_predict_reads_bytes_from_standard_input(
    run: Path, photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (photos / "test" / "blue" / "00.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    (row,) = call_json(capsys, "predict", run, "-")
    (by_path,) = call_json(capsys, "predict", run, photos / "test" / "blue" / "00.png")
    assert row == by_path | {"path": "-"}


def test_no_bar_is_drawn_where_there_is_no_terminal(
    run: Path, photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks set FORCE_COLOR for the commands that they start; what is read through a pipe stays plain."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    photo = photos / "test" / "blue" / "00.png"
    out, err = call(capsys, "predict", run, photo)
    assert "blue" in out
    assert "\x1b" not in err
    assert "loading" not in err


def test_predict_writes_files(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["predict", run, photos / "test", "--unsure-below", "0.999999"]
    out, _ = call(capsys, *words, "--output", tmp_path / "answers.csv")
    assert "12 of 12 images answered" in out
    assert (tmp_path / "answers.csv").read_text().startswith("path,label,probability,unsure,error,label_2")
    rows = call_json(capsys, *words, "--output", tmp_path / "answers.json")
    assert json.loads((tmp_path / "answers.json").read_text()) == rows
    assert {row["unsure"] for row in rows} == {True}
    _, err = call(capsys, *words, "--output", tmp_path / "answers.xlsx", status=2)
    assert "neither .csv nor .json" in err


def test_weights_that_do_not_fit_are_named(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copy(run / "model.safetensors", tmp_path / "model.safetensors")
    config = json.loads((run / "config.json").read_text())
    config["architecture"]["mlp_dim"] = 512
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, err = call(capsys, "predict", tmp_path, photos / "test" / "red" / "00.png", status=1)
    assert "blocks.0.mlp.hidden.bias" in err
    assert "512" in err
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    _, err = call(capsys, "predict", tmp_path, photos / "test" / "red" / "00.png", status=1)
    assert "no safetensors file" in err


def test_report_writes_the_page_and_compares(run: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(run, tmp_path / "copy")
    assert call_json(capsys, "report", tmp_path / "copy", "--no-images") == {
        "report": str(tmp_path / "copy" / "report.html")
    }
    assert "00.png" not in (tmp_path / "copy" / "report.html").read_text()
    out, _ = call(capsys, "report", run, tmp_path / "copy", "--output", tmp_path / "both.html")
    compared, page = out.splitlines()
    assert compared.startswith("copy: 0.0 points of accuracy")  # the same answers to the same images
    assert page == str(tmp_path / "both.html")
    assert (tmp_path / "both.html").exists()


def test_models_lists_what_can_be_made(capsys: Capture) -> None:
    listed = {model["name"]: model for model in call_json(capsys, "models")}
    pretrained = [name for name, model in listed.items() if "licence" in model]
    assert [name for name in listed if name not in pretrained] == model_names()
    assert DEFAULT in pretrained
    assert listed[DEFAULT]["licence"] == "Apache-2.0"
    assert listed["vit_base_patch16_224"]["parameters"] == 86_567_656
    assert listed["vit_base_patch16_224"]["multiply_adds"] == pytest.approx(17.58e9, rel=0.01)
    out, _ = call(capsys, "models")
    assert len([line for line in out.splitlines() if line.startswith("vit_")]) == len(model_names())
    assert all(name in out for name in pretrained)


def test_summary_of_a_name_and_of_a_run(run: Path, capsys: Capture) -> None:
    document = call_json(capsys, "summary", "vit_base_patch16_224")
    assert document["parameters"] == sum(layer["parameters"] for layer in document["layers"]) == 86_567_656
    assert document["layers"][0]["output_shape"] == [196, 768]
    own = call_json(capsys, "summary", run)
    assert own["architecture"] == json.loads((run / "config.json").read_text())["architecture"]
    out, _ = call(capsys, "summary", run)
    assert f"{own['parameters']:,}" in out
    assert "4 × 128" in out  # tokens
    larger = call_json(capsys, "summary", "vit_base_patch16_224", "--image-size", "384")
    assert larger["architecture"] == config_for("vit_base_patch16_384").to_dict()
    merging = call_json(capsys, "summary", "vit_base_patch16_224", "--merge", "8")
    assert merging["architecture"]["merge"] == 8
    assert merging["parameters"] == document["parameters"]
    assert merging["multiply_adds"] < 0.8 * document["multiply_adds"]
    out, _ = call(capsys, "summary", "vit_base_patch16_224", "--merge", "8")
    assert "101 × 768" in out  # the last layer's
    _, err = call(capsys, "summary", run, "--merge", "-1", status=2)
    assert "merge is -1" in err
    _, err = call(capsys, "summary", "vit_bse_patch16_224", status=2)
    assert "did you mean vit_base_patch16_224?" in err


def test_weights_of_other_origin_are_shown_converted_and_used(
    tmp_path: Path, photos: Path, capsys: Capture
) -> None:
    """A state dict with timm's names: nothing beside it says what it is, so the command line may."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    peer = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=4
    )
    torch.save(peer.state_dict(), tmp_path / "theirs.pth")
    theirs = tmp_path / "theirs.pth"
    _, err = call(capsys, "summary", theirs, status=1)
    assert "heads" in err
    assert len(err.splitlines()) == 1
    shown = call_json(capsys, "summary", theirs, "--heads", "2", "--mean", "0.1,0.2,0.3")
    assert shown["family"] == "timm"
    assert shown["architecture"]["heads"] == 2
    assert shown["preprocessing"]["mean"] == [0.1, 0.2, 0.3]
    assert "activation" in shown["assumed"]
    assert not {"heads", "mean"} & set(shown["assumed"])
    text, _ = call(capsys, "summary", theirs, "--heads", "2")
    assert "(assumed:" in text

    out = tmp_path / "ours"
    done = call_json(
        capsys, "convert", theirs, out, "--to", "vitral", "--heads", "2", "--mean", "0.1,0.2,0.3"
    )
    assert [Path(file).name for file in done["files"]] == ["model.safetensors", "config.json"]
    assert call_json(capsys, "summary", out)["preprocessing"]["mean"] == [0.1, 0.2, 0.3]
    photo = photos / "test" / "red" / "00.png"
    answers = [
        call_json(capsys, "predict", weights, photo, "--precision", "fp32", *said)
        for weights, said in ((theirs, ["--heads", "2", "--mean", "0.1,0.2,0.3"]), (out, []))
    ]
    assert answers[0] == answers[1]
    assert answers[0][0]["label"].startswith("output ")  # nobody named its classes

    _, err = call(capsys, "convert", out, tmp_path / "jax.npz", "--to", "jax", status=1)
    assert "activation gelu" in err
    assert "--approximate" in err
    text, _ = call(capsys, "convert", out, tmp_path / "jax.npz", "--to", "jax", "--approximate")
    assert "approximated: activation gelu" in text
    assert "outputs differ by up to" in text
    _, err = call(capsys, "convert", out, tmp_path / "jax.npz", "--to", "jax", "--approximate", status=2)
    assert "--overwrite" in err
