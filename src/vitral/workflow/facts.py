"""What run.json says from the start, of a training and of a probe alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from vitral.language import in_both
from vitral.runs import versions


def run_facts(
    overview: dict[str, Any], command: Sequence[str], data_hash: str, weights_hash: str | None
) -> dict[str, Any]:
    """From the overview, the command, and the hashes of data and weights."""
    data, model, machine = dict(overview["data"]), overview["model"], dict(overview["machine"])
    for name in ("device_reason", "backend_reason", "precision_reason"):
        if name in machine:
            machine[name] = in_both(machine[name])
    for name in ("channels", "dtype", "range"):
        data.pop(name, None)  # folds have a range each
    return {
        "command": list(command),
        "state": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "versions": versions(),
        "machine": machine,
        "hashes": {"data": data_hash, "weights": weights_hash},
        "data": data,
        "model": {key: model[key] for key in ("name", "weights", "parameters", "multiply_adds")},
        "best": {"epoch": None, "metric": None, "value": None},
        "notes": list(map(in_both, overview["notes"])),
    }
