"""From the turns of `inference.py`'s contestants to its figures, and to its table."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CONTESTANTS
from rich.table import Table
from timing import spread, table

REFERENCE = "timm"  # as it comes; what ratios, differences and labels are compared with
WANTED_SHARE = 0.9  # of the rate from memory vitral is to have from disk: decoding hides behind computing
LEAST_FILES = (
    64  # two of vitral's batches; with fewer there is nothing to compute while the next ones are decoded
)
LEAST_ROUNDING = 1e-4  # that a precision below fp32 leaves in the logits

NOTES = (
    "images/s: batches that lie in memory, quartiles over the rounds in brackets; 1 image: milliseconds, of all calls; "
    "from disk: images/s from files to labels, and as a share of those from memory.",
    f"×: as fast as {REFERENCE} as it comes, median over the rounds. differs: logits from {REFERENCE}'s, root mean "
    "square, as a share of theirs. – : not the same weights, or not measured.",
    "peak MiB: of the process, answering from memory. start: from a fresh process to the first label, seconds.",
)

Turn = Mapping[str, Any]


def row_of(
    name: str,
    turns: Sequence[Turn],
    reference: Sequence[Turn] | None,
    about: Mapping[str, Any],
    multiply_adds: int,
    peaks: Mapping[str, float | None],
) -> dict[str, Any]:
    """A contestant's figures.

    Args:
        name: of the contestant.
        turns: what `answering.measure` gives, one a round.
        reference: those of the reference in the same rounds, or None.
        about: what the process said of itself.
        multiply_adds: of the network and one image.
        peaks: operations a second of the device, by precision; None where not known.
    """
    precision = about["precision"].split()[0]
    sizes = list(turns[0]["images_per_second"])
    rates = {size: spread([turn["images_per_second"][size] for turn in turns]) for size in sizes}
    latencies = [second for turn in turns for second in turn["latency"]]
    shares = [turn["from_disk"] / max(turn["images_per_second"].values()) for turn in turns]
    return {
        "contestant": name,
        "computes_in": about["precision"],
        "images_per_second": rates,
        "latency_seconds": {
            "median": statistics.median(latencies),
            "percentile_95": float(np.percentile(latencies, 95)),
            "round_medians": spread([statistics.median(turn["latency"]) for turn in turns]),
        },
        "from_disk": spread([turn["from_disk"] for turn in turns]),
        "share_from_disk": spread(shares),
        "times_as_fast": None if reference is None else times_as_fast(turns, reference),
        "model_flops_utilisation": {
            size: utilisation(multiply_adds, rate["median"], peaks.get(precision))
            for size, rate in rates.items()
        },
        "peak_bytes": about["peak_bytes"],
        "peak_bytes_on_gpu": about["peak_bytes_on_gpu"],
    }


def times_as_fast(turns: Sequence[Turn], reference: Sequence[Turn]) -> dict[str, float]:
    """Beside the reference in the same round, the median over the rounds: by batch size, "latency" and "from_disk"."""
    rounds = list(zip(turns, reference, strict=True))
    ratios = {
        size: [ours["images_per_second"][size] / theirs["images_per_second"][size] for ours, theirs in rounds]
        for size in turns[0]["images_per_second"]
    }
    ratios["latency"] = [
        statistics.median(theirs["latency"]) / statistics.median(ours["latency"]) for ours, theirs in rounds
    ]
    ratios["from_disk"] = [ours["from_disk"] / theirs["from_disk"] for ours, theirs in rounds]
    return {name: statistics.median(found) for name, found in ratios.items()}


def utilisation(multiply_adds: int, images_per_second: float, peak: float | None) -> float | None:
    """The share of the device's peak that goes into the network's own products; two operations a multiply-add."""
    return None if peak is None else 2 * multiply_adds * images_per_second / peak


def differences(folder: Path, abouts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How far answers are from the reference's, for contestants with the same weights; {} without the reference.

    Returns:
        By name "difference", of the centred logits of a batch of photographs: root mean square, as a share of that of
        the reference's; and "same_labels", the share of the files from disk with the same label.
    """
    if REFERENCE not in abouts:
        return {}
    expected, labels = np.load(folder / f"answers-{REFERENCE}.npy"), abouts[REFERENCE]["labels"]
    found = {}
    for name, about in abouts.items():
        if CONTESTANTS[name].same_weights:
            error = np.load(folder / f"answers-{name}.npy") - expected
            same = [ours == theirs for ours, theirs in zip(about["labels"], labels, strict=True)]
            found[name] = {
                "difference": float(np.linalg.norm(error) / np.linalg.norm(expected)),
                "same_labels": statistics.fmean(same),
            }
    return found


def pretending(abouts: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, float]]) -> set[str]:
    """Contestants that say bf16 or int8 and answer to the last digits as fp32 does, with those that only merge besides.

    Rounding to 8 bits of mantissa, or to 8 bits, is seen in the second or third digit.
    """

    def asked(name: str) -> tuple[str, dict[str, Any]]:
        options = {key: value for key, value in CONTESTANTS[name].options.items() if key != "merge"}
        return CONTESTANTS[name].library, options

    lower = {name for name, about in abouts.items() if about["precision"].split()[0] in ("bf16", "int8")}
    caught = [asked(name) for name in lower & found.keys() if found[name]["difference"] < LEAST_ROUNDING]
    return {name for name in lower if asked(name) in caught}


def table_of(document: Mapping[str, Any]) -> Table:
    """All of it, a line a contestant."""
    sizes, gpu = list(map(str, document["settings"]["batch_sizes"])), document["machine"]["device"] != "cpu"
    headings = ["contestant", "computes in"]
    for size in sizes:
        headings += [f"batch {size}, images/s", "", "×"] + (["of peak"] if gpu else [])
    headings += ["1 image, ms", "95 %", "×", "from disk", "×", "share", "peak MiB"]
    headings += (["on GPU"] if gpu else []) + ["start", "differs"]
    rows = []
    for row in document["rows"]:
        times, latency = row["times_as_fast"] or {}, row["latency_seconds"]
        cells = [row["contestant"], row["computes_in"]]
        for size in sizes:
            rate = row["images_per_second"][size]
            cells += [
                _rate(rate["median"]),
                f"[{_rate(rate['lower_quartile'])}–{_rate(rate['upper_quartile'])}]",
            ]
            cells.append(_times(times.get(size)))
            cells += [_share(row["model_flops_utilisation"][size])] if gpu else []
        cells += [f"{1000 * latency[key]:,.1f}" for key in ("median", "percentile_95")]
        cells += [
            _times(times.get("latency")),
            _rate(row["from_disk"]["median"]),
            _times(times.get("from_disk")),
        ]
        cells += [_share(row["share_from_disk"]["median"]), _mebibytes(row["peak_bytes"])]
        cells += [_mebibytes(row["peak_bytes_on_gpu"])] if gpu else []
        start, difference = row["seconds_to_start"], row["difference"]
        cells.append("–" if start is None else f"{start['median']:.2f}")
        rows.append([*cells, "–" if difference is None else f"{difference:.0e}"])
    settings = document["settings"]
    title = (
        f"{document['model']}, {document['machine']['device']}, {settings['threads']} threads, "
        f"{settings['rounds']} rounds in turns, {settings['files']} files"
    )
    return table(title, headings, rows)


def remarks_on(document: Mapping[str, Any]) -> list[str]:
    """What stands under the table."""
    lines = []
    for row in document["rows"]:
        share = row["share_from_disk"]["median"]
        wanted = document["settings"]["files"] >= LEAST_FILES and row["contestant"].startswith("vitral")
        if wanted and share < WANTED_SHARE:
            lines.append(
                f"{row['contestant']}: {share:.1%} of its rate from memory from disk; {WANTED_SHARE:.0%} are wanted"
            )
    if "import timm" in document["starts"]:
        lines.append(f"import timm alone: {spread(document['starts']['import timm'])['median']:.2f} s")
    lines += [f"left out: {each['contestant']} ({each['reason']})" for each in document["left_out"]]
    return [*lines, *NOTES]


def _rate(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _mebibytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 2**20:,.0f}"
