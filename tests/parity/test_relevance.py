"""Relevance by gradient and rollout, computed from what timm's own layers looked at and the gradients that it has."""

import numpy as np
import pytest
import torch

from vitral.inference import Explainer, Look

from .networks import timm_peer
from .test_attentions import timm_attentions

timm = pytest.importorskip("timm")

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
KINDS = ["ViT", "DeiT III", "DINOv2, registers", "ViT, registers with positions"]


@pytest.fixture
def both(stirred, tmp_path):
    """`both(kind)`: vitral's explainer, timm's logits of `IMAGE` and its attention in each layer."""

    def make(kind):
        peer = timm_peer(stirred, tmp_path, kind)
        explainer = Explainer.load(tmp_path, device="cpu", precision="fp32")
        attentions = timm_attentions(peer)
        logits = peer(torch.from_numpy(explainer.preprocessing(IMAGE))[None])
        return explainer, logits[0], attentions

    return make


@pytest.mark.parametrize("target", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_relevance_from_timms_gradients(both, kind, target):
    """R = I, then layer by layer R <- R + mean over heads of (gradient * attention)+ times R; the class token's row."""
    explainer, logits, attentions = both(kind)
    gradients = torch.autograd.grad(logits[target], attentions)
    relevance = np.eye(attentions[0].shape[-1])
    for attention, gradient in zip(attentions, gradients, strict=True):
        heads = [
            np.clip(g * a, 0, None)
            for g, a in zip(gradient[0].numpy(), attention[0].detach().numpy(), strict=True)
        ]
        relevance = relevance + np.matmul(sum(heads) / len(heads), relevance)
    found = explainer.explain(IMAGE, Look("gradient", target=explainer.class_names[target]))
    expected = relevance[0, explainer.model.config.special_tokens :]
    np.testing.assert_allclose(found.relevance.ravel(), expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("kind", KINDS)
def test_rollout_from_timms_attention(both, kind):
    explainer, _, attentions = both(kind)
    reached = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
    for attention in attentions:
        mixed = attention[0].detach().double().mean(dim=0) + torch.eye(len(reached))
        reached = (mixed / mixed.sum(dim=1, keepdim=True)) @ reached
    found = explainer.explain(IMAGE, Look("rollout"))
    special = explainer.model.config.special_tokens
    np.testing.assert_allclose(found.relevance.ravel(), reached[0, special:].numpy(), rtol=1e-5)
    assert found.special_share == pytest.approx(float(reached[0, :special].sum()), rel=1e-5)
