"""`inspect`: looks inside a network, as pictures and as inspection.json with the numbers behind them."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from vitral.device import Compute
from vitral.errors import UsageError
from vitral.files import write_json
from vitral.inference.forward import placed
from vitral.inspection import (
    NormSummary,
    feature_components,
    filter_components,
    position_pattern,
    position_similarity,
    summarise_norms,
    uniform_distance,
    why_no_filters,
    why_no_positions,
)
from vitral.language import Language, Sentence, choose_language, in_both
from vitral.model import VisionTransformer, ViTConfig
from vitral.reporting.looks import (
    write_components,
    write_distance,
    write_filters,
    write_layer_probes,
    write_norms,
    write_positions,
)
from vitral.transfer import ProbeRecipe
from vitral.weights import Checkpoint, overrides_from, read_checkpoint
from vitral.workflow.channels import fit_channels
from vitral.workflow.layer_probes import LayerProbes, pool_of_layers, probe_layers
from vitral.workflow.looking import Course, Seen, readers_of_data, readers_of_files
from vitral.workflow.one_probe import Frozen, open_frozen
from vitral.workflow.options import Options, bands_of, columns_text, range_of
from vitral.workflow.progress import Display

NUMBERS = "inspection.json"
LOOKS = ("filters", "positions", "distance", "norms", "components", "probe")
# Images that are shown above the norms of their patches.
WITH_NORMS = 4

NEEDS_IMAGES = Sentence(
    "it takes images: name some after the weights, or DATA with --data",
    "são precisas imagens: indique algumas depois dos pesos, ou DATA com --data",
)
NEEDS_DATA = Sentence(
    "it takes labelled images: name DATA with --data",
    "são precisas imagens com rótulo: indique DATA com --data",
)
NONE_READABLE = Sentence(
    "none of the images can be read: name others", "nenhuma das imagens pode ser lida: indique outras"
)


def inspect(
    weights: str | PathLike[str],
    images: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
    *,
    output: str | PathLike[str],
    data: str | PathLike[str] | None = None,
    overwrite: bool = False,
    pool: str = "",
    device: str = "auto",
    precision: str = "auto",
    image_size: int | tuple[int, int] | None = None,
    validation: float | None = None,
    split_seed: int = 0,
    group_by: str | None = None,
    columns: str | Mapping[str, str] | None = None,
    data_root: str | PathLike[str] | None = None,
    strict: bool = False,
    range: str | Sequence[float] | None = None,
    display_bands: str | Sequence[int] | None = None,
    language: str | None = None,
    progress: bool = True,
    **said: Any,
) -> dict[str, Any]:
    """Look inside a network, and leave pictures and their numbers in a folder.

    Args:
        weights: any WEIGHTS, with a classifier or without.
        images: files, folders and wildcards; what cannot be read is named in the result and left out.
        output: the folder.
        data: DATA for a linear probe of each layer; where no images are named, some of its own are looked at.
        overwrite: replace an inspection that lies there.
        pool: what the probes see of a layer: "token", "average", "token_average" or "distilled"; "": the network's own.
        device, said: as for `Classifier.load`.
        precision: the same, but that "auto" is fp32 for the looks, and for the probe as for `vitral.probe`.
        image_size: the same, for the probe at most 224 unless said.
        validation, split_seed, group_by, columns, data_root, strict, range, display_bands: of DATA, as for
            `vitral.probe`.
        language: "en" or "pt", of the pictures; the system's unless said.
        progress: whether to show a bar, on standard error.

    Returns:
        What inspection.json holds: "files" by look, under each look its numbers, under "left_out" why a look is not
        there, under "bad" the images that could not be read.

    Raises:
        UsageError: no such weights, device, precision or pooling, or an inspection lies in the folder.
        DataError: DATA cannot be learned from.
    """
    folder, spoken, began = Path(output), choose_language(language), monotonic()
    if (folder / NUMBERS).exists() and not overwrite:
        raise UsageError(
            f"{folder} holds an inspection already: name another --output, or replace it with --overwrite"
        )
    words = [fspath(word) for word in ([images] if isinstance(images, (str, PathLike)) else images)]
    overrides = overrides_from(said)
    checkpoint, opened = read_checkpoint(fspath(weights), overrides, image_size), None
    if data is not None:
        pool = pool_of_layers(checkpoint.config, pool)
        options = Options(
            data=fspath(data),
            weights=fspath(weights),
            device=device,
            precision=precision,
            validation=validation,
            split_seed=split_seed,
            group_by=group_by,
            columns=columns_text(columns),
            data_root=fspath(data_root) if data_root is not None else None,
            strict=strict,
            range=range_of(range),
            display_bands=bands_of(display_bands),
            said=overrides,
        )
        with Display(spoken, shown=progress) as display:
            opened = open_frozen(options, ProbeRecipe(image_size=_square(image_size)), display)
            checkpoint, _ = fit_channels(
                checkpoint,
                opened.data,
                overrides,
                range=options.range,
                display_bands=options.display_bands,
                progress=display.counting,
            )
    model, preprocessing, compute = placed(
        checkpoint, device, "fp32" if precision == "auto" else precision, image_size
    )
    gallery = _Gallery(folder, spoken)
    gallery.look_at_weights(model)
    bad: list[dict[str, str]] = []
    readers = (
        readers_of_files(words, preprocessing)
        if words
        else readers_of_data(opened.data)
        if opened is not None
        else []
    )
    if readers:
        with Display(spoken, shown=progress) as display:
            seen = Course(model, preprocessing, compute, display).run(readers)
        bad = seen.bad
        gallery.look_at_images(model.config, seen)
    else:
        gallery.leave_out(NEEDS_IMAGES, "distance", "norms", "components")
    if opened is not None:
        with Display(spoken, shown=progress) as display:
            gallery.look_at_layers(opened, probe_layers(opened, pool, display))
    else:
        gallery.leave_out(NEEDS_DATA, "probe")
    gallery.forget_earlier()
    found = {
        **_about(fspath(weights), checkpoint, model.config, compute),
        "images": len(readers) - len(bad),
        "bad": bad,
        **gallery.numbers,
        "left_out": {look: in_both(reason) for look, reason in gallery.left_out.items()},
        "files": {look: str(folder / f"{look}.png") for look in gallery.numbers},
        "seconds": round(monotonic() - began, 1),
    }
    write_json(folder / NUMBERS, found)
    return found


class _Gallery:
    """The looks one after the other: each leaves a picture in the folder, and its numbers or why it is left out."""

    def __init__(self, folder: Path, language: Language) -> None:
        self.folder = folder
        self.language: Language = language
        self.numbers: dict[str, dict[str, Any]] = {}
        self.left_out: dict[str, Sentence] = {}

    def leave_out(self, reason: Sentence, *looks: str) -> None:
        """Some looks are not taken."""
        self.left_out |= dict.fromkeys(looks, reason)

    def forget_earlier(self) -> None:
        """Remove the pictures that an earlier inspection left of looks which this one leaves out."""
        for look in self.left_out:
            self._place(look).unlink(missing_ok=True)

    def look_at_weights(self, model: VisionTransformer) -> None:
        """Filters and positions."""
        reason = why_no_filters(model.config)
        if reason is not None:
            self.leave_out(reason, "filters")
        else:
            filters = filter_components(model)
            write_filters(self._place("filters"), filters, self.language)
            variance = filters.variance.tolist()
            self.numbers["filters"] = {
                "filters": filters.filters,
                "components": len(variance),
                "variance": variance,
            }
        reason = why_no_positions(model.config)
        if reason is not None:
            self.leave_out(reason, "positions")
        else:
            similarity = position_similarity(model)
            write_positions(self._place("positions"), similarity, self.language)
            pattern = vars(position_pattern(similarity))
            self.numbers["positions"] = {"grid": list(model.config.grid), **pattern}

    def look_at_images(self, config: ViTConfig, seen: Seen) -> None:
        """Attention distance, norms and components."""
        kept = seen.kept
        if kept is None or kept.features is None:
            self.leave_out(NONE_READABLE, "distance", "norms", "components")
            return
        count = len(kept.distances)
        distances, uniform = kept.mean_distances(), uniform_distance(config.grid, config.reach)
        write_distance(self._place("distance"), distances, uniform, count, self.language)
        self.numbers["distance"] = {
            "images": count,
            "unit": "pixels",
            "uniform": uniform,
            "layers": [[None if np.isnan(one) else one for one in row] for row in distances.tolist()],
        }
        layers = np.arange(config.layers)
        patches = [summarise_norms(kept.patch_norms[:, layer]) for layer in layers]
        special = _special_norms(config, kept.special_norms)
        shown = seen.pictures[:WITH_NORMS]
        maps = kept.patch_norms[: len(shown), -1]
        write_norms(self._place("norms"), patches, special, count, shown, maps, self.language)
        self.numbers["norms"] = {
            "images": count,
            "patches": [vars(one) for one in patches],
            **{name: [vars(one) for one in summaries] for name, summaries in special.items()},
        }
        components = feature_components(kept.features)
        write_components(self._place("components"), seen.pictures, components, self.language)
        self.numbers["components"] = {
            "images": len(seen.pictures),
            "variance": components.variance.tolist(),
        }

    def look_at_layers(self, opened: Frozen, probes: LayerProbes) -> None:
        """A probe of each layer."""
        write_layer_probes(
            self._place("probe"),
            probes.accuracies,
            probes.intervals,
            majority=probes.majority_accuracy,
            split=probes.split,
            images=probes.images,
            language=self.language,
        )
        self.numbers["probe"] = {
            "data": opened.data.spec,
            "classes": len(opened.data.class_names),
            **probes.to_dict(),
            "image_size": list(opened.backbone.model.config.image_size),
            "precision": opened.backbone.compute.precision,
            "notes": [in_both(note) for note in (*opened.data.notes, *opened.start.notices)],
        }

    def _place(self, look: str) -> Path:
        return self.folder / f"{look}.png"


def _special_norms(config: ViTConfig, norms: np.ndarray) -> dict[str, list[NormSummary]]:
    """The special tokens `(images, layers, special)` by their kind, a summary a layer."""
    kinds = {
        "class_token": int(config.class_token),
        "distillation_token": int(config.distillation_token),
        "registers": config.registers,
    }
    found, start = {}, 0
    for name, count in kinds.items():
        if count:
            of_kind = norms[..., start : start + count]
            found[name] = [summarise_norms(of_kind[:, layer]) for layer in np.arange(config.layers)]
        start += count
    return found


def _about(weights: str, checkpoint: Checkpoint, config: ViTConfig, compute: Compute) -> dict[str, Any]:
    """What was looked at, and how."""
    named = ("layers", "dim", "heads", "special_tokens", "position_embedding")
    return {
        "weights": weights,
        "weights_sha256": checkpoint.hash(),
        "image_size": list(config.image_size),
        "patch_size": list(config.reach),
        "grid": list(config.grid),
        **{name: getattr(config, name) for name in named},
        "device": str(compute.device),
        "precision": compute.precision,
    }


def _square(image_size: int | tuple[int, int] | None) -> int:
    """The image size of the probe; 0: not said."""
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size or (0, 0)
    if sides[0] != sides[1]:
        raise UsageError(
            f"a probe takes square images, not {sides[0]}x{sides[1]}: give one number, or leave DATA out"
        )
    return sides[0]
