"""What holds for every command: speed of help, exit statuses, the form of errors, signals, purity of --json."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitral import __version__
from vitral.cli import app, output

# A command line with one more command, `probe-frame`, which does what its first word says.
EXTRA_COMMAND = '''
import sys, time, types
from pathlib import Path
from typing import Literal
from vitral.cli import app, output
from vitral.errors import DataError, UsageError

def play(what: str, /, *words: str, epochs: int = 10, fit: Literal["crop", "pad"] = "crop", json: bool = False) -> int:
    """Do what the word says.

    Args:
        what: What to do.
        words: More words.
        epochs: How often.
        fit: How.
        json: Print JSON.
    """
    if what == "count":
        document = {"epochs": epochs, "name": "maçã ś", "value": 0.25, "nothing": None}
        output.progress().print("counting")
        output.print_result(document, json, lambda console: console.print(output.table(["epochs"], [[epochs]])))
    if what == "repeat":
        print(*words)
    if what == "some":
        return 1
    if what == "data":
        raise DataError("the folder photos holds no images;\\n  add some")
    if what == "usage":
        raise UsageError("--model and --from exclude each other; give one")
    if what == "missing":
        open("/no/such/folder/file")
    if what == "bug":
        raise ZeroDivisionError("division by zero")
    if what == "other pipe":
        raise BrokenPipeError("a worker went away")
    if what == "much":
        for line in range(1_000_000):
            print(line)
    if what == "wait":
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt as interruption:
            interruption.add_note("what was done is kept")
            raise
        finally:
            print("cleaned up", flush=True)
    return 0

app.COMMANDS["play"] = "Do what the word says."
sys.modules["vitral.cli.play"] = types.SimpleNamespace(play=play)
sys.exit(app.main())
'''


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", EXTRA_COMMAND, *words]


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, encoding="utf-8", **options)


def only_line(text: str) -> str:
    [line] = text.splitlines()
    return line


def test_help_answers_within_three_tenths_of_a_second() -> None:
    # On a busy machine some runs are slow, but help that is fast is fast at least once in twenty.
    fastest = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "vitral", "--help"], check=True, capture_output=True)
        fastest = min(fastest, time.perf_counter() - start)
        if fastest < 0.3:
            break
    assert fastest < 0.3


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(words: list[str]) -> None:
    answer = subprocess.run([sys.executable, "-m", "vitral", *words], capture_output=True, text=True)
    assert answer.returncode == 0
    assert answer.stderr == ""
    listed = {
        line.split()[0]: line.split(maxsplit=1)[1] for line in answer.stdout.splitlines() if line[:2] == "  "
    }
    assert {name: listed[name] for name in app.COMMANDS} == app.COMMANDS
    assert max(map(len, answer.stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_help_says_the_same_in_the_list_and_on_the_commands_own_page(name: str) -> None:
    function = getattr(importlib.import_module(f"vitral.cli.{name}"), name)
    assert (function.__doc__ or "").splitlines()[0] == app.COMMANDS[name]


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_no_commands_help_imports_torch(name: str) -> None:
    code = f"import sys\nfrom vitral.cli.app import main\nassert main([{name!r}, '--help']) == 0\n"
    code += "assert 'torch' not in sys.modules"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert f"Usage: vitral {name}" in answer.stdout


def test_version() -> None:
    answer = subprocess.run([sys.executable, "-m", "vitral", "--version"], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout.strip()) == (0, __version__)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["trian"], 2, 'error: unknown command "trian"; did you mean "train"?'),
        (["zzz"], 2, 'error: unknown command "zzz"; vitral --help lists the commands'),
        (["--json", "play", "count"], 2, "error: --json stands before any command; write vitral"),
        (["play"], 2, "error: WHAT requires an argument; vitral play --help explains the options"),
        (["play", "count", "--epoch", "3"], 2, "error: unknown option: --epoch; did you mean --epochs?"),
        (["play", "count", "--epochs", "three"], 2, "error: invalid value for --epochs: unable"),
        (["play", "count", "--fit", "corp"], 2, 'error: invalid value "corp" for --fit. Choose from: "crop"'),
        (["play", "usage"], 2, "error: --model and --from exclude each other; give one"),
        (["play", "data"], 1, "error: the folder photos holds no images; add some"),
        (["play", "missing"], 1, "error: /no/such/folder/file: No such file or directory; check the path"),
        (["play", "bug"], 1, "error: ZeroDivisionError: division by zero; this is a bug in vitral"),
        (["play", "other pipe"], 1, "error: BrokenPipeError: a worker went away; this is a bug"),
    ],
)
def test_an_error_is_one_line_with_a_remedy(words: list[str], status: int, said: str) -> None:
    answer = run(*words)
    assert answer.returncode == status
    assert answer.stdout == ""
    assert only_line(answer.stderr).startswith(said)


@pytest.mark.parametrize("words", [["--debug", "play", "data"], ["play", "data", "--debug"]])
def test_debug_anywhere_adds_the_traceback(words: list[str]) -> None:
    answer = run(*words)
    assert answer.returncode == 1
    assert "Traceback (most recent call last)" in answer.stderr
    assert answer.stderr.splitlines()[-1] == "error: the folder photos holds no images; add some"


def test_exit_status_of_success_and_of_a_part() -> None:
    assert run("play", "count").returncode == 0
    assert run("play", "some").returncode == 1


def test_a_lone_hyphen_is_a_word_in_its_place_and_no_option() -> None:
    answer = run("play", "repeat", "a.jpg", "-", "b.jpg", "--epochs", "3", "--", "--debug")
    assert (answer.returncode, answer.stdout.split()) == (0, ["a.jpg", "-", "b.jpg", "--debug"])


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_is_one_document_and_nothing_else(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    answer = subprocess.run(
        command("play", "count", "--json", "--epochs", "3"), capture_output=True, env=environment, check=True
    )
    document = {"epochs": 3, "name": "maçã ś", "value": 0.25, "nothing": None}
    assert json.loads(answer.stdout.decode(encoding)) == document
    assert answer.stderr.decode(encoding).strip() == "counting"


def test_results_go_to_standard_output_and_progress_to_standard_error() -> None:
    answer = run("play", "count", "--epochs", "1797")
    assert answer.stdout.split() == ["epochs", "1,797"]
    assert answer.stderr.strip() == "counting"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_command_clean_up_and_sets_the_status(sent: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        command("play", "wait"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert stdout == "cleaned up\n"
    assert only_line(stderr) == "error: interrupted; what was done is kept"


@pytest.mark.skipif(sys.platform == "win32", reason="the pipes of Windows end otherwise")
def test_a_reader_that_leaves_early_hears_no_complaint() -> None:
    with subprocess.Popen(command("play", "much"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_the_signal_handler_of_the_caller_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert app.main(["--help"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().out.startswith("Usage: vitral COMMAND")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1797, "1,797"),
        (0.973333, "0.9733"),
        (1.0, "1"),
        (12.3456, "12.35"),
        (86567656.0, "86,567,656"),
        (0.00003, "3e-05"),
        (None, "–"),
    ],
)
def test_numbers_are_said_as_people_read_them(value: float | None, said: str) -> None:
    assert output.number(value) == said


def test_class_names_with_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.results().print(output.table(["class", "images"], [["[red]apple[/red]", 3]]))
    assert capsys.readouterr().out.split() == ["class", "images", "[red]apple[/red]", "3"]


def test_a_module_runs_like_the_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("vitral.exe" if sys.platform == "win32" else "vitral")
    by_name = subprocess.run([script, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True)
    by_module = subprocess.run(
        [sys.executable, "-m", "vitral", "--help"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert by_name.stdout == by_module.stdout
