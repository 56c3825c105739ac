"""Networks of timm, read by vitral and exported to ONNX: ONNX Runtime answers what timm answers."""

import numpy as np
import pytest
import torch

from vitral.inference import formats
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.weights import overrides_from, read_checkpoint

from .networks import EVA, TIMM, TINY, timm_peer

pytest.importorskip("timm")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

KINDS = [
    name
    for name, (_, changes, said) in (TIMM | EVA).items()
    if said is not None and changes.get("num_classes") != 0
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_answers_as_timm_does(stirred, tmp_path, kind) -> None:
    torch.set_num_threads(1)
    peer = timm_peer(stirred, tmp_path, kind)
    said = (TIMM | EVA)[kind][2]
    checkpoint = read_checkpoint(tmp_path, overrides_from(said))
    seen, model = checkpoint.preprocessing, checkpoint.model()
    names = tuple(map(str, range(TINY["num_classes"])))
    description = Description(names, seen, "fp32")
    formats.onnx_writer(Deployed(model, seen).eval(), description)(description, tmp_path / "peer.onnx")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (3, *seen.size, seen.channels), dtype=np.uint8)
    with torch.no_grad():
        expected = peer(torch.from_numpy(seen.normalise(pixels))).softmax(dim=1).numpy()
    found = formats.run_onnx(tmp_path / "peer.onnx", inside=False)(pixels)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, atol=2e-5)
