"""Renew the pictures of the report in docs/images from a run: python tools/report_pictures.py vitral-demo.

RUN/report.html is written anew on the way, in Portuguese and in the end in English. The run of the pictures that stand
there is that of `vitral demo`.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from chromium import Chromium, Page, find_chromium
from vitral.files import written_whole
from vitral.workflow import report

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
CURVES = "document.querySelector('svg.chart').closest('section').getBoundingClientRect()"
DESK = 1440
WIDTH, SCREEN = 390, 844


def main() -> None:
    """Photograph the report: both languages at a desk, by night too, and screens of a telephone by day beside night."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run with epochs, and its DATA where it was")
    run = parser.parse_args().run
    executable = find_chromium()
    if executable is None:
        parser.error("Chromium is not here: install it (Debian: apt install chromium)")
    with Chromium(executable) as browser:
        write(at_a_desk(browser, report([run], language="pt")), "report-pt")
        page = report([run], language="en")
        write(at_a_desk(browser, page), "report")
        write(at_a_desk(browser, page, dark=True), "report-dark")
        write(on_a_telephone(browser, page), "report-phone")


def at_a_desk(browser: Chromium, file: Path, dark: bool = False) -> Image.Image:
    """The page from its head to the end of its curves."""
    with Page(browser, file, width=DESK, dark=dark) as page:
        return opened(page.picture(height=page.evaluate(f"{CURVES}.bottom") + 40))


def on_a_telephone(browser: Chromium, file: Path) -> Image.Image:
    """The first screen and that of the curves, each in light and in dark, in one row."""
    row = Image.new("RGB", (4 * WIDTH, SCREEN))
    for dark in (False, True):
        with Page(browser, file, width=WIDTH, height=SCREEN, dark=dark) as page:
            for column, top in enumerate((0, page.evaluate(f"{CURVES}.top") - 40)):
                row.paste(opened(page.picture(top, SCREEN)), (WIDTH * (2 * column + dark), 0))
    return row


def opened(png: bytes) -> Image.Image:
    """The picture of these bytes."""
    return Image.open(io.BytesIO(png)).convert("RGB")


def write(image: Image.Image, name: str) -> None:
    """Write a picture of docs/images whole, and say how large it is."""
    path = IMAGES / f"{name}.png"
    with written_whole(path) as unfinished:
        image.save(unfinished, "PNG", optimize=True)
    print(f"{path}: {image.width} × {image.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
