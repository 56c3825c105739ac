"""Does a browser show the pages as they are meant, on a telephone and a desk, by day and by night, and ask nobody?"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chromium import Chromium, Page
from vitral.reporting import write_comparison, write_repetition, write_report
from vitral.runs import put_together

PHONE, DESK = 390, 1440
LOOK = Path(__file__).with_name("look.js").read_text("utf-8")
# A page tells of what its own policy stopped only while it happens.
LISTEN = """
window.stopped = [];
document.addEventListener("securitypolicyviolation", (event) => {
  stopped.push(event.violatedDirective + " " + event.blockedURI);
});
"""
ODD_NAMES = (
    "Pneumonoultramicroscopicsilicovolcanoconiosis_with_no_space_at_all_in_a_name_that_goes_on",
    "<script>alert(1)</script>",
    "\"quoted\" 'twice' & more",
    "tarte aux pommes à l’ancienne, façon grand-mère",
    "寿司と刺身の盛り合わせ",
    "شاورما",
    "🍕🍕",
    "x",
    "{{ 7 * 7 }}",
    "C:\\photos\\dogs",
)
Read = Callable[[str], np.ndarray]


def read(path: str) -> np.ndarray:
    if path.endswith("/1.jpg"):
        raise FileNotFoundError(path)
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def look_at(path: str) -> np.ndarray:
    return np.eye(4)


def objections(browser: Chromium, file: Path, width: int, dark: bool) -> dict[str, list[str]]:
    """All that is wrong with a page, by kind; kinds without anything left out."""
    with Page(browser, file, width=width, dark=dark, before=LISTEN) as page:
        found = page.evaluate(LOOK)
        found["policy"] = page.evaluate("stopped")
        across = page.evaluate("document.scrollingElement.scrollWidth")
        found["overflow"] = [f"{across} px of {width}"] if across > width else []
        asked = [one["request"]["url"] for one in page.happened("Network.requestWillBeSent")]
        found["network"] = [url for url in asked if url != file.as_uri() and not url.startswith("data:")]
        found["console"] = [
            *(one["entry"]["text"] for one in page.happened("Log.entryAdded")),
            *(str(one["args"]) for one in page.happened("Runtime.consoleAPICalled")),
            *(one["exceptionDetails"]["text"] for one in page.happened("Runtime.exceptionThrown")),
        ]
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == dark
        night = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (night != "rgb(255, 255, 255)") == dark
    return {kind: things for kind, things in found.items() if things}


def assert_fine(browser: Chromium, file: Path) -> None:
    for width in (PHONE, DESK):
        for dark in (False, True):
            found = objections(browser, file, width, dark)
            assert not found, f"at {width} px, {'dark' if dark else 'light'}: {found}"


def mostly(images: int, share: float = 0.8) -> list[bool]:
    return (np.random.default_rng(1).random(images) < share).tolist()


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_report_of_a_run(browser, make_run, language: str) -> None:
    run = make_run(
        "food-1",
        mostly(90),
        confidence=np.linspace(0.36, 0.99, 90),
        epochs=60,
        optimizer='"adamw"',
        weights='""',
    )
    run.update_run(notes=["the head starts anew, at zero: " + 3 * "another class "], state="interrupted")
    assert_fine(browser, write_report(run.path, language=language, images=read, explain=look_at))


def test_the_report_without_images(browser, make_run) -> None:
    assert_fine(browser, write_report(make_run("weak", mostly(30, 0.3), split="validation").path))


def test_long_and_odd_class_names(browser, make_run) -> None:
    names = [*ODD_NAMES, *(f"class number {number}" for number in range(10))]
    run = make_run(40 * "long-", mostly(200), class_names=names, confidence=np.linspace(0.2, 0.99, 200))
    assert_fine(browser, write_report(run.path, images=read, explain=look_at))


def test_more_classes_than_a_matrix_can_show(browser, make_run) -> None:
    names = [*ODD_NAMES, *(f"class number {number}" for number in range(30))]
    run = make_run("many", mostly(400), class_names=names, epochs=1)
    run.update_run(best={"epoch": 1, "metric": "accuracy", "value": 0.8})
    assert_fine(browser, write_report(run.path, images=read))


def test_the_report_of_several_labels(browser, make_several) -> None:
    random = np.random.default_rng(0)
    targets = (random.random((60, 3)) < 0.4).astype(int)
    run = make_several("several", targets, np.clip(0.6 * targets + 0.4 * random.random((60, 3)), 0.01, 0.99))
    assert_fine(browser, write_report(run.path, language="pt", images=read))


def test_the_report_of_folds(browser, make_whole) -> None:
    whole = make_whole("folds", "folds", [[True] * 10 + [False] * 2, [True] * 12, [True] * 9 + [False] * 3])
    put_together(whole)
    assert_fine(browser, write_repetition(whole.path, images=read))


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_comparison_of_runs(browser, make_run, tmp_path: Path, language: str) -> None:
    first = make_run(
        "the first of two runs with a name longer than a telephone is wide", mostly(90), mixup=0.2
    )
    runs = [first.path, make_run("b", mostly(90, 0.4), mixup=0.8, extra='"only here"').path]
    assert_fine(browser, write_comparison(runs, tmp_path / "both.html", language))


def test_what_is_looked_for_would_be_found(browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        """<!doctype html><html lang="en"><head><meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="Content-Security-Policy" content="img-src data: http:; font-src 'none'">
        <style>body { background: #fff } @media (prefers-color-scheme: dark) { body { background: #222; color: #333 } }
        @font-face { font-family: away; src: url(http://127.0.0.1:9/away.woff) } p { font-family: away }</style>
        </head><body><img src="http://127.0.0.1:9/away.png" alt="">
        <script>console.warn("careful"); setTimeout(() => { throw new Error("broken") })</script>
        <p style="color: #999; background: #fff">pale</p><p style="font-size: 8px">tiny letters</p>
        <div style="width: 1500px">wide</div>
        <div style="width: 40px; overflow: hidden; white-space: nowrap">cut before its end</div>
        <svg class="chart" viewBox="0 0 100 50" style="width: 300px"><text x="10" y="20">one</text>
        <text x="14" y="22">two</text><text x="90" y="40">outside</text></svg></body></html>""",
        "utf-8",
    )
    found = objections(browser, page, PHONE, dark=False)
    assert found["network"] == ["http://127.0.0.1:9/away.png", "http://127.0.0.1:9/away.woff"]
    assert found["policy"] == ["font-src http://127.0.0.1:9/away.woff"]
    assert found["overflow"]
    assert found["contrast"] == ["2.85: pale"]  # #999 on white, as WebAIM's checker has it
    assert found["tiny"] == ["8.0 px: tiny letters"]
    assert found["cut"] == ["cut before its end", "outside"]
    assert found["overlapping"] == ["one and two"]
    for text in ("careful", "Uncaught", "font-src"):
        assert any(text in line for line in found["console"]), text
    assert "overflow" in objections(browser, page, DESK, dark=True)
