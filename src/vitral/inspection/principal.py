"""Principal components of many vectors, the way the looks need them: the first few, with signs that do not change."""

import numpy as np
from scipy.linalg import eigh

# A component whose variance is a smaller share of the first one's is rounding, not direction.
RANK_TOLERANCE = 1e-10


def principal_components(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The directions in which vectors vary most, around their mean.

    A component and its negative say the same; here the number of largest size in each is positive.

    Args:
        vectors: `(vectors, numbers)`.
        count: how many directions at most; there are no more than the vectors span.

    Returns:
        float64 `(components, numbers)`, each of length 1, the one of largest variance first, and what share of the
        whole variance each has `(components,)`.
    """
    x = np.asarray(vectors, np.float64)
    x = x - x.mean(axis=0)
    # The eigenvectors of whichever product is smaller.
    wide = x.shape[1] > x.shape[0]
    product = x @ x.T if wide else x.T @ x
    total, size = float(np.trace(product)), len(product)
    first = max(size - count, 0)
    squares, basis = eigh(product, subset_by_index=(first, size - 1))
    squares, basis = squares[::-1], basis[:, ::-1]
    kept = squares > max(RANK_TOLERANCE * squares[0], np.finfo(np.float64).tiny)
    squares, basis = squares[kept], basis[:, kept]
    components = (x.T @ basis / np.sqrt(squares) if wide else basis).T
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    return components, squares / total if total else squares
