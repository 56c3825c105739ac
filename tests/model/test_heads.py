"""Features of several layers side by side, and the head that lets neighbours vote."""

import copy

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from vitral.model import VisionTransformer, model_without_weights
from vitral.model.heads import TEMPERATURE, NeighbourHead
from vitral.model.summary import summarise


@pytest.mark.parametrize(
    "changes",
    [
        {"pool": "token"},
        {"pool": "average"},
        {"pool": "token_average"},
        {"pool": "distilled", "distillation_token": True},
        {"pool": "average", "class_token": False, "position_embedding": "rope", "dim": 32, "heads": 4},
    ],
    ids=lambda changes: changes["pool"] + " " + changes.get("position_embedding", ""),
)
def test_features_of_several_layers_are_the_layers_own_side_by_side(small, lively, changes):
    model = lively(small(feature_layers=2, **changes))
    images, config = torch.randn(2, 3, 16, 24), model.config
    features = model.forward_features(images)
    assert features.shape == (2, config.special_tokens + 6, 64)
    for index, (special, patches) in enumerate(model.forward_intermediates(images, layers=(1, 2), norm=True)):
        part = features[..., 32 * index : 32 * (index + 1)]
        torch.testing.assert_close(part[:, : config.special_tokens], special)
        torch.testing.assert_close(part[:, config.special_tokens :], patches.flatten(2).transpose(1, 2))
    torch.testing.assert_close(model.forward_attention(images)[0], features)
    assert model.pool(features).shape == (2, config.pooled_dim)
    assert model(images).shape == (2, 5)
    torch.testing.assert_close(model.forward_head(features), model(images))


def test_one_layers_features_are_as_ever(small, lively):
    one, images = lively(small()), torch.randn(2, 3, 16, 24)
    several = lively(small(feature_layers=3))
    several.load_state_dict({**one.state_dict(), "head.weight": torch.zeros(5, 96)})
    torch.testing.assert_close(several.forward_features(images)[..., 64:], one.forward_features(images))


def remembering(width: int = 16, neighbours: int = 7, examples: int = 50, classes: int = 3) -> NeighbourHead:
    generator = torch.Generator().manual_seed(1)
    head = NeighbourHead(width, classes, neighbours, examples)
    bank = torch.randn(examples, width, generator=generator)
    head.bank.copy_(bank / bank.norm(dim=1, keepdim=True))
    labels = torch.randint(classes, (examples,), generator=generator)
    head.targets.copy_(torch.nn.functional.one_hot(labels, classes))
    return head


@pytest.mark.parametrize("neighbours", [1, 7, 50])
def test_neighbours_vote_as_scikit_learns_do(neighbours):
    head = remembering(neighbours=neighbours)
    queries = torch.randn(40, 16)
    theirs = KNeighborsClassifier(
        neighbours,
        metric="cosine",
        weights=lambda distance: ((1 - torch.tensor(distance)) / TEMPERATURE).exp().numpy(),
    ).fit(head.bank.numpy(), head.targets.argmax(dim=1).numpy())
    expected = torch.from_numpy(theirs.predict_proba(queries.numpy())).float()
    torch.testing.assert_close(head(queries).softmax(dim=-1), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(head(100 * queries), head(queries), atol=1e-3, rtol=1e-3)


def test_neighbours_answer_through_a_compiler_and_in_bf16(small):
    model = VisionTransformer(small(num_classes=3, neighbours=7, examples=50)).eval()
    model.head.load_state_dict(remembering(width=32).state_dict())
    torch.nn.init.normal_(model.embedding.class_token)
    images = torch.rand(2, 3, 16, 24)
    program = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(program(images), model(images))
    half = copy.deepcopy(model).bfloat16()
    assert half(images.bfloat16()).argmax(dim=1).tolist() == model(images).argmax(dim=1).tolist()
    assert half(images.bfloat16()).dtype == torch.bfloat16


def test_a_new_head_is_linear_whatever_the_old_one_was(small):
    model = VisionTransformer(small(num_classes=3, neighbours=7, examples=50))
    model.replace_head(4)
    assert isinstance(model.head, torch.nn.Linear)
    assert model.config == small(num_classes=4)
    again = model_without_weights(model.config)
    assert again.state_dict().keys() == model.state_dict().keys()


def test_what_a_head_remembers_is_no_parameter(small):
    config = small(num_classes=3, neighbours=7, examples=50)
    size = summarise(config)
    assert size.parameters == sum(p.numel() for p in VisionTransformer(config).parameters())
    assert size.layers[-1].name == "head"
    assert size.layers[-1].output_shape == (3,)


@pytest.mark.parametrize("feature_layers", [1, 2])
@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("token", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("average", [0, 0, 0, 0, *[1 / 6] * 6]),
        ("token_average", [1 / 2, 0, 0, 0, *[1 / 12] * 6]),
        ("distilled", [1 / 2, 1 / 2, 0, 0, *[0] * 6]),
    ],
)
def test_a_fixed_pooling_tells_what_it_takes_of_each_token(small, lively, pool, expected, feature_layers):
    """A class token, a distillation token, two registers, 2 x 3 patches."""
    config = small(pool=pool, distillation_token=True, registers=2, feature_layers=feature_layers)
    model, images = lively(config), torch.randn(2, 3, 16, 24)
    features = model.forward_features(images)
    logits, weights = model.forward_head_attention(features)
    assert torch.equal(logits, model.forward_head(features))
    torch.testing.assert_close(weights, torch.tensor(expected).float().expand(2, 1, -1))


def test_attention_pooling_tells_where_it_looks(small, lively):
    """As torch's own attention tells it."""
    model = lively(small(pool="attention", class_token=False, registers=1)).double()
    features = model.forward_features(torch.randn(2, 3, 16, 24).double())
    logits, weights = model.forward_head_attention(features)
    torch.testing.assert_close(logits, model.forward_head(features))
    assert weights.shape == (2, model.config.heads, 7)
    assert torch.equal(weights[..., 0], torch.zeros(2, model.config.heads))
    pooling = model.attention_pooling
    theirs = torch.nn.MultiheadAttention(32, model.config.heads, batch_first=True).double()
    theirs.load_state_dict(
        {
            "in_proj_weight": pooling.qkv.weight,
            "in_proj_bias": pooling.qkv.bias,
            "out_proj.weight": pooling.out.weight,
            "out_proj.bias": pooling.out.bias,
        }
    )
    patches = features[:, 1:]
    _, expected = theirs(
        pooling.query.expand(2, -1, -1), patches, patches, average_attn_weights=False, need_weights=True
    )
    torch.testing.assert_close(weights[..., 1:], expected[:, :, 0])
    (gradient,) = torch.autograd.grad(logits.sum(), weights)
    assert gradient[..., 1:].abs().min() > 0
    assert gradient[..., 0].abs().max() == 0
