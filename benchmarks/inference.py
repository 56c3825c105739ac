"""Images named per second by one Vision Transformer, vitral beside its peers in one run: from memory and from disk.

    python benchmarks/inference.py
    python benchmarks/inference.py --model small --only 'vitral*' timm openvino-int8
    python benchmarks/inference.py --device cuda

README.md beside this file says what the contestants are and how to read the figures.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from answering import TASK
from asking import Failed, Process, prepare, surroundings
from contenders import CONTESTANTS, Contestant, Task
from inference_figures import REFERENCE, differences, pretending, remarks_on, row_of, table_of
from peaks import peak_of
from prepare import find_photos, write_pixels, write_weights
from starting import ONLY_IMPORTED, seconds_to_label, start_of
from timing import chosen, circumstances, console, interleaved, spread, usable_device

from vitral.files import write_json
from vitral.model import config_for
from vitral.model.summary import summarise
from vitral.runs.machine import usable_cores, usable_memory

MODELS = ("tiny", "small", "base", "large")
BATCH_SIZES = {"cpu": (16,), "cuda": (16, 256)}
FILES = {"cpu": 96, "cuda": 1280}  # whole batches of 32, as vitral reads them
ROUNDS, SECONDS_A_FIGURE = 5, 1.0
QUICK_FILES, QUICK_ROUNDS, QUICK_SECONDS_A_FIGURE = 32, 2, 0.05
# What decides which precision is fast on a processor, as Linux calls it.
FLAGS = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "bf16", "i8mm"}

LeftOuts = list[dict[str, Any]]
Say = Callable[[str], None]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the folder of some gigabytes goes all the same
    options = _options()
    device = usable_device(options.device)
    contestants = chosen([each for each in CONTESTANTS.values() if device.type in each.devices], options.only)
    say, results = console(stderr=True).print, console()
    deadline = monotonic() + options.seconds
    document: dict[str, Any] = {"benchmark": "inference"} | circumstances(device)
    document["machine"]["flags"] = processor_flags()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    left_out: LeftOuts = []
    with tempfile.TemporaryDirectory(prefix="inference-", dir=options.output.parent) as folder:
        task = make_task(Path(folder).resolve(), device.type, options)
        environment = surroundings(task.folder, task.threads)
        processes = opened(contestants, task, environment, left_out, say)
        turns = take_turns(processes, options.seconds_a_figure, options.rounds, deadline, left_out)
        for process in processes.values():
            process.let_go()
        starts = start_times(contestants, turns, task, environment, options.rounds, deadline, left_out)
        abouts = {name: processes[name].about for name in turns}
        found = differences(task.folder, abouts)
    for name in sorted(pretending(abouts, found)):
        reason = f"it says {abouts[name]['precision']}, but what it computes is fp32"
        left_out.append({"contestant": name, "reason": reason, "failed": True})
        del turns[name]
    multiply_adds = summarise(config_for(task.model)).multiply_adds
    peaks = {precision: peak_of(device, precision) for precision in ("fp32", "fp16", "bf16")}
    rows = [
        row_of(name, turns[name], turns.get(REFERENCE), abouts[name], multiply_adds, peaks)
        | found.get(name, {"difference": None, "same_labels": None})
        | {"seconds_to_start": spread(starts[name]) if name in starts else None}
        for name in turns
    ]
    document["settings"] = {
        "rounds": max(map(len, turns.values()), default=0),
        "seconds_a_figure": options.seconds_a_figure,
        "files": task.count,
        "photos": len(task.photos),
        "threads": task.threads,
        "batch_sizes": task.batch_sizes,
    }
    document |= {"model": task.model, "architecture": task.architecture, "multiply_adds": multiply_adds}
    document |= {"peak_operations_per_second": peaks, "rows": rows, "left_out": left_out}
    document |= {"turns": turns, "starts": starts}
    write_json(options.output, document)
    results.print(table_of(document), "")
    for line in (*remarks_on(document), f"All times: {options.output}"):
        results.print(line)
    return int(not turns or any(each["failed"] for each in left_out))


def make_task(folder: Path, device: str, options: argparse.Namespace) -> Task:
    """The network in every format, photographs, and what everybody does with them, in a folder."""
    name = f"vit_{options.model}_patch16_224"
    architecture = write_weights(folder, name)
    photos = find_photos(options.photos, folder)
    write_pixels(folder, photos, BATCH_SIZES[device][0], architecture["image_size"])
    count = options.files or FILES[device]
    task = Task(folder, name, architecture, device, usable_cores(), BATCH_SIZES[device], photos, count)
    write_json(folder / TASK, task.to_dict())
    return task


def opened(
    contestants: Sequence[Contestant], task: Task, environment: dict[str, str], left_out: LeftOuts, say: Say
) -> dict[str, Process]:
    """The contestants' processes, ready and warm: all are prepared before the first one is opened."""
    ready = [each for each in contestants if _prepared(each, task, environment, left_out, say)]
    processes: dict[str, Process] = {}
    for each in ready:
        needs = [process.about["peak_bytes"] or 0 for process in processes.values()]
        if sum(needs) + max(needs, default=0) > 0.9 * usable_memory():
            reason = "no memory is left beside the others: choose fewer with --only"
            left_out.append({"contestant": each.name, "reason": reason, "failed": False})
        else:
            try:
                processes[each.name] = Process(each.name, task, environment)
                say(f"{each.name}: ready")
                continue
            except Failed as error:
                left_out.append({"contestant": each.name, "reason": error.reason, "failed": error.failed})
        say(f"{each.name}: left out, {left_out[-1]['reason']}")
    return processes


def _prepared(
    contestant: Contestant, task: Task, environment: dict[str, str], left_out: LeftOuts, say: Say
) -> bool:
    """Whether what it reads lies there; if not, why stands in `left_out`."""
    try:
        if (missing := contestant.missing) is not None:
            raise Failed(f"{missing} is not installed", False)
        prepare(contestant.name, task, environment)
    except Failed as error:
        left_out.append({"contestant": contestant.name, "reason": error.reason, "failed": error.failed})
        say(f"{contestant.name}: left out, {error.reason}")
        return False
    say(f"{contestant.name}: prepared")
    return True


def take_turns(
    processes: dict[str, Process], seconds: float, rounds: int, deadline: float, left_out: LeftOuts
) -> dict[str, list[dict[str, Any]]]:
    """Every contestant's figures, round by round; without those that fall out, which go into `left_out`."""
    fallen: dict[str, Failed] = {}

    def turn(name: str) -> dict[str, Any]:
        if name not in fallen:
            try:
                return processes[name].turn(seconds)
            except Failed as error:
                fallen[name] = error
        return {}

    calls = {name: partial(turn, name) for name in processes}
    turns = interleaved(calls, rounds, deadline, random.Random(0))
    left_out += [
        {"contestant": name, "reason": error.reason, "failed": error.failed} for name, error in fallen.items()
    ]
    return {name: found for name, found in turns.items() if name not in fallen}


def start_times(
    contestants: Sequence[Contestant],
    measured: Sequence[str] | dict[str, Any],
    task: Task,
    environment: dict[str, str],
    rounds: int,
    deadline: float,
    left_out: LeftOuts,
) -> dict[str, list[float]]:
    """Seconds from the start of a fresh process to a label, of those with a command, and of `import timm` alone."""
    commands = {each.name: start_of(each, task) for each in contestants if each.name in measured}
    wanted = {name: (command, r"class \d+") for name, command in commands.items() if command is not None}
    if REFERENCE in wanted:
        wanted["import timm"] = (ONLY_IMPORTED, "timm")
    fallen: dict[str, str] = {}

    def start(name: str) -> float:
        command, expected = wanted[name]
        if name not in fallen:
            try:
                return seconds_to_label(command, environment, expected)
            except RuntimeError as error:
                fallen[name] = str(error)
        return float("nan")

    for name in wanted:
        start(name)  # its files are in the system's cache, and its modules are compiled
    times = interleaved({name: partial(start, name) for name in wanted}, rounds, deadline, random.Random(0))
    left_out += [
        {"contestant": f"{name}, its start", "reason": reason, "failed": True}
        for name, reason in fallen.items()
    ]
    return {name: found for name, found in times.items() if name not in fallen}


def processor_flags() -> list[str] | None:
    """Those of `FLAGS` that the processor has; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return sorted(FLAGS.intersection(flags.partition(":")[2].split()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, help="of 16-pixel patches at 224 pixels (default: base)")
    parser.add_argument(
        "--only", nargs="+", metavar="CONTESTANT", help="such as timm or 'vitral*' (default: all)"
    )
    parser.add_argument("--rounds", type=int, help=f"turns a contestant (default: {ROUNDS})")
    parser.add_argument("--files", type=int, help="named from disk in a turn (default: 96, on a GPU 1280)")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="taken again and again")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seconds", type=float, default=3600.0, help="no round ends later (default: 3600)")
    parser.add_argument(
        "--quick", action="store_true", help="Ti/16, two short rounds: whether all of it works"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/benchmarks/inference.json"), metavar="FILE"
    )
    options = parser.parse_args()
    options.model = options.model or ("tiny" if options.quick else "base")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.files = options.files or (QUICK_FILES if options.quick else None)
    options.seconds_a_figure = QUICK_SECONDS_A_FIGURE if options.quick else SECONDS_A_FIGURE
    return options


if __name__ == "__main__":
    raise SystemExit(main())
