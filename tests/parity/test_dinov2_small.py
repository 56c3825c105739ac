"""A real pretrained ViT-S/14 in the layout of transformers, on photographs."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from vitral.inspection import position_pattern, position_similarity
from vitral.weights import load_model, read_checkpoint

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

NETWORK = "ViT-S/14, pretrained"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(dinov2_small):
    return dinov2_small


def test_folder_tells_the_whole_network(folder):
    checkpoint = read_checkpoint(folder)
    config = checkpoint.config
    assert (config.layers, config.dim, config.heads, config.mlp_dim) == (12, 384, 6, 1536)
    assert (config.image_size, config.patch_size) == ((518, 518), (14, 14))
    assert config.num_classes == 0
    assert checkpoint.class_names == ()
    assert checkpoint.origin.family == "dinov2"
    # config.json settles the network; of the images, nothing does.
    assert set(checkpoint.origin.assumed) == {"fit", "mean", "std", "interpolation", "crop_share"}


@pytest.mark.parametrize("size", [224, 518, (224, 308)])
def test_features_of_photographs_are_transformers(folder, shared, agree, size):
    """At 518 pixels the positions are as learned, at the others both sides interpolate.

    Trained, the network magnifies what fp32 rounds: transformers' own features differ by 1e-5 of their scale from
    those that it computes in fp64. So both are compared in fp64, where nothing can hide behind rounding, and fp32 may
    differ by 1e-5 or by twice what transformers' own fp32 does.
    """
    model, peer = load_model(folder, image_size=size), transformers.Dinov2Model.from_pretrained(folder).eval()
    exact, exact_peer = deepcopy(model).double(), deepcopy(peer).double()
    preprocessing = replace(read_checkpoint(folder).preprocessing, size=model.config.image_size)
    photos = sorted((shared / "data" / "photos").glob("*.jpg"))[:3]
    assert len(photos) == 3
    with torch.no_grad():
        for photo in photos:
            image = torch.from_numpy(preprocessing(photo))[None]
            expected = exact_peer(image.double()).last_hidden_state
            agree("dinov2", f"{NETWORK}, fp64", exact.forward_features(image.double()), expected, peer="transformers",
                  tolerance=1e-10)  # fmt: skip
            rounded = peer(image).last_hidden_state
            own = (rounded - expected).abs().max() / expected.abs().max()
            agree("dinov2", NETWORK, model.forward_features(image), rounded, peer="transformers",
                  tolerance=max(1e-5, 2 * own.item()))  # fmt: skip
            assert torch.equal(model(image), model.forward_features(image)[:, 0])


@torch.no_grad()
def test_attention_to_a_photograph_is_transformers(folder, shared, agree):
    """Trained heads look at few tokens, which no random weights do. In fp64, as above."""
    model = load_model(folder, image_size=(224, 308)).double()
    peer = transformers.Dinov2Model.from_pretrained(folder, attn_implementation="eager").eval().double()
    preprocessing = replace(read_checkpoint(folder).preprocessing, size=model.config.image_size)
    photo = sorted((shared / "data" / "photos").glob("*.jpg"))[0]
    image = torch.from_numpy(preprocessing(photo))[None].double()
    expected = peer(image, output_attentions=True).attentions
    _, found = model.forward_attention(image)
    assert len(found) == len(expected) == 12
    for ours, theirs in zip(found, expected, strict=True):
        agree(
            "dinov2", f"{NETWORK}, fp64", ours, theirs, peer="transformers", way="attention", tolerance=1e-10
        )
    assert max(weights.max() for weights in found) > 0.5


def test_positions_have_the_pattern_of_the_paper(folder):
    """Figure 7, centre: a patch resembles its neighbours most, then its row and its column.

    On the grid of 37 x 37 that was learned. At 224 pixels it depends on how they are interpolated: with the low-pass
    filter, as transformers has it for registers, the pattern stays, and without one every second patch resembles one
    further away more, since fine stripes of the learned ones are undersampled.
    """
    found = position_pattern(position_similarity(load_model(folder)))
    assert found.nearest_in_4 > 0.99
    assert found.nearest_in_8 == 1
    assert found.chance_8 < 0.01
    assert min(found.same_row, found.same_column) > 0.5
    assert abs(found.elsewhere) < 0.1
    smooth = load_model(folder, image_size=224, position_interpolation="bicubic_antialias")
    assert position_pattern(position_similarity(smooth)).nearest_in_4 == 1
    assert position_pattern(position_similarity(load_model(folder, image_size=224))).nearest_in_4 < 0.8
