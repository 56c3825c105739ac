"""`vitral embed` on very many files: images per second, memory over time, and what a kill in the middle leaves.

The files are hard links to the photographs of a folder, all in one folder. The network is a small one with random
weights, so that reading images is most of the work, as it is with a GPU. Linux only: memory is read from /proc.
"""

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from timing import circumstances, console, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--model", default="vit_mini_patch8_64")
    parser.add_argument("--workers", type=int, help="threads that read images")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/benchmarks/embedding"), help="for all files"
    )
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/embedding.json"))
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    links = make_links(options.photos, options.folder, options.files)
    command = [sys.executable, "-m", "vitral", "embed", make_weights(options.model, options.folder), links]
    command += ["--output", options.folder / "vectors"]
    command += ["--workers", options.workers] if options.workers else []
    command = [str(word) for word in command]
    killed = watch(command, options.folder / "vectors", options.files, kill_at=0.5)
    resumed = watch(command, options.folder / "vectors", options.files, kill_at=None)
    outcome = check(options.folder / "vectors", links)
    report(options.files, killed, resumed, outcome)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = circumstances(torch.device("cpu")) | {"files": options.files, "model": options.model}
    content |= {"killed": killed, "resumed": resumed, "outcome": outcome}
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    console(stderr=True).print(f"every sample: {options.output}")
    shutil.rmtree(options.folder)
    if outcome["rows"] != options.files or outcome["duplicates"] or outcome["missing"]:
        sys.exit(1)


def make_links(photos: Path, folder: Path, count: int) -> Path:
    """So many hard links to the photographs, in one folder."""
    copies = folder / "photos"
    shutil.copytree(photos, copies)
    files = sorted(file for file in copies.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    links = folder / "links"
    links.mkdir()
    for number, file in zip(range(count), itertools.cycle(files), strict=False):
        os.link(file, links / f"{number:07d}{file.suffix}")
    return links


def make_weights(model: str, folder: Path) -> Path:
    """A checkpoint of random weights."""
    import vitral
    from vitral.images import Preprocessing
    from vitral.weights import Checkpoint, write_checkpoint

    torch.manual_seed(0)
    network = vitral.create_model(model, num_classes=0)
    preprocessing = Preprocessing(network.config.image_size)
    write_checkpoint(folder / "weights", Checkpoint(network.config, preprocessing, (), network.state_dict()))
    return folder / "weights"


def watch(command: list[str], output: Path, files: int, kill_at: float | None) -> dict[str, Any]:
    """Run it, perhaps killing it when that share of the rows is on disk, and note memory and rows every second."""
    samples: list[dict[str, float]] = []
    before = rows_on_disk(output)
    began = time.perf_counter()
    with open(output.parent / f"log-{before}.txt", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            time.sleep(1)
            memory = resident(process.pid)
            if memory is not None:
                rows = rows_on_disk(output)
                seconds = time.perf_counter() - began
                samples.append({"seconds": seconds, "rows": rows, "resident": memory})
                if kill_at is not None and rows >= kill_at * files:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
    if kill_at is None and process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: see {log.name}")
    return {
        "status": process.returncode,
        "seconds": time.perf_counter() - began,
        "rows_before": before,
        "rows_after": rows_on_disk(output),
        "samples": samples,
    }


def rows_on_disk(output: Path) -> int:
    """Rows of all parts that are there."""
    return sum(pq.read_metadata(part).num_rows for part in output.glob("part-*.parquet"))


def resident(process: int) -> int | None:
    """Bytes of memory that a process holds; None where it has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0].split()[1]) * 1024 if found else None


def check(output: Path, links: Path) -> dict[str, int]:
    """Rows in all parts, paths that stand twice, and files without a row."""
    paths = [
        path
        for part in output.glob("part-*.parquet")
        for path in pq.read_table(part, columns=["path"]).column("path").to_pylist()
    ]
    wanted = {str(link) for link in links.iterdir()}
    return {
        "parts": len(list(output.glob("part-*.parquet"))),
        "rows": len(paths),
        "duplicates": len(paths) - len(set(paths)),
        "missing": len(wanted - set(paths)),
    }


def report(files: int, killed: dict[str, Any], resumed: dict[str, Any], outcome: dict[str, int]) -> None:
    """A table for people."""
    rows = []
    for name, run in (("until the kill", killed), ("resumed", resumed)):
        computed = run["rows_after"] - run["rows_before"]
        for share in (0.1, 0.5, 1.0):
            done = run["rows_before"] + share * computed
            sample = next((one for one in run["samples"] if one["rows"] >= done), run["samples"][-1])
            rows.append(
                [
                    name,
                    f"{sample['rows'] / files:.0%}",
                    f"{sample['resident'] / 2**20:.0f}",
                    f"{(sample['rows'] - run['rows_before']) / sample['seconds']:.0f}",
                ]
            )
        highest = max(one["resident"] for one in run["samples"])
        rows.append([name, "highest", f"{highest / 2**20:.0f}", ""])
    headings = ["", "of all files", "resident MiB", "files/s so far"]
    console().print(table(f"vitral embed, {files:,} files", headings, rows))
    console().print(", ".join(f"{number:,} {what}" for what, number in outcome.items()))


if __name__ == "__main__":
    main()
