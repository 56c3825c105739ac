"""What an explanation costs: seconds and memory of each method beside a prediction of the same image.

ViT-B/16 at 224 pixels, one image that is decoded and of its size. Seconds are medians of interleaved repeats in one
process; memory is the peak of a process of its own, before which nothing but the network was made.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch
from resident import peak_memory
from timing import circumstances, console, interleaved, spread, table

from vitral.device import choose
from vitral.images import Preprocessing
from vitral.inference import METHODS, Classifier, Look
from vitral.model import create_model

PREDICTION = "prediction"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "auto"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/explaining.json"))
    parser.add_argument("--measure", choices=(PREDICTION, *METHODS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    classifier, photo = prepare(options.model, options.precision)
    calls = {name: call_of(name, classifier, photo) for name in (PREDICTION, *METHODS)}
    if options.measure:
        calls[options.measure]()
        print(json.dumps(peak_memory()))
        return
    if peak_memory() is None:
        raise SystemExit("error: this system does not tell the peak memory of a process")
    for call in calls.values():
        call()
    timed = {name: lambda call=call: seconds(call) for name, call in calls.items()}
    times = interleaved(timed, options.repeats, monotonic() + 3600, random.Random(0))
    words = [
        sys.executable,
        __file__,
        "--model",
        options.model,
        "--precision",
        options.precision,
        "--measure",
    ]
    memory = {
        name: json.loads(subprocess.run([*words, name], check=True, capture_output=True, text=True).stdout)
        for name in calls
    }
    base = {"seconds": spread(times[PREDICTION])["median"], "bytes": memory[PREDICTION]}
    rows = []
    for name in calls:
        found = spread(times[name])
        rows.append(
            [
                name,
                "{median:.0f} ({lower_quartile:.0f} to {upper_quartile:.0f})".format(
                    **{key: 1000 * value for key, value in found.items()}
                ),
                f"{found['median'] / base['seconds']:.2f}",
                f"{memory[name] / 2**20:,.0f}",
                f"{memory[name] / base['bytes']:.2f}",
            ]
        )
    title = f"{options.model}, {classifier.precision}, one image"
    headings = ["", "milliseconds (quartiles)", "times", "peak memory MiB", "times"]
    console().print(table(title, headings, rows))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = circumstances(torch.device("cpu")) | {"seconds": times, "peak_bytes": memory}
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    console(stderr=True).print(f"every single measurement: {options.output}")


def prepare(model: str, precision: str) -> tuple[Classifier, np.ndarray]:
    """A classifier with random weights, and an image that is decoded and of its size."""
    torch.manual_seed(0)
    network = create_model(model, num_classes=1000).eval()
    torch.nn.init.normal_(network.head.weight, std=0.02)
    compute = choose("cpu", precision)
    names = tuple(f"class {number}" for number in range(1000))
    size = network.config.image_size
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Classifier.of(network.to(compute.dtype), Preprocessing(size), names, compute), photo


def call_of(name: str, classifier: Classifier, photo: np.ndarray):
    """What is measured, without arguments."""
    if name == PREDICTION:
        return lambda: classifier.predict(photo)
    return lambda: classifier.explainer.explain(photo, Look(name))


def seconds(call) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


if __name__ == "__main__":
    main()
