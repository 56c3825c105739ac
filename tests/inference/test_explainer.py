"""Does an explanation lie where the network looked, whatever pooled, cropped and turned the image before?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.device import choose
from vitral.errors import ImageError, UsageError
from vitral.images import Preprocessing
from vitral.inference import Explainer, Look
from vitral.model import VisionTransformer, ViTConfig
from vitral.weights import Checkpoint, write_checkpoint

NAMES = ("dark", "bright", "neither")
POOLS = ("token", "average", "token_average", "distilled", "attention")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def config(**fields: Any) -> ViTConfig:
    usual = {"image_size": (48, 64), "patch_size": 8, "layers": 3, "dim": 32, "mlp_dim": 48, "heads": 4}
    return ViTConfig(**usual | {"num_classes": 3} | fields)


def lively(of: ViTConfig, seed: int = 0) -> VisionTransformer:
    """A network in which nothing is 0."""
    torch.manual_seed(seed)
    model = VisionTransformer(of).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3 * max(parameter[0].numel(), 1) ** -0.5)
    return model


def explainer(
    model: VisionTransformer, fit: str = "crop", names: tuple[str, ...] = NAMES, **fields: Any
) -> Explainer:
    preprocessing = Preprocessing(model.config.image_size, fit, mean=(0, 0, 0), std=(1, 1, 1))
    return Explainer(model, preprocessing, choose("cpu", "fp32"), names, **fields)


def noise(number: int = 0, shape: tuple[int, int] = (60, 100)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)


def looking_for_brightness(pool: str = "token", registers: int = 0) -> VisionTransformer:
    """One layer, made by hand: every query looks at what is bright, and brightness speaks for the class "bright"."""
    of = config(layers=1, heads=1, dim=16, pool=pool, class_token=pool != "average", registers=registers)
    model = VisionTransformer(of).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (model.blocks[0].attention_norm, model.norm):
            norm.weight.fill_(1)
        model.embedding.patch.weight[0] = 20 / model.embedding.patch.weight[0].numel()  # its mean, 0..20
        model.embedding.patch.bias[1] = 5  # so that the norm, which forgets lengths, keeps the difference
        attention = model.blocks[0].attention
        attention.qkv.bias[0] = 10  # every query asks
        attention.qkv.weight[16, 0] = 3  # for keys that are bright,
        attention.qkv.weight[32 + 2, 0] = 1  # and their values say so,
        attention.out.weight[3, 2] = 10
        model.head.weight[1, 3] = 4  # which is what the class stands for
        for special in (model.embedding.class_token, model.embedding.registers):
            if special is not None:
                special[..., 1] = 5
    return model


@pytest.mark.parametrize("place", [(0.3, 0.35), (0.6, 0.55), (0.45, 0.6)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (200, 520), (520, 200), (90, 120)])
@pytest.mark.parametrize("method", ["gradient", "rollout", "attention"])
def test_the_heat_lies_on_the_object(
    method: str, shape: tuple[int, int], fit: str, place: tuple[float, float]
) -> None:
    """A bright box at a known place of the photograph; what is found of it must lie there after all is undone."""
    looks = explainer(looking_for_brightness(), fit)
    left, top, right, bottom = looks.preprocessing.region(*shape)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0])
    middle = (top + place[0] * (bottom - top), left + place[1] * (right - left))
    half = ((bottom - top) / 8, (right - left) / 8)
    box = [slice(round(m - h), round(m + h)) for m, h in zip(middle, half, strict=True)]
    photo = np.zeros((*shape, 3), np.uint8)
    photo[box[0], box[1]] = 255
    heat = looks.explain(photo, Look(method, target="bright" if method == "gradient" else None)).heatmap
    assert heat.shape == shape
    rows, columns = np.indices(shape)
    hot = heat > 0.5
    region = looks.preprocessing.region(*shape)
    high, wide = (
        (region[3] - region[1]) / 6,
        (region[2] - region[0]) / 8,
    )  # of a patch, in the photograph's pixels
    assert abs(rows[hot].mean() - middle[0]) < high / 2
    assert abs(columns[hot].mean() - middle[1]) < wide / 2
    assert heat[box[0], box[1]].mean() > 5 * heat[heat < 0.5].mean()
    far = (abs(rows - middle[0]) > half[0] + 1.6 * high) | (abs(columns - middle[1]) > half[1] + 1.6 * wide)
    assert heat[far].max() < 0.1


@pytest.mark.parametrize(
    ("pool", "registers"), [("average", 0), ("average", 3), ("token", 4), ("token_average", 2)]
)
def test_the_object_is_found_whatever_pools(pool: str, registers: int) -> None:
    looks = explainer(looking_for_brightness(pool, registers))
    photo = np.zeros((48, 64, 3), np.uint8)
    photo[16:24, 40:48] = 255  # row 2, column 5
    for method in ("gradient", "rollout", "attention"):
        found = looks.explain(photo, Look(method))
        assert np.unravel_index(found.relevance.argmax(), (6, 8)) == (2, 5), method
        heaviest = found.patches()[0]
        assert (heaviest["row"], heaviest["column"], heaviest["box"]) == (2, 5, [40, 16, 48, 24])
    assert sum(one["weight"] for one in found.patches()) == pytest.approx(1)


@pytest.mark.parametrize("method", ["gradient", "rollout", "attention"])
@pytest.mark.parametrize("pool", POOLS)
def test_merging_what_is_alike_changes_no_explanation(pool: str, method: str) -> None:
    """Two kinds of patches, four of each: each pair that is merged is of one kind, in both layers."""
    tokens = {"class_token": pool not in ("average", "attention"), "distillation_token": pool == "distilled"}
    of = config(image_size=(8, 64), layers=2, position_embedding="none", pool=pool, **tokens)
    looks = explainer(lively(of))
    photo = noise(shape=(8, 16)).reshape(8, 2, 1, 8, 3).repeat(4, axis=2).reshape(8, 64, 3)
    asked = [Look(method, target="bright" if method == "gradient" else None)]
    if method == "attention":
        asked += [Look(method, layer=0), Look(method, point=(3, 3))]
    expected = [looks.explain(photo, look) for look in asked]
    looks.model.merge_tokens(4)
    found = [looks.explain(photo, look) for look in asked]
    for one, other in zip(found, expected, strict=True):
        assert other.relevance.std() > 1e-3 * other.relevance.max() > 0
        np.testing.assert_allclose(one.relevance, other.relevance, atol=1e-5 * other.relevance.max())
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def relevance_by_definition(model: VisionTransformer, images: torch.Tensor, target: int) -> np.ndarray:
    """R of Chefer et al. for one image, whole matrices, in the order in which the layers follow."""
    _, attentions = model.forward_attention(images)
    reached = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
    tokens, kept = model.embed(images), []
    for block in model.blocks:
        tokens, attention = block.forward_attention(tokens, model.rotation)
        attention.retain_grad()
        kept.append(attention)
    model.forward_head(model._final_norm(tokens))[0, target].backward()
    for attention in kept:
        positive = (attention.grad * attention)[0].clamp_min(0).mean(dim=0).double()
        reached = reached + positive @ reached
    return reached.detach().numpy()


@pytest.mark.parametrize("target", range(3))
@pytest.mark.parametrize(
    ("pool", "fields"),
    [
        ("token", {"registers": 2}),
        ("average", {"registers": 2}),
        ("average", {"class_token": False}),
        ("distilled", {"distillation_token": True}),
        ("token_average", {}),
    ],
)
def test_gradient_relevance_is_chefers(pool: str, fields: dict[str, Any], target: int) -> None:
    """The class token's row of R; of an average the mean of the patches' rows; of two parts half of each."""
    model = lively(config(pool=pool, **fields))
    looks = explainer(model)
    photo = noise()
    found = looks.explain(photo, Look(target=NAMES[target]))
    reached = relevance_by_definition(model, torch.from_numpy(looks.preprocessing(photo))[None], target)
    special = model.config.special_tokens
    token, average = reached[0], reached[special:].mean(axis=0)
    row = {
        "token": token,
        "average": average,
        "token_average": (token + average) / 2,
        "distilled": reached[:2].mean(axis=0),
    }[pool]
    np.testing.assert_allclose(found.relevance.ravel(), row[special:], rtol=1e-4, atol=1e-6 * row.max())
    assert (found.method, found.target) == ("gradient", NAMES[target])


def test_rollout_follows_what_the_head_sees_of_several_layers() -> None:
    from vitral.inspection import rollout

    model = lively(config(pool="token_average", feature_layers=2))
    looks = explainer(model)
    photo = noise()
    _, attentions = model.forward_attention(torch.from_numpy(looks.preprocessing(photo))[None])
    expected = 0
    for below in (2, 3):  # of the second and of the third layer
        reached = rollout(attentions[:below])[0]
        expected = expected + (reached[0] + reached[1:].mean(axis=0)) / 4
    found = looks.explain(photo, Look("rollout"))
    np.testing.assert_allclose(found.relevance.ravel(), expected[1:], rtol=1e-6)
    assert found.special_share == pytest.approx(expected[0], rel=1e-6)


def test_attention_pooling_is_a_layer_of_its_own() -> None:
    model = lively(config(pool="attention", class_token=False, registers=1))
    looks, photo = explainer(model), noise()
    images = torch.from_numpy(looks.preprocessing(photo))[None]
    features, attentions = model.forward_attention(images)
    weights = (
        model.attention_pooling.weights(features[:, 1:])[0].detach().double().numpy()
    )  # (heads, patches)
    found = looks.explain(photo, Look("attention"))
    np.testing.assert_allclose(found.heads.reshape(4, -1), weights, rtol=1e-5)
    np.testing.assert_allclose(found.relevance.ravel(), weights.mean(axis=0), rtol=1e-5)
    one = looks.explain(photo, Look("attention", head=2, fusion="mean"))
    np.testing.assert_allclose(one.relevance.ravel(), weights[2], rtol=1e-5)
    last = looks.explain(photo, Look("attention", layer=-1))
    seen = np.concatenate([[0], weights.mean(axis=0)])
    expected = seen @ attentions[-1][0].detach().double().numpy()  # (heads, tokens)
    np.testing.assert_allclose(last.heads.reshape(4, -1), expected[:, 1:], rtol=1e-5)
    assert last.special_share == pytest.approx(expected.mean(axis=0)[0], rel=1e-5)


def test_gradient_relevance_goes_through_attention_pooling() -> None:
    """By hand: what the pooling's positive part takes of R, whose rows are tokens after the last layer."""
    model = lively(config(pool="attention", class_token=False))
    looks, photo = explainer(model), noise()
    images = torch.from_numpy(looks.preprocessing(photo))[None]
    tokens, kept = model.embed(images), []
    for block in model.blocks:
        tokens, attention = block.forward_attention(tokens, None)
        kept.append(attention)
    features = model.norm(tokens)
    weights = model.attention_pooling.weights(features)
    logits = model.head(model.attention_pooling.forward_weights(features, weights))
    torch.testing.assert_close(logits, model(images))
    *gradients, of_pooling = torch.autograd.grad(logits[0, 1], [*kept, weights])
    reached = np.eye(48)
    for attention, gradient in zip(kept, gradients, strict=True):
        positive = (attention * gradient)[0].clamp_min(0).mean(dim=0).double().detach().numpy()
        reached = reached + positive @ reached
    seen = (weights * of_pooling)[0].clamp_min(0).mean(dim=0).double().detach().numpy()
    expected = seen @ reached
    found = looks.explain(photo, Look(target="bright")).relevance.ravel()
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("pool", POOLS)
def test_another_class_has_another_map(pool: str) -> None:
    looks = explainer(lively(config(pool=pool, distillation_token=pool == "distilled")))
    maps = [looks.explain(noise(), Look(target=name)).relevance for name in NAMES]
    # What all have in common, such as the identity's part in an average, is left aside.
    assert np.corrcoef([one.ravel() for one in maps])[0, 1] < 0.95
    usual = looks.explain(noise())
    assert usual.target == usual.label
    np.testing.assert_array_equal(usual.relevance, maps[NAMES.index(usual.label)])


def test_a_patch_can_be_pointed_at() -> None:
    """The attention of the token of that patch, of the photograph's own pixel."""
    model = lively(config(registers=2))
    looks, photo = explainer(model), noise(shape=(96, 200))
    images = torch.from_numpy(looks.preprocessing(photo))[None]
    _, attentions = model.forward_attention(images)
    # 48 x 64 of 96 x 200: the middle 128 columns, 16 pixels a patch. x = 100 lies 64 into it: column 4; y = 40: row 2.
    token = 3 + 2 * 8 + 4
    found = looks.explain(photo, Look("attention", layer=0, point=(100, 40)))
    expected = attentions[0][0, :, token, 3:].detach().numpy()
    np.testing.assert_allclose(found.heads.reshape(4, -1), expected, rtol=1e-5)
    with pytest.raises(
        UsageError, match=r"does not see the pixel 20,40 of this image: it sees x from 36 to 163"
    ):
        looks.explain(photo, Look("rollout", point=(20, 40)))
    with pytest.raises(UsageError, match="does not see"):
        looks.explain(photo, Look("rollout", point=(100, 96)))


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({}, "gradient"),
        ({"target": "dark"}, "gradient"),
        ({"layer": 0}, "attention"),
        ({"head": 0}, "attention"),
        ({"head": 1, "point": (9, 9)}, "attention"),
        ({"discard": 0.5}, "rollout"),
        ({"fusion": "max"}, "rollout"),
        ({"point": (9, 9)}, "rollout"),
    ],
)
def test_what_is_said_settles_the_method(asked: dict[str, Any], method: str) -> None:
    assert explainer(lively(config())).method_of(Look(**asked)) == method


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"method": "lime"}, "no method 'lime': choose one of gradient, rollout, attention"),
        (
            {"method": "rollout", "layer": 3},
            "layer cannot be asked with method 'rollout': layer is for attention",
        ),
        ({"target": "dark", "head": 1}, "target and head cannot be asked together"),
        ({"fusion": "median"}, "fused by 'median'"),
        ({"discard": 1.0}, "no share"),
        ({"target": "pizza"}, "no class 'pizza': choose one of dark, bright, neither"),
        ({"layer": 3}, r"no layer 3: the network has 3, 0 to 2 \(-1 is the last\)"),
        ({"layer": -4}, "no layer -4"),
        ({"head": 4}, "no head 4: a layer has 4, 0 to 3"),
        ({"head": -1}, "no head -1"),
    ],
)
def test_what_there_is_not_is_said_in_a_line(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        explainer(lively(config())).explain(noise(), Look(**asked))


def test_without_classes_there_is_attention_alone() -> None:
    looks = explainer(lively(config(num_classes=0)), names=())
    found = looks.explain(noise())
    assert (found.method, found.label, found.probability) == ("rollout", None, None)
    with pytest.raises(UsageError, match="no classes to explain by gradient: ask for rollout or attention"):
        looks.explain(noise(), Look("gradient"))
    areas = looks.measure(found).areas()  # of the cosine with the unaltered representation
    assert 0 < areas["insertion"] < 1


def test_nearest_neighbours_are_explained_by_rollout_unless_asked_otherwise() -> None:
    model = VisionTransformer(config(neighbours=3, examples=20))
    assert explainer(model).usual_method == "rollout"


def test_images_of_a_batch_do_not_meet() -> None:
    looks = explainer(lively(config(pool="token_average", feature_layers=2)))
    photos = [noise(1), noise(2, (50, 50)), noise(3, (90, 40))]
    for method in ("gradient", "rollout", "attention"):
        together = looks.explain(photos, Look(method))
        for photo, found in zip(photos, together, strict=True):
            alone = looks.explain(photo, Look(method))
            np.testing.assert_allclose(found.relevance, alone.relevance, rtol=1e-4)
            assert found.label == alone.label
            np.testing.assert_array_equal(found.picture, photo)


def test_half_precision_shows_the_same_places() -> None:
    photo = noise()
    model = lively(config())
    full = explainer(model).explain(photo).relevance
    compute = choose("cpu", "bf16")
    half = Explainer(model.bfloat16(), Preprocessing((48, 64), mean=(0, 0, 0), std=(1, 1, 1)), compute, NAMES)
    found = half.explain(photo, Look(target=explainer(lively(config())).explain(photo).label)).relevance
    assert np.corrcoef(found.ravel(), full.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_does_not_matter_what_surrounds_the_question(context: Any) -> None:
    looks = explainer(lively(config()))
    for parameter in looks.model.parameters():
        parameter.requires_grad_(False)
    expected = explainer(lively(config())).explain(noise()).relevance
    with context():
        np.testing.assert_allclose(looks.explain(noise()).relevance, expected, rtol=1e-5)
    assert all(parameter.grad is None for parameter in looks.model.parameters())


def test_several_labels_are_explained_one_at_a_time() -> None:
    looks = explainer(lively(config()), multi_label=True)
    found = looks.explain(noise(), Look(target="neither"))
    logits = looks.model(torch.from_numpy(looks.preprocessing(noise()))[None])
    assert found.probability == pytest.approx(logits.sigmoid()[0, 2].item(), rel=1e-5)


def test_weights_are_loaded_with_their_classes(tmp_path: Path) -> None:
    model = lively(config())
    preprocessing = Preprocessing(model.config.image_size)
    write_checkpoint(tmp_path / "run", Checkpoint(model.config, preprocessing, NAMES, model.state_dict()))
    looks = Explainer.load(tmp_path / "run", device="cpu", precision="fp32", image_size=32)
    assert looks.explain(noise()).relevance.shape == (4, 4)
    assert looks.class_names == NAMES
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    Image.fromarray(noise()).save(tmp_path / "good.png")
    bad, good = looks.explain_each([tmp_path / "bad.jpg", tmp_path / "good.png"])
    assert isinstance(bad, ImageError)
    assert good.picture.shape == (60, 100, 3)
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        looks.explain([tmp_path / "good.png", tmp_path / "bad.jpg"])


def test_removing_what_is_relevant_loses_more_than_removing_anything() -> None:
    looks = explainer(looking_for_brightness())
    photo = np.zeros((48, 64, 3), np.uint8)
    photo[16:32, 8:24] = 255
    found = looks.explain(photo, Look(target="bright"))
    areas = looks.measure(found).areas()
    assert areas["deletion"] > areas["random_deletion"] + 0.05
    assert areas["insertion"] > areas["random_insertion"] + 0.05
