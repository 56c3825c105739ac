"""`vitral demo`: the main job on real digits."""

import sys
from typing import Literal

from vitral.cli.output import number, print_result, progress, table
from vitral.language import choose_language


def demo(
    *,
    output: str = "vitral-demo",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    language: str | None = None,
    json: bool = False,
) -> int:
    """Train, evaluate, predict and explain on real digits: the main job, start to end.

    It takes a minute or two on two processor cores and needs no network.

    Args:
        output: The run folder; an earlier run there is replaced.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: bf16 where the device multiplies it natively.
        language: en or pt, of what people read; default: the system's.
        json: Print what came out as JSON.
    """
    from vitral.workflow.demonstration import demonstrate
    from vitral.workflow.results import result_lines
    from vitral.workflow.texts import TEXTS

    spoken = choose_language(language)
    texts = TEXTS[spoken]
    done = demonstrate(
        output,
        device=device,
        precision=precision,
        language=spoken,
        command=["vitral", *sys.argv[1:]],
        say=lambda text: progress().print(f"\n{text}\n"),
    )
    document = {
        "run": str(done.run.path),
        "evaluation": done.run.metrics,
        "predictions": [
            {
                "path": one.sample.path,
                "true": one.label,
                "label": one.prediction.label,
                "probability": one.prediction.probability,
            }
            for one in done.shown
        ],
        "explanations": [str(path) for path in done.explanations],
        "report": str(done.run.path / "report.html"),
    }

    def text(console) -> None:
        for line in result_lines(done.run.metrics, spoken):
            console.print(line)
        console.print()
        headings = [texts[key] for key in ("image", "true", "answer", "probability")]
        rows = [
            [one.sample.path, one.label, one.prediction.label, number(round(one.prediction.probability, 3))]
            for one in done.shown
        ]
        console.print(table(headings, rows))
        console.print(f"\n{texts['demo_where']}")
        folder = done.run.path
        places = {
            "report": folder / "report.html",
            "weights": folder / "model.safetensors",
            "curves": folder / "curves.png",
            "explanations": folder / "explanations",
        }
        for key, place in places.items():
            console.print(f"  {texts[key]}: {place}")
        console.print(f"\n{texts['demo_next']}")
        for key, command in (
            ("demo_own", "vitral train PHOTOS --model vit_mini_patch8_64"),
            ("demo_photo", f"vitral predict {folder} IMAGE.png"),
            ("demo_again", f"vitral evaluate {folder} --json"),
            ("demo_summary", f"vitral summary {folder}"),
        ):
            console.print(f"  {command:52}  {texts[key]}")

    print_result(document, json, text)
    return 0
