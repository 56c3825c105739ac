"""Classifiers on frozen features: least squares, logistic regression, nearest neighbours. Arrays in, arrays out.

Each chooses its own strength by answers to training images that it had left out, and hands these answers out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

# Strengths to choose from, in units of the features' mean squared length around their mean.
LEAST_SQUARES_STRENGTHS = tuple(10.0 ** np.arange(-4, 0.1, 0.25))
LOGISTIC_STRENGTHS = tuple(10.0 ** np.arange(-2, 0.1, 0.5))
NEIGHBOURS = (1, 3, 5, 9, 15, 20)
FOLDS = 5
# Below so many images or numbers one thread does: where other programs are at work, several that wait for one another
# make small products ten times slower.
SMALL = 2000
# Votes of neighbours weigh exp(cosine / this), as in the evaluation of DINO.
VOTE_TEMPERATURE = 0.07


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """scores = features weight^T + bias.

    Args:
        weight, bias: float64 `(classes, dim)` and `(classes,)`.
        strength: of the regularisation; chosen.
        held_out: float64 `(images, classes)`: each image's scores by a probe of this strength that had not seen it;
            None where a class has too few images for that.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    held_out: np.ndarray | None

    def scores(self, features: np.ndarray) -> np.ndarray:
        """`(images, dim)` to float64 `(images, classes)`."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True, eq=False)
class NeighbourProbe:
    """The nearest by cosine vote; the weight of a vote is exp(cosine / 0.07).

    Args:
        bank: float32 `(images, dim)`, each of length 1.
        targets: float32 `(images, classes)`, each one a 1, in the column of its class.
        neighbours: how many vote; chosen.
        held_out: float64 `(images, classes)`: each image's shares of the votes of the others.
    """

    bank: np.ndarray
    targets: np.ndarray
    neighbours: int
    held_out: np.ndarray

    def shares(self, features: np.ndarray) -> np.ndarray:
        """Of the votes: `(images, dim)` to float64 `(images, classes)`."""
        return votes(_unit_length(features) @ self.bank.T, self.targets, self.neighbours)


def targets_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels `(images,)` as float64 `(images, classes)` of -1 and, for the image's own class, 1."""
    return np.where(np.arange(classes) == np.asarray(labels)[:, None], 1.0, -1.0)


def least_squares(
    features: np.ndarray,
    targets: np.ndarray,
    strengths: Sequence[float] | None = None,
    groups: np.ndarray | None = None,
) -> LinearProbe:
    """The paper's few-shot evaluation (section 4.1): ridge regression onto {-1, 1}^K, in closed form.

    Minimises `|features weight^T + bias - targets|^2 + strength |weight|^2`, with the strength whose answers to
    left-out images have the smallest squared error, as scikit-learn's RidgeClassifierCV has it. Leaving one out is no
    work of its own: the error of a left-out image is its residual over (1 - h), h its entry on the diagonal of the
    matrix that turns targets into fitted values (Allen 1974); of a group left out as a whole, the same with its block
    of that.

    Args:
        features: `(images, dim)`.
        targets: `(images, K)` of -1 and 1, see `targets_of`.
        strengths: above 0; `LEAST_SQUARES_STRENGTHS` in their unit unless given.
        groups: whole numbers `(images,)`; images of equal number are left out together.
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    mean, middle = x.mean(axis=0), y.mean(axis=0)
    with _threads(min(x.shape)):
        return _ridge(x - mean, y - middle, mean, middle, strengths, groups)


def _ridge(
    x: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    middle: np.ndarray,
    strengths: Sequence[float] | None,
    groups: np.ndarray | None,
) -> LinearProbe:
    """`least_squares` of centred features and targets, whose means are given."""
    images, dim = x.shape
    # The eigenvectors of whichever is smaller. Either way the fitted values are basis diag(shrink) basis^T y.
    if images > dim:
        squares, vectors = eigh(x.T @ x, driver="evd")
        basis = x @ vectors
    else:
        squares, basis = eigh(x @ x.T, driver="evd")
        vectors = None
    squares = np.maximum(squares, 0.0)
    projected = basis.T @ y

    def left_out(strength: float) -> np.ndarray:
        """The errors of left-out images, `(images, K)`."""
        shrink = (1.0 if vectors is not None else squares) / (squares + strength)
        residuals = y - basis @ (shrink[:, None] * projected)
        if groups is None:
            return residuals / (1 - 1 / images - basis**2 @ shrink)[:, None]
        errors = np.empty_like(residuals)
        for members in _members(groups):
            block = 1 / images + (basis[members] * shrink) @ basis[members].T
            errors[members] = np.linalg.solve(np.eye(len(members)) - block, residuals[members])
        return errors

    unit = _unit(x)
    choice = [unit * strength for strength in LEAST_SQUARES_STRENGTHS] if strengths is None else strengths
    errors = {strength: left_out(strength) for strength in choice}
    strength = min(errors, key=lambda one: float((errors[one] ** 2).mean()))
    solved = projected / (squares + strength)[:, None]
    weight = (vectors @ solved if vectors is not None else x.T @ (basis @ solved)).T
    return LinearProbe(weight, middle - weight @ mean, strength, y + middle - errors[strength])


def logistic(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    strengths: Sequence[float] | None = None,
    groups: np.ndarray | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> LinearProbe:
    """Multinomial logistic regression, its strength chosen by the log-loss of stratified cross-validation.

    Minimises `the sum of the log-losses + strength/2 |weight|^2` (scikit-learn's, C = 1 / strength).

    Args:
        features: `(images, dim)`.
        labels: whole numbers `(images,)`, each class at least once.
        classes: how many.
        strengths: above 0; `LOGISTIC_STRENGTHS` in their unit unless given.
        groups: whole numbers `(images,)`; images of equal number are in one fold.
        folds: at most so many; as many as the smallest class has images (groups), if that is less. With fewer than 2
            nothing can be chosen, and the strength in the middle is taken.
        seed: of the folds.
    """
    x = np.asarray(features, np.float64)
    mean = x.mean(axis=0)
    x = x - mean
    unit = _unit(x)
    choice = [unit * strength for strength in LOGISTIC_STRENGTHS] if strengths is None else strengths
    path = sorted(choice, reverse=True)  # each solution starts from that of the next stronger one
    with _threads(min(x.shape)):
        turn = _span(x)
        z = (x if turn is None else x @ turn) / np.sqrt(unit)
        scaled = [strength / unit for strength in path]
        held_out = None
        best = len(path) // 2
        parts = _folds(labels, groups, folds, seed)
        if parts:
            scores = np.zeros((len(path), len(z), classes))
            for learn, answer in parts:
                for place, (weight, bias) in enumerate(_path(z[learn], labels[learn], classes, scaled)):
                    scores[place, answer] = z[answer] @ weight.T + bias
            losses = [_log_loss(one, labels) for one in scores]
            best = int(np.argmin(losses))
            held_out = scores[best]
        *_, (weight, bias) = _path(z, labels, classes, scaled[: best + 1])
        weight = (weight if turn is None else weight @ turn.T) / np.sqrt(unit)
    return LinearProbe(weight, bias - weight @ mean, path[best], held_out)


def _span(x: np.ndarray) -> np.ndarray | None:
    """An orthonormal basis `(dim, rank)` of what fewer images than numbers span: the weights lie in it."""
    if x.shape[1] <= x.shape[0]:
        return None
    squares, basis = eigh(x @ x.T, driver="evd")
    kept = squares > 1e-12 * squares[-1]
    return x.T @ (basis[:, kept] / np.sqrt(squares[kept])) if kept.any() else None


def nearest_neighbours(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    neighbours: Sequence[int] = NEIGHBOURS,
    groups: np.ndarray | None = None,
) -> NeighbourProbe:
    """k nearest neighbours by cosine, k chosen by how many images the others name rightly.

    Args:
        features: `(images, dim)`.
        labels: whole numbers `(images,)`.
        classes: how many.
        neighbours: k to choose from; those that there are too few images for are passed over.
        groups: whole numbers `(images,)`; images of equal number do not vote for one another in choosing.
    """
    bank = _unit_length(features)
    targets = np.eye(classes, dtype=np.float32)[labels]
    groups = np.arange(len(bank)) if groups is None else groups
    possible = [k for k in neighbours if k < len(bank)] or [1]
    shares = {k: np.empty((len(bank), classes)) for k in possible}
    for start in range(0, len(bank), 1024):
        rows = slice(start, start + 1024)
        cosines = bank[rows] @ bank.T
        cosines[groups[rows, None] == groups] = -np.inf
        for k in possible:
            shares[k][rows] = votes(cosines, targets, k)
    right = {k: float((one.argmax(axis=1) == labels).mean()) for k, one in shares.items()}
    best = max(right, key=lambda k: right[k])
    return NeighbourProbe(bank, targets, best, shares[best])


def votes(cosines: np.ndarray, targets: np.ndarray, neighbours: int) -> np.ndarray:
    """Each class's share of the votes of the nearest: cosines `(images, bank)` to float64 `(images, classes)`."""
    nearest = np.argpartition(-cosines, min(neighbours, cosines.shape[1]) - 1, axis=1)[:, :neighbours]
    values = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
    top = values.max(axis=1, keepdims=True)
    weights = np.exp((values - np.where(np.isfinite(top), top, 0.0)) / VOTE_TEMPERATURE)
    counted = np.einsum("ik,ikc->ic", weights, targets[nearest])
    return counted / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def calibrated(probe: LinearProbe, labels: np.ndarray, groups: np.ndarray | None = None) -> LinearProbe:
    """The same probe with its scores on the scale on which their softmax is a probability; no answer changes.

    One factor is fitted to the log-loss of the answers to left-out images (Guo et al. 2017, section 4.2) and goes into
    weight and bias. An image whose class no other image (group) has says nothing about this and is passed over; where
    none is left, the scores stay as they are.
    """
    if probe.held_out is None:
        return probe
    units = np.arange(len(labels)) if groups is None else groups
    others = {label: len(np.unique(units[labels == label])) for label in np.unique(labels).tolist()}
    told = np.array([others[label] > 1 for label in labels.tolist()])
    if not told.any():
        return probe
    scores, truth = probe.held_out[told], labels[told]
    # Half an image of each class is added as a doubt, so that faultless answers do not make the factor infinite.
    classes = scores.shape[1]
    doubt = classes / 2 / (len(truth) + classes / 2)
    wanted = (1 - doubt) * np.eye(classes)[truth] + doubt / classes

    def loss(exponent: float) -> float:
        return -float((wanted * log_softmax(np.exp(exponent) * scores, axis=1)).sum(axis=1).mean())

    factor = float(np.exp(minimize_scalar(loss, bounds=(-3, 5), method="bounded").x))  # type: ignore[union-attr]
    return replace(
        probe, weight=factor * probe.weight, bias=factor * probe.bias, held_out=factor * probe.held_out
    )


def _unit_length(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _threads(size: int) -> threadpool_limits:
    """Within the block, as many threads for matrices as their size is worth."""
    return threadpool_limits(1 if size <= SMALL else None, user_api="blas")


def _unit(x: np.ndarray) -> float:
    """The mean squared length of centred features, in which strengths are counted."""
    return float((x**2).sum() / len(x)) or 1.0


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The positions of each group's images."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(np.asarray(groups)[order])) + 1)


def _folds(
    labels: np.ndarray, groups: np.ndarray | None, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions to learn from and to answer, stratified, groups whole; [] where a fold would leave a class out."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    units = np.arange(len(labels)) if groups is None else groups
    fewest = min(len(np.unique(units[labels == label])) for label in np.unique(labels))
    if fewest < 2:
        return []
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    drawn = list(kind(min(folds, fewest), shuffle=True, random_state=seed).split(labels, labels, groups))
    classes = len(np.unique(labels))
    return drawn if all(len(np.unique(labels[learn])) == classes for learn, _ in drawn) else []


def _path(
    x: np.ndarray, labels: np.ndarray, classes: int, strengths: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weight `(classes, dim)` and bias `(classes,)` for one strength after the other."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(warm_start=True, max_iter=5000, tol=1e-5)
    for strength in strengths:
        model.set_params(C=1 / strength).fit(x, labels)
        weight, bias = model.coef_, np.asarray(model.intercept_)
        if len(weight) == 1:  # of two classes scikit-learn keeps the difference
            weight, bias = np.vstack([-weight, weight]) / 2, np.append(-bias, bias) / 2
        assert weight.shape == (classes, x.shape[1])
        yield weight, bias


def _log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    return -float(log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())
