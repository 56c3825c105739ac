"""The contestants of `training.py`: one training step of the same Vision Transformer by every library.

A row is a library at a precision, compiled or not: `timm-bf16-compiled`. All are built from one `ViTConfig`, see the
same images and labels, minimise the cross-entropy, and use AdamW with the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.data import LabelledImages
from vitral.data.labelled import Sample, Sizes
from vitral.data.loader import Batch
from vitral.device import choose
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig
from vitral.training import Plan, Recipe
from vitral.training.loop import train_step
from vitral.training.plan import make_learner

# library: the module it is imported from
LIBRARIES = {
    "vitral": "vitral",
    "timm": "timm",
    "transformers": "transformers",
    "torchvision": "torchvision",
    "vit-pytorch": "vit_pytorch",
}
PRECISIONS = ("fp32", "bf16")
LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-4, (0.9, 0.999), 0.05
CLIP_NORM = 1.0  # vitral's recipes clip; the peers' plain loops do not


@dataclass(frozen=True)
class Row:
    """A library at a precision, compiled or not."""

    library: str
    precision: str
    compiled: bool

    @property
    def name(self) -> str:
        """Such as `timm-bf16-compiled`."""
        return f"{self.library}-{self.precision}" + ("-compiled" if self.compiled else "")

    @property
    def installed(self) -> bool:
        """Whether the library is here."""
        return find_spec(LIBRARIES[self.library]) is not None

    def is_default(self, device: torch.device, long: bool = False) -> bool:
        """Whether this is what the library does where its user asks for nothing: fp32, but in vitral the fastest.

        vitral compiles in trainings that are long enough to gain from it, where there is a C++ compiler; no peer does.
        """
        if self.library != "vitral":
            return self.precision == "fp32" and not self.compiled
        return self.precision == choose(device.type).precision and self.compiled == long


def all_rows(compiled: bool, device: torch.device) -> list[Row]:
    """Every library at every precision, and vitral as it is in a long training; with `compiled` all once more so."""
    rows = [
        Row(library, precision, each)
        for each in (False, True)
        for precision in PRECISIONS
        for library in LIBRARIES
    ]
    return [row for row in rows if compiled or not row.compiled or row.is_default(device, long=True)]


@dataclass(frozen=True)
class Task:
    """What all rows learn.

    Args:
        config: the architecture.
        images: uint8 `(batch, channels, height, width)` in main memory.
        labels: int64 `(batch,)`.
        device: where to compute.
    """

    config: ViTConfig
    images: Tensor
    labels: Tensor
    device: torch.device


def make_task(config: ViTConfig, batch_size: int, device: torch.device) -> Task:
    """Random images and labels, the same ones at every call."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (batch_size, config.channels, *config.image_size), dtype=torch.uint8, generator=generator
    )
    labels = torch.randint(0, config.num_classes, (batch_size,), generator=generator)
    return Task(config, images, labels, device)


def make_step(row: Row, task: Task) -> Callable[[], Tensor]:
    """One training step (forward, backward, update) with everything that it needs; it returns the loss."""
    torch.manual_seed(0)
    return _vitral_step(row, task) if row.library == "vitral" else _peer_step(row, task)


def _vitral_step(row: Row, task: Task) -> Callable[[], Tensor]:
    """The real step of `vitral train`: uint8 in main memory, to the device, normalised, trained on."""
    compute = choose(task.device.type, row.precision)
    recipe = Recipe(
        steps=1_000_000,
        batch_size=len(task.labels),
        optimizer="adamw",
        learning_rate=LEARNING_RATE,
        momentum=BETAS[0],
        beta2=BETAS[1],
        weight_decay=WEIGHT_DECAY,
        schedule="constant",
        clip_norm=CLIP_NORM,
        random_crop=0.0,
        flip="none",
    )
    plan = Plan(
        data=_labelled(task),
        model=VisionTransformer(task.config),
        preprocessing=preprocessing(task.config),
        recipe=recipe,
        compute=compute,
        seed=0,
        compiled=row.compiled,
        compile_reason="asked for",
        workers=0,
        seconds_per_step=0.0,
        seconds=0.0,
        disk_bytes=0,
        time_limit=None,
        notices=(),
    )
    learner = make_learner(plan)
    batch = Batch(task.images, task.labels)
    if task.device.type == "cuda":
        batch = batch.pin_memory()  # as the loader hands batches over
    return lambda: train_step(learner, [batch])[0]


def _peer_step(row: Row, task: Task) -> Callable[[], Tensor]:
    """The loop that PyTorch's own pages show, on images that are already normalised and on the device."""
    model = _peer_model(row.library, task.config).to(task.device).train()
    forward = torch.compile(model) if row.compiled else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY
    )
    pixels = task.images.permute(0, 2, 3, 1).numpy()
    images = torch.from_numpy(preprocessing(task.config).normalise(pixels)).to(task.device)
    labels = task.labels.to(task.device)

    def step() -> Tensor:
        with torch.autocast(task.device.type, torch.bfloat16, enabled=row.precision == "bf16"):
            answer = forward(images)
            loss = F.cross_entropy(answer.logits if row.library == "transformers" else answer, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _peer_model(library: str, config: ViTConfig) -> nn.Module:
    """The library's own Vision Transformer of these dimensions, random weights, attention as it comes."""
    image_size, patch_size = config.image_size[0], config.patch_size[0]
    if config.image_size != (image_size, image_size) or config.patch_size != (patch_size, patch_size):
        raise SystemExit("error: not every library takes images that are not square: choose another model")
    if library == "timm":
        from timm.models.vision_transformer import VisionTransformer as TimmTransformer

        return TimmTransformer(
            img_size=image_size,
            patch_size=patch_size,
            num_classes=config.num_classes,
            embed_dim=config.dim,
            depth=config.layers,
            num_heads=config.heads,
            mlp_ratio=config.mlp_dim / config.dim,
        )
    if library == "transformers":
        from transformers import ViTConfig as TransformersConfig
        from transformers import ViTForImageClassification

        settings = TransformersConfig(
            image_size=image_size,
            patch_size=patch_size,
            hidden_size=config.dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.mlp_dim,
        )
        settings.num_labels = config.num_classes
        return ViTForImageClassification(settings)
    if library == "torchvision":
        from torchvision.models import VisionTransformer as TorchvisionTransformer

        return TorchvisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            num_classes=config.num_classes,
            num_layers=config.layers,
            num_heads=config.heads,
            hidden_dim=config.dim,
            mlp_dim=config.mlp_dim,
        )
    from vit_pytorch import ViT

    return ViT(
        image_size=image_size,
        patch_size=patch_size,
        num_classes=config.num_classes,
        dim=config.dim,
        depth=config.layers,
        heads=config.heads,
        mlp_dim=config.mlp_dim,
        dim_head=config.head_dim,
    )


def preprocessing(config: ViTConfig) -> Preprocessing:
    """Pixels to -1..1, as the paper's models see them."""
    return Preprocessing(size=config.image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _labelled(task: Task) -> LabelledImages:
    """The batch as data that a plan can name; the step is handed the batch itself."""
    size = task.config.image_size
    pixels = task.images.permute(0, 2, 3, 1).numpy()
    samples = tuple(
        Sample(f"random/{index}", (int(label),), "train", "", "", None)
        for index, label in enumerate(task.labels)
    )

    def read(sample: Sample) -> np.ndarray:
        return pixels[int(sample.path.removeprefix("random/"))]

    return LabelledImages(
        spec="random",
        name="random",
        class_names=tuple(map(str, range(task.config.num_classes))),
        samples=samples,
        bad_files=(),
        left_out=(),
        channels=task.config.channels,
        sizes=Sizes(size, size, size),
        notes=(),
        splits_given=True,
        reader=read,
    )
