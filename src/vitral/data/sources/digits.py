"""The embedded default: handwritten digits that scikit-learn ships."""

import numpy as np

from vitral.data.sources.listing import Item, Listing


def list_digits() -> Listing:
    """1,797 grey images of 8 × 8 pixels, values 0 to 16 spread over 0 to 255; no splits, no network.

    Source: scikit-learn's `load_digits`, the test part of "Optical Recognition of Handwritten Digits" (UCI).
    """
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    images, targets = load_digits(return_X_y=True)
    arrays = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., np.newaxis]  # (n, 8, 8, 1)
    labels = [str(target) for target in targets]
    items = tuple(
        Item(path=f"digits/{index:04d}", label=label, split=None, section=label)
        for index, label in enumerate(labels)
    )
    return Listing("digits", items, tuple(sorted(set(labels))), arrays=arrays)
