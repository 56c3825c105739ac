"""Does confident learning find the labels that were made wrong on purpose, and by its own definition?"""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from vitral.errors import VitralError
from vitral.runs import Predictions, doubtful_labels, read_second_look
from vitral.runs.second_look import (
    DoubtfulLabel,
    confident_classes,
    doubtful_answers,
    write_second_look,
)


def predictions_of(labels: np.ndarray, probabilities: np.ndarray, names: str = "abcdefgh") -> Predictions:
    names = names[: probabilities.shape[1]]
    images = range(len(labels))
    return Predictions(
        class_names=tuple(names),
        paths=tuple(f"{index}.png" for index in images),
        labels=tuple(names[label] if label >= 0 else "stranger" for label in labels),
        splits=("test",) * len(labels),
        predicted=tuple(names[answer] for answer in probabilities.argmax(axis=1)),
        probabilities=probabilities,
    )


def test_by_hand() -> None:
    # Mean probabilities of their own class: a (0.9 + 0.7 + 0.2) / 3 = 0.6, b (0.8 + 0.6 + 0.1) / 3 = 0.5.
    to_a = np.array([0.9, 0.7, 0.2, 0.2, 0.4, 0.9])
    found = doubtful_labels(predictions_of(np.array([0, 0, 0, 1, 1, 1]), np.stack([to_a, 1 - to_a], axis=1)))
    # Only b counts image 2 (0.8 of at least 0.5), and only a counts image 5 (0.9 of at least 0.6).
    assert [(one.path, one.label, one.suggested) for one in found] == [
        ("5.png", "b", "a"),
        ("2.png", "a", "b"),
    ]
    assert [one.probability_of_label for one in found] == pytest.approx([0.1, 0.2])
    assert [one.probability_of_suggested for one in found] == pytest.approx([0.9, 0.8])
    assert [one.score for one in found] == pytest.approx([0.8, 0.6])


@pytest.mark.parametrize("seed", range(20))
def test_by_the_papers_definition(seed: int) -> None:
    """Equations 1 and 2 image by image, with Python's own loops."""
    draw = np.random.default_rng(seed)
    classes, images = int(draw.integers(2, 6)), 60
    labels = draw.integers(0, classes, images)
    probabilities = draw.dirichlet(np.full(classes, 0.4), images)
    thresholds = {}
    for j in range(classes):
        own = [probabilities[x][j] for x in range(images) if labels[x] == j]
        thresholds[j] = sum(own) / len(own) if own else None
    expected = []
    for x in range(images):
        enough = [j for j in range(classes) if thresholds[j] and probabilities[x][j] >= thresholds[j]]
        expected.append(max(enough, key=lambda j, x=x: probabilities[x][j]) if enough else -1)
    assert confident_classes(labels, probabilities).tolist() == expected
    found = {one.path: one.suggested for one in doubtful_labels(predictions_of(labels, probabilities))}
    assert found == {
        f"{x}.png": "abcdefgh"[expected[x]] for x in range(images) if expected[x] not in (-1, labels[x])
    }


def test_flipped_labels_are_found() -> None:
    """Five classes as clouds of points; the probabilities are those of the clouds, not learned from wrong labels."""
    draw = np.random.default_rng(0)
    classes, images = 5, 1500
    centres = 4.0 * np.eye(classes)  # so far apart that not one in a hundred points is nearer to another
    truth = draw.integers(0, classes, images)
    points = centres[truth] + draw.normal(0, 1, (images, classes))
    odds = np.exp(-((points[:, None] - centres) ** 2).sum(axis=2) / 2)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    flipped = draw.random(images) < 0.06
    labels = np.where(flipped, (truth + draw.integers(1, classes, images)) % classes, truth)
    found = doubtful_labels(predictions_of(labels, probabilities))
    positions = np.array([int(one.path.removesuffix(".png")) for one in found])
    assert flipped[positions].mean() > 0.8
    assert flipped[positions].sum() > 0.85 * flipped.sum()
    # Ranked by how sure that is: the first half of the list is right but for a few.
    assert flipped[positions[: len(positions) // 2]].mean() > 0.97
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 1


def test_flipped_labels_are_found_by_models_that_learned_from_such() -> None:
    """Real digits, one label in twenty wrong, and out-of-fold answers of scikit-learn's nearest neighbours."""
    draw = np.random.default_rng(1)
    images, truth = load_digits(return_X_y=True)
    flipped = draw.random(len(truth)) < 0.05
    labels = np.where(flipped, (truth + draw.integers(1, 10, len(truth))) % 10, truth)
    division = StratifiedKFold(5, shuffle=True, random_state=0)
    probabilities = cross_val_predict(
        KNeighborsClassifier(10), images, labels, cv=division, method="predict_proba"
    )
    found = doubtful_labels(predictions_of(labels, probabilities, "0123456789"))
    positions = np.array([int(one.path.removesuffix(".png")) for one in found])
    assert flipped[positions].mean() > 0.9
    assert flipped[positions].sum() > 0.75 * flipped.sum()
    assert flipped[positions[: len(positions) // 2]].all()
    # Listing whatever was answered otherwise is worse: every fourth of those labels is right.
    otherwise = probabilities.argmax(axis=1) != labels
    assert flipped[otherwise].mean() < 0.8


def test_unknown_labels_and_absent_classes_are_passed_over() -> None:
    labels = np.array([0, 0, -1, 0])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.05, 0.95]])
    # Nobody is labelled b, so there is no knowing how probable b must be.
    assert doubtful_labels(predictions_of(labels, probabilities)) == ()


def test_the_list_survives_a_file(tmp_path) -> None:
    labels = (
        DoubtfulLabel('a,"b"\nc.png', "maçã", "pêra", 0.125, 0.75, 0.625),
        DoubtfulLabel("old\rMac.png", "x", "y", 0.25, 0.5, 0.25),
    )
    write_second_look(tmp_path / "second_look.csv", labels)
    assert read_second_look(tmp_path / "second_look.csv") == labels
    text = (tmp_path / "second_look.csv").read_text("utf-8")
    assert text.startswith("path,label,suggested,probability_of_label,probability_of_suggested,score")


@pytest.mark.parametrize(
    "content", ["", "path,label\n", "{}a.png,b,c,0.1,0.9\n", "{}a.png,b,c,0.1,0.9,much\n"]
)
def test_a_damaged_list_is_an_error(tmp_path, content: str) -> None:
    headings = "path,label,suggested,probability_of_label,probability_of_suggested,score\n"
    (tmp_path / "second_look.csv").write_text(content.replace("{}", headings))
    with pytest.raises(VitralError, match=r"second_look\.csv is damaged"):
        read_second_look(tmp_path / "second_look.csv")
    with pytest.raises(VitralError, match="--resume"):
        read_second_look(tmp_path / "nothing.csv")


def test_of_several_labels_every_answer_is_doubted_as_a_pair_of_classes() -> None:
    """A class with its probability is two classes, there and not there, and each image has one of them."""
    draw = np.random.default_rng(0)
    has = draw.random((80, 3)) < 0.4
    probabilities = np.clip(0.5 + 0.3 * (has - 0.5) + draw.normal(0, 0.25, has.shape), 0, 1)
    names = np.array(["a", "b", "c"], dtype=object)
    several = Predictions(
        class_names=tuple(names),
        paths=tuple(f"{index}.png" for index in range(80)),
        labels=tuple("|".join(names[row]) for row in has),
        splits=("test",) * 80,
        predicted=("",) * 80,
        probabilities=probabilities,
    )
    expected = set()
    for column, name in enumerate(names):
        pair = np.stack([1 - probabilities[:, column], probabilities[:, column]], axis=1)
        for one in doubtful_labels(predictions_of(has[:, column].astype(int), pair, "ny")):
            given = set(names[has[int(one.path[:-4])]])
            texts = "|".join(sorted(given)), "|".join(sorted(given ^ {name}))
            expected.add(
                (one.path, *texts, one.probability_of_label, one.probability_of_suggested, one.score)
            )
    found = doubtful_answers(several)
    assert {tuple(vars(one).values()) for one in found} == expected
    assert len(found) == len(expected) > 5
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
