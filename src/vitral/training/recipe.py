"""Recipes: how a training run teaches, as data. No torch here, so that the command line can show them at once."""

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, Self

from vitral.errors import ConfigError, UsageError


@dataclass(frozen=True)
class Recipe:
    """How a run teaches. Every field is an option of `vitral train` and a line of `recipe.toml`."""

    # How long
    epochs: int = 0
    """Passes over the training images; 0: 3000 / sqrt(training images), at least 10."""
    steps: int = 0
    """Updates in all, instead of epochs; 0: as epochs say."""

    # How many images an update stands on: batch_size * accumulate
    batch_size: int = 64
    """Images computed at once."""
    accumulate: int = 1
    """Batches whose gradients are added up before an update."""

    # The update
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    """adamw decouples the weight decay, adam and sgd couple it to the gradient; muon is torch's Muon for the
    encoder's matrices and adamw for the rest."""
    learning_rate: float = 1e-3
    """The highest one, after the warm-up."""
    momentum: float = 0.9
    """Of sgd; the beta1 of the others."""
    beta2: float = 0.999
    """Of adam and adamw."""
    weight_decay: float = 0.05
    decay: Literal["kernels", "all"] = "kernels"
    """What decays: the matrices of dense layers and patches (the authors' trainer), or every parameter."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls to zero after the warm-up."""
    warmup_steps: int = 0
    """Updates of linear warm-up."""
    warmup_epochs: float = 0.0
    """The same in epochs; one of the two stays 0."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; 0: unlimited."""

    # What learns, and how fast
    freeze_backbone: bool = False
    """Only the head learns."""
    head_start: Literal["zero", "probe"] = "zero"
    """Where a head for new classes starts: at zero (section 3.2), or at the linear probe of the frozen features, from
    where everything learns (LP-FT, Kumar et al. 2022)."""
    layer_decay: float = 1.0
    """Every layer learns so many times as fast as the one after it (Bao et al. 2022); 1: all alike."""

    # What is asked
    loss: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: every class weighs the same in the loss, however many images it has."""
    head_bias: float = 0.0
    """Where the head's biases start (-10 with the sigmoid loss in big_vision's ImageNet-21k recipe)."""

    # What holds it back
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    ema_decay: float = 0.0
    """Of the moving average of the weights, which is then what is evaluated and kept; 0: none."""

    # The model, where the recipe wants it otherwise than the model's name says ("": as it is)
    pool: Literal["", "token", "average", "token_average"] = ""
    position_embedding: Literal["", "none", "learned", "learned_2d", "sincos_2d", "rope"] = ""
    image_size: int = 0
    """Side in pixels; 0: the model's own."""

    # What the images go through
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is measured or predicted fits the model's size."""
    random_crop: float = 0.08
    """Smallest share of a training image's area that a random resized crop takes; 0: no random crop, as fit says."""
    flip: Literal["none", "horizontal", "both"] = "horizontal"
    randaugment: int = 0
    """Operations of RandAugment an image; 0: none."""
    randaugment_magnitude: int = 9
    """From 0 to 30."""
    color_jitter: float = 0.0
    """Strength of changes of brightness, contrast and saturation."""
    random_erasing: float = 0.0
    """Probability that a rectangle of the image is erased."""
    mixup: float = 0.0
    """Alpha of mixup; 0: none."""
    cutmix: float = 0.0
    """Alpha of cutmix; 0: none. With both, every step draws one of them."""
    mix_probability: float = 1.0
    """Share of steps that mix at all."""

    # What chooses
    metric: Literal[
        "balanced_accuracy", "accuracy", "macro_f1", "auroc", "loss", "mean_average_precision"
    ] = "balanced_accuracy"
    """By which validation chooses the best weights, of equal ones those of the lower loss; of images with several
    labels mean_average_precision."""
    early_stopping: int = 0
    """Epochs that are none of them the best so far after which the training ends; 0: it goes on to its end."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in (
            "epochs",
            "steps",
            "warmup_steps",
            "warmup_epochs",
            "weight_decay",
            "clip_norm",
            "image_size",
            "early_stopping",
        ):
            self._require(getattr(self, name) >= 0, name, "at least 0")
        for name in ("color_jitter", "mixup", "cutmix", "randaugment"):
            self._require(getattr(self, name) >= 0, name, "at least 0")
        for name in ("dropout", "attention_dropout", "drop_path", "label_smoothing"):
            self._require(0 <= getattr(self, name) < 1, name, "at least 0 and below 1")
        for name in ("momentum", "beta2", "ema_decay"):
            self._require(0 <= getattr(self, name) < 1, name, "at least 0 and below 1")
        for name in ("random_crop", "random_erasing", "mix_probability"):
            self._require(0 <= getattr(self, name) <= 1, name, "between 0 and 1")
        self._require(self.learning_rate > 0, "learning_rate", "above 0")
        self._require(0 < self.layer_decay <= 1, "layer_decay", "above 0 and up to 1")
        self._require(0 <= self.randaugment_magnitude <= 30, "randaugment_magnitude", "between 0 and 30")
        for field in fields(self):
            value, choices = getattr(self, field.name), getattr(field.type, "__args__", None)
            if choices and value not in choices:
                raise ConfigError(
                    f"{field.name} must be one of {', '.join(filter(None, choices))}, not {value!r}"
                )
            self._require(not isinstance(value, float) or math.isfinite(value), field.name, "a finite number")
        if self.warmup_steps and self.warmup_epochs:
            raise ConfigError("warmup_steps and warmup_epochs exclude each other: leave one at 0")

    @property
    def total_batch(self) -> int:
        """Images an update stands on."""
        return self.batch_size * self.accumulate

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again."""
        return replace(self, **changes)

    def resolved(self, images: int) -> Self:
        """The same with `epochs` as the number of training images asks for, where it is 0."""
        return self if self.epochs else self.replace(epochs=max(10, round(3000 / math.sqrt(images))))

    def warm_up(self, steps_per_epoch: int) -> int:
        """Updates of linear warm-up."""
        return self.warmup_steps or round(self.warmup_epochs * steps_per_epoch)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def _require(self, holds: bool, name: str, bound: str) -> None:
        if not holds:
            raise ConfigError(f"{name} must be {bound}, not {getattr(self, name)}")


_PAPER = Recipe(  # Table 3: Adam with decoupled weight decay, as the authors' trainer does it
    batch_size=512,
    accumulate=8,
    warmup_steps=10_000,
    dropout=0.1,
    random_crop=0.05,
    flip="horizontal",
    clip_norm=1.0,
)

RECIPES: dict[str, Recipe] = {
    # Table 3, last row: ViT-* from scratch on ImageNet.
    "paper-imagenet1k": _PAPER.replace(epochs=300, learning_rate=3e-3, weight_decay=0.3, schedule="cosine"),
    # Table 3: ViT-B on ImageNet-21k (30 or 90 epochs for ViT-L).
    "paper-imagenet21k": _PAPER.replace(epochs=90, learning_rate=1e-3, weight_decay=0.03, schedule="linear"),
    # Table 4: SGD with momentum, batch 512, no weight decay, 384 px; steps and rate as for Pets and Flowers.
    "paper-finetune": Recipe(
        steps=500,
        batch_size=64,
        accumulate=8,
        optimizer="sgd",
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=0.0,
        warmup_steps=50,
        image_size=384,
        clip_norm=1.0,
    ),
    # What practice has added to section 3.2, for thousands of images: AdamW, layer-wise decay of the learning rate,
    # drop path. Batch, learning rate and epochs follow from the number of images, see `_by_images`.
    "finetune": Recipe(
        epochs=10,
        batch_size=32,
        learning_rate=2e-4,
        layer_decay=0.75,
        weight_decay=0.0,
        warmup_epochs=1.0,
        random_crop=0.35,
        label_smoothing=0.1,
        drop_path=0.1,
    ),
    # The same for hundreds of images, from the linear probe. The first epoch, whose rate is the highest, undoes some of
    # the probe; it takes ten more to gain more than that (docs/en/manual/transfer.md).
    "finetune-small": Recipe(
        epochs=8,
        batch_size=32,
        learning_rate=1.4e-4,
        layer_decay=0.65,
        weight_decay=0.0,
        warmup_epochs=1.0,
        random_crop=0.35,
        drop_path=0.1,
        head_start="probe",
    ),
    # A small model from scratch on hundreds to thousands of small images (Plain's fixed positions and average
    # pooling, mixup); chosen by cross-validation inside food-vision-mini's training images.
    "small-data": Recipe(
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.05,
        warmup_steps=100,
        random_crop=0.25,
        mixup=0.8,
        pool="average",
        position_embedding="sincos_2d",
    ),
    # learnpytorch.io, chapter 08, as it stands there: coupled weight decay on everything, no schedule, no augmentation.
    "tutorial": Recipe(
        epochs=10,
        batch_size=32,
        optimizer="adam",
        learning_rate=3e-3,
        weight_decay=0.3,
        decay="all",
        schedule="constant",
        clip_norm=0.0,
        dropout=0.1,
        fit="stretch",
        random_crop=0.0,
        flip="none",
    ),
}


def _by_images(recipe: Recipe, images: int) -> Recipe:
    """Batch, learning rate and epochs of AdamW for so many images, from the recipe's own, which are for `TYPICAL`.

    The batch is the power of two nearest to the square root of the images, 8 to 512; the learning rate goes with the
    batch's square root, as the noise of Adam's steps does (Malladi et al. 2022); the epochs go down with the images'
    square root, so that more images are still seen more often in all.
    """
    total = min(512, max(8, 2 ** round(math.log2(math.sqrt(images)))))
    batch = min(total, 64)
    typical = 2 ** round(math.log2(math.sqrt(TYPICAL)))
    return recipe.replace(
        batch_size=batch,
        accumulate=total // batch,
        learning_rate=float(f"{recipe.learning_rate * math.sqrt(total / typical):.2g}"),
        epochs=max(3, round(recipe.epochs * math.sqrt(TYPICAL / images))),
    )


def _as_the_paper(recipe: Recipe, images: int) -> Recipe:
    """Table 4's steps by the size of its data sets, and a batch that few images can fill.

    ImageNet (1.3 M images) 20,000 steps, CIFAR (50,000) 10,000, Pets and Flowers (thousands) 500. With fewer images
    than eight batches of 512 the batch is the largest power of two up to an eighth of them, so that an image is seen
    some 60 times, as Pets' are.
    """
    total = min(512, max(8, 2 ** int(math.log2(max(1, images // 8)))))
    batch = min(total, recipe.batch_size)
    steps = 20_000 if images > 200_000 else 10_000 if images > 20_000 else recipe.steps
    return recipe.replace(batch_size=batch, accumulate=total // batch, steps=steps)


# Recipes whose batch, learning rate and length follow from the number of training images.
TYPICAL, SMALL = 1000, 5000
RULES: dict[str, Callable[[Recipe, int], Recipe]] = {
    "finetune": _by_images,
    "finetune-small": _by_images,
    "paper-finetune": _as_the_paper,
}


def recipe_for(name_or_file: str, images: int | None = None, **changes: Any) -> Recipe:
    """The recipe of a name or of a TOML file, with some fields changed.

    What nobody asked for follows, in some recipes (`RULES`), from the number of training images, where that is given.

    A TOML file holds fields of `Recipe`, and may name with `recipe = "NAME"` the one it starts from; the lines
    of a run's `recipe.toml` that are no part of a recipe (data, model, seed …) are passed over.

    Raises:
        UsageError: no such name or file, or a field that does not exist.
        ConfigError: a value out of its bounds.
    """
    if name_or_file in RECIPES:
        recipe = _named(name_or_file, images)
    elif name_or_file.endswith(".toml"):
        recipe = _from_file(Path(name_or_file), images)
    else:
        near = get_close_matches(name_or_file, RECIPES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        names = ", ".join(RECIPES)
        raise UsageError(f"no recipe is called {name_or_file!r}: {hint}there are {names}, or a .toml file")
    # Who asks for epochs does not want the recipe's number of steps, and the other way round.
    for asked, other in (
        ("epochs", "steps"),
        ("warmup_epochs", "warmup_steps"),
        ("warmup_steps", "warmup_epochs"),
    ):
        if changes.get(asked):
            changes.setdefault(other, type(getattr(recipe, other))())
    return _changed(recipe, changes)


# Lines of a run's recipe.toml that belong to the run and not to the recipe.
RUN_FIELDS = (
    "data",
    "model",
    "weights",
    "seed",
    "device",
    "precision",
    "compile",
    "workers",
    "validation",
    "split_seed",
    "folds",
    "seeds",
    "group_by",
    "columns",
    "data_root",
    "strict",
    "range",
    "display_bands",
)


def resolve_recipe(
    name_or_file: str | PathLike[str] | None,
    from_weights: bool,
    changes: Mapping[str, Any],
    images: int | None = None,
) -> Recipe:
    """The recipe asked for, or else the one that fits the start, with some fields changed.

    Args:
        name_or_file: as for `recipe_for`; None: small-data from scratch, and of weights finetune-small, or finetune
            from `SMALL` training images on.
        from_weights: whether the training starts from weights.
        changes: the fields asked for one by one.
        images: how many there are to train on, from which batch, learning rate and epochs follow where the recipe
            says so; None while nobody knows.
    """
    if name_or_file is None:
        fine_tuning = "finetune-small" if (images or 0) < SMALL else "finetune"
        name_or_file = fine_tuning if from_weights else "small-data"
    return recipe_for(fspath(name_or_file), images, **changes)


def _named(name: str, images: int | None) -> Recipe:
    recipe = RECIPES[name]
    return RULES[name](recipe, images) if images and name in RULES else recipe


def _from_file(path: Path, images: int | None) -> Recipe:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(RECIPES)
        raise UsageError(
            f"there is no recipe file {path}: name one of {names}, or an existing file"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the recipe file {path} cannot be read as TOML: {error}") from error
    base = str(values.pop("recipe", "small-data"))
    if base not in RECIPES:
        raise UsageError(f"{path} starts from an unknown recipe: there are {', '.join(RECIPES)}")
    return _changed(
        _named(base, images), {name: value for name, value in values.items() if name not in RUN_FIELDS}
    )


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    known = {field.name: field for field in fields(Recipe)}
    for name, value in changes.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
            raise UsageError(f"a recipe has no field {name!r}: {hint}")
        wanted = type(getattr(recipe, name))
        fits = isinstance(value, (int, float) if wanted is float else wanted)
        if not fits or isinstance(value, bool) != (wanted is bool):
            kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[wanted]
            raise ConfigError(f"{name} must be {kind}, not {value!r}")
    return recipe.replace(**{name: type(getattr(recipe, name))(value) for name, value in changes.items()})


def to_toml(values: dict[str, Any]) -> str:
    """Flat TOML of text, numbers and truth values; None is left out, as TOML has no word for it."""
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in values.items()
        if value is not None
    ]
    # JSON leaves one character as it is that TOML wants escaped.
    return "".join(lines).replace("\x7f", "\\u007f")
