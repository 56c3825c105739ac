"""int8: what it may cost, and which layers step back from it."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rich
import torch

from vitral.errors import UsageError, VitralError
from vitral.images import Preprocessing
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.model import VisionTransformer, ViTConfig

openvino = pytest.importorskip("openvino", reason="needs the extra fast")
pytest.importorskip("nncf", reason="needs the extra fast")

from vitral.inference.graphs import to_openvino  # noqa: E402
from vitral.inference.quantize import Quantised, compress, group_of, quantise  # noqa: E402

SIZE = (32, 32)
TOKENS = 17
PREPROCESSING = Preprocessing(size=SIZE)


@pytest.fixture(scope="module")
def network(small: Callable[..., ViTConfig], lively: Callable[..., VisionTransformer]) -> VisionTransformer:
    return decided(lively(wide(small)))


@pytest.fixture(scope="module")
def planted(small: Callable[..., ViTConfig], lively: Callable[..., VisionTransformer]) -> VisionTransformer:
    """Eight hidden numbers of the second layer are large for one calibration image, and 0 for all others.

    Neither a range for the whole tensor nor one for each channel leaves the others their digits: smoothing moves the
    large range into the weights.
    """
    model = lively(wide(small))
    layer = model.blocks[1].mlp
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda module, taken, given: seen.append(taken[0]))
    answers(model, np.concatenate([with_checkerboard(), pixels(1, 200), pixels(3, 200)]))
    hook.remove()
    z = seen[0].flatten(0, 1)  # (images x tokens, dim)
    directions = z[:TOKENS] / z[:TOKENS].square().sum(dim=-1, keepdim=True)
    alike = directions @ z[TOKENS:].T  # to the tokens of the other images; 1 would be as to itself
    nearest, chosen = alike.max(dim=-1).values.min(dim=0)
    direction, threshold = directions[chosen], (1 + float(nearest)) / 2
    assert threshold < 0.95  # far from rounding errors
    scale = (
        40 / direction.abs().max()
    )  # nncf gives rows of less than a hundredth of the largest too wide a range
    with torch.no_grad():
        layer.hidden.weight[:8] = scale * direction
        layer.hidden.bias[:8] = -scale * threshold
    return decided(model)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def wide(small: Callable[..., ViTConfig]) -> ViTConfig:
    return small(image_size=SIZE, layers=3, dim=64, mlp_dim=128, num_classes=5)


@torch.no_grad()
def decided(model: VisionTransformer) -> VisionTransformer:
    """The network with a head that gives images different answers; a fresh one gives all of them the same."""
    logits = torch.from_numpy(answers(model, pixels(3, 200))).log()
    model.head.bias -= logits.mean(dim=0)
    model.head.bias *= 3
    model.head.weight *= 3
    found = np.bincount(answers(model, pixels(1, 200)).argmax(1), minlength=5)
    assert found.max() < 120, found
    return model


def pixels(seed: int, count: int) -> np.ndarray:
    """Pictures of coarse squares, no two alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(SIZE[0] // 4, axis=1).repeat(SIZE[1] // 4, axis=2)


def with_checkerboard() -> np.ndarray:
    """40 pictures, the first of them unlike all others."""
    images = pixels(0, 40)
    images[0] = 255 * (np.indices((*SIZE, 3)).sum(axis=0) % 2)
    return images


@torch.no_grad()
def answers(model: VisionTransformer, images: np.ndarray) -> np.ndarray:
    return Deployed(model.eval(), PREPROCESSING)(torch.from_numpy(images)).numpy()


def graph(model: VisionTransformer) -> Any:
    return to_openvino(Deployed(model, PREPROCESSING), Description((), PREPROCESSING, "fp32"))


def run(model: Any, images: np.ndarray) -> np.ndarray:
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images])[0]


def rounded(model: Any) -> set[str]:
    """The products whose input is rounded in the graph itself, by layer group."""
    found = set()
    for op in model.get_ops():
        sources = [port.get_source_output().get_node() for port in op.inputs()]
        if any(source.get_type_name() == "FakeQuantize" for source in sources):
            found.add(group_of(op.friendly_name, op.get_type_name()) or op.friendly_name)
    return found


def test_static_int8_answers_as_the_network_does(network: VisionTransformer) -> None:
    images = pixels(1, 200)
    truth = answers(network, images)
    done = quantise(graph(network), [pixels(0, 30), pixels(2, 10)], (images, truth.argmax(1)), max_drop=15)
    assert done.kept == ()
    assert done.images == 200
    assert done.accuracy_before == 1
    assert done.accuracy_after == done.agreement >= 0.88
    given = run(done.model, images)
    assert (given.argmax(1) == truth.argmax(1)).mean() == done.agreement
    assert 0 < np.abs(given - truth).mean() < 0.03


def test_every_product_of_every_layer_is_rounded_and_the_head_is_not(network: VisionTransformer) -> None:
    done = quantise(graph(network), [pixels(0, 20)], max_drop=100)
    parts = ("attention.qkv", "attention.products", "attention.out", "mlp.hidden", "mlp.out")
    expected = {f"blocks.{layer}.{part}" for layer in range(3) for part in parts}
    assert rounded(done.model) - {"embedding"} == expected


def test_the_layer_with_planted_outliers_is_found_and_steps_back(planted: VisionTransformer) -> None:
    images = pixels(1, 200)
    truth = answers(planted, images).argmax(1)
    start = graph(planted)
    before = quantise(start, [with_checkerboard()], (images, truth), max_drop=100)
    assert before.drop > 7
    done = quantise(start, [with_checkerboard()], (images, truth), max_drop=6)
    assert done.kept == ("blocks.1.mlp.out",)
    assert done.drop <= 6
    assert (run(done.model, images).argmax(1) == truth).mean() == pytest.approx(done.accuracy_after)
    assert "blocks.1.mlp.out" not in rounded(done.model)
    assert "blocks.0.mlp.out" in rounded(done.model)


def test_without_labels_the_drop_is_disagreement_with_fp32(network: VisionTransformer) -> None:
    images = pixels(0, 40)
    done = quantise(graph(network), [images], max_drop=100)
    same = (run(done.model, images).argmax(1) == answers(network, images).argmax(1)).mean()
    assert (done.accuracy_before, done.accuracy_after, done.images) == (None, None, 40)
    assert done.drop == pytest.approx(100 * (1 - same))


def test_what_cannot_be_met_is_said_with_its_figures(network: VisionTransformer) -> None:
    images = pixels(1, 50)
    labels = answers(network, images).argmax(1)
    with pytest.raises(
        VitralError, match=r"loses .* points on 50 images .* more than -1: .*--max-drop"
    ) as error:
        quantise(graph(network), [pixels(0, 12)], (images, labels), max_drop=-1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("calibration", "labelled", "text"),
    [
        ([], None, "0 images are too few"),
        ([pixels(0, 9)], None, "9 images are too few"),
        ([pixels(0, 10)], (pixels(0, 3), np.zeros(2, int)), "3 images have 2 labels"),
    ],
)
def test_too_little_to_go_by_is_refused(
    network: VisionTransformer, calibration: list, labelled: Any, text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        quantise(graph(network), calibration, labelled)


def test_a_missing_package_names_its_extra(
    network: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = graph(network)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(UsageError, match=r"pip install 'vitral\[fast\]'"):
        compress(start)


def test_standard_output_stays_empty_and_progress_comes_by_call(
    network: VisionTransformer, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int, str]] = []
    quantise(graph(network), [pixels(0, 12)], max_drop=100, progress=lambda *step: told.append(step))
    assert capfd.readouterr().out == ""
    for what in ("measuring fp32", "calibrating", "measuring int8"):
        steps = [(done, total) for done, total, said in told if said == what]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


@pytest.mark.slow
def test_nothing_is_reported_to_the_makers_of_nncf() -> None:
    program = (
        "from vitral.inference.quantize import _nncf\n"
        "assert _nncf().quantize\n"
        "from nncf.telemetry import wrapper\n"
        "assert not isinstance(wrapper.telemetry, wrapper.NNCFTelemetry)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("group_size", [None, 32, 64])
def test_dynamic_int8_needs_no_images(network: VisionTransformer, group_size: int | None) -> None:
    images = pixels(1, 100)
    done = compress(graph(network), group_size)
    truth, given = answers(network, images), run(done, images)
    assert 0 < np.abs(given - truth).mean() < 0.02
    assert (given.argmax(1) == truth.argmax(1)).mean() >= 0.9


def test_the_group_size_travels_with_the_graph(network: VisionTransformer, tmp_path: Any) -> None:
    openvino.save_model(compress(graph(network)), tmp_path / "network.xml")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(tmp_path / "network.xml"), "CPU")
    assert int(compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")) == 64  # 192 and 128 do not divide 64


@pytest.mark.parametrize(
    ("dim", "mlp_dim", "group_size"), [(192, 768, 192), (128, 512, 128), (192, 512, 64), (32, 48, 64)]
)
def test_the_group_size_divides_the_widths(
    small: Callable[..., ViTConfig],
    lively: Callable[..., VisionTransformer],
    dim: int,
    mlp_dim: int,
    group_size: int,
) -> None:
    config = small(image_size=SIZE, layers=1, dim=dim, mlp_dim=mlp_dim)
    model = compress(graph(lively(config)))
    carried = model.get_rt_info(["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"]).value
    assert int(carried) == group_size


def test_what_merges_tokens_stays_in_fp32(
    small: Callable[..., ViTConfig], lively: Callable[..., VisionTransformer]
) -> None:
    model = decided(lively(wide(small).replace(merge=3)))
    done = quantise(graph(model), [pixels(0, 20)], max_drop=100)
    assert all(place == "embedding" or place.split(".")[0] == "blocks" for place in rounded(done.model))
    images = pixels(1, 100)
    assert (run(done.model, images).argmax(1) == answers(model, images).argmax(1)).mean() >= 0.9


def test_a_result_says_what_was_lost() -> None:
    with_labels = Quantised(None, 200, 0.82, 0.815, 0.99)  # type: ignore[arg-type]
    assert with_labels.drop == pytest.approx(0.5)
    assert Quantised(None, 40, None, None, 0.975).drop == pytest.approx(2.5)  # type: ignore[arg-type]


def test_a_notebook_is_shown_no_bars_of_nncf(
    network: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    display = pytest.importorskip("IPython.display")
    monkeypatch.setattr(display, "display", lambda *things, **_: shown.append(things))
    monkeypatch.setattr(rich.get_console(), "is_jupyter", True)
    compress(graph(network))
    assert not shown
    assert rich.get_console().is_jupyter
