"""Are explanations of a real pretrained network true? Measured on photographs that it was not taught with."""

from pathlib import Path

import numpy as np
import pytest

import vitral
from vitral.inference import Explainer, Look
from vitral.inspection import compared

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def probed(dinov2_small: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    """A probe of ViT-S/14 on three dishes."""
    folder = tmp_path_factory.mktemp("runs") / "probe"
    data = shared / "data" / "food-vision-mini"
    vitral.probe(data, weights=dinov2_small, output=folder, image_size=112, device="cpu", progress=False)
    return Explainer.load(folder, device="cpu")


def test_relevance_beats_random_order(probed: Explainer, shared: Path) -> None:
    photos = sorted((shared / "data/food-vision-mini/test").rglob("*.jpg"))[::2]
    measured = [
        probed.measure(found, steps=8, seed=number) for number, found in enumerate(probed.explain(photos))
    ]
    assert len(measured) > 30
    for kind in ("deletion", "insertion"):
        low, _ = compared(measured)[kind]["interval"]
        assert low > 0


def test_the_map_of_another_class_is_another(probed: Explainer, shared: Path) -> None:
    photos = sorted((shared / "data/food-vision-mini/test").rglob("*.jpg"))[::5]
    maps = {name: probed.explain(list(photos), Look(target=name)) for name in probed.class_names}
    alike = []
    for number, found in enumerate(maps[probed.class_names[0]]):
        right = found.label
        wrong = next(name for name in probed.class_names if name != right)
        one, other = (maps[name][number].relevance.ravel() for name in (right, wrong))
        alike.append(np.corrcoef(one, other)[0, 1])
    assert np.median(alike) < 0.9


@pytest.mark.parametrize("method", ["attention", "rollout"])
def test_the_class_token_of_a_photograph_stands_on_what_is_relevant(
    dinov2_small: Path, shared: Path, method: str
) -> None:
    """Scored by its cosine with that of the unaltered photograph."""
    explainer = Explainer.load(dinov2_small, device="cpu", image_size=112)
    photos = sorted((shared / "data/photos").glob("*.jpg"))
    measured = [
        explainer.measure(found, steps=8, seed=number)
        for number, found in enumerate(explainer.explain(photos, Look(method)))
    ]
    for kind in ("deletion", "insertion"):
        low, _ = compared(measured)[kind]["interval"]
        assert low > 0
