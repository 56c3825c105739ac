"""Token merging where other runtimes compute it: one graph of known shapes, and the same numbers."""

import contextlib
import io

import pytest
import torch

from vitral.model import create_model

KINDS = {
    "class token": {},
    "rotary positions": {"position_embedding": "rope"},
    "no special token": {"pool": "average", "class_token": False},
    "registers, features of two layers": {"registers": 4, "pool": "token_average", "feature_layers": 2},
}


@pytest.fixture(params=[*KINDS, pytest.param("ViT-Ti/16", marks=pytest.mark.slow)])
def model(small, lively, request):
    """A small network of 20 patches of which 4 a layer are merged away; ViT-Ti/16 with 8 of 196."""
    if request.param == "ViT-Ti/16":
        return lively(create_model("vit_tiny_patch16_224", num_classes=7, merge=8).config)
    return lively(small(image_size=(40, 32), merge=4, **KINDS[request.param]))


def images_for(model, count):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, *model.config.image_size, generator=generator)


def exported(model):
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(model, (images_for(model, 2),), dynamic_shapes={"images": {0: batch}})


@pytest.mark.parametrize("training", [False, True])
def test_compiles_as_one_graph(small, lively, assert_same, training):
    model = lively(small(image_size=(40, 32), merge=4, position_embedding="rope")).train(training)
    batch = torch.randn(2, 3, 40, 32)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = compiled(batch)
    assert_same(found, model(batch))
    found.sum().backward()
    tokens, attentions = torch.compile(model.forward_attention, fullgraph=True, backend="eager")(batch)
    expected, weights = model.forward_attention(batch)
    for one, other in zip((tokens, *attentions), (expected, *weights), strict=True):
        assert_same(one, other)


@pytest.mark.slow
def test_inductor_gives_the_same(lively, assert_same):
    model = lively(create_model("vit_tiny_patch16_224", num_classes=7, merge=8).config)
    torch.compiler.reset()
    with torch.no_grad():
        assert_same(torch.compile(model, fullgraph=True)(images_for(model, 2)), model(images_for(model, 2)))


def test_exported_network_takes_any_number_of_images(model, assert_same):
    program = exported(model).module()
    with torch.no_grad():
        for count in (1, 3):
            assert_same(program(images_for(model, count)), model(images_for(model, count)))


def test_openvino_gives_the_same(model, assert_same):
    openvino = pytest.importorskip("openvino")
    network = openvino.convert_model(exported(model))
    compiled = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        for count in (1, 3):
            assert_same(
                torch.from_numpy(compiled(images_for(model, count).numpy())[0]),
                model(images_for(model, count)),
            )


def test_onnx_gives_the_same(model, assert_same, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(exported(model), (), tmp_path / "model.onnx", dynamo=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    with torch.no_grad():
        for count in (1, 3):
            (found,) = session.run(None, {"images": images_for(model, count).numpy()})
            assert_same(torch.from_numpy(found), model(images_for(model, count)))
