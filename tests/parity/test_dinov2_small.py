"""A real pretrained ViT-S/14 in the layout of transformers, on photographs."""

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vitral.inspection import position_pattern, position_similarity
from vitral.weights import load_model, read_checkpoint

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

NETWORK = "ViT-S/14, pretrained"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(shared):
    """The checkpoint: what VITRAL_DINOV2_SMALL names, what an earlier run built, or what the tool builds now."""
    named = os.environ.get("VITRAL_DINOV2_SMALL")
    place = Path(named) if named else Path.home() / ".cache/vitral-test/dinov2-small"
    if not (place / "model.safetensors").is_file():
        tool = shared / "tools" / "get_dinov2_small.py"
        uv = (
            f"{sys.executable} -m uv run --no-project --isolated --with onnx,numpy,safetensors python".split()
        )
        done = subprocess.run([*uv, tool, place], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no reason given").splitlines()[-1]
            pytest.skip(f"{tool.name} built no checkpoint ({last}): it needs onnx and the network")
    return place


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
