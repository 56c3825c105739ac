"""The vector of a photograph: transformers' own features, pooled by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.inference import Embedder

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("registers", [0, 4])
def test_vectors_are_made_of_transformers_features(tmp_path, stirred, assert_same, registers):
    options = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28}
    name = "Dinov2WithRegisters" if registers else "Dinov2"
    options |= {"num_register_tokens": registers} if registers else {}
    config = getattr(transformers, f"{name}Config")(**options, patch_size=7)
    peer = stirred(getattr(transformers, f"{name}Model")(config))
    peer.save_pretrained(tmp_path)
    pictures = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 33, 3), dtype=np.uint8))
        for seed in range(3)
    ]
    for pool in (None, "token", "average", "token_average"):
        embedder = Embedder.load(tmp_path, pool=pool, device="cpu", precision="fp32")
        inputs = torch.stack([torch.from_numpy(embedder.preprocessing(picture)) for picture in pictures])
        with torch.no_grad():
            answer = peer(inputs)
        average = answer.last_hidden_state[:, 1 + registers :].mean(dim=1)
        token = answer.pooler_output
        expected = {"average": average, "token_average": torch.cat([token, average], dim=1)}
        assert_same(torch.from_numpy(embedder.embed(pictures)), expected.get(pool, token))
