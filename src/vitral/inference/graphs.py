"""Networks as graphs of other runtimes: traced once, with a batch of any size."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vitral.inference.backends.openvino import describe
from vitral.inference.deployed import Deployed
from vitral.inference.description import KEY, Description

if TYPE_CHECKING:
    from onnx import ModelProto
    from openvino import Model
    from torch.export import ExportedProgram

OPSET = 20
"""Of ONNX: the first with GELU as one operation (antialiased Resize came with 18); ONNX Runtime has it since 1.17."""


def to_openvino(network: Deployed, description: Description) -> "Model":
    """A network as OpenVINO's graph in fp32, `pixels` to `answers`, with its description."""
    import openvino
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    seen, example = description.preprocessing, _example(description)
    with torch.no_grad(), quiet():
        # Traced once: whoever keeps the graph lets it answer beside the network, which says more than a second trace.
        traced = TorchScriptPythonDecoder(
            network.eval(), example_input=example, trace_kwargs={"check_trace": False}
        )
        model = openvino.convert_model(traced, example_input=example, input=[-1, *seen.size, seen.channels])
    model.inputs[0].get_tensor().set_names({"pixels"})
    model.outputs[0].get_tensor().set_names({network.answers.name})
    describe(model, description)
    return model


def to_onnx(network: Deployed, description: Description) -> "ModelProto":
    """A network as a graph of ONNX in the precision of its weights, `pixels` to `answers`, with its description."""
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            network.eval(),
            (_example(description),),
            input_names=["pixels"],
            output_names=[network.answers.name],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origins(model)
    describe_onnx(model, description)
    return model


def to_torch(network: Deployed, description: Description) -> "ExportedProgram":
    """A network as a program of torch.export in the precision of its weights, `pixels` to `answers`."""
    with torch.no_grad(), quiet():
        program = torch.export.export(
            network.eval(),
            (_example(description),),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def describe_onnx(model: "ModelProto", description: Description) -> None:
    """Let a graph of ONNX carry what belongs to it, instead of what it carried before."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, description.to_json()


GRAPHS = {"openvino": to_openvino, "onnx": to_onnx}


def _example(description: Description) -> Tensor:
    seen = description.preprocessing
    return torch.zeros(2, *seen.size, seen.channels, dtype=torch.float32 if seen.bands else torch.uint8)


def _forget_origins(model: "ModelProto") -> None:
    """Leave out where in the source each operation comes from: paths of this machine."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def quiet() -> Iterator[None]:
    """Without remarks of those who trace: sizes become constants, as they should.

    OpenVINO's converter lets everybody's warnings go unsaid, and where it fails it leaves it at that: the root
    logger is put back as it was.
    """
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    names = ("onnxscript", "onnx_ir", "torch.onnx", "torch.export", "torch.utils.cpp_extension")
    speakers = [logging.getLogger(name) for name in names]
    levels = [speaker.level for speaker in speakers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for speaker in speakers:
            speaker.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for speaker, before in zip(speakers, levels, strict=True):
                speaker.setLevel(before)
            root.setLevel(level)
            root.filters[:], root.handlers[:] = filters, handlers
