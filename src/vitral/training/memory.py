"""Out of memory: noticing it, and saying what keeps the recipe."""

import re

import torch

from vitral.training.recipe import Recipe


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the machine's own, did not suffice."""
    # A processor's memory has no error of its own in torch.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def memory_advice(recipe: Recipe, error: BaseException) -> str:
    """What was asked for, and the batch size and accumulation that keep the recipe's images an update."""
    found = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    problem = f"not enough memory ({found[1]} more were asked for)" if found else "not enough memory"
    total = recipe.total_batch
    if recipe.batch_size == 1:
        return f"{problem}, though one image is computed at a time: take a smaller model or a smaller --image-size"
    smaller = max(size for size in range(1, recipe.batch_size // 2 + 1) if total % size == 0)
    sizes = f"--batch-size {smaller} --accumulate {total // smaller}"
    return f"{problem}: give {sizes}, which keeps the {total} images an update stands on"
