"""Is the pooling chosen that answers better, are few shots drawn as they are said to be, and is the head the probe?"""

from typing import Any

import numpy as np
import pytest
import torch

from vitral.errors import DataError
from vitral.images import Preprocessing
from vitral.transfer import Pooling, ProbeRecipe, classifier_from, few_shots, fit
from vitral.transfer import fitting as fitting_module
from vitral.weights import Checkpoint

METHODS = ("least-squares", "logistic", "knn")
ONE, FOUR = Pooling(2, 1, "token"), Pooling(2, 2, "token_average")


def task(images: int = 60, seed: int = 0) -> tuple[dict[Pooling, np.ndarray], np.ndarray]:
    """Noise under one pooling; under the other, classes that can be told apart with some mistakes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    middles = np.random.default_rng(99).normal(0, 0.6, (3, 128))
    noise = generator.normal(0, 1, (images, 32)).astype(np.float32)
    return {
        ONE: noise,
        FOUR: (middles[labels] + generator.normal(0, 2, (images, 128))).astype(np.float32),
    }, labels


@pytest.mark.parametrize("method", METHODS)
def test_the_pooling_that_answers_left_out_images_is_chosen(method: Any) -> None:
    features, labels = task()
    recipe = ProbeRecipe(method=method)
    for order in (features, dict(reversed(features.items()))):
        fitted = fit(recipe, order, labels, 3)
        assert fitted.pooling == FOUR
    settled = fitted.settled(recipe)
    assert (settled.layer, settled.feature_layers, settled.pool) == (2, 2, "token_average")
    assert (settled.strength is None) == (method == "knn") == (settled.neighbours is not None)
    others, truth = task(600, seed=1)
    assert (fitted.answers(others[FOUR]) == truth).mean() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_few_shots_are_balanced_draws_that_follow_from_the_seed(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = task()
    test_features, test_labels = task(90, seed=1)
    taken: list[np.ndarray] = []
    real = fitting_module.fit

    def spy(recipe: Any, values: Any, own: np.ndarray, *rest: Any, **named: Any) -> Any:
        taken.append(own)
        return real(recipe, values, own, *rest, **named)

    monkeypatch.setattr(fitting_module, "fit", spy)
    recipe = ProbeRecipe(method=method, shots=(1, 5, "all"), draws=3)

    def rows(seed: int) -> list[dict[str, Any]]:
        return few_shots(recipe, features, labels, test_features, test_labels, 3, seed=seed)

    first = rows(0)
    assert [np.bincount(own).tolist() for own in taken] == [[1] * 3] * 3 + [[5] * 3] * 3 + [[20] * 3]
    assert rows(0) == first
    assert rows(1)[1]["mean"] != first[1]["mean"]
    assert first[1]["minimum"] < first[1]["maximum"]  # the draws differ
    assert first[0]["mean"] < first[2]["mean"]
    # More shots leave the draws of others as they are.
    alone = few_shots(recipe.replace(shots=(5,)), features, labels, test_features, test_labels, 3)
    assert alone == first[1:2]
    with pytest.raises(DataError, match="--shots 21 is more than the 20 training images"):
        few_shots(recipe.replace(shots=(5, 21, 40)), features, labels, test_features, test_labels, 3)


def test_views_of_an_image_are_drawn_together_and_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = task(30)
    doubled = {pooling: np.concatenate([values, values]) for pooling, values in features.items()}
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    real = fitting_module.fit

    def spy(recipe: Any, values: Any, *rest: Any, groups: np.ndarray, seed: int) -> Any:
        seen.append((values[ONE], groups))
        return real(recipe, values, *rest, groups=groups, seed=seed)

    monkeypatch.setattr(fitting_module, "fit", spy)
    few_shots(
        ProbeRecipe(shots=(4,), draws=3), doubled, np.tile(labels, 2), features, labels, 3,
        views=2, groups=np.tile(np.arange(30), 2),
    )  # fmt: skip
    for values, groups in seen:
        np.testing.assert_array_equal(values[:12], values[12:])
        np.testing.assert_array_equal(groups[:12], groups[12:])
        assert len(set(groups.tolist())) == 12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("pooling", "changes"),
    [
        (Pooling(1, 1, "token"), {}),
        (Pooling(2, 2, "token_average"), {"representation_size": 9}),
        (Pooling(2, 3, "average"), {"registers": 2}),
        (Pooling(2, 1, "attention"), {"pool": "attention", "class_token": False}),
        (Pooling(2, 1, "distilled"), {"pool": "distilled", "distillation_token": True}),
    ],
    ids=lambda value: value.pool if isinstance(value, Pooling) else "",
)
def test_the_classifier_answers_what_the_probe_answers(
    small: Any, lively: Any, method: Any, pooling: Pooling, changes: dict[str, Any]
) -> None:
    model = lively(small(**changes))
    checkpoint = Checkpoint(model.config, Preprocessing((16, 24)), (), model.state_dict())
    images = torch.randn(24, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    labels = np.arange(24) % 3
    cut = model.config.replace(
        layers=pooling.layer + 1, feature_layers=pooling.feature_layers, pool=pooling.pool, num_classes=0,
        representation_size=None,
    )  # fmt: skip
    from vitral.model import VisionTransformer

    backbone = VisionTransformer(cut).eval()
    backbone.load_state_dict({name: model.state_dict()[name] for name in backbone.state_dict()})
    with torch.no_grad():
        features = backbone.pool(backbone.forward_features(images)).numpy()
    fitted = fit(ProbeRecipe(method=method), {pooling: features}, labels, 3)
    classifier = classifier_from(checkpoint, fitted, ("a", "b", "c"))
    with torch.no_grad():
        answers = classifier.model()(images).softmax(dim=-1).numpy()
    if method == "knn":
        expected = fitted.probe.shares(features)
    else:
        scores = fitted.probe.scores(features)
        expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers, expected, atol=1e-4)
