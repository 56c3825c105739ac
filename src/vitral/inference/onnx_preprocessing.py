"""`Preprocessing.fit_image` of pictures as a graph of ONNX, in front of a network: one picture of any size goes in.

Resizing is ONNX's antialiased `Resize` on uint8, which rounds between its two passes as Pillow does: where the passes
have Pillow's order, under four values of 0 to 255 in a hundred differ, by one, rarely two. The order is across, then
down; Pillow 13 takes some pictures, tall ones first of all, the other way round, which leaves photographs within 7 of
each other. "nearest" is Pillow's to the last digit.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from vitral.images import Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

MODES = {"bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5}, "bilinear": {"mode": "linear"}}


def with_preprocessing(model: "ModelProto", preprocessing: Preprocessing) -> "ModelProto":
    """The same network for one picture: input `image` (height, width, channels), uint8, instead of `pixels`.

    The picture is upright and in RGB, or in grey where the network has one channel. Output is of batch 1.
    """
    from onnx import TensorProto, helper

    (pixels,) = model.graph.input
    graph = _Graph(f"{pixels.name}/")
    fitted = _fit(graph, preprocessing)
    graph.add("Unsqueeze", fitted, graph.integers(0), output=pixels.name)
    kept = list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([*graph.nodes, *kept])
    model.graph.initializer.extend(graph.constants)
    shape = ["height", "width", preprocessing.channels]
    model.graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, shape))
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model


class _Graph:
    """Nodes and constants, named as they come; every method gives the name of what it computes."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.prefix = prefix

    def add(self, operation: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{self.prefix}{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], output, **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))


def _fit(graph: _Graph, seen: Preprocessing) -> str:
    """`image` brought to `size`: (height, width, channels), uint8."""
    shape = graph.add("Shape", "image")
    height, width = (graph.add("Gather", shape, graph.integers(axis)) for axis in (0, 1))  # (1,) each
    resized = graph.integers(*seen.size) if seen.fit == "stretch" else _resized(graph, seen, height, width)
    planes = graph.add("Transpose", "image", perm=[2, 0, 1])
    planes = _resize(graph, seen, planes, graph.add("Concat", height, width, axis=0), resized)
    # Sides cut off, as Python's int and ONNX's division of integers do.
    spare = graph.add("Sub", resized, graph.integers(*seen.size))
    corner = graph.add("Div", spare, graph.integers(2, 2))
    if seen.fit == "crop":
        end = graph.add("Add", corner, graph.integers(*seen.size))
        planes = graph.add("Slice", planes, corner, end, graph.integers(1, 2))
    elif seen.fit == "pad":
        planes = _pad(graph, seen, planes, graph.add("Neg", corner), resized)
    return graph.add("Transpose", planes, perm=[1, 2, 0])


def _resized(graph: _Graph, seen: Preprocessing, height: str, width: str) -> str:
    """What the whole image is resized to, (2,): `Preprocessing._placement` in whole numbers."""
    rows, columns = map(graph.integers, seen.covered)
    one = graph.integers(1)
    by_height = graph.add("GreaterOrEqual", graph.add("Mul", rows, width), graph.add("Mul", columns, height))
    if seen.fit == "pad":
        by_height = graph.add("Not", by_height)
    wide = graph.add("Max", one, graph.add("Div", graph.add("Mul", width, rows), height))
    high = graph.add("Max", one, graph.add("Div", graph.add("Mul", height, columns), width))
    sides = graph.add("Concat", rows, wide, axis=0), graph.add("Concat", high, columns, axis=0)
    return graph.add("Where", by_height, *sides)


def _resize(graph: _Graph, seen: Preprocessing, planes: str, size: str, wanted: str) -> str:
    """`(channels, height, width)` to the wanted height and width."""
    if seen.interpolation == "nearest":
        for axis in (0, 1):
            planes = graph.add("Gather", planes, _nearest(graph, size, wanted, axis), axis=axis + 1)
        return planes
    sizes = graph.add("Concat", graph.integers(1, seen.channels), wanted, axis=0)
    images = graph.add("Unsqueeze", planes, graph.integers(0))
    how = {"antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel"}
    images = graph.add("Resize", images, "", "", sizes, **how, **MODES[seen.interpolation])
    return graph.add("Squeeze", images, graph.integers(0))


def _nearest(graph: _Graph, size: str, wanted: str, axis: int) -> str:
    """Which rows (axis 0) or columns (1) are taken: Pillow adds up steps in double precision, from half a step on."""
    from onnx import TensorProto

    old, new = (graph.add("Gather", sides, graph.integers(axis)) for sides in (size, wanted))
    step = graph.add("Div", *(graph.add("Cast", side, to=TensorProto.DOUBLE) for side in (old, new)))
    half = graph.add("Mul", step, graph.constant(np.array([0.5])))
    steps = graph.add("Expand", step, graph.add("Sub", new, graph.integers(1)))
    places = graph.add("Concat", half, steps, axis=0)
    places = graph.add("CumSum", places, graph.constant(np.array(0, np.int64)))
    return graph.add("Cast", places, to=TensorProto.INT64)


def _pad(graph: _Graph, seen: Preprocessing, planes: str, before: str, resized: str) -> str:
    """`(channels, height, width)` in the middle of `size`, on the mean colour."""
    after = graph.add("Sub", graph.integers(*seen.size), graph.add("Add", before, resized))
    zero = graph.integers(0)
    margins = graph.add("Concat", zero, before, zero, after, axis=0)
    nothing = graph.constant(np.array(0, np.uint8))
    ones = graph.add("ConstantOfShape", graph.add("Concat", graph.integers(1), resized, axis=0))
    outside = graph.add("Pad", ones, margins, graph.constant(np.array(1, np.float32)))
    outside = graph.add("Greater", outside, graph.constant(np.array(0, np.float32)))
    colour = graph.constant(np.array(seen.mean_colour, np.uint8).reshape(-1, 1, 1))
    return graph.add("Where", outside, colour, graph.add("Pad", planes, margins, nothing))
