"""WEIGHTS to files on this machine."""

import json
import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vitral.errors import UsageError, VitralError, WeightsError, one_line
from vitral.files import cache_folder
from vitral.weights.index import hash_of, parts_of
from vitral.weights.timm_names import DEFAULT_TAGS

CONFIG, PROCESSOR, TENSORS = "config.json", "preprocessor_config.json", "model.safetensors"
PROCESSORS = "processor_config.json"  # of newer transformers, for images and texts together
# What a folder's or a repository's tensors may be called, in the order of preference.
NAMES = (TENSORS, "model.safetensors.index.json", "pytorch_model.bin", "model.npz", "model.pth")
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")
# What a training leaves beside the weights.
NO_WEIGHTS = ("optimizer", "rng_state", "scaler", "scheduler", "training_args")
# Names that come from elsewhere become paths here, so they hold nothing that could lead out of a folder.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
PLAIN_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)

log = logging.getLogger("vitral")

# Read when huggingface_hub is first imported: it is to fetch what WEIGHTS name, and to send nothing else anywhere.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True)
class Source:
    """The files behind WEIGHTS.

    Args:
        weights: as the user wrote it.
        tensors: the file with the tensors, or the index of several.
        config: the content of the config.json that belongs to it, {} where there is none; what timm's or torchvision's
            own tables say about a name of theirs goes in here too.
        processor: of its preprocessor_config.json.
    """

    weights: str
    tensors: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether these are vitral's."""
        return self.config.get("format") == "vitral"

    def hash(self) -> str:
        """SHA-256 of the tensors' file, see `hash_of`."""
        return hash_of(self.tensors)


def is_weights(text: str) -> bool:
    """Whether a word is WEIGHTS rather than the name of an architecture: a path that is there, or a hub's name."""
    return os.path.exists(text) or text.partition(":")[0] in HOUSES


def find_source(weights: str | Path) -> Source:
    """The files that WEIGHTS mean; those of another house are fetched into its own cache, where they are not there yet.

    A path that exists wins over a name.

    Raises:
        UsageError: there is nothing of this kind.
        WeightsError: a file beside the tensors is damaged, or what a name stands for cannot be fetched.
    """
    path = Path(weights)
    if os.path.isdir(path):  # unlike pathlib's, these bear any text
        return _in_folder(str(weights), path)
    if os.path.isfile(path):
        if path.name in NAMES:  # then what stands beside it belongs to it
            return _with_documents(str(weights), path)
        return Source(str(weights), path)
    house, _, name = str(weights).partition(":")
    if house in HOUSES:
        return HOUSES[house](str(weights), name)
    raise UsageError(
        f"there are no weights at {weights}: give a run's folder, a checkpoint's folder or a file, "
        "or hf:OWNER/NAME, timm:NAME or torchvision:NAME"
    )


def _in_folder(weights: str, folder: Path) -> Source:
    found = _weights_among([file.name for file in folder.iterdir() if file.is_file()])
    if len(found) != 1:
        if parts := _json(folder / "run.json").get("parts"):
            raise UsageError(
                f"{folder} holds {len(parts)} runs and no model of its own: name one of them, such as "
                f"{folder / parts[0]}"
            )
        what = "several files of weights: give one of them" if found else f"no {TENSORS} and no other weights"
        raise UsageError(f"{folder} holds {what}")
    return _with_documents(weights, folder / found[0])


def _with_documents(weights: str, tensors: Path) -> Source:
    """The tensors and what stands beside them."""
    folder = tensors.parent
    together = _json(folder / PROCESSORS).get("image_processor")
    processor = _json(folder / PROCESSOR) or (together if isinstance(together, dict) else {})
    return Source(weights, tensors, _json(folder / CONFIG), processor)


def _weights_among(names: Collection[str]) -> list[str]:
    """The file with the weights among names, or all that could be it; a safetensors file wins over others."""
    known = [name for name in NAMES if name in names]
    if known:
        return known[:1]
    others = [
        name for name in sorted(names) if name.endswith(SUFFIXES) and name.partition(".")[0] not in NO_WEIGHTS
    ]
    safe = [name for name in others if name.endswith(".safetensors")]
    return safe if len(safe) == 1 else others


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is none.

    Raises:
        WeightsError: the file is damaged.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file} is no JSON object: fetch it again")
    return content


def _from_huggingface(weights: str, name: str) -> Source:
    """`hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`."""
    repository, at, revision = name.partition("@")
    if not REPOSITORY.fullmatch(repository) or ".." in name or (at and not REVISION.fullmatch(revision)):
        raise UsageError(
            f"{weights!r} is no name of a repository: write hf:OWNER/NAME, such as hf:google/vit-base-patch16-224, or "
            "hf:OWNER/NAME@REVISION"
        )
    return _repository(weights, repository, revision or None)


def _from_timm(weights: str, name: str) -> Source:
    """`timm:NAME` or `timm:NAME.TAG`, which lies in the repository timm/NAME.TAG."""
    architecture, _, tag = name.partition(".")
    tag = tag or DEFAULT_TAGS.get(architecture, "")
    if not tag or not PLAIN_NAME.fullmatch(f"{architecture}.{tag}") or ".." in name:
        near = get_close_matches(architecture, DEFAULT_TAGS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "write timm:NAME.TAG as timm spells it"
        raise UsageError(f"vitral knows no weights of timm's called {name!r}: {hint}")
    # Networks with another GELU for the same tensors share a repository: only the name tells which it is to be.
    repository = f"timm/{architecture.replace('_clip_quickgelu_', '_clip_')}.{tag}"
    source = _repository(weights, repository, None)
    return source if source.own else replace(source, config={**source.config, "architecture": architecture})


def _repository(weights: str, repository: str, revision: str | None) -> Source:
    """A repository of the Hugging Face hub.

    A folder where the user put its files wins; then what the hub has now, kept in the hub's own cache; and what that
    cache has where the hub cannot be reached.
    """
    place = repository.replace("/", "--") + (f"@{revision.replace('/', '--')}" if revision else "")
    by_hand = cache_folder("weights") / place
    if by_hand.is_dir():
        return _in_folder(weights, by_hand)
    try:
        return _in_folder(weights, _fetched(repository, revision))
    except VitralError:
        raise
    except Exception as error:  # the hub's library raises whatever the one that it speaks HTTP with does
        cached = _cached(repository, revision)
        if cached is None:
            raise _refusal(weights, repository, revision, by_hand, error) from error
        log.info("%s: from the hub's cache, because of %s", weights, one_line(error))
        return _in_folder(weights, cached)


def _fetched(repository: str, revision: str | None) -> Path:
    """Bring a repository's weights and what describes them into the hub's cache, and say which folder that is."""
    from huggingface_hub import HfApi, hf_hub_download

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(repository, name, revision=revision))

    names = [file.rfilename for file in HfApi().model_info(repository, revision=revision).siblings or ()]
    listed = [name for name in names if PLAIN_NAME.fullmatch(name)]
    found = _weights_among(listed)
    if len(found) > 1:
        raise WeightsError(
            f"the repository {repository} holds several files of weights ({', '.join(found[:3])}, …): "
            "fetch the one you want and give its path"
        )
    if not found:
        raise WeightsError(
            f"the repository {repository} holds no weights that vitral reads (.safetensors, .bin, .pth, .npz), "
            f"but {one_line(', '.join(listed) or 'nothing')}: choose another repository"
        )
    for name in (CONFIG, PROCESSOR, PROCESSORS):
        if name in listed:
            fetch(name)
    tensors = fetch(found[0])
    if tensors.name.endswith(".index.json"):
        for part in parts_of(tensors):
            fetch(part)
    return tensors.parent


def _cached(repository: str, revision: str | None) -> Path | None:
    """The folder of a repository in the hub's cache, where all that is needed is there."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=[CONFIG], local_files_only=True)
        )
    except Exception:  # as above; the first error is the one to tell
        return None
    found = _weights_among([file.name for file in folder.iterdir() if file.is_file()])
    if len(found) != 1:
        return None
    parts = parts_of(folder / found[0]) if found[0].endswith(".index.json") else []
    return folder if all((folder / part).is_file() for part in parts) else None


def _refusal(
    weights: str, repository: str, revision: str | None, by_hand: Path, error: Exception
) -> VitralError:
    """Why a repository cannot be had, and what to do about it."""
    from huggingface_hub import errors

    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{repository}"
        return WeightsError(f"{weights} is given only to who asks for it: ask at {page}, then {log_in}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UsageError(
            f"the hub has no repository {repository}, or a private one: check the name, or {log_in}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UsageError(f"the repository {repository} has no revision {revision}: check its name")
    return WeightsError(
        f"{weights} cannot be fetched ({one_line(error.__cause__ or error)}) and lies in no cache: "
        f"put its {CONFIG} and {TENSORS} by hand into {by_hand}"
    )


def _from_torchvision(weights: str, name: str) -> Source:
    """`torchvision:vit_b_16`, its default weights; `vit_b_16.NAME_OF_WEIGHTS`; `ViT_B_16_Weights.NAME_OF_WEIGHTS`."""
    from torchvision.models import get_model_weights, list_models

    builder, _, chosen = name.partition(".")
    builder, builders = builder.removesuffix("_Weights").lower(), list_models(include="vit_*")
    if builder not in builders:
        near = get_close_matches(builder, builders, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(builders)}"
        raise UsageError(f"torchvision has no Vision Transformer called {name!r}: {hint}")
    table: Any = get_model_weights(builder)
    if chosen and chosen not in table.__members__:
        choices = ", ".join(table.__members__)
        raise UsageError(f"torchvision's {builder} has no weights {chosen!r}: choose one of {choices}")
    entry = table[chosen or "DEFAULT"]
    shown = entry.transforms()
    listed = {
        "builder": builder,
        "weights": entry.name,
        "categories": list(entry.meta["categories"]),
        "crop_size": shown.crop_size[0],
        "resize_size": shown.resize_size[0],
        "mean": list(shown.mean),
        "std": list(shown.std),
        "interpolation": shown.interpolation.value,
    }
    return Source(weights, _from_torch_hub(weights, entry.url), {"torchvision": listed})


def _from_torch_hub(weights: str, url: str) -> Path:
    """A file in torch.hub's cache, fetched and checked against the hash in its name where it is not there yet."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if file.is_file():
        return file
    start_of_hash = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), start_of_hash and start_of_hash[1])
    except Exception as error:  # of the network, the disk, or a hash that is another
        raise WeightsError(
            f"{weights} cannot be fetched ({one_line(error)}): put {file.name} by hand into {file.parent}, from {url}"
        ) from error
    return file


HOUSES = {"hf": _from_huggingface, "timm": _from_timm, "torchvision": _from_torchvision}
