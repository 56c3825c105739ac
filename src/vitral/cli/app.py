"""`vitral COMMAND …`: which commands there are, and what an error, a signal and an exit status look like."""

import errno
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from vitral import __version__
from vitral.errors import UsageError, VitralError

if TYPE_CHECKING:
    from cyclopts import App

# Every command is the function of its own name in vitral.cli.NAME, imported when it is called for. What stands
# here is the first line of that function's docstring.
COMMANDS = {
    "demo": "Train, evaluate, predict and explain on real digits: the main job, start to end.",
    "train": "Train a model from scratch, or fine-tune one.",
    "probe": "Fit a classifier to the features of a network that stays as it is.",
    "evaluate": "Measure a run on a split of its own data or of other data.",
    "predict": "Say what images show.",
    "explain": "Show what a network looked at in images.",
    "inspect": "Look inside a network: filters, positions, attention distance, norms, features.",
    "tune": "Try what runs a network fastest on this machine, and what that costs.",
    "report": "Write a run as one self-contained HTML page.",
    "embed": "Write the feature vectors of any number of images.",
    "search": "Find the images nearest to one in a folder of embeddings.",
    "convert": "Write a network in another format.",
    "export": "Write a classifier as a file to deploy, with the few lines that run it.",
    "models": "List the architectures, and pretrained weights to start from.",
    "summary": "Show a model layer by layer, and of WEIGHTS what was found in them.",
}

ABOUT = "Vision Transformers: understand, train, fine-tune, inspect, speed up, deploy."
NOT_ALL_DONE, WRONG_COMMAND_LINE, CTRL_C, SIGTERM = 1, 2, 130, 143

# "-" means standard input, which cyclopts would take for an option without a name. It sees this word in its place,
# which nobody can type, and the command sees "-".
LONE_HYPHEN = "\0"


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Whoever cleans up after Ctrl-C cleans up after this in the same way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: the words after `vitral`; those that the process was started with when None.

    Returns:
        The exit status: 0 done, 1 not all of it could be done, 2 the command line was wrong,
        130 after Ctrl-C, 143 after SIGTERM.
    """
    words, debug = _without_debug(sys.argv[1:] if arguments is None else list(arguments))
    _say_odd_names_somehow()
    try:
        with _sigterm_raises():
            status = _run(words)
        sys.stdout.flush()  # here, where a closed pipe can still be answered
        return status
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return NOT_ALL_DONE
        if debug:
            traceback.print_exc()
        text, status = _explain(error, words)
        print("error:", " ".join(text.split()), file=sys.stderr)
        return status


def help_text() -> str:
    """What `vitral --help` prints.

    Written here and not by cyclopts, which together with rich takes longer to import than an answer may take.
    """
    width = max(map(len, COMMANDS)) + 2
    return "\n".join(
        [
            "Usage: vitral COMMAND [OPTIONS]",
            "",
            ABOUT,
            "",
            "Commands:",
            *(f"  {name:{width}}{purpose}" for name, purpose in COMMANDS.items()),
            "",
            "Options:",
            "  --help, -h  Show this page; after a command, that command's options with their defaults.",
            "  --version   Show the version.",
            "  --debug     Add the traceback to an error; goes with every command.",
            "",
            "Start with: vitral demo",
        ]
    )


def build_app() -> "App":
    """The commands as a cyclopts App. No command's module is imported until that command is called for."""
    from cyclopts import App, Group, Parameter

    app = App(
        name="vitral",
        help=ABOUT,
        version=__version__,
        help_format="plaintext",
        help_epilogue="--debug adds the traceback to an error.",
        group_parameters=Group("Options"),
        # --no-OPTION exists where a command asks for it: Parameter(negative="--no-compile").
        default_parameter=Parameter(negative=()),
        exit_on_error=False,
        print_error=False,
    )
    for name in COMMANDS:
        app.command(f"vitral.cli.{name}:{name}", name=name)
    return app


def _run(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    if words[0] not in COMMANDS:
        raise UsageError(_explain_no_command(words[0]))
    command, bound, _ = build_app().parse_args([LONE_HYPHEN if word == "-" else word for word in words])
    positional = ["-" if value == LONE_HYPHEN else value for value in bound.args]
    named = {name: "-" if value == LONE_HYPHEN else value for name, value in bound.kwargs.items()}
    return command(*positional, **named) or 0


def _explain_no_command(word: str) -> str:
    if word.startswith("-"):
        return f"{word} stands before any command; write vitral COMMAND first, then its options"
    near = get_close_matches(word, COMMANDS, n=1)
    remedy = f'did you mean "{near[0]}"?' if near else "vitral --help lists the commands"
    return f'unknown command "{word}"; {remedy}'


def _explain(error: BaseException, words: list[str]) -> tuple[str, int]:
    """What is wrong and what to do about it, and the exit status."""
    from cyclopts import CycloptsError  # an error may take its time

    if isinstance(error, KeyboardInterrupt):
        # Whoever stopped cleanly tells by a note on the exception what was kept and how to go on.
        return "; ".join(["interrupted", *getattr(error, "__notes__", [])]), (
            SIGTERM if isinstance(error, Terminated) else CTRL_C
        )
    if isinstance(error, CycloptsError):
        return _explain_parsing(error, words), WRONG_COMMAND_LINE
    if isinstance(error, UsageError):
        return str(error), WRONG_COMMAND_LINE
    if isinstance(error, VitralError):
        return str(error), NOT_ALL_DONE
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; {_remedy(error.errno)}", NOT_ALL_DONE
    name = type(error).__name__
    return f"{name}: {error}; this is a bug in vitral, --debug shows where", NOT_ALL_DONE


def _explain_parsing(error: Any, words: list[str]) -> str:
    text = (
        str(error)
        .replace(LONE_HYPHEN, "-")
        .strip()
        .rstrip(".")
        .removeprefix(f'Command "{words[0]}" parameter ')
    )
    if not text.startswith(error.argument.name if error.argument else "-"):
        text = text[:1].lower() + text[1:]
    if "Did you mean" in text:
        return text.replace(". Did you mean", "; did you mean")
    return f"{text}; vitral {words[0]} --help explains the options"


def _remedy(number: int | None) -> str:
    remedies = {
        errno.ENOENT: "check the path",
        errno.ENOSPC: "free some disk space, or choose another place",
        errno.EDQUOT: "free some disk space, or choose another place",
        errno.EROFS: "choose a place that can be written to",
        errno.EACCES: "choose another place, or change its permissions",
        errno.EPERM: "choose another place, or change its permissions",
    }
    return remedies.get(number or 0, "the system refused; --debug shows where")


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """The words without `--debug`, which goes with every command; after `--` it is a word like any other."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _nobody_reads() -> bool:
    """Whether the reader of standard output (`| head`) is gone; then what is still to be written is dropped."""
    if hasattr(select, "poll"):  # Windows has none, and no other pipe that breaks in this way
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if not poll.poll(0):
            return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _say_odd_names_somehow() -> None:
    """Let a file name that the terminal's encoding cannot say come out escaped, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM raises Terminated, so that a training run stops as cleanly as with Ctrl-C."""
    owner = os.getpid()

    def stop(_number: int, _frame: object) -> None:
        if os.getpid() != owner:  # a forked data worker: nothing to save there
            os._exit(SIGTERM)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, which alone may handle signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
