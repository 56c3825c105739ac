"""Recipes: the paper's numbers, TOML out and in, and what a wrong field is answered."""

import math
import tomllib
from pathlib import Path

import pytest

from vitral.errors import ConfigError, UsageError
from vitral.training import RECIPES, Recipe, recipe_for
from vitral.training.recipe import resolve_recipe, to_toml

# The paper's tables 3 and 4.
PRETRAINING = {
    "paper-imagenet1k": {"epochs": 300, "learning_rate": 3e-3, "schedule": "cosine", "weight_decay": 0.3},
    "paper-imagenet21k": {"epochs": 90, "learning_rate": 1e-3, "schedule": "linear", "weight_decay": 0.03},
}


@pytest.mark.parametrize("name", PRETRAINING)
def test_pretraining_is_the_papers_table_3(name: str) -> None:
    recipe = RECIPES[name]
    expected = PRETRAINING[name] | {"momentum": 0.9, "beta2": 0.999, "warmup_steps": 10_000, "dropout": 0.1}
    assert {field: getattr(recipe, field) for field in expected} == expected
    assert recipe.total_batch == 4096
    assert recipe.clip_norm == 1
    assert (recipe.optimizer, recipe.decay) == ("adamw", "kernels")  # as the authors' trainer decays


def test_fine_tuning_is_the_papers_table_4() -> None:
    recipe = RECIPES["paper-finetune"]
    assert (recipe.optimizer, recipe.momentum, recipe.total_batch) == ("sgd", 0.9, 512)
    assert (recipe.schedule, recipe.weight_decay, recipe.clip_norm) == ("cosine", 0, 1)
    assert (recipe.image_size, recipe.dropout) == (384, 0)
    assert (recipe.steps, recipe.learning_rate) in [
        (500, rate) for rate in (0.001, 0.003, 0.01, 0.03)
    ]  # Pets, Flowers


def test_the_tutorial_is_as_its_author_wrote_it() -> None:
    recipe = RECIPES["tutorial"]
    assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == ("adam", 3e-3, 0.3)
    assert (recipe.batch_size, recipe.accumulate, recipe.epochs, recipe.steps) == (32, 1, 10, 0)
    assert (recipe.schedule, recipe.warmup_steps, recipe.warmup_epochs) == ("constant", 0, 0)
    assert recipe.decay == "all"  # torch.optim.Adam's weight decay couples to every parameter
    assert (recipe.clip_norm, recipe.ema_decay, recipe.label_smoothing) == (0, 0, 0)
    assert (recipe.random_crop, recipe.flip, recipe.mixup, recipe.cutmix) == (0, "none", 0, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_toml(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    text = to_toml(recipe.to_dict())
    assert tomllib.loads(text) == recipe.to_dict()
    file = tmp_path / "my recipe.toml"
    file.write_text(text, encoding="utf-8")
    assert recipe_for(str(file)) == recipe


@pytest.mark.parametrize(
    "name",
    [
        'a "quoted" \\ name',
        "pão de açúcar/图片 🙂",
        "line\nbreak\ttab",
        "delete\x7f",
        "it's",
        "'''",
        "C:\\new\\u0041",
    ],
)
def test_any_name_survives_toml(name: str) -> None:
    values = {"data": name, "model": None, "seed": 3, "strict": True, "rate": 1e-05, "columns": [name, "b"]}
    assert tomllib.loads(to_toml(values)) == {
        key: value for key, value in values.items() if value is not None
    }


def test_a_file_starts_from_a_named_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('recipe = "paper-finetune"\nlearning_rate = 0.03\ndata = "elsewhere"\nseed = 4\n')
    assert recipe_for(str(file)) == RECIPES["paper-finetune"].replace(learning_rate=0.03)
    assert recipe_for(str(file), epochs=3).learning_rate == 0.03
    assert recipe_for(str(file), learning_rate=1).learning_rate == 1.0


def test_a_whole_number_will_do_for_a_fraction() -> None:
    recipe = recipe_for("small-data", learning_rate=1, warmup_epochs=2)
    assert isinstance(recipe.learning_rate, float)
    assert isinstance(recipe.warmup_epochs, float)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"epoch": 3}, UsageError, ["'epoch'", "epochs"]),
        ({"learningrate": 3.0}, UsageError, ["learning_rate"]),
        ({"xyzzy": 1}, UsageError, ["xyzzy", "batch_size"]),
        ({"epochs": "3"}, ConfigError, ["epochs", "whole number", "'3'"]),
        ({"epochs": 3.5}, ConfigError, ["epochs", "3.5"]),
        ({"epochs": True}, ConfigError, ["epochs", "True"]),
        ({"epochs": -1}, ConfigError, ["epochs", "at least 0"]),
        ({"batch_size": 0}, ConfigError, ["batch_size", "at least 1"]),
        ({"accumulate": -1}, ConfigError, ["accumulate"]),
        ({"learning_rate": 0.0}, ConfigError, ["learning_rate", "above 0"]),
        ({"learning_rate": float("nan")}, ConfigError, ["learning_rate"]),
        ({"learning_rate": float("inf")}, ConfigError, ["learning_rate", "finite"]),
        ({"weight_decay": float("inf")}, ConfigError, ["weight_decay", "finite"]),
        ({"dropout": 1.0}, ConfigError, ["dropout", "below 1"]),
        ({"random_crop": 1.5}, ConfigError, ["random_crop", "between 0 and 1"]),
        ({"randaugment_magnitude": 31}, ConfigError, ["randaugment_magnitude"]),
        ({"optimizer": "adma"}, ConfigError, ["optimizer", "adamw", "'adma'"]),
        ({"flip": 3}, ConfigError, ["flip", "text"]),
        ({"pool": "max"}, ConfigError, ["pool", "token, average", "'max'"]),
        ({"warmup_steps": 5, "warmup_epochs": 1.0}, ConfigError, ["warmup_steps", "warmup_epochs"]),
    ],
)
def test_a_wrong_field_is_answered_in_one_line(
    changes: dict, error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        recipe_for("small-data", **changes)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="paper-finetune"):
        recipe_for("paper-finetun")
    with pytest.raises(UsageError, match="small-data"):
        recipe_for("qqq")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epochs = ", "TOML"),
        ("epochs = 3\nepochs = 4", "TOML"),
        ('recipe = "nothing"', "unknown recipe"),
        ('recipe = ["tutorial"]', "unknown recipe"),
        ("[training]\nepochs = 3", "'training'"),
    ],
)
def test_a_wrong_file_is_answered_in_one_line(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        recipe_for(str(file))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"no recipe file nowhere\.toml"):
        recipe_for("nowhere.toml")


def test_an_unreadable_file_is_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00e")
    with pytest.raises(UsageError, match=r"binary\.toml"):
        recipe_for(str(file))


def test_a_recipe_cannot_be_changed_by_accident() -> None:
    with pytest.raises(AttributeError):
        Recipe().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["finetune", "finetune-small"])
def test_batch_rate_and_epochs_follow_from_the_images(name: str) -> None:
    typical = recipe_for(name)
    assert recipe_for(name, 1000) == typical  # what stands in the table is for a thousand images
    before, smaller = None, 0
    for images in (20, 240, 1000, 2500, 20_000, 1_300_000):
        recipe = recipe_for(name, images)
        assert 8 <= recipe.total_batch <= 512
        assert recipe.batch_size <= 64
        assert math.log2(recipe.total_batch).is_integer()
        if 64 < images < 262_144:
            assert 2**-0.5 <= recipe.total_batch / math.sqrt(images) <= 2**0.5
        # The learning rate goes with the square root of the batch.
        ratio = recipe.learning_rate / typical.learning_rate
        assert ratio**2 == pytest.approx(recipe.total_batch / typical.total_batch, rel=0.05)
        if before is not None:
            assert recipe.epochs <= before.epochs  # fewer passes over more images,
            assert recipe.epochs * images > before.epochs * smaller  # which are more in all
        before, smaller = recipe, images


def test_what_was_asked_for_does_not_follow(tmp_path: Path) -> None:
    asked = {"epochs": 7, "batch_size": 5, "learning_rate": 0.5}
    recipe = recipe_for("finetune", 60, **asked)
    assert {name: getattr(recipe, name) for name in asked} == asked
    file = tmp_path / "mine.toml"
    file.write_text('recipe = "finetune"\nepochs = 4\n')
    assert recipe_for(str(file), 100_000).epochs == 4
    assert recipe_for(str(file), 100_000).batch_size == recipe_for("finetune", 100_000).batch_size


@pytest.mark.parametrize(
    ("images", "steps", "batch"),
    [(1_281_167, 20_000, 512), (50_000, 10_000, 512), (4096, 500, 512), (3680, 500, 256), (240, 500, 16)],
)
def test_the_papers_fine_tuning_follows_table_4(images: int, steps: int, batch: int) -> None:
    recipe = recipe_for("paper-finetune", images)
    assert recipe.total_batch == batch
    assert recipe.steps == steps
    assert recipe.warmup_steps <= recipe.steps / 10
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay, recipe.clip_norm) == (
        "sgd",
        0.9,
        0.0,
        1.0,
    )


def test_few_images_are_fine_tuned_from_the_probe() -> None:
    assert resolve_recipe(None, True, {}, 240).head_start == "probe"
    assert resolve_recipe(None, True, {}, 50_000) == recipe_for("finetune", 50_000)
    assert resolve_recipe(None, False, {}, 240) == recipe_for("small-data")
    assert resolve_recipe("paper-finetune", True, {"epochs": 3}, 240).epochs == 3
