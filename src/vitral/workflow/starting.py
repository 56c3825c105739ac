"""What a training starts from: a new network, or one from WEIGHTS whose classes are matched by name."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from vitral.data import LabelledImages, Sample, read_splits
from vitral.data.scan import Progress
from vitral.errors import ConfigError, DataError, UsageError
from vitral.files import sha256_of_file
from vitral.images import Preprocessing, described, same_values
from vitral.language import Sentence
from vitral.model import VisionTransformer, ViTConfig, config_for
from vitral.runs import RunFolder
from vitral.training import Recipe
from vitral.transfer import ProbeRecipe
from vitral.weights import Checkpoint, Overrides, find_source, match_head, read_checkpoint, read_config
from vitral.workflow.channels import fit_channels, preprocessing_for, without_rgb_augmentation
from vitral.workflow.options import Options

# Fine-tuning takes a checkpoint's own image size up to this; a larger one is slow, and has to be asked for.
LARGEST_UNASKED = 224


@dataclass(frozen=True)
class Start:
    """A network ready to be trained.

    Args:
        model, preprocessing: the network, and what its images go through.
        recipe: as it was given, but for what did not apply to this network.
        weights_hash: SHA-256 of the weights' file; None where they are random.
        notices: what a person should know about it, one sentence each.
        new_head: whether the weights know none of the classes.
    """

    model: VisionTransformer
    preprocessing: Preprocessing
    recipe: Recipe
    weights_hash: str | None
    notices: tuple[str, ...]
    new_head: bool = True


def new_config(name: str, recipe: Recipe, merge: int = 0) -> ViTConfig:
    """The architecture of a MODEL as a recipe wants it, channels and classes left as they are.

    So many patches are merged away in every layer.

    Raises:
        UsageError: no such MODEL.
        ConfigError: the recipe's fields contradict it.
    """
    changes = {key: getattr(recipe, key) for key in ("dropout", "attention_dropout", "drop_path")}
    for key in ("pool", "position_embedding", "image_size"):
        if getattr(recipe, key):
            changes[key] = getattr(recipe, key)
    return config_for(name, merge=merge, **changes)


def start_anew(
    config: ViTConfig,
    data: LabelledImages,
    recipe: Recipe,
    seed: int,
    *,
    range: tuple[float, float] | None = None,
    display_bands: tuple[int, ...] | None = None,
    progress: Progress | None = None,
) -> Start:
    """A network with random weights, drawn from `seed` alone.

    Args:
        config, data, recipe: the architecture, what it is for, and how it is taught.
        seed: of the weights.
        range, display_bands, progress: of images that are no 8-bit pictures, see `preprocessing_for`.
    """
    config = config.replace(channels=data.channels, num_classes=len(data.class_names))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VisionTransformer(config)
    nn.init.constant_(_dense(model.head).bias, recipe.head_bias)
    recipe, notices = without_rgb_augmentation(recipe, data)
    if data.dtype is not None:
        preprocessing, said = preprocessing_for(
            data,
            Preprocessing(config.image_size, fit=recipe.fit),
            range=range,
            display_bands=display_bands,
            progress=progress,
        )
        return Start(model, preprocessing, recipe, None, (said, *notices))
    half = (0.5,) * data.channels
    preprocessing = Preprocessing(
        config.image_size, fit=recipe.fit, mean=half, std=half, channels=data.channels
    )
    return Start(model, preprocessing, recipe, None, ())


def start_from(
    weights: str,
    data: LabelledImages,
    recipe: Recipe,
    *,
    asked: Collection[str],
    said: Overrides = Overrides(),  # noqa: B008 (frozen)
    range: tuple[float, float] | None = None,
    display_bands: tuple[int, ...] | None = None,
    progress: Progress | None = None,
) -> Start:
    """A network from WEIGHTS, its head fitted to the classes of `data` by name, its filters to the images' channels.

    Args:
        weights: any WEIGHTS.
        data: the classes wanted, and the images.
        recipe: its image size, pooling and dropout are taken over; 0 and "" keep the checkpoint's.
        asked: the recipe's fields that the user asked for one by one; of the others, those are passed over, and
            this is said, that do not go with the checkpoint.
        said: what the user says about the weights.
        range, display_bands, progress: of images that are no 8-bit pictures, see `fit_channels`.

    Raises:
        UsageError, WeightsError: as `read_checkpoint`.
        ConfigError: the user asked for what the checkpoint cannot be.
        DataError: the training images' values do not tell a range.
    """
    checkpoint = read_checkpoint(weights, said, recipe.image_size or None)
    recipe, notices = _applicable(recipe, checkpoint.config, asked)
    if recipe.position_embedding:
        raise ConfigError(
            f"{weights} has position_embedding {checkpoint.config.position_embedding!r}, "
            f"which --position-embedding {recipe.position_embedding} cannot change: leave it out"
        )
    checkpoint, about_channels = fit_channels(
        checkpoint, data, said, range=range, display_bands=display_bands, progress=progress
    )
    recipe, left_out = without_rgb_augmentation(recipe, data)
    config = checkpoint.config.replace(
        dropout=recipe.dropout,
        attention_dropout=recipe.attention_dropout,
        drop_path=recipe.drop_path,
        pool=recipe.pool or checkpoint.config.pool,
    )
    model = replace(checkpoint, config=config).model()
    notices += _resize(model, recipe.image_size)
    # The probe's head comes later, see `start_at_probe`.
    new_head = not set(checkpoint.class_names) & set(data.class_names)
    about_head = _match_head(model, checkpoint.class_names, data.class_names, recipe.head_bias)
    notices += about_head if not new_head or recipe.head_start == "zero" else []
    notices += about_channels + left_out
    preprocessing = replace(checkpoint.preprocessing, size=model.config.image_size, fit=recipe.fit)
    digest = sha256_of_file(checkpoint.file) if checkpoint.file is not None else None
    return Start(model, preprocessing, recipe, digest, tuple(notices), new_head)


@dataclass(frozen=True)
class FrozenStart:
    """A network that is to stay as it is.

    Args:
        checkpoint: the whole of it, at its image size, with what its images go through.
        weights_hash: SHA-256 of the weights' file.
        notices: what a person should know about it, one sentence each.
    """

    checkpoint: Checkpoint
    weights_hash: str | None
    notices: tuple[str, ...]


def start_frozen(
    options: Options, data: LabelledImages, recipe: ProbeRecipe, progress: Progress | None = None
) -> FrozenStart:
    """The network of `options.weights` for its features, at the recipe's image size and fit.

    Unless the user says otherwise, `crop` keeps all of the shorter side: what a checkpoint's own evaluation cuts off at
    the edges is worth having.

    Raises:
        UsageError, WeightsError: as `read_checkpoint`.
        ConfigError: the image size does not fit.
        DataError: the training images' values do not tell a range.
    """
    assert options.weights is not None
    checkpoint = read_checkpoint(options.weights, options.said, recipe.image_size or None)
    checkpoint, notices = fit_channels(
        checkpoint,
        data,
        options.said,
        range=options.range,
        display_bands=options.display_bands,
        progress=progress,
    )
    model = checkpoint.model()
    notices = _resize(model, recipe.image_size) + notices
    preprocessing = replace(
        checkpoint.preprocessing,
        size=model.config.image_size,
        fit=recipe.fit,
        crop_share=options.said.crop_share or 1.0,
    )
    digest = sha256_of_file(checkpoint.file) if checkpoint.file is not None else None
    checkpoint = replace(
        checkpoint, config=model.config, preprocessing=preprocessing, tensors=model.state_dict()
    )
    return FrozenStart(checkpoint, digest, tuple(notices))


def seen_by(weights: str | PathLike[str]) -> set[str]:
    """Content hashes of the images that a run, and the runs whose weights it started from, trained or chose on."""
    seen: set[str] = set()
    folder: RunFolder | None = RunFolder(Path(weights))
    visited: set[Path] = set()
    while folder is not None and folder.exists() and folder.path.resolve() not in visited:
        visited.add(folder.path.resolve())
        if folder.splits.exists():
            seen |= {row.hash for row in read_splits(folder.splits) if row.split != "test"}
        origin = folder.read_run().get("model", {}).get("weights")
        folder = RunFolder(Path(origin)) if origin else None
    return seen


def open_as_taken(
    options: Options, progress: Progress | None = None, *, splits: Path | None = None
) -> LabelledImages:
    """Open DATA as the network takes it.

    Args:
        options: what was asked for.
        progress: called with the number of images looked at so far and in all.
        splits: a run's splits.csv, which then says which image is on which side.

    Raises:
        UsageError: bands to be shown were named, and DATA has pictures.
        DataError: DATA cannot be learned from.
    """
    shallow = options.weights is not None and _takes_shallow_bands(options.weights)
    data = options.open(bands=shallow, splits=splits, progress=progress)
    if data.dtype is None and options.display_bands is not None:
        raise UsageError(
            f"{data.spec} has 8-bit pictures, which are shown as they are: leave --display-bands out"
        )
    return data


def _takes_shallow_bands(weights: str) -> bool:
    """Whether a run was trained on 8-bit images band by band, which look like pictures to whoever opens them."""
    source = find_source(weights)
    return source.own and read_config(source.tensors.parent)[1].dtype == "uint8"


def as_network_takes(data: LabelledImages, preprocessing: Preprocessing) -> LabelledImages:
    """The images of `data` as a network takes them: pictures in its grey or RGB, bands as they are.

    Raises:
        DataError: the network takes bands and these are pictures, or the other way round, or other bands.
    """
    if data.dtype is None and not preprocessing.bands:
        return with_channels(data, preprocessing.channels)
    mine = described(preprocessing.channels, preprocessing.dtype if preprocessing.bands else None)
    found = described(data.channels, data.dtype)
    same = preprocessing.bands and data.channels == preprocessing.channels
    if not same or not same_values(preprocessing.dtype or "uint8", data.dtype or ""):
        raise DataError(
            f"{data.spec} has {found}, and the network takes {mine}: give it images like those that it was trained on"
        )
    return data


def with_channels(data: LabelledImages, channels: int) -> LabelledImages:
    """The same images in grey (1 channel) or RGB (3), whatever they are in `data`."""
    if data.channels == channels:
        return data
    return replace(data, channels=channels, reader=_InChannels(data.reader, channels), _kept={})


@dataclass(frozen=True)
class _InChannels:
    """A reader of the same images with another number of channels."""

    reader: Callable[[Sample], np.ndarray]
    channels: int

    def __call__(self, sample: Sample) -> np.ndarray:
        image = self.reader(sample)
        if self.channels == 1:
            return np.array(Image.fromarray(image).convert("L"))[..., np.newaxis]
        return np.repeat(image, self.channels, axis=2)


def _applicable(recipe: Recipe, config: ViTConfig, asked: Collection[str]) -> tuple[Recipe, list[str]]:
    """The recipe without what nobody asked for and the checkpoint is not, and what to say about it."""
    notices = []
    for name in ("position_embedding", "pool"):
        wanted, own = getattr(recipe, name), getattr(config, name)
        if wanted == own:
            recipe = recipe.replace(**{name: ""})
        elif wanted and name not in asked:
            recipe = recipe.replace(**{name: ""})
            notices.append(
                Sentence(
                    f"the recipe's {name} {wanted} is passed over: the weights have {own}",
                    f"{name} {wanted}, da receita, não se aplica: os pesos têm {own}",
                )
            )
    size = recipe.image_size
    if size and "image_size" not in asked and any(size % side for side in config.reach):
        recipe = recipe.replace(image_size=0)
        patch = " x ".join(map(str, config.reach))
        notices.append(
            Sentence(
                f"the recipe's image_size {size} is passed over: patches of {patch} px do not divide it",
                f"image_size {size}, da receita, não se aplica: patches de {patch} px não o dividem",
            )
        )
    return recipe, notices


def _resize(model: VisionTransformer, size: int) -> list[str]:
    """Bring the model to an image size, 0 being its own within reason; and what to say about it."""
    config = model.config
    if size:
        model.resize(size)
    elif max(config.image_size) > LARGEST_UNASKED:
        sides = zip(config.image_size, config.reach, strict=True)
        rows, columns = (min(side, max(LARGEST_UNASKED // p, 1) * p) for side, p in sides)
        model.resize((rows, columns))
        own = " x ".join(map(str, config.image_size))
        return [
            Sentence(
                f"images of {rows} x {columns} px instead of the checkpoint's {own}; ask with --image-size",
                f"imagens de {rows} x {columns} px em vez dos {own} dos pesos; peça outro tamanho com --image-size",
            )
        ]
    return []


def _match_head(
    model: VisionTransformer, known: tuple[str, ...], wanted: tuple[str, ...], head_bias: float
) -> list[str]:
    """Give the model a head for the classes `wanted`: rows of classes of the same name stay, the others are zero."""
    headless = not model.config.num_classes
    if model.config.neighbours is not None:
        model.replace_head(0)
        match_head(model, (), wanted, head_bias)
        return [
            Sentence(
                "the head starts anew, at zero: neighbours answered for the weights, and now a linear layer learns to",
                "a camada de saída recomeça do zero: nos pesos respondiam vizinhos, e agora aprende uma camada linear",
            )
        ]
    kept = match_head(model, known, wanted, head_bias)
    if known == wanted:
        return []
    if not kept:
        why = "none of its classes is among the weights' own"
        porque = "nenhuma das classes está entre as dos pesos"
        if not known:
            why = "the weights have none" if headless else "nobody named the classes of the weights' own"
            porque = "os pesos não têm uma" if headless else "as classes dos pesos não têm nome"
        return [
            Sentence(f"the head starts anew, at zero: {why}", f"a camada de saída recomeça do zero: {porque}")
        ]
    fresh = [name for name in wanted if name not in known]
    dropped = [name for name in known if name not in wanted]
    said = f"classes matched by name: the head keeps {_named(kept)}"
    said += f", starts {_named(fresh)} at zero" if fresh else ""
    said += f", and drops {_named(dropped)}" if dropped else ""
    dito = f"classes casadas pelo nome: a camada de saída mantém {_named(kept, 'e mais {}')}"
    dito += f", começa {_named(fresh, 'e mais {}')} do zero" if fresh else ""
    dito += f" e deixa {_named(dropped, 'e mais {}')}" if dropped else ""
    return [Sentence(said, dito)]


def _dense(head: nn.Module) -> nn.Linear:
    if not isinstance(head, nn.Linear):
        raise UsageError("the model has no head: ask for at least one class")
    return head


def _named(names: list[str], and_more: str = "and {} more") -> str:
    more = f" {and_more.format(len(names) - 3)}" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
