"""ImageNet's class names come from torchvision, without its import where that can be."""

import subprocess
import sys

import pytest

from vitral.weights import reading


def test_they_are_torchvisions_own() -> None:
    from torchvision.models import ViT_B_16_Weights

    assert reading.imagenet_names() == ViT_B_16_Weights.IMAGENET1K_V1.meta["categories"]


def test_torchvision_is_not_imported() -> None:
    code = "import sys; from vitral.weights.reading import imagenet_names; imagenet_names(); "
    code += "sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("found", [None, "another.py"])
def test_where_the_file_is_elsewhere_its_public_name_is_asked(
    monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    usual = reading.imagenet_names()
    monkeypatch.setattr(reading, "find_spec", lambda _: None if found is None else sys.__spec__)
    assert reading.imagenet_names() == usual
