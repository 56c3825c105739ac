"""Does the report say what came out, plainly, to anybody, in one harmless file?"""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.stats import binomtest

from vitral.errors import ImageError, UsageError
from vitral.files import write_json
from vitral.reporting import write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The visible text, the references, and whether every element is closed where it was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.references += [
            value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if "style" not in self.open:
            self.text += data + " "


def grey(path: str) -> np.ndarray:
    return np.full((40, 60, 3), 128, dtype=np.uint8)


def page_of(run, **options) -> Page:
    return Page(write_report(run.path, **options).read_text("utf-8"))


def test_the_headline_has_images_interval_and_the_baseline(make_run) -> None:
    page = page_of(make_run("food-1", [True] * 85 + [False] * 15, labels=[0] * 40 + [1] * 35 + [2] * 25))
    assert "85.0% of 100 test images classified correctly" in page.text
    interval = binomtest(85, 100).proportion_ci(method="wilson")
    assert f"95% interval: {100 * interval.low:.1f}% to {100 * interval.high:.1f}%" in page.text
    assert "Always answering “pizza” would give 40.0%" in page.text
    assert "not distinguishable" not in page.text
    assert "Few test images" not in page.text
    assert "optimistic" not in page.text


def test_the_report_tells_what_was_trained_on_what_how_long_and_where(make_run) -> None:
    run = make_run("food-1", [True] * 30)
    shape = {"image_size": [32, 32], "patch_size": [4, 4], "layers": 6, "dim": 128, "heads": 4}
    write_json(run.config, {"format": "vitral", "version": 1, "architecture": shape})
    text = page_of(run).text
    for fact in (
        "vit_mini_patch4_32",
        "1.23 M parameters",
        "98.8 M multiply-adds",
        "3 epochs in 1 min 15 s",
        "weights of epoch 2, the best by balanced accuracy",
        "Some processor",
        "8 cores · 16.0 GiB",
        "6 layers, 128 wide, 4 heads, patches of 4 × 4 px",
        "4,530 images, 3 classes",
        "64 × 48 to 128 × 96 px",
        "vitral train photos",
        "2.15.0",
    ):
        assert fact in text, fact


@pytest.mark.parametrize(
    ("language", "phrase"), [("en", "not distinguishable from"), ("pt", "não se distingue de")]
)
def test_a_result_at_chance_is_called_so(make_run, language: str, phrase: str) -> None:
    weak = page_of(make_run("weak", [True, False, False] * 25), language=language)
    assert phrase in weak.text
    assert phrase not in page_of(make_run("good", [True, True, False] * 25), language=language).text


def test_few_images_and_a_validation_split_are_said(make_run) -> None:
    page = page_of(make_run("few", [True] * 20 + [False] * 10, split="validation"))
    assert "Few validation images." in page.text
    assert "These figures are optimistic." in page.text


def test_one_file_that_asks_nothing_of_the_network(make_run) -> None:
    run = make_run("food-1", [True, True, False] * 20)
    html = write_report(run.path, images=grey, explain=lambda image: np.ones((4, 4))).read_text("utf-8")
    page = Page(html)
    assert not page.open
    assert page.references
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in page.references)
    assert not re.search(r"url\(|@import|https?:", html)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)


def test_names_from_outside_are_text_and_never_markup(make_run) -> None:
    names = ["<script>alert(1)</script>", "\"quoted\" 'twice' & more", "{{ 7 * 7 }}"]
    run = make_run("<b>run", [True, True, False] * 20, class_names=names, flip='"<i>none</i>"')
    run.update_run(notes=["<img src=x onerror=alert(1)>"])
    page = page_of(run, images=grey)
    assert "script" not in page.tags
    for text in (*names, "<i>none</i>", "<b>run", "<img src=x onerror=alert(1)>"):
        assert text in page.text
    assert f"test/{names[1]}/1.jpg" in page.text


def test_the_confusion_matrix_counts_as_given(make_run) -> None:
    # 30 images, ten of each class; the first nine wrong ones answer the next class.
    html = write_report(make_run("run", [False] * 9 + [True] * 21).path).read_text("utf-8")
    matrix = re.search(r'<table class="confusion">.*?</table>', html, re.DOTALL)
    assert matrix
    rows = re.findall(r"<tr><th scope.*?</tr>", matrix[0], re.DOTALL)
    cells = [[cell or "0" for cell in re.findall(r"<td.*?>(\d*)</td>", row)] for row in rows]
    assert cells == [["7", "3", "0"], ["0", "7", "3"], ["3", "0", "7"]]


def test_the_most_confident_mistakes_come_first_with_their_pictures(make_run) -> None:
    right = [index % 3 != 0 for index in range(60)]
    confidence = [0.5 + index / 150 for index in range(60)]
    asked: list[str] = []

    def images(path: str) -> np.ndarray:
        asked.append(path)
        return grey(path)

    page = page_of(make_run("run", right, confidence=confidence), images=images)
    assert asked[:2] == ["test/pizza/57.jpg", "test/pizza/54.jpg"]
    assert asked[12:14] == ["test/steak/1.jpg", "test/sushi/2.jpg"]
    assert len(page.references) == len(asked) == 24
    assert "88.0%" in page.text


def test_a_picture_that_has_gone_is_said_and_the_others_shown(make_run) -> None:
    def images(path: str) -> np.ndarray:
        if path.endswith("/0.jpg"):
            raise FileNotFoundError(path)
        if path.endswith("/3.jpg"):
            raise ImageError("the file is empty")
        return grey(path)[:, :, :1]

    page = page_of(make_run("run", [False] * 4 + [True] * 8), images=images)
    assert page.text.count("picture not readable") == 2
    assert len(page.references) == 10


def test_without_images_no_picture_and_no_file_name(make_run) -> None:
    run = make_run("run", [True, True, False] * 10)
    html = write_report(run.path).read_text("utf-8")
    assert ".jpg" not in html
    assert "<img" not in html
    assert "Files that could not be read: 1" in html


def test_the_report_does_not_tell_where_files_lie_on_this_machine(make_run, tmp_path) -> None:
    html = write_report(make_run("run", [True, False, True]).path, images=grey).read_text("utf-8")
    assert "pizza/9.jpg" in html
    assert "the file is empty" in html
    for place in ("/home/ana", "/opt/tools", str(tmp_path)):
        assert place not in html


def test_nor_does_anything_else_in_it(make_run) -> None:
    run = make_run("run", [True, False, True], weights='"/home/ana/weights/s.pth"', pool='""')
    facts = run.read_run()
    run.update_run(
        command=[
            "C:\\tools\\vitral",
            "train",
            "/home/ana/my photos",
            "--from=/home/ana/weights/s.pth",
            "--epochs",
            "3",
        ],
        data=facts["data"] | {"spec": "/home/ana/my photos"},
        model=facts["model"] | {"weights": "/home/ana/weights/s.pth"},
    )
    page = page_of(run, images=grey)
    assert "/home" not in page.text
    assert "tools" not in page.text
    assert "vitral train 'ana/my photos' --from=weights/s.pth --epochs 3" in page.text
    assert "run.json has them whole" in page.text
    assert "pool –" in page.text
    assert "run.json has them whole" not in page_of(make_run("other", [True, False, True])).text


def test_notes_name_files_only_where_pictures_are_shown(make_run) -> None:
    run = make_run("run", [True, False, True])
    note = (
        "2 images under different labels, for instance test/pizza/0.jpg (pizza) and test/steak/1.jpg (steak)"
    )
    run.update_run(notes=[{"en": note, "pt": note}])
    assert note in page_of(run, images=grey).text
    bare = page_of(run).text
    assert "for instance … (pizza) and … (steak)" in bare
    assert ".jpg" not in bare


@pytest.mark.parametrize(
    ("confidence", "said"),
    [
        (0.95, "a probability of 95.0%, and 75.0% of them are right: it is too sure"),
        (0.78, "no difference beyond chance"),
        (0.4, "it is surer to be right than it says"),
    ],
)
def test_a_model_that_believes_too_much_or_too_little_is_called_so(
    make_run, confidence: float, said: str
) -> None:
    # Wilson's interval of 75 in 100 is 65.7% to 82.5%.
    run = make_run("run", [True, True, True, False] * 25, confidence=[confidence] * 100)
    assert said in page_of(run).text


def test_the_reliability_diagram_counts_the_answers_of_each_bin(make_run) -> None:
    confidence = np.random.default_rng(0).uniform(0.35, 0.999, 200).round(6)
    run = make_run("run", [True, False] * 100, confidence=confidence)
    html = write_report(run.path).read_text("utf-8")
    counts = [int(count) for count in re.findall(r'<rect class="bar".*?<title>(\d+)</title>', html)]
    expected, _ = np.histogram(confidence, bins=15, range=(0, 1))
    assert counts == [count for count in expected if count]


def test_how_even_the_classes_are_is_said(make_run) -> None:
    run = make_run("run", [True] * 30)
    text = page_of(run).text
    assert "about equally many images" in text
    assert "Every file could be read." not in text  # one is bad
    data = run.read_run()["data"]
    uneven = {"pizza": 1200, "steak": 100, "sushi": 300}
    run.update_run(data=data | {"bad_files": [], "images": data["images"] | {"train": uneven}})
    text = page_of(run).text
    assert "pizza (1,200), has 12 times as many images as the rarest, steak (100)" in text
    assert "Balanced accuracy and the recall of each class say more here" in text
    assert "Every file could be read." in text
    run.update_run(data=data | {"images": data["images"] | {"train": {"pizza": 5, "sushi": 5}}})
    assert "There is no image of steak to learn from." in page_of(run).text


def test_ticks_of_an_axis_are_written_alike(make_run) -> None:
    run = make_run("run", [True] * 30)  # the loss falls from 2 to 0.67
    html = write_report(run.path, language="pt").read_text("utf-8")
    chart = re.search(r'<svg class="chart".*?aria-label="Perda por época">(.*?)</svg>', html)
    assert chart
    ticks = re.findall(r'text-anchor="end">(.*?)</text>', chart[1])
    assert ticks[:5] == ["0,0", "0,5", "1,0", "1,5", "2,0"]


def test_portuguese_readers_get_portuguese_and_decimal_commas(make_run) -> None:
    page = page_of(make_run("run", [True] * 85 + [False] * 15), language="pt")
    assert "85,0% das 100 imagens de teste classificadas corretamente" in page.text
    assert "4.600 imagens" in page.text
    assert "accuracy" not in page.text


def test_an_interrupted_run_without_evaluation_still_has_its_curves(make_run) -> None:
    run = make_run("run", [True, False, True])
    run.update_run(state="interrupted")
    run.evaluation.unlink()
    run.predictions.unlink()
    page = page_of(run, images=grey)
    assert "Training was interrupted." in page.text
    assert "No evaluation yet" in page.text
    assert page.tags.count("polyline") == 4


@pytest.mark.parametrize("classes", [10, 200])
def test_ten_thousand_images_stay_small(make_run, classes: int) -> None:
    random = np.random.default_rng(0)
    right = random.random(10_000) < 0.9
    names = [f"class {index}" for index in range(classes)]
    run = make_run("run", right, class_names=names, confidence=0.2 + 0.79 * random.random(10_000))
    path = write_report(
        run.path,
        # Noise: no picture of the same size takes more bytes.
        images=lambda path: random.integers(0, 256, (300, 400, 3), dtype=np.uint8),
        explain=lambda image: random.random((16, 16)),
    )
    page = Page(path.read_text("utf-8"))
    assert len(page.references) == 2 * 24
    assert path.stat().st_size < 5_000_000


def test_of_many_classes_the_most_confused_are_named(make_run) -> None:
    right = np.ones(1000, dtype=bool)
    right[7:500:50] = False
    names = [f"class {index}" for index in range(50)]
    html = write_report(make_run("run", right, class_names=names).path).read_text("utf-8")
    pairs = re.findall(
        r'scope="row" title="class 7">class 7</th><td.*?>(.*?)</td><td class="n">(\d+)</td><td class="n">(.*?)<',
        html,
    )
    assert ("class 8", "10", "50.0%") in pairs


def test_a_path_whose_bytes_are_no_text_does_not_stop_the_report(make_run) -> None:
    run = make_run("run", [True, False, True], prefix="caf\udce9")
    assert "caf?/steak/1.jpg" in page_of(run, images=grey).text


def test_a_folder_without_a_run_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="is no run"):
        write_report(tmp_path)
