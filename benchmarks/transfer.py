"""Ten epochs of a head on a frozen ViT-B/16, the tutorial's way and by `vitral probe`, from the start of the process.

The tutorial (learnpytorch.io, chapter 08) sends every image through the frozen backbone in every epoch, in fp32, with
torchvision's model, and ends with the accuracy on the test images. vitral sends them through once, keeps what came out,
and fits the head on that: in the precision that it takes by itself, and with `--int8` in int8 as well, and with
`--merge R` in int8 with R patches merged away in every layer. Preparing the network counts. It leaves a run: once its
accuracy is known and the classifier saved it goes on to write a report, with 24 pictures of what the network looked at.
Both times are measured. All get the same weights and the same images; none finds anything kept from before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, time
from typing import Any

import torch
from timing import circumstances, console, spread, table

# The tutorial's feature extractor: its transforms, its loaders, its loop, its optimizer.
TUTORIAL = """
import json, os, sys, warnings
import torch, torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets

warnings.filterwarnings("ignore", "This DataLoader will create")
weights, root, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.manual_seed(42)
model = torchvision.models.vit_b_16()
model.load_state_dict(torch.load(weights, weights_only=True))
for parameter in model.parameters():
    parameter.requires_grad = False
transform = torchvision.models.ViT_B_16_Weights.DEFAULT.transforms()
train, test = (datasets.ImageFolder(f"{root}/{split}", transform=transform) for split in ("train", "test"))
model.heads = nn.Linear(768, len(train.classes))
loaders = {
    "train": DataLoader(train, batch_size=32, shuffle=True, num_workers=os.cpu_count(), pin_memory=True),
    "test": DataLoader(test, batch_size=32, shuffle=False, num_workers=os.cpu_count(), pin_memory=True),
}
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(epochs):
    model.train()
    for images, labels in loaders["train"]:
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        right = sum((model(images).argmax(dim=1) == labels).sum().item() for images, labels in loaders["test"])
print(json.dumps({"accuracy": right / len(test), "images": len(test)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with train and test, class folders in each")
    parser.add_argument(
        "--weights", type=Path, help="torchvision's vit_b_16 as .pth; default: its cache, or random"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--method", default=None, help="of vitral probe; default: its own")
    parser.add_argument("--int8", action="store_true", help="a row for --precision int8 (extra fast)")
    parser.add_argument(
        "--merge", type=int, default=0, help="rows for int8, and for int8 with so many patches merged a layer"
    )
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/transfer.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights, origin = find_weights(options.weights, Path(folder))
        probe = [sys.executable, "-m", "vitral", "probe", str(options.data), "--from", str(weights), "--json"]
        probe += ["--flip", "none"]  # each image once, as in one epoch of the tutorial's
        probe += ["--method", options.method] if options.method else []
        int8 = [*probe, "--precision", "int8"]
        tutorial = [sys.executable, "-c", TUTORIAL, str(weights), str(options.data), str(options.epochs)]
        ways = {"the tutorial's way": tutorial, "vitral probe": probe, "again": probe}
        if options.int8 or options.merge:
            ways["vitral probe, int8"] = int8
        if options.merge:
            merged = f"vitral probe, int8, {options.merge} merged"
            ways[merged] = [*int8, "--merge", str(options.merge)]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for repeat in range(options.repeats):
            for name, command in ways.items():
                # Only "again" finds what the probe before it kept.
                kept = Path(folder) / f"cache-{repeat}-{'vitral probe' if name == 'again' else name}"
                run = Path(folder) / f"run-{repeat}-{name}"
                results[name].append(measured(command, kept, None if command is tutorial else run))
    base = spread([one["answered"] for one in results["the tutorial's way"]])["median"]
    rows = []
    for name, found in results.items():
        answered, whole = (spread([one[part] for one in found]) for part in ("answered", "seconds"))
        accuracy = ", ".join(sorted({f"{one['accuracy']:.3f}" for one in found}))
        rows.append(
            [
                name,
                found[0]["computed by"],
                in_words(answered),
                f"{base / answered['median']:.1f}",
                in_words(whole),
                f"{base / whole['median']:.1f}",
                f"{accuracy} of {found[0]['images']}",
            ]
        )
    title = f"A head on a frozen ViT-B/16, weights {origin}, {options.repeats} repeats; seconds (quartiles)"
    headings = [
        "",
        "computed by",
        "to the accuracy",
        "times faster",
        "to the end",
        "times faster",
        "accuracy",
    ]
    console().print(table(title, headings, rows))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = circumstances(torch.device("cpu")) | {
        "weights": origin,
        "epochs": options.epochs,
        "results": results,
    }
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    console(stderr=True).print(f"every single measurement: {options.output}")


def in_words(seconds: dict[str, float]) -> str:
    """Median and quartiles."""
    low, high = seconds["lower_quartile"], seconds["upper_quartile"]
    return f"{seconds['median']:.1f} ({low:.1f} to {high:.1f})"


def measured(command: list[str], cache: Path, run: Path | None) -> dict[str, Any]:
    """Seconds from the start of a process to its end and to its accuracy, which it says, or writes into a run."""
    surroundings = os.environ | {"VITRAL_CACHE": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    command = command if run is None else [*command, "--output", str(run)]
    began, on_the_clock = perf_counter(), time()
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False)
    seconds = perf_counter() - began
    if done.returncode:
        raise SystemExit(
            f"error: {' '.join(command[:4])} ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    said = json.loads(done.stdout)
    said = said.get("evaluation", said)
    answered = seconds if run is None else (run / "evaluation.json").stat().st_mtime - on_the_clock
    return {
        "seconds": seconds,
        "answered": answered,
        "accuracy": said["accuracy"],
        "images": said["images"],
        "computed by": f"{said.get('backend', 'torch')} {said.get('precision', 'fp32')}",
    }


def find_weights(given: Path | None, folder: Path) -> tuple[Path, str]:
    """The file that both read, and where it is from."""
    import torchvision

    if given is not None:
        return given, given.name
    kept = Path(torch.hub.get_dir()) / "checkpoints" / "vit_b_16-c867db91.pth"
    if kept.exists():
        return kept, "IMAGENET1K_V1"
    torch.manual_seed(0)
    torch.save(torchvision.models.vit_b_16().state_dict(), folder / "random.pth")
    return folder / "random.pth", "random, as torchvision's own are not in its cache"


if __name__ == "__main__":
    main()
