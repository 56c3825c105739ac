"""Are the ways that are tried those that were meant, and is the front the one of the definition?"""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitral.model import VisionTransformer, ViTConfig, config_for
from vitral.workflow.candidates import SAVED, merge_counts, on_front, pairs, smaller_sizes


def counted(config: ViTConfig) -> int:
    """Operations of one image, counted by torch as they are carried out."""
    model = VisionTransformer(config.replace(num_classes=0)).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, config.channels, *config.image_size))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_mini_patch8_64", "vit_tiny_patch8_64"])
def test_merging_saves_about_what_it_shall(name: str) -> None:
    config = config_for(name)
    own, counts = counted(config), merge_counts(config)
    saved = [1 - counted(config.replace(merge=count)) / own for count in counts]
    assert len(counts) == len(SAVED)
    assert saved == pytest.approx(SAVED, abs=0.045)


def test_merging_goes_on_from_what_a_network_merges_itself() -> None:
    config = config_for("vit_base_patch16_224", merge=8)
    assert min(merge_counts(config)) > 8
    assert merge_counts(config_for("vit_mini_patch8_8")) == ()  # a single patch


def test_smaller_images_are_of_whole_patches_and_keep_their_shape() -> None:
    assert smaller_sizes(config_for("vit_small_patch14_112")) == ((98, 98), (84, 84))
    assert smaller_sizes(config_for("vit_base_patch16_224")) == ((192, 192), (160, 160))
    assert smaller_sizes(config_for("vit_base_patch16_224", image_size=(224, 448))) == (
        (192, 384),
        (160, 320),
    )
    assert smaller_sizes(config_for("vit_mini_patch8_16")) == ()  # two patches a side
    assert smaller_sizes(config_for("vit_mini_patch2_8")) == ((6, 6),)


def test_pairs_are_those_asked_for() -> None:
    assert pairs(("openvino",), None) == [("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8")]
    assert pairs(None, ("fp16",)) == [("torch", "fp16")]
    assert not any(precision == "auto" for _, precision in pairs(None, None))


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_beats(seed: int) -> None:
    """Going from the fastest to the slowest, a point is on it when it is more exact than all that are faster."""
    random = np.random.default_rng(seed)
    points = [tuple(map(float, point)) for point in random.integers(1, 8, (15, 2))]
    expected = set()
    for speed in sorted({speed for speed, _ in points}, reverse=True):
        best = max(accuracy for other, accuracy in points if other == speed)
        if all(accuracy < best for other, accuracy in points if other > speed):
            expected.add((speed, best))
    found = {point for point, on_it in zip(points, on_front(points), strict=True) if on_it}
    assert found == expected
    assert found <= {point for point, near in zip(points, on_front(points, 1.5), strict=True) if near}


def test_what_is_near_the_front_stays_when_it_is_asked_for() -> None:
    points = [(100.0, 0.8), (95.0, 0.8), (80.0, 0.8)]
    assert on_front(points) == [True, False, False]
    assert on_front(points, 1.1) == [True, True, False]
