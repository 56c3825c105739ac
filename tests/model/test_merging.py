"""Token merging: against the paper written out number by number, and networks whose tokens are all still there."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vitral.errors import ConfigError
from vitral.inspection.activations import activations
from vitral.model import VisionTransformer, create_model
from vitral.model.encoder import SelfAttention
from vitral.model.merging import Merged, match, merge, spread

TOKENS = {
    "class token": {},
    "none": {"class_token": False, "pool": "average"},
    "distillation token": {"distillation_token": True, "pool": "distilled"},
    "registers": {"registers": 4},
    "an even number of registers, no class token": {"class_token": False, "pool": "average", "registers": 2},
}


def paper_merge(tokens, keys, groups, special, count):
    """Appendix D of the paper for one image, token by token: `groups` are the patches that each token stands for.

    Returns the tokens after it and their groups, in the order of this house.
    """
    metric = keys.mean(axis=0)
    metric = metric / np.linalg.norm(metric, axis=1, keepdims=True)
    a = [token for token in range(special, len(tokens)) if token % 2 == 0]
    b = [token for token in range(special, len(tokens)) if token % 2 == 1]
    edges = []
    for token in a:
        similar = [float(metric[token] @ metric[other]) for other in b]
        edges.append((max(similar), token, b[int(np.argmax(similar))]))
    edges.sort(reverse=True)
    sums = {token: tokens[token] * len(groups[token]) for token in range(len(tokens))}
    members = {token: list(groups[token]) for token in range(len(tokens))}
    for _, token, other in edges[:count]:
        sums[other] = sums[other] + sums.pop(token)
        members[other] += members.pop(token)
    order = [token for token in [*range(special), *a, *b] if token in members]
    return np.stack([sums[token] / len(members[token]) for token in order]), [members[t] for t in order]


def groups_of(merged, image):
    """For each token the original ones that it stands for."""
    places = merged.places[image].tolist()
    return [[old for old, new in enumerate(places) if new == token] for token in range(merged.sizes.shape[1])]


@pytest.mark.parametrize(
    ("special", "patches", "count", "heads"),
    [(1, 196, 8, 3), (0, 9, 4, 2), (2, 7, 3, 1), (5, 10, 5, 4), (1, 2, 1, 2), (0, 2, 1, 1), (3, 30, 1, 2)],
)
def test_matching_and_averages_are_the_papers(special, patches, count, heads):
    """Several layers one after the other, so that tokens of all sizes meet."""
    torch.manual_seed(special + patches)
    tokens = torch.randn(3, special + patches, 8, dtype=torch.float64)
    merged = None
    expected = [
        (tokens[image].numpy(), [[token] for token in range(special + patches)]) for image in range(3)
    ]
    for _ in range(4):
        number = min(count, (tokens.shape[1] - special) // 2)
        if not number:
            break
        keys = torch.randn(3, heads, tokens.shape[1], 5)
        tokens, merged = merge(tokens, keys, merged, special, number)
        assert torch.equal(merged.sizes.sum(dim=1), torch.full((3,), float(special + patches)))
        for image in range(3):
            expected[image] = paper_merge(
                expected[image][0], keys[image].numpy(), expected[image][1], special, number
            )
            values, groups = expected[image]
            np.testing.assert_allclose(tokens[image].numpy(), values, atol=1e-6)  # the shares are fp32
            assert groups_of(merged, image) == [sorted(group) for group in groups]
            assert merged.sizes[image].tolist() == [len(group) for group in groups]
            assert all(
                origin in group for origin, group in zip(merged.origins[image].tolist(), groups, strict=True)
            )
    assert merged is not None


def test_the_authors_own_order_with_a_class_token():
    """Four patches: the second is like the third, so it goes into it; A keeps its order, B stands after it."""
    keys = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.9, 0.1], [0, 0, 1], [1, 0, 0.5]])  # class token first
    kept, gone, into = match(keys[None, None], 1, 1)
    assert kept.tolist() == [[0, 4, 1, 3]]
    assert (gone.tolist(), into.tolist()) == ([[2]], [[2]])  # the place of token 1 among those kept
    kept, gone, into = match(keys[None, None], 1, 2)
    assert kept.tolist() == [[0, 1, 3]]
    assert gone.tolist() == [[2, 4]]
    assert into.tolist() == [[1, 2]]


def test_proportional_attention_is_the_formula(small):
    """softmax(q k^T / sqrt(d) + log s) v in double precision, and the same with every token there s times."""
    config = small()
    torch.manual_seed(0)
    attention = SelfAttention(config)
    torch.nn.init.normal_(attention.qkv.bias)
    sizes = torch.tensor([[1.0, 3, 1, 2], [1, 1, 2, 3]])
    z = torch.randn(2, 4, 32)
    places = [np.repeat(np.arange(4), row.int().numpy()) for row in sizes]
    merged = Merged(sizes, torch.tensor(np.stack(places)), torch.zeros(2, 4, dtype=torch.long))
    found, keys, nothing = attention.forward_merged(z, None, merged, read=False)
    assert nothing is None
    read, _, weights = attention.forward_merged(z, None, merged, read=True)
    for image, place in enumerate(places):
        weight, bias = attention.qkv.weight.double(), attention.qkv.bias.double()
        qkv = F.linear(z[image].double(), weight, bias).detach().numpy()
        q, k, v = qkv.reshape(4, 3, 4, 8).transpose(1, 2, 0, 3)  # (heads, tokens, head_dim) each
        np.testing.assert_allclose(keys[image].detach().numpy(), k, atol=1e-5)
        terms = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(8)) * sizes[image].numpy()
        mixed = (terms / terms.sum(axis=-1, keepdims=True)) @ v
        out = F.linear(
            torch.from_numpy(mixed.transpose(1, 0, 2).reshape(4, 32)), attention.out.weight.double()
        )
        expected = (out + attention.out.bias).detach().numpy()
        np.testing.assert_allclose(found[image].detach().numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(read[image].detach().numpy(), expected, atol=1e-5)
        plain, all_weights = attention.forward_attention(z[image : image + 1, place])
        torch.testing.assert_close(found[image, place], plain[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(weights[image], all_weights[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("tokens", TOKENS.values(), ids=TOKENS.keys())
@pytest.mark.parametrize("kind", ["learned", "rope"])
def test_without_merging_the_network_is_what_it_was(small, lively, tokens, kind):
    """Number for number: block after block, without a mask."""
    model = lively(small(position_embedding=kind, **tokens))
    images = torch.randn(2, 3, 16, 24)
    z = model.embed(images)
    for block in model.blocks:
        z = block(z, model.rotation)
    before = model.norm(z)
    assert torch.equal(model.forward_features(images), before)
    model.merge_tokens(2)
    assert not torch.allclose(model.forward_features(images), before)
    model.merge_tokens(0)
    assert torch.equal(model.forward_features(images), before)


@pytest.mark.parametrize("tokens", TOKENS.values(), ids=TOKENS.keys())
@pytest.mark.parametrize("kind", ["learned", "rope"])
@pytest.mark.parametrize("layer_scale", [None, 0.5])
def test_whole_network_equals_one_in_which_the_members_are_all_still_there(
    small, lively, tokens, kind, layer_scale
):
    """A plain network whose members of a token are overwritten by their average after every attention."""
    config = small(image_size=(40, 32), position_embedding=kind, layer_scale=layer_scale, merge=3, **tokens)
    model, special = lively(config), config.special_tokens
    images = torch.randn(2, 3, 40, 32)
    features, attentions = model.forward_attention(images)
    outputs = list(model.forward_layers(model.embed(images), range(config.layers)))
    for image in range(2):
        z = model.embed(images[image : image + 1])
        rotation = model.rotation
        for layer, (block, weights) in enumerate(zip(model.blocks, attentions, strict=True)):
            out, plain = block.attention.forward_attention(block.attention_norm(z), rotation)
            torch.testing.assert_close(weights[image], plain[0], atol=1e-5, rtol=0)
            z = z + block.attention_scale(out)
            merged = outputs[layer][1]
            groups = groups_of(merged, image)
            assert groups[:special] == [[token] for token in range(special)]
            z = torch.stack(
                [z[0, next(g for g in groups if token in g)].mean(dim=0) for token in range(z.shape[1])]
            )[None]
            z = z + block.mlp_scale(block.mlp(block.mlp_norm(z)))
            torch.testing.assert_close(spread(outputs[layer][0], merged)[image], z[0], atol=1e-4, rtol=1e-4)
            if rotation is not None:  # a member stands where its token stands
                rotation = model.rotation[:, merged.origins[image][merged.places[image]]]
        torch.testing.assert_close(features[image], model.norm(z)[0], atol=1e-4, rtol=1e-4)
        for group in groups:
            assert all(torch.equal(features[image, token], features[image, group[0]]) for token in group)
    assert [len(set(outputs[layer][1].places[0].tolist())) for layer in range(3)] == [
        special + patches for patches in config.patches_by_layer[1:]
    ]


def test_a_merged_patch_stands_where_its_destination_stands(small, lively):
    """Rotary positions: the origin of every token is the one of B that the others went into, all the way."""
    config = small(image_size=(40, 32), position_embedding="rope", merge=4)
    model = lively(config)
    origins = list(range(21))
    for tokens, merged, _ in model.forward_layers(model.embed(torch.randn(1, 3, 40, 32))):
        before = len(origins)
        assert tokens.shape[1] == merged.sizes.shape[1] == merged.origins.shape[1]
        kept = set(merged.origins[0].tolist())
        assert kept < set(origins)
        assert {
            origin for place, origin in enumerate(origins) if place % 2 or not place
        } <= kept  # B, class token
        origins = merged.origins[0].tolist()
        assert len(origins) == before - min(4, (before - 1) // 2)
        turned = merged.rotation(model.rotation)
        assert torch.equal(turned[:, 0, 0], model.rotation[:, origins])


@pytest.mark.parametrize(
    ("pool", "changes"),
    [
        ("token", {}),
        ("average", {"class_token": True}),
        ("average", {"class_token": False}),
        ("average", {"class_token": True, "norm_after_pool": True}),
        ("token_average", {}),
        ("token_average", {"feature_layers": 3}),
        ("distilled", {"distillation_token": True}),
        ("attention", {"class_token": False}),
    ],
)
def test_every_pooling_weighs_tokens_by_their_size(small, lively, assert_same, pool, changes):
    """Once over all original patches, once over the tokens that are left with their sizes."""
    config = small(image_size=(40, 32), pool=pool, merge=4, **changes)
    model, images, special = lively(config), torch.randn(2, 3, 40, 32), config.special_tokens
    features = model.forward_features(images)
    assert features.shape == (2, special + 20, config.feature_dim)
    assert_same(model.forward_head(features), model(images))
    assert_same(model.forward_head_attention(features)[0], model(images))
    layers = list(model.forward_layers(model.embed(images)))[-config.feature_layers :]
    kept = [tokens if config.norm_after_pool else model.norm(tokens) for tokens, _, _ in layers]
    if pool == "attention":
        pooling, (tokens,) = model.attention_pooling, kept
        weights = pooling.weights(tokens).log() + layers[0][1].sizes[:, None].log()
        y = pooling.forward_weights(tokens, weights.softmax(dim=-1))
    elif pool == "distilled":
        y = kept[0][:, :2].mean(dim=1)
    else:
        averages = []
        for tokens, (_, merged, _) in zip(kept, layers, strict=True):
            sizes = merged.sizes[:, special:, None]
            averages.append((tokens[:, special:] * sizes).sum(dim=1) / sizes.sum(dim=1))
        by_kind = {
            "token": [torch.cat([tokens[:, 0] for tokens in kept], dim=1)],
            "average": [torch.cat(averages, dim=1)],
        }
        y = torch.cat([*itertools.chain.from_iterable(by_kind[part] for part in pool.split("_"))], dim=1)
        y = model.norm(y) if config.norm_after_pool else y
    assert_same(model.pool(features), y)


def test_feature_maps_keep_their_places(small, lively):
    config = small(image_size=(40, 32), merge=4)
    model, images = lively(config), torch.randn(2, 3, 40, 32)
    features = model.forward_features(images)
    maps = model.forward_intermediates(images, norm=True)
    assert [patches.shape for _, patches in maps] == [(2, 32, 5, 4)] * 3
    for row, column in itertools.product(range(5), range(4)):
        assert torch.equal(maps[-1][1][:, :, row, column], features[:, 1 + 4 * row + column])
    found = activations(model, images)
    np.testing.assert_allclose(found.features, features[:, 1:].unflatten(1, (5, 4)).detach(), atol=1e-5)
    norms = torch.stack([patches.norm(dim=1) for _, patches in model.forward_intermediates(images)], dim=1)
    np.testing.assert_allclose(found.patch_norms, norms.detach(), rtol=1e-4)


def test_patches_that_are_alike_lose_nothing(small, lively, assert_same):
    """Two kinds of patches, four of each and no positions: every one of A has its like in B, in both layers."""
    model = lively(small(image_size=(8, 64), layers=2, position_embedding="none"))
    images = torch.randn(2, 3, 8, 2, 8).repeat_interleave(4, dim=3).flatten(3)
    plain = model.forward_features(images)
    model.merge_tokens(4)
    assert model.config.patches_by_layer == (8, 4, 2)
    assert_same(model.forward_features(images), plain)
    different = torch.randn(2, 3, 8, 64)
    merged = model.forward_features(different)
    model.merge_tokens(0)
    assert not torch.allclose(model.forward_features(different), merged, atol=0.01)


def test_no_more_is_merged_than_there_is(small, lively):
    assert small(merge=1000).patches_by_layer == (6, 3, 2, 1)
    assert small(merge=2, layers=6).patches_by_layer == (6, 4, 2, 1, 1, 1, 1)
    assert small().patches_by_layer == (6, 6, 6, 6)
    assert create_model("vit_tiny_patch16_224", merge=8).config.patches_by_layer[-1] == 196 - 12 * 8
    for tokens in TOKENS.values():
        model = lively(small(merge=1000, layers=5, **tokens))
        images = torch.randn(2, 3, 16, 24)
        features, attentions = model.forward_attention(images)
        assert torch.isfinite(model(images)).all()
        assert features.shape == (2, model.config.special_tokens + 6, 32)
        for weights in attentions:
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("merge", [-1, 1.0, True, "8", None])
def test_number_that_is_none_is_refused(small, lively, merge):
    with pytest.raises(ConfigError, match="merge must be a whole number, 0 or more"):
        small(merge=merge)
    with pytest.raises(ConfigError, match="merge must be"):
        lively(small()).merge_tokens(merge)


def test_there_is_no_mask_before_the_first_merging(small, lively, monkeypatch):
    masks = []
    plain = F.scaled_dot_product_attention

    def seen(*args, attn_mask=None, **options):
        masks.append(None if attn_mask is None else tuple(attn_mask.shape))
        return plain(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", seen)
    with torch.no_grad():
        lively(small(merge=2))(torch.randn(2, 3, 16, 24))
    assert masks == [None, (2, 1, 1, 5), (2, 1, 1, 3)]


@pytest.mark.parametrize("training", [False, True])
def test_reading_attention_out_changes_neither_features_nor_gradients(small, lively, assert_same, training):
    model = lively(small(image_size=(40, 32), merge=4)).train(training)
    images, direction = torch.randn(2, 3, 40, 32), torch.randn(2, 21, 32)

    def outcome(features):
        model.zero_grad()
        (features * direction).sum().backward()
        return [features, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    fast, read = outcome(model.forward_features(images)), outcome(model.forward_attention(images)[0])
    assert len(fast) == len(read) > 30
    for one, other in zip(fast, read, strict=True):
        assert_same(one, other)


def test_gradient_of_attention_is_shared_among_the_members(small, lively):
    """As in a network in which they are all still there: those of one token have the same, and it is in the graph."""
    model = lively(small(image_size=(40, 32), merge=4))
    features, attentions = model.forward_attention(torch.randn(1, 3, 40, 32))
    gradients = torch.autograd.grad(model.forward_head(features)[0, 2], attentions)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    z = torch.randn(1, 21, 32)
    attention, group = model.blocks[0].attention, [4, 5, 9]
    z[:, group] = z[:, group[:1]]
    out, whole = attention.forward_attention(z)
    direction = torch.randn(21, 32)
    direction[group] = direction[group].mean(dim=0)
    (expected,) = torch.autograd.grad((out * direction).sum(), whole)
    places = torch.tensor([token - sum(token > gone for gone in group[1:]) for token in range(21)])
    places[group] = group[0]
    sizes = torch.bincount(places, minlength=19).float()
    few = torch.tensor([next(old for old in range(21) if places[old] == new) for new in range(19)])
    out, _, spread_weights = attention.forward_merged(
        z[:, few], None, Merged(sizes[None], places[None], few[None]), True
    )
    (found,) = torch.autograd.grad((out * direction[few] * sizes[:, None]).sum(), spread_weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["learned", "rope"])
def test_network_that_merges_can_be_trained(small, kind):
    torch.manual_seed(0)
    model = VisionTransformer(
        small(image_size=(40, 32), merge=4, dropout=0.1, drop_path=0.1, position_embedding=kind)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images, labels, losses = torch.randn(8, 3, 40, 32), torch.arange(8) % 5, []
    for step in range(60):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        if step:  # the head starts at zero
            assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float64])
def test_other_precisions(small, lively, precision):
    """Sizes are counted in fp32 whatever the network computes in; 600 patches in one token are still 600."""
    config = small(image_size=(160, 240), merge=1000, layers=11, dim=8, mlp_dim=8, heads=2)
    model = lively(config).to(precision)
    images = torch.randn(1, 3, 160, 240, dtype=precision)
    with torch.no_grad():
        *_, (tokens, merged, _) = model.forward_layers(model.embed(images))
        assert model(images).dtype == tokens.dtype == precision
    assert merged.sizes.tolist() == [[1.0, 600.0]]


def test_merged_network_can_be_resized_and_keeps_its_number(small, lively):
    model = lively(small(merge=2))
    model.resize((40, 32))
    assert model.config.merge == 2
    assert model.forward_features(torch.randn(1, 3, 40, 32)).shape == (1, 21, 32)
    model.config = model.config.replace(merge=0)
    assert not torch.allclose(model(torch.ones(1, 3, 40, 32).normal_()), torch.zeros(1, 5))
