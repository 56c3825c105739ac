"""Networks of ours in other people's formats: do their own loaders take the files, and say what we say?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.inference import Classifier
from vitral.weights import Checkpoint, convert, load_model, read_checkpoint, write_checkpoint

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
torchvision = pytest.importorskip("torchvision")

NAMES = ("pizza", "steak", "sushi", "açaí", "pão de queijo")


@pytest.fixture
def checkpoint(small, lively, tmp_path):
    """`checkpoint(preprocessing={}, **config)`: a folder of vitral's with a lively network."""

    def make(preprocessing: dict[str, Any] | None = None, **changes: Any) -> Path:
        config = small(**({"image_size": 32} | changes))
        seen = Preprocessing(
            config.image_size,
            channels=config.channels,
            mean=(0.5,) * config.channels,
            std=(0.5,) * config.channels,
        )
        if preprocessing:
            seen = Preprocessing(config.image_size, **preprocessing)
        names = NAMES[: config.num_classes]
        write_checkpoint(tmp_path / "own", Checkpoint(config, seen, names, lively(config).state_dict()))
        return tmp_path / "own"

    return make


def peer_of(to: str, out: Path) -> Any:
    """The network that the other library builds from what was written, strictly."""
    if to == "timm":
        said = json.loads((out / "config.json").read_text())
        arguments = said["model_args"]
        return timm.create_model(
            said["architecture"], checkpoint_path=str(out / "model.safetensors"), **arguments
        ).eval()
    if to == "huggingface":
        kind = getattr(transformers, json.loads((out / "config.json").read_text())["architectures"][0])
        model, info = kind.from_pretrained(out, output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        return model.eval()
    raise AssertionError(to)


def outputs(model: Any, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model(images)
    return getattr(found, "logits", found)


TO_TIMM = {
    "plain": {},
    "average": {"pool": "average", "class_token": False},
    "average beside a class token": {"pool": "average"},
    "norm after the pooling": {"pool": "average", "norm_after_pool": True},
    "fixed positions": {"position_embedding": "sincos_2d", "pool": "average", "class_token": False},
    "tables of rows and columns": {"position_embedding": "learned_2d"},
    "no positions": {"position_embedding": "none"},
    "tanh form of GELU": {"activation": "gelu_tanh"},
    "CLIP": {"activation": "quick_gelu", "pre_norm": True, "patch_bias": False, "norm_epsilon": 1e-5},
    "layer scale": {"layer_scale": 1e-5},
    "registers": {"registers": 4, "layer_scale": 1.0},
    "registers and a class position": {"registers": 4, "special_positions": 1},
    "class token without a position": {"special_positions": 0},
    "mask token": {"mask_token": True},
    "distilled": {"distillation_token": True, "pool": "distilled"},
    "attention pooling": {"pool": "attention", "class_token": False},
    "gated": {"gated_mlp": True, "activation": "silu"},
    "not square, one channel": {"image_size": (16, 40), "patch_size": (8, 4), "channels": 1},
    "no biases of queries": {"qkv_bias": "none"},
    "odd MLP": {"mlp_dim": 47},
    "hybrid": {"resnet_layers": (), "patch_size": 2, "resnet_form": "timm"},
    "DINOv3": {
        "position_embedding": "rope", "qkv_bias": "no_key", "registers": 4, "layer_scale": 1.0, "norm_epsilon": 1e-5,
    },
    "DINOv3 of narrow epsilon": {"position_embedding": "rope", "qkv_bias": "none"},
    "EVA-02 of wide epsilon": {
        "position_embedding": "learned_rope", "rope_grid": (3, 3), "qkv_bias": "no_key", "norm_epsilon": 1e-5,
    },
    "a norm in a plain MLP": {"qkv_bias": "no_key", "norm_in_mlp": True},
    "five channels": {"channels": 5},
    "EVA-02": {
        "position_embedding": "learned_rope", "rope_grid": (3, 3), "qkv_bias": "no_key", "gated_mlp": True,
        "activation": "silu", "norm_in_mlp": True, "pool": "average", "norm_after_pool": True,
    },
    "EVA-02 of CLIP": {
        "position_embedding": "learned_rope", "rope_grid": (3, 3), "qkv_bias": "no_key", "gated_mlp": True,
        "activation": "silu", "norm_in_mlp": True, "norm_in_attention": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", TO_TIMM.values(), ids=TO_TIMM.keys())
def test_timm_takes_it(checkpoint, agree, tmp_path, changes):
    own = checkpoint(**changes)
    done = convert(own, tmp_path / "out", "timm")
    assert (done.approximations, done.difference) == ((), None)
    config = read_checkpoint(own).config
    images = torch.randn(2, config.channels, *config.image_size)
    expected = outputs(peer_of("timm", tmp_path / "out"), images)
    agree("vitral", "to timm", load_model(own)(images), expected, peer="timm", way="out")
    # And back: what went out is read as the same network.
    agree("vitral", "to timm and back", load_model(tmp_path / "out")(images), expected, peer="timm")


TO_HUGGINGFACE = {
    "plain": {},
    "tanh form of GELU, wide epsilon": {"activation": "gelu_tanh", "norm_epsilon": 1e-3},
    "fixed positions": {"position_embedding": "sincos_2d"},
    "class token without a position": {"special_positions": 0},
    "no biases of queries": {"qkv_bias": "none"},
    "distilled": {"distillation_token": True, "pool": "distilled"},
    "distillation token without a head": {"distillation_token": True},
    "layer scale": {"layer_scale": 1.0, "mlp_dim": 64},
    "layer scale, both": {"layer_scale": 1.0, "mlp_dim": 64, "pool": "token_average", "mask_token": True},
    "layer scale, average": {"layer_scale": 1.0, "mlp_dim": 64, "pool": "average"},
    "registers": {
        "layer_scale": 1.0,
        "mlp_dim": 64,
        "registers": 4,
        "special_positions": 1,
        "pool": "token_average",
    },
    "gated": {"layer_scale": 1.0, "mlp_dim": 88, "gated_mlp": True, "activation": "silu"},
    "not square": {"image_size": (16, 40), "patch_size": (8, 4)},
    "ViT without a head": {"num_classes": 0, "mlp_dim": 64},
    "pre-training layer": {"num_classes": 0, "representation_size": 24},
    "average beside a class token": {"pool": "average", "mlp_dim": 64},
    "average": {"pool": "average", "class_token": False},
    "average, fixed positions": {"pool": "average", "class_token": False, "position_embedding": "sincos_2d"},
    "attention pooling without a head": {"pool": "attention", "class_token": False, "num_classes": 0},
    "DINOv2 without a head": {"num_classes": 0, "layer_scale": 1.0, "mlp_dim": 64, "mask_token": True},
}


@pytest.mark.parametrize("changes", TO_HUGGINGFACE.values(), ids=TO_HUGGINGFACE.keys())
def test_transformers_takes_it(checkpoint, agree, tmp_path, changes):
    own = checkpoint({"fit": "stretch"}, **changes)
    convert(own, tmp_path / "out", "huggingface")
    model = load_model(own)
    images = torch.randn(2, 3, *model.config.image_size)
    peer = peer_of("huggingface", tmp_path / "out")
    if model.config.num_classes:
        expected = outputs(peer, images)
    else:
        with torch.no_grad():
            found = peer(images)
        expected = found.pooler_output
    agree("vitral", "to transformers", model(images), expected, peer="transformers", way="out")
    back = load_model(tmp_path / "out")(images)
    agree("vitral", "to transformers and back", back, expected, peer="transformers")


@pytest.mark.parametrize(
    "changes", [{}, {"representation_size": 24}, {"position_embedding": "sincos_2d"}, {"mask_token": True}]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_takes_it(checkpoint, agree, tmp_path, changes, suffix):
    own = checkpoint(**changes)
    done = convert(own, tmp_path / f"out{suffix}", "torchvision")
    config = read_checkpoint(own).config
    peer = torchvision.models.VisionTransformer(
        config.image_size[0], config.patch_size[0], config.layers, config.heads, config.dim, config.mlp_dim,
        num_classes=config.num_classes, representation_size=config.representation_size,
    ).eval()  # fmt: skip
    (file,) = done.files
    if suffix == ".pth":
        peer.load_state_dict(torch.load(file, weights_only=True))
    else:
        from safetensors.torch import load_file

        peer.load_state_dict(load_file(file))
    images = torch.randn(2, 3, *config.image_size)
    expected = outputs(peer, images)
    agree("vitral", "to torchvision", load_model(own)(images), expected, peer="torchvision", way="out")
    back = load_model(file, heads=config.heads)(images)
    agree("vitral", "to torchvision and back", back, expected, peer="torchvision")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"representation_size": 24},
        {"pool": "average", "class_token": False},
        {"pool": "average", "class_token": False, "position_embedding": "sincos_2d"},
        {"pool": "attention", "class_token": False},
        {"special_positions": 0},
        {"resnet_layers": (1, 1), "patch_size": 1},
    ],
)
def test_a_file_of_the_authors_comes_back_as_the_same_network(checkpoint, assert_same, tmp_path, changes):
    own = checkpoint(activation="gelu_tanh", **changes)
    convert(own, tmp_path / "out.npz", "jax")
    config = read_checkpoint(own).config
    model = load_model(tmp_path / "out.npz", image_size=config.image_size)
    images = torch.randn(2, 3, *config.image_size)
    assert_same(model(images), load_model(own)(images))
    assert model.config.heads == config.heads  # which this format alone says


def as_transformers_saves(kind: str, folder: Path, stirred, **changes: Any) -> Any:
    """A network of transformers' own class with random weights, saved its own way."""
    name = (
        kind.removesuffix("ForImageClassification")
        .removesuffix("WithTeacher")
        .removesuffix("ForImageClassification")
    )
    name = name.removesuffix("Model")
    values = {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 40,
        "patch_size": 8,
    }
    values |= {"mlp_ratio": 3} if "Dinov2" in name else {"intermediate_size": 56}
    config = getattr(transformers, f"{name}Config")(**(values | changes))
    config.id2label = {index: f"class {index}" for index in range(7)}
    model = stirred(getattr(transformers, kind)(config))
    model.save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ViTForImageClassification", {}),
        ("ViTForImageClassification", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "qkv_bias": False}),
        ("ViTModel", {}),
        ("DeiTForImageClassification", {}),
        ("DeiTForImageClassificationWithTeacher", {"image_size": [24, 40]}),
        ("Dinov2ForImageClassification", {}),
        ("Dinov2ForImageClassification", {"use_swiglu_ffn": True}),
        ("Dinov2Model", {}),
        ("Dinov2WithRegistersForImageClassification", {"num_register_tokens": 2}),
    ],
)
def test_what_came_from_transformers_goes_back_bit_for_bit(stirred, agree, tmp_path, kind, changes):
    peer = as_transformers_saves(kind, tmp_path / "in", stirred, **changes)
    convert(tmp_path / "in", tmp_path / "out", "huggingface", approximate=True)
    again = peer_of("huggingface", tmp_path / "out")
    before, after = peer.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    size = peer.config.image_size
    images = torch.randn(2, 3, *(size if isinstance(size, (list, tuple)) else (size, size)))
    with torch.no_grad():
        found, expected = again(images), peer(images)
    part = "logits" if "ForImageClassification" in kind else "pooler_output"
    found, expected = getattr(found, part), getattr(expected, part)
    agree(peer.config.model_type, kind, found, expected, peer="transformers", way="out")
    if "ForImageClassification" in kind:
        assert again.config.id2label == peer.config.id2label


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_base_patch16_siglip_256", {}),
        ("vit_base_patch16_clip_224", {}),
        ("vit_base_patch16_clip_quickgelu_224", {"num_classes": 0}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("deit3_small_patch16_224", {}),
        ("vit_small_patch14_reg4_dinov2", {"num_classes": 0}),
        ("eva02_base_patch14_224", {}),
        ("eva02_tiny_patch14_224", {"global_pool": "token"}),
        ("vit_small_patch16_dinov3_qkvb", {"num_classes": 0}),
        ("vit_tiny_r_s16_p8_224", {"patch_size": None}),
    ],
)
def test_what_came_from_timm_goes_back_bit_for_bit(stirred, agree, tmp_path, name, changes):
    from timm.models import save_for_hf

    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 7}
    peer = stirred(timm.create_model(name, **(sizes | changes)))
    save_for_hf(peer, str(tmp_path / "in"), safe_serialization=True)
    convert(tmp_path / "in", tmp_path / "out", "timm")
    again = peer_of("timm", tmp_path / "out")
    before, after = peer.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    images = torch.randn(2, 3, 64, 64)
    agree("timm", name, outputs(again, images), outputs(peer, images), peer="timm", way="out")


# A run's figures are those of its own pixels; another library resizes a little differently.
SAME_PIXELS, FROM_FILE = 1e-4, 5e-3


@pytest.fixture(scope="session")
def run(shared, tmp_path_factory):
    """A run of ours on real photographs."""
    import vitral

    folder = tmp_path_factory.mktemp("run") / "food"
    vitral.train(
        shared / "data" / "food-vision-mini", model="vit_mini_patch8_64", epochs=3, mixup=0, output=folder,
        device="cpu", precision="fp32", progress=False,
    )  # fmt: skip
    return folder


@pytest.fixture
def photos(shared):
    return (
        sorted((shared / "data" / "photos").rglob("*.jpg"))[:12]
        + sorted((shared / "data" / "food-vision-mini" / "test").rglob("*.jpg"))[:12]
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_a_run_of_ours_in_transformers_own_pipeline(run, photos, agree, tmp_path, fit):
    checkpoint = read_checkpoint(run)
    crop = {"fit": fit, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop_share": 0.9}
    seen = Preprocessing(checkpoint.config.image_size, **crop)
    own = tmp_path / "own"
    write_checkpoint(own, Checkpoint(checkpoint.config, seen, checkpoint.class_names, checkpoint.tensors))
    convert(own, tmp_path / "out", "huggingface")
    ours = Classifier.load(own, device="cpu", precision="fp32")
    pipe = transformers.pipeline("image-classification", str(tmp_path / "out"), device="cpu")
    model = pipe.model
    assert photos
    for photo in photos:
        expected = ours.predict(photo)
        pixels = torch.from_numpy(seen(photo))[None]
        found = outputs(model, pixels).softmax(-1).numpy()[0]
        np.testing.assert_allclose(found, expected.probabilities, atol=SAME_PIXELS)
        answers = {one["label"]: one["score"] for one in pipe(str(photo), top_k=3)}
        for label, probability in expected.top(3):
            assert answers[label] == pytest.approx(probability, abs=FROM_FILE)
        if expected.top(2)[0][1] - expected.top(2)[1][1] > 2 * FROM_FILE:
            assert max(answers, key=answers.__getitem__) == expected.label


def test_a_run_of_ours_through_timms_own_loader(run, photos, tmp_path):
    done = convert(run, tmp_path / "out", "timm")
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    model = timm.create_model(
        said["architecture"],
        checkpoint_path=str(tmp_path / "out" / "model.safetensors"),
        **said["model_args"],
    ).eval()
    by_folder = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert eval(done.usage, {"timm": timm}).num_classes == 3  # the line that is printed does what it says
    ours = Classifier.load(run, device="cpu", precision="fp32")
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(said["pretrained_cfg"], model=by_folder), is_training=False
    )
    for photo in photos:
        expected = ours.predict(photo)
        pixels = torch.from_numpy(ours.preprocessing(photo))[None]
        for peer in (model, by_folder):
            found = outputs(peer, pixels).softmax(-1).numpy()[0]
            np.testing.assert_allclose(found, expected.probabilities, atol=SAME_PIXELS)
        with Image.open(photo) as image:
            found = outputs(model, transform(image.convert("RGB"))[None]).softmax(-1).numpy()[0]
        np.testing.assert_allclose(found, expected.probabilities, atol=FROM_FILE)
    assert said["label_names"] == list(ours.class_names)


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_several_labels_in_transformers_own_pipeline(checkpoint, tmp_path):
    own = read_checkpoint(checkpoint())
    write_checkpoint(tmp_path / "several", replace(own, thresholds=(0.3, 0.4, 0.5, 0.6, 0.7)))
    convert(tmp_path / "several", tmp_path / "out", "huggingface")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    pipe = transformers.pipeline("image-classification", str(tmp_path / "out"), device="cpu")
    found = {one["label"]: one["score"] for one in pipe(picture, top_k=5)}
    ours = Classifier.load(tmp_path / "several", device="cpu", precision="fp32").predict(picture)
    expected = dict(zip(ours.class_names, ours.probabilities.tolist(), strict=True))
    assert found == pytest.approx(expected, abs=FROM_FILE)
    assert sum(found.values()) != pytest.approx(1, abs=0.01)
    back = Classifier.load(tmp_path / "out", device="cpu", precision="fp32")
    assert back.thresholds == (0.5,) * 5  # which that format cannot say
    assert back.predict(picture).probabilities == pytest.approx(ours.probabilities, abs=SAME_PIXELS)
