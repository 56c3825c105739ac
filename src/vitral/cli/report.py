"""`vitral report`: the page of a run, or one page that compares several."""

from typing import Annotated, Any

from cyclopts import Parameter

from vitral.cli.output import print_result


def report(
    run: str,
    /,
    *runs: str,
    output: str | None = None,
    images: Annotated[bool, Parameter(negative="--no-images")] = True,
    language: str | None = None,
    json: bool = False,
) -> int:
    """Write a run as one self-contained HTML page.

    Several runs give one page with overlaid curves, what differs in their recipes, and how they compare on the
    images that both were measured on: the difference of the accuracies with its 95% interval.

    Args:
        run: RUN, whose report.html is written anew.
        runs: More runs, to be compared with the first.
        output: Where the comparison of several runs is written; default: comparison.html in the current folder.
        images: Show pictures and file names; --no-images leaves them out, for pages that travel.
        language: en or pt; default: the system's.
        json: Print where the page is, and of several runs the differences, as JSON.
    """
    from vitral.language import choose_language
    from vitral.workflow import compare
    from vitral.workflow import report as work
    from vitral.workflow.progress import Display
    from vitral.workflow.results import difference_lines

    spoken = choose_language(language)
    with Display(spoken) as display:
        page = work(
            [run, *runs],
            output=output,
            images=images,
            language=spoken,
            warn=display.say,
            progress=display.picturing,
        )
    document: dict[str, Any] = {"report": str(page)}
    if runs:
        document["differences"] = compare([run, *runs])

    def text(console) -> None:
        for line in difference_lines(document.get("differences", []), spoken):
            console.print(line)
        console.print(str(page))

    print_result(document, json, text)
    return 0
