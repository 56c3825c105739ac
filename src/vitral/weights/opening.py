"""Any WEIGHTS, of whatever origin, as a `Checkpoint`."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vitral.errors import ConfigError, UsageError, WeightsError
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig
from vitral.weights.families import FAMILIES, facebook
from vitral.weights.heads import match_head
from vitral.weights.reading import Found, Overrides
from vitral.weights.rules import shape, to_vitral
from vitral.weights.source import Source, find_source
from vitral.weights.store import Checkpoint, Origin, read_own
from vitral.weights.tensors import read_index, read_tensors

# Names that wrappers put before a model's own: DistributedDataParallel, torch.compile, Lightning, DINO, OpenCLIP.
PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "timm_model.",
    "backbone.",
    "visual.trunk.",
    "encoder.",
)
# What may stand beside a network that has a prefix: heads of self-supervision, and towers for texts.
BESIDE = (
    r"(head\.(mlp|last_layer)|dino_head|ibot_head|text|transformer\.|token_embedding|positional_embedding|ln_final|logit_|"
    r"visual\.head|decoder)"
)

log = logging.getLogger("vitral")


def load_model(
    weights: str | Path,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    **said: Any,
) -> VisionTransformer:
    """The network behind WEIGHTS, in evaluation mode.

    Args:
        weights: a run folder; a checkpoint folder; a `.npz`, `.safetensors`, `.pth` or `.pt` file; `hf:OWNER/NAME`;
            `timm:NAME`; `torchvision:NAME`.
        num_classes: where given and another than the checkpoint's, the head starts anew, at zero.
        image_size: (height, width) or one number; the positions are interpolated to it by the family's own method.
        class_names: instead of `num_classes`: the head keeps its rows of classes of the same name, the others start
            at zero.
        said: what the files do not settle or settle wrongly, as in `vitral.weights.Overrides`: `family`, `grid`,
            `heads`, `activation`, `norm_epsilon`, `pool`, `position_interpolation`; and `merge`, how many patches
            are merged away in every layer.

    Raises:
        UsageError: there is nothing of this kind, or no such keyword.
        WeightsError: damaged or unfitting files.
        ConfigError: the image size or an override does not fit the network.
    """
    if class_names is not None and num_classes not in (None, len(class_names)):
        raise UsageError(
            f"num_classes is {num_classes}, and there are {len(class_names)} class_names: give one of them"
        )
    checkpoint = read_checkpoint(weights, overrides_from(said), image_size)
    model = checkpoint.model()
    if image_size is not None:
        model.resize(image_size)
    if class_names is not None:
        kept = match_head(model, checkpoint.class_names, tuple(class_names))
        counts = len(kept), len(class_names)
        log.warning("%s: the head keeps %d of %d classes, the others start at zero", weights, *counts)
    elif num_classes is not None and num_classes != model.config.num_classes:
        model.replace_head(num_classes)
        if num_classes:
            log.warning(
                "%s: the head for %d classes starts at zero: train it before use", weights, num_classes
            )
    return model


def overrides_from(said: Mapping[str, Any]) -> Overrides:
    """`Overrides` from keywords.

    Raises:
        UsageError: there is no such keyword.
    """
    unknown = set(said) - set(Overrides.__dataclass_fields__)
    if unknown:
        known = ", ".join(Overrides.__dataclass_fields__)
        raise UsageError(f"weights cannot be told {min(unknown)!r}: they take {known}")
    return Overrides(**said)


def read_checkpoint(
    weights: str | Path,
    overrides: Overrides = Overrides(),  # noqa: B008 (frozen)
    image_size: int | tuple[int, int] | None = None,
) -> Checkpoint:
    """WEIGHTS of any origin: architecture, preprocessing, class names and tensors.

    Args:
        weights: see `load_model`.
        overrides: what their files do not settle, or settle wrongly.
        image_size: that the network is wanted for; it helps where a grid of positions is no square.

    Raises:
        UsageError: there is nothing of this kind.
        WeightsError: their files are damaged, of a newer format or of no known family, or tensors do not fit.
    """
    source = find_source(weights)
    if source.own:
        if overrides.family is not None or overrides.grid is not None:
            raise UsageError(f"{weights} is vitral's own and says all of itself: leave family and grid out")
        checkpoint = read_own(source)
        settled = overrides.of(ViTConfig).keys() | overrides.of(Preprocessing).keys()
        if checkpoint.origin is not None and settled:
            assumed = {field: why for field, why in checkpoint.origin.assumed.items() if field not in settled}
            checkpoint = replace(checkpoint, origin=replace(checkpoint.origin, assumed=assumed))
        config, preprocessing = _overridden(checkpoint.config, checkpoint.preprocessing, overrides)
        return replace(checkpoint, config=config, preprocessing=preprocessing)
    indexed = source.tensors.name.endswith(".index.json")
    tensors, header = read_index(source.tensors) if indexed else read_tensors(source.tensors)
    try:
        return _foreign(source, tensors, header, overrides, image_size)
    except WeightsError as error:
        raise WeightsError(f"{weights}: {error}") from error


def _foreign(
    source: Source,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, str],
    overrides: Overrides,
    image_size: int | tuple[int, int] | None,
) -> Checkpoint:
    name, tensors = _family_of(tensors, source.config, overrides.family, header.get("wrapper"))
    family = FAMILIES[name]
    try:
        cleaned, form = family.clean(tensors)
        found = Found(cleaned, source.config, source.processor, header, overrides, image_size)
        reading = family.read(found, form)
    except (IndexError, TypeError, ValueError) as error:  # a tensor with fewer or more axes than theirs
        raise WeightsError(
            f"the tensors have the names of {family.TITLE}, and not their shapes ({error}): fetch the file again"
        ) from error
    except ConfigError as error:
        raise WeightsError(f"these weights of {family.TITLE} contradict themselves: {error}") from error
    units = reading.config.layers + sum(reading.config.resnet_layers or ())
    if units > len(cleaned):  # before a network of this size is made
        raise WeightsError(
            f"{len(cleaned)} tensors are not those of {reading.config.layers} layers: fetch the file again"
        )
    config, preprocessing = _overridden(reading.config, reading.preprocessing, overrides)
    ours = to_vitral(cleaned, family.rules(config, form), config, family.TITLE)
    settled = overrides.of(ViTConfig).keys() | overrides.of(Preprocessing).keys()
    assumed = {field: why for field, why in reading.assumed.items() if field not in settled}
    if name in ("timm", "facebook") and not source.config and overrides.family is None:
        other = {"timm": "facebook", "facebook": "timm"}[name]
        if FAMILIES[other].recognise(tensors.keys(), {}):
            assumed["family"] = f"the same tensors may be {other}'s: then say --family {other}"
    several = reading.class_names and source.config.get("problem_type") == "multi_label_classification"
    thresholds = (
        (0.5,) * len(reading.class_names) if several else None
    )  # as transformers' own pipeline has them
    origin = Origin(name, form, assumed)
    return Checkpoint(
        config, preprocessing, reading.class_names, ours, origin, source.tensors, thresholds=thresholds
    )


def _family_of(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], asked: str | None, wrapper: str | None
) -> tuple[str, Mapping[str, Tensor]]:
    """The family, and the tensors without what wrappers put before their names.

    Facebook's plain names are timm's: which of the two, the wrapper tells that the training script put around them.
    """
    if asked is not None and asked not in FAMILIES:
        raise UsageError(f"there is no family {asked!r}: choose one of {', '.join(FAMILIES)}")
    unwrapped = tensors
    while unwrapped:
        fitting = [name for name, family in FAMILIES.items() if family.recognise(unwrapped.keys(), config)]
        if asked in fitting or (asked is not None and FAMILIES[asked].recognise(unwrapped.keys(), {})):
            return asked, unwrapped
        if "facebook" in fitting and len(fitting) > 1 and asked is None:
            others = [name for name in fitting if name != "facebook"]
            fitting = ["facebook"] if wrapper in facebook.WRAPPERS else others
        if len(fitting) == 1 and asked is None:
            return fitting[0], unwrapped
        if fitting and asked is None:
            raise WeightsError(
                f"these tensors may be {' or '.join(fitting)}: say which, with family=… or --family"
            )
        if fitting:
            raise WeightsError(f"these tensors are not of family {asked}, but of {' or '.join(fitting)}")
        prefix = next((one for one in PREFIXES if any(name.startswith(one) for name in unwrapped)), None)
        if prefix is None:
            break
        beside = [name for name in unwrapped if not re.match(f"{re.escape(prefix)}|{BESIDE}", name)]
        if beside and _fits_any(unwrapped, prefix):
            raise WeightsError(
                f"beside the network under {prefix} there are {len(beside)} tensors, such as {beside[0]} "
                f"({shape(tuple(unwrapped[beside[0]].shape))}): give a file of the network alone"
            )
        unwrapped = {n.removeprefix(prefix): t for n, t in unwrapped.items() if n.startswith(prefix)}
    bare = [name for name, family in FAMILIES.items() if config and family.recognise(tensors.keys(), {})]
    if bare:
        kind = config.get("model_type") or config.get("architecture")
        raise WeightsError(
            f"config.json is of {kind!r}, which vitral does not know or whose tensors these are not: "
            f"to read them as {' or '.join(bare)} say so, with family=… or --family"
        )
    if "embedding.patch.weight" in tensors:
        state = "not vitral's" if config else "missing"
        raise WeightsError(
            f"these are vitral's own tensors, and their config.json is {state}: restore it from the run"
        )
    some = ", ".join(list(tensors)[:3])
    raise WeightsError(
        f"{len(tensors)} tensors ({some}, …) of no Vision Transformer that vitral knows: `vitral convert --help` "
        "lists the families"
    )


def _fits_any(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether some family knows the names behind a prefix."""
    inner = {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    return any(family.recognise(inner, {}) for family in FAMILIES.values())


def _overridden(
    config: ViTConfig, preprocessing: Preprocessing, overrides: Overrides
) -> tuple[ViTConfig, Preprocessing]:
    return config.replace(**overrides.of(ViTConfig)), replace(preprocessing, **overrides.of(Preprocessing))
