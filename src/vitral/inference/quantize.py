"""int8: weights and activations of OpenVINO's graphs in 8 bits, and a check of what that costs. Extra `fast`.

Activations are rounded in one of two ways. *Static*: a range for each tensor, found on calibration images (Jacob et al.
2018, "Quantization and Training of Neural Networks", section 2.1; made fit for outliers in channels by Xiao et al.
2023, "SmoothQuant"). *Dynamic*: each token's numbers in groups, each group with the range it has at that moment, which
needs no images. Weights have a range for each output channel in both.
"""

import io
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rich

from vitral.errors import UsageError, VitralError
from vitral.inference.backends.openvino import compile_graph

if TYPE_CHECKING:
    from openvino import Model

Progress = Callable[[int, int, str], None]

CALIBRATION_IMAGES = 300
FEWEST_IMAGES = 10
BATCH = 32
# Images that the layer groups are ranked on.
RANKED_ON = 16
# Sizes of dynamic groups, the fastest first.
GROUP_SIZES = (192, 128, 64)

PRODUCTS = ("MatMul", "Convolution", "GroupConvolution", "ScaledDotProductAttention")
# What a graph may hold between a quantiser and its product, and between weights of 8 bits and theirs.
MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Split", "VariadicSplit")
UNPACKS = ("Convert", "Multiply", "Subtract", "Reshape")
SMOOTHED = "nncf_smooth_quant"


@dataclass(frozen=True)
class Quantised:
    """A graph in int8, and what that cost.

    Args:
        model: the graph, for any number of images like the one it came from.
        images: how many it was measured on.
        accuracy_before, accuracy_after: of the fp32 graph and of this one, shares of 1; None without labels.
        agreement: share of the images with the same top-1 in both.
        kept: the layer groups that stepped back from static to dynamic int8, in that order; attention's inner products
            and convolutions step back to floating point.
    """

    model: "Model"
    images: int
    accuracy_before: float | None
    accuracy_after: float | None
    agreement: float
    kept: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        """Points of accuracy lost, of 100; without labels, 100 (1 - agreement)."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return 100 * (1 - self.agreement)
        return 100 * (self.accuracy_before - self.accuracy_after)


def quantise(
    model: "Model",
    calibration: Iterable[np.ndarray],
    labelled: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    max_drop: float = 0.5,
    progress: Progress | None = None,
) -> Quantised:
    """Static int8, stepped back layer group by layer group until at most `max_drop` points are lost.

    A group is one kind of product in one layer (attention.qkv, attention.products, attention.out, mlp.hidden, mlp.out),
    or the embedding. They step back in the order of the error that int8 makes in their products; the number of them is
    found by doubling and bisection. What lies behind the layers stays in fp32: it is a thousandth of the work.

    Args:
        model: fp32, `pixels` to `answers`, as `vitral.inference.graphs.to_openvino` makes it; it stays as it is.
        calibration: batches of pixels `(batch, height, width, channels)` of training images; of more than 300, 300.
        labelled: pixels to measure the drop on, and their classes `(images,)`; None: the drop is the share of the
            calibration images whose top-1 changes.
        max_drop: points of 100.
        progress: is told (done, total, what is done).

    Raises:
        UsageError: openvino or nncf is missing, there are too few images, or labels do not fit them.
        VitralError: `max_drop` cannot be met.
    """
    nncf = _nncf()
    tell = progress or _nothing
    images = _joined(calibration)
    images = images[evenly(len(images), CALIBRATION_IMAGES)]
    check = _Check(model, images, labelled, tell)
    whole = _statically(nncf, model, images, tell)
    tried = check(whole, "int8")
    if tried.drop <= max_drop:
        return tried
    compressed = compress(model)
    ranking = _ranking(model, whole, images[evenly(len(images), RANKED_ON)])

    def stepped_back(count: int) -> Quantised:
        kept = tuple(ranking[:count])
        what = f"int8, {count} of {len(ranking)} stepped back"
        return check(_step_back(whole, compressed, kept), what, kept)

    enough = _fewest(len(ranking), stepped_back, lambda one: one.drop <= max_drop)
    if enough is None:
        raise VitralError(_not_met(stepped_back(len(ranking)), max_drop))
    return enough


def compress(model: "Model", group_size: int | None = None) -> "Model":
    """Dynamic int8, which needs no images: weights of 8 bits, activations rounded group by group as they come.

    The graph carries the size of a group to whoever compiles it.

    Args:
        model: fp32; it stays as it is.
        group_size: numbers that share a range; None: the largest of 192, 128 and 64 that divides the layers' widths.
            A product narrower than a group multiplies in floating point.

    Raises:
        UsageError: openvino or nncf is missing, or a group has no positive size.
    """
    nncf = _nncf()
    if group_size is not None and group_size < 1:
        raise UsageError(f"a group of {group_size} numbers has none: take one of {GROUP_SIZES}")
    with _silently():
        compressed = nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_SYM)
    _carry(compressed, group_size or _group_size(model))
    return compressed


def group_of(name: str, kind: str) -> str | None:
    """The layer group of a product by its name in a traced graph; None where it shall not be in static int8."""
    layer = re.search(r"\.(blocks\.\d+)\.(attention|attention\.out|mlp\.hidden|mlp\.out)/(.*)", name)
    if kind not in PRODUCTS:
        return None
    if layer is None:
        return "embedding" if ".embedding" in name else None
    block, module, operation = layer.groups()
    if module == "attention":
        module = "attention.qkv" if "linear" in operation else "attention.products"
    return f"{block}.{module}"


class _Check:
    """What a graph answers, against fp32 and labels."""

    def __init__(
        self,
        model: "Model",
        calibration: np.ndarray,
        labelled: tuple[np.ndarray, np.ndarray] | None,
        tell: Progress,
    ) -> None:
        self.pixels, self.labels = (calibration, None) if labelled is None else labelled
        if self.labels is not None and (len(self.labels) != len(self.pixels) or not len(self.labels)):
            counts = f"{len(self.pixels)} images have {len(self.labels)} labels"
            raise UsageError(f"{counts}: give one label an image")
        self.tell = tell
        self.before = self._top(model, "fp32", "fp32")

    def __call__(self, model: "Model", what: str, kept: tuple[str, ...] = ()) -> Quantised:
        after = self._top(model, "int8", what)
        agreement = float((self.before == after).mean())
        if self.labels is None:
            return Quantised(model, len(after), None, None, agreement, kept)
        right = [float((top == self.labels).mean()) for top in (self.before, after)]
        return Quantised(model, len(after), right[0], right[1], agreement, kept)

    def _top(self, model: "Model", precision: str, what: str) -> np.ndarray:
        """The most probable class of each image, computed as it will be."""
        run, total = compile_graph(model, precision), len(self.pixels)
        tops = []
        for start in range(0, total, BATCH):
            tops.append(run([self.pixels[start : start + BATCH]])[0].argmax(axis=1))
            self.tell(min(start + BATCH, total), total, f"measuring {what}")
        return np.concatenate(tops)


def _statically(nncf: Any, model: "Model", images: np.ndarray, tell: Progress) -> "Model":
    seen, total = 0, 2 * len(images)  # SmoothQuant looks at all of them once before

    def one(image: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen = min(seen + 1, total)
        tell(seen, total, "calibrating")
        return image[None]

    with _silently():
        quantised = nncf.quantize(
            model.clone(),
            nncf.Dataset(list(images), one),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
            # Corrected biases would not go with products that step back, and no gain could be measured.
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
            ignored_scope=nncf.IgnoredScope(names=_left_out(model), validate=False),
        )
    _carry(quantised, _group_size(model))
    return quantised


def _left_out(model: "Model") -> list[str]:
    """Products in no layer group, and all that stands between a layer's parts: residual sums and token merging.

    OpenVINO 2026.4 computes a head in static int8 wrongly once the graph's batch has a fixed size.
    """
    return [
        op.friendly_name
        for op in model.get_ops()
        if (op.get_type_name() in PRODUCTS and group_of(op.friendly_name, op.get_type_name()) is None)
        or re.search(r"\.blocks\.\d+/", op.friendly_name)
    ]


def _ranking(model: "Model", quantised: "Model", images: np.ndarray) -> list[str]:
    """The layer groups, that whose products are furthest from fp32's first.

    In one graph each quantised product stands beside the one of fp32 and takes the same numbers, so that no error is
    another layer's. Of a product it is the mean over tokens of |int8 - fp32|^2 / |fp32|^2.
    """
    import openvino
    from openvino import opset13 as operations

    exact, rounded = model.clone(), quantised.clone()
    source = {op.friendly_name: op for op in exact.get_ops()}
    groups, errors = [], []
    for op in _grouped(rounded):
        for port in _activations(op):
            _, entry = _quantiser(port)
            taken = entry.get_source_output()
            entry.replace_source_output(source[taken.get_node().friendly_name].output(taken.get_index()))
        truth = source[op.friendly_name].output(0)
        difference = operations.subtract(op.output(0), truth)
        off, size = (
            operations.reduce_sum(operations.multiply(value, value), np.array([-1]), False)
            for value in (difference.output(0), truth)
        )
        share = operations.divide(off, operations.add(size, np.float32(1e-12)))
        every = np.arange(len(share.get_output_partial_shape(0)))
        errors.append(operations.reduce_mean(share, every, False))
        groups.append(group_of(op.friendly_name, op.get_type_name()))
    probe: Any = openvino.Model(errors, exact.get_parameters())  # pyright: ignore[reportGeneralTypeIssues]
    found = compile_graph(probe, "fp32")([images])
    worst: dict[str, float] = {}
    for place, group in enumerate(groups):
        worst[group] = max(worst.get(group, 0.0), float(found[place]))
    return sorted(worst, key=lambda group: -worst[group])


def _step_back(quantised: "Model", compressed: "Model", kept: Sequence[str]) -> "Model":
    """The graph with the products of these groups as `compress` makes them."""
    model, weights = quantised.clone(), {op.friendly_name: op for op in compressed.clone().get_ops()}
    for op in _grouped(model):
        if group_of(op.friendly_name, op.get_type_name()) not in kept:
            continue
        for port in _activations(op):
            lower, upper = _quantiser(port)
            lower.replace_source_output(upper.get_source_output())
        for port in op.inputs():
            if _constant(port.get_source_output().get_node()):
                port.replace_source_output(weights[op.friendly_name].input_value(port.get_index()))
    model.validate_nodes_and_infer_types()
    return model


def _grouped(model: "Model") -> list[Any]:
    return [op for op in model.get_ordered_ops() if group_of(op.friendly_name, op.get_type_name())]


def _activations(op: Any) -> list[Any]:
    return [port for port in op.inputs() if not _constant(port.get_source_output().get_node())]


def _constant(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return True
    sources = (value.get_node() for value in node.input_values())
    return node.get_type_name() in UNPACKS and all(map(_constant, sources))


def _quantiser(port: Any) -> tuple[Any, Any]:
    """Where a product's input leaves its quantiser and where that begins: the same where it has none."""
    lower = port
    while (node := lower.get_source_output().get_node()).get_type_name() in MOVES:
        lower = node.input(0)
    upper = lower
    while (
        node := upper.get_source_output().get_node()
    ).get_type_name() == "FakeQuantize" or node.friendly_name.endswith(SMOOTHED):
        upper = node.input(0)
    return lower, upper


def _fewest(
    most: int, make: Callable[[int], Quantised], fits: Callable[[Quantised], bool]
) -> Quantised | None:
    """What is made of the smallest number that fits, if all larger ones fit too; None where not even `most` fits."""
    short, count = 0, 1
    while not fits(best := make(min(count, most))):
        if count >= most:
            return None
        short, count = count, 2 * count
    enough = min(count, most)
    while enough - short > 1:
        middle = (short + enough) // 2
        if fits(one := make(middle)):
            best, enough = one, middle
        else:
            short = middle
    return best


def _joined(batches: Iterable[np.ndarray]) -> np.ndarray:
    taken = list(batches)
    count = sum(map(len, taken))
    if count < FEWEST_IMAGES:
        raise UsageError(
            f"{count} images are too few to find the ranges of int8: give at least {FEWEST_IMAGES}, better 300"
        )
    return np.concatenate(taken)


def evenly(count: int, most: int) -> np.ndarray:
    """Places of at most so many of `count` images, from begin to end: images often stand class by class."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _group_size(model: "Model") -> int:
    widths = [
        op.input(0).get_partial_shape()[-1].get_length()
        for op in _grouped(model)
        if ".blocks." in op.friendly_name and _constant(op.input_value(1).get_node())
    ]
    return next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), GROUP_SIZES[-1])


def _carry(model: "Model", group_size: int) -> None:
    model.set_rt_info(str(group_size), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])


def _nncf() -> Any:
    """nncf, without the package by which it would report each use to its makers, also where others imported that."""
    telemetry = "openvino_telemetry"
    before = sys.modules.get(telemetry)
    sys.modules[telemetry] = None  # pyright: ignore[reportArgumentType]
    try:
        with _silently():
            import nncf
    except ImportError as error:
        raise UsageError("int8 needs openvino and nncf: pip install 'vitral[fast]'") from error
    finally:
        del sys.modules[telemetry]
        if before is not None:
            sys.modules[telemetry] = before
    return nncf


@contextmanager
def _silently() -> Iterator[None]:
    """Without nncf's bars and remarks: standard output is for results."""
    before, console = logging.root.manager.disable, rich.get_console()
    notebook = console.is_jupyter
    logging.disable(logging.WARNING)
    console.is_jupyter = False  # a notebook's bars do not go through standard output
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        console.is_jupyter = notebook
        logging.disable(before)


def _nothing(done: int, total: int, what: str) -> None:
    """For whoever wants to hear of no progress."""


def _not_met(best: Quantised, max_drop: float) -> str:
    lost = f"{best.drop:.1f} points" + (" of agreement with fp32" if best.accuracy_after is None else "")
    return (
        f"int8 loses {lost} on {best.images} images with every layer stepped back, more than {max_drop:g}: "
        f"allow more with --max-drop, or take bf16"
    )
