"""Loading ViT-B/16 from a safetensors file: how long it takes and how much memory, beside timm and transformers.

Each measurement is a process of its own, in turns. The file is in the system's cache, as it is after a download; every
weight is read once after loading ("ready"), since a mapped file is read only then.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import circumstances, console, spread, table

# What a process runs: `load(path)` is timed, after everything has been imported and before the weights are looked at.
WORK = """
import json, resource, sys, time
import torch

def resident():
    with open("/proc/self/status") as status:
        lines = [line for line in status if line.startswith(("RssAnon", "VmHWM"))]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}

library, path = sys.argv[1:]
if library == "vitral":
    import vitral
    vitral.create_model("vit_mini_patch4_32")
    from vitral.weights import read_checkpoint
    import vitral.weights.families
    load = lambda: vitral.load_model(path)
elif library == "timm":
    import timm
    timm.create_model("test_vit")
    import safetensors.torch
    load = lambda: timm.create_model("vit_base_patch16_224", checkpoint_path=path).eval()
else:
    from transformers import ViTForImageClassification
    load = lambda: ViTForImageClassification.from_pretrained(path)
before = resident()
began = time.perf_counter()
model = load()
loaded = time.perf_counter()
total = sum(float(parameter.detach().sum()) for parameter in model.parameters())
ready = time.perf_counter()
after = resident()
print(json.dumps({
    "load": loaded - began, "ready": ready - began,
    "extra": after["VmHWM"] - before["VmHWM"], "private": after["RssAnon"] - before["RssAnon"],
    "finite": total == total,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/loading.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contestants = prepare(Path(folder))
        size = (Path(folder) / "timm" / "model.safetensors").stat().st_size
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
        for _ in range(options.repeats):
            for name, measure in contestants.items():
                results[name].append(measure())
    rows = []
    for name, found in results.items():
        load, ready = (spread([one[key] for one in found]) for key in ("load", "ready"))
        extra, private = (
            spread([one[key] for one in found])["median"] / size for key in ("extra", "private")
        )
        rows.append(
            [
                name,
                milliseconds(load),
                milliseconds(ready),
                f"{extra:.2f}",
                f"{private:.2f}",
            ]
        )
    headings = [
        "",
        "load, ms (quartiles)",
        "ready, ms (quartiles)",
        "peak memory / file",
        "private memory / file",
    ]
    console().print(table(f"ViT-B/16, {size / 2**20:.0f} MiB, {options.repeats} repeats", headings, rows))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = circumstances(torch.device("cpu")) | {"file_bytes": size, "results": results}
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    console(stderr=True).print(f"every single measurement: {options.output}")


def milliseconds(seconds: dict[str, float]) -> str:
    """The median with its quartiles."""
    middle, lower, upper = (1000 * seconds[key] for key in ("median", "lower_quartile", "upper_quartile"))
    return f"{middle:.0f} ({lower:.0f} to {upper:.0f})"


def prepare(folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """The same weights in each library's format, and what measures their loading."""
    import vitral
    from vitral.images import Preprocessing
    from vitral.weights import Checkpoint, convert, write_checkpoint

    torch.manual_seed(0)
    model = vitral.create_model("vit_base_patch16_224")
    torch.nn.init.normal_(model.head.weight, std=0.02)
    names = tuple(f"class {index}" for index in range(1000))
    write_checkpoint(
        folder / "own", Checkpoint(model.config, Preprocessing((224, 224)), names, model.state_dict())
    )
    convert(folder / "own", folder / "timm", "timm")
    convert(folder / "own", folder / "transformers", "huggingface")
    timm_file = str(folder / "timm" / "model.safetensors")

    def measured(library: str, path: str) -> Callable[[], dict[str, Any]]:
        command = [sys.executable, "-c", WORK, library, path]
        return lambda: json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return {
        "vitral, timm's file": measured("vitral", timm_file),
        "timm, the same file": measured("timm", timm_file),
        "vitral, its own folder": measured("vitral", str(folder / "own")),
        "vitral, transformers' folder": measured("vitral", str(folder / "transformers")),
        "transformers, the same folder": measured("transformers", str(folder / "transformers")),
    }


if __name__ == "__main__":
    main()
