"""Does a run get its own folder, keep what it wrote, and never cost anyone a file?"""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from vitral.errors import UsageError, VitralError
from vitral.runs import RunFolder


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_run({"state": "running", "seconds": 1.5})
    return folder


def test_files_have_the_names_of_the_contract(tmp_path):
    run = RunFolder(tmp_path)
    files = [
        run.config, run.weights, run.recipe, run.run, run.splits, run.metrics, run.evaluation,
        run.predictions, run.batch, run.curves, run.report, run.checkpoints,
    ]  # fmt: skip
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "config.json", "model.safetensors", "recipe.toml", "run.json", "splits.csv", "metrics.jsonl",
        "evaluation.json", "predictions.csv", "batch.png", "curves.png", "report.html", "checkpoints",
    ]  # fmt: skip


def test_runs_are_numbered_from_one(tmp_path):
    paths = [RunFolder.next_free("food", tmp_path / "runs").path for _ in range(3)]
    assert paths == [tmp_path / "runs" / f"food-{number}" for number in (1, 2, 3)]
    assert all(path.is_dir() for path in paths)
    assert RunFolder.next_free("other", tmp_path / "runs").path.name == "other-1"


def test_runs_that_start_together_get_different_folders(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(lambda _: RunFolder.next_free("food", tmp_path).path, range(40)))
    assert sorted(path.name for path in paths) == sorted(f"food-{number}" for number in range(1, 41))


@pytest.mark.parametrize("name", ["hf:owner/name", "../outside", "a\\b", "shards-{000..099}.tar", "/", ""])
def test_a_name_of_any_spelling_gives_one_folder_inside_the_parent(tmp_path, name):
    assert RunFolder.next_free(name, tmp_path / "runs").path.parent == tmp_path / "runs"
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_names_keep_their_accents(tmp_path):
    assert RunFolder.next_free("maçã verde", tmp_path).path.name == "maçã-verde-1"


def test_an_absent_or_empty_folder_takes_a_run(tmp_path):
    RunFolder(tmp_path / "new").refuse_if_present()
    (tmp_path / ".DS_Store").touch()
    RunFolder(tmp_path).refuse_if_present()


def test_a_run_is_refused_unless_told_to_overwrite(run):
    with pytest.raises(UsageError, match=r"run already holds a run: .*--overwrite.*--output"):
        run.refuse_if_present()
    run.refuse_if_present(overwrite=True)
    assert run.exists()  # asking deletes nothing


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("content", ["holiday.jpg", "model.safetensors", "run.json", "album/photo.jpg"])
def test_what_is_no_run_is_never_overwritten(tmp_path, content, overwrite):
    file = tmp_path / "photos" / content
    file.parent.mkdir(parents=True)
    file.write_text('{"distance": 10}', "utf-8")
    folder = RunFolder(tmp_path / "photos")
    with pytest.raises(UsageError, match="--output"):
        folder.refuse_if_present(overwrite)
    with pytest.raises(UsageError, match="--output"):
        folder.clear()
    assert file.exists()


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "file").write_text("text")
    for folder in (RunFolder(tmp_path / "file"), RunFolder(tmp_path / "file" / "below")):
        assert not folder.exists()
    with pytest.raises(UsageError, match="is no folder"):
        RunFolder(tmp_path / "file").refuse_if_present(overwrite=True)


def test_clearing_removes_the_run_and_nothing_else(run):
    run.checkpoints.mkdir()
    (run.checkpoints / "state.pt").touch()
    run.predictions.touch()
    (run.path / ".model.safetensors.x1y2.part").touch()
    (run.path / "my notes.txt").write_text("keep me")
    (run.path / "exported").mkdir()
    run.clear()
    assert sorted(entry.name for entry in run.path.iterdir()) == ["exported", "my notes.txt"]


def test_clearing_does_not_follow_a_link_out_of_the_run(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "state.pt").touch()
    try:
        run.checkpoints.symlink_to(elsewhere, target_is_directory=True)
    except OSError:
        pytest.skip("this account may not make links")
    run.clear()
    assert (elsewhere / "state.pt").exists()
    assert not run.checkpoints.exists()


def test_run_json_keeps_what_an_update_does_not_name(run):
    run.update_run(state="finished", notes=["primeira execução"])
    assert run.read_run() == {"state": "finished", "seconds": 1.5, "notes": ["primeira execução"]}


def test_reading_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"is no run.*run\.json"):
        RunFolder(tmp_path).read_run()


def test_epochs_come_back_as_written(run):
    epochs = [{"epoch": number, "train_loss": 1 / number, "step": number * 7} for number in (1, 2, 3)]
    assert run.read_metrics() == []
    for epoch in epochs:
        run.append_metrics(epoch)
    assert run.read_metrics() == epochs
    lines = run.metrics.read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == epochs


def test_a_last_line_that_breaks_off_is_left_out(run):
    run.append_metrics({"epoch": 1, "note": "ação"})
    whole = run.metrics.read_bytes()
    for length in range(1, len(whole)):  # also in the middle of a letter
        run.metrics.write_bytes(whole + whole[:length])
        assert run.read_metrics()[0] == {"epoch": 1, "note": "ação"}
    run.metrics.write_bytes(whole + b'{"epoch": 2, "tr')
    run.append_metrics({"epoch": 2})
    assert run.read_metrics() == [{"epoch": 1, "note": "ação"}, {"epoch": 2}]


def test_damage_elsewhere_is_said_with_its_line(run):
    run.metrics.write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    with pytest.raises(VitralError, match=r"metrics\.jsonl is damaged in line 2"):
        run.read_metrics()


def test_an_epoch_done_again_after_resuming_stands_once(run):
    for number in (1, 2, 3):
        run.append_metrics({"epoch": number, "seconds": 10})
    run.append_metrics({"epoch": 2, "seconds": 12})
    assert [(entry["epoch"], entry["seconds"]) for entry in run.read_metrics()] == [(1, 10), (2, 12)]


def test_a_loss_that_is_no_number_never_reaches_the_file(run):
    run.append_metrics({"epoch": 1, "train_loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_metrics({"epoch": 2, "train_loss": float("nan")})
    assert run.read_metrics() == [{"epoch": 1, "train_loss": 1.0}]
