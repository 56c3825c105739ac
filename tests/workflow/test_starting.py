"""Are classes matched by name, sizes and channels fitted, and is what changed said?"""

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral.data import open_data
from vitral.errors import ConfigError
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, create_model
from vitral.training import RECIPES, Recipe
from vitral.weights import Checkpoint, read_checkpoint, write_checkpoint
from vitral.workflow import Run, train
from vitral.workflow.starting import start_anew, start_from, with_channels

KEEP = Recipe()  # asks for no size, no pooling


def checkpoint(folder: Path, model: VisionTransformer, class_names: tuple[str, ...] = ()) -> str:
    size, channels = model.config.image_size, model.config.channels
    half = (0.5,) * channels
    preprocessing = Preprocessing(size, mean=half, std=half, channels=channels)
    write_checkpoint(folder, Checkpoint(model.config, preprocessing, class_names, model.state_dict()))
    return str(folder)


def test_head_rows_follow_their_class_by_name(
    run: Run, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    # The run knows blue, green, red in this order; these data have green, grey, red.
    data = open_data(make_folder(tmp_path / "photos", ("green", "grey", "red")))
    start = start_from(str(run.path), data, KEEP, asked=())
    old, new = read_checkpoint(run.path).tensors, start.model.state_dict()
    assert torch.equal(new["head.weight"][[0, 2]], old["head.weight"][[1, 2]])
    assert torch.equal(new["head.bias"][[0, 2]], old["head.bias"][[1, 2]])
    assert not new["head.weight"][1].any()
    assert not new["head.bias"][1].any()
    assert torch.equal(new["blocks.0.mlp.hidden.weight"], old["blocks.0.mlp.hidden.weight"])
    assert start.notices == (
        "classes matched by name: the head keeps 'green', 'red', starts 'grey' at zero, and drops 'blue'",
    )


def test_fine_tuning_on_the_same_classes_goes_on_where_the_run_stood(
    run: Run, photos: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    start = start_from(str(run.path), open_data(photos), KEEP, asked=())
    old = read_checkpoint(run.path).tensors
    assert all(torch.equal(tensor, old[name]) for name, tensor in start.model.state_dict().items())
    assert start.notices == ()
    fine = {name: value for name, value in tiny.items() if name != "model"}
    tuned = train(
        photos, weights=run.path, output=tmp_path / "tuned", **(fine | {"epochs": 1, "image_size": 16})
    )
    facts = json.loads((tuned.path / "run.json").read_text())
    assert (facts["model"]["name"], facts["model"]["weights"]) == (None, str(run.path))
    assert (
        facts["hashes"]["weights"]
        == hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest()
    )
    # As few images ask for, where nothing else was.
    assert (
        tomllib.loads((tuned.path / "recipe.toml").read_text())["layer_decay"]
        == RECIPES["finetune-small"].layer_decay
    )


def test_weights_without_a_class_in_common_start_a_head_of_zeros(photos: Path, tmp_path: Path) -> None:
    data = open_data(photos)
    for names, said in ((("dog", "cat"), "none of its classes is among"), ((), "the weights have none")):
        model = create_model("vit_mini_patch8_16", num_classes=len(names))
        start = start_from(checkpoint(tmp_path / str(len(names)), model, names), data, KEEP, asked=())
        assert start.model.config.num_classes == 3
        assert not start.model.head.weight.any()
        (notice,) = start.notices
        assert "the head starts anew, at zero" in notice
        assert said in notice
        assert start.model(torch.zeros(1, 3, 16, 16)).shape == (1, 3)


def test_a_recipes_head_bias_is_what_a_new_head_says_of_any_image(photos: Path, tmp_path: Path) -> None:
    """big_vision's sigmoid recipes start at -10: every class is thought unlikely, and the first loss is small."""
    data, recipe = open_data(photos), Recipe(head_bias=-10.0)
    model = create_model("vit_mini_patch8_64", image_size=32, num_classes=2)
    new = start_anew(model.config, data, recipe, seed=0)
    tuned = start_from(checkpoint(tmp_path / "other", model, ("cat", "dog")), data, recipe, asked=())
    for start in (new, tuned):
        assert torch.equal(
            start.model(torch.rand(2, 3, 32, 32)), torch.full((2, len(data.class_names)), -10.0)
        )


def test_a_recipes_size_applies_where_the_patches_divide_it(photos: Path, tmp_path: Path) -> None:
    data = open_data(photos)
    paper = Recipe(image_size=384)
    fits = checkpoint(tmp_path / "fits", create_model("vit_mini_patch16_32", num_classes=0))
    assert start_from(fits, data, paper, asked=()).model.config.image_size == (384, 384)
    odd = checkpoint(tmp_path / "odd", create_model("vit_mini_patch5_15", num_classes=0))
    start = start_from(odd, data, paper, asked=())
    assert start.model.config.image_size == start.preprocessing.size == (15, 15)
    assert start.recipe.image_size == 0
    assert start.notices[:-1] == (
        "the recipe's image_size 384 is passed over: patches of 5 x 5 px do not divide it",
    )
    with pytest.raises(ConfigError, match="patches"):
        start_from(odd, data, paper, asked={"image_size"})


def test_what_a_named_recipe_wants_of_a_new_model_is_passed_over(photos: Path, tmp_path: Path) -> None:
    data = open_data(photos)
    weights = checkpoint(tmp_path, create_model("vit_mini_patch8_16", num_classes=0))
    wants = Recipe(pool="average", position_embedding="sincos_2d")
    start = start_from(weights, data, wants, asked=())
    assert (start.model.config.pool, start.recipe.pool) == ("token", "")
    assert len([notice for notice in start.notices if "is passed over" in notice]) == 2
    assert start_from(weights, data, Recipe(pool="average"), asked={"pool"}).model.config.pool == "average"
    with pytest.raises(ConfigError, match="--position-embedding sincos_2d cannot change"):
        start_from(weights, data, wants, asked={"position_embedding"})


def test_a_large_checkpoint_is_tuned_at_224_unless_more_is_asked_for(photos: Path, tmp_path: Path) -> None:
    data = open_data(photos)
    large = checkpoint(tmp_path / "large", create_model("vit_mini_patch14_252", num_classes=0))
    start = start_from(large, data, KEEP, asked=())
    assert start.model.config.image_size == (224, 224)
    assert "--image-size" in start.notices[0]
    asked = start_from(large, data, Recipe(image_size=252), asked={"image_size"})
    assert asked.model.config.image_size == (252, 252)


def test_grey_and_rgb_meet(photos: Path, tmp_path: Path) -> None:
    colour = open_data(photos)
    grey = with_channels(colour, 1)
    sample = colour.samples[0]
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(grey.read(sample)[..., 0], colour.read(sample) @ weights, atol=1)
    assert (grey.channels, colour.channels, colour.read(sample).shape[2]) == (1, 3, 3)
    digits = open_data("digits")
    model = create_model("vit_mini_patch4_8", num_classes=2)
    start = start_from(checkpoint(tmp_path, model, ("0", "1")), digits, KEEP, asked=())
    assert start.preprocessing.channels == 3
    assert "the images are grey and the network sees them as RGB" in start.notices
    as_rgb = with_channels(digits, 3)
    pixels = as_rgb.read(as_rgb.samples[0])
    assert pixels.shape == (8, 8, 3)
    assert (pixels == digits.read(digits.samples[0])).all()


def test_images_that_the_weights_learned_from_are_no_test_images(
    run: Run, photos: Path, make_folder: Callable[..., Path], tiny: dict[str, Any], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "mixed", counts={"train": 4, "test": 2}, seed=9)
    for split in ("train", "validation", "test"):
        shutil.copy(photos / split / "red" / "01.png", folder / "test" / "red" / f"from-{split}.png")
    fine = {name: value for name, value in tiny.items() if name != "model"} | {"epochs": 1, "image_size": 16}
    tuned = train(folder, weights=run.path, output=tmp_path / "tuned", **fine)
    assert tuned.metrics["images"] == 6 + 1  # of the three copies the one that only measured stays
    notes = json.loads((tuned.path / "run.json").read_text())["notes"]
    assert any(note["en"].startswith("2 test images left out") for note in notes)
    # What a run's own origin learned from stays out further down the line.
    again = train(folder, weights=tuned.path, output=tmp_path / "again", **fine)
    assert again.metrics["images"] == 6 + 1
