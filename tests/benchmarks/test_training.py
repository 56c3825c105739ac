"""Whether the figures of benchmarks/training.py mean what its table says; nothing here asks how fast anything is."""

import random
from time import monotonic

import contestant
import pytest
import rows
import timing
import torch
from torch.utils.flop_counter import FlopCounterMode

import training
from vitral.device import choose
from vitral.model import VisionTransformer, ViTConfig, config_for, create_model

CPU = torch.device("cpu")
SMALL = ViTConfig(
    image_size=(32, 32), patch_size=(8, 8), layers=2, dim=128, mlp_dim=256, heads=2, num_classes=10
)


def test_utilisation_of_a_peak() -> None:
    # 17.58 G multiply-adds are 105.48 G operations a training step and image; 989.4 T / 105.48 G = 9380 images/s.
    assert training.utilisation(17_580_000_000, 4690, 989.4e12) == pytest.approx(0.5, rel=1e-3)
    assert training.utilisation(17_580_000_000, 4690, None) is None
    assert training.peak_of(CPU) is None


def test_spread_gives_median_and_quartiles() -> None:
    assert timing.spread([5, 1, 4, 2, 3]) == {"median": 3, "lower_quartile": 2, "upper_quartile": 4}
    assert timing.spread([7.0]) == {"median": 7, "lower_quartile": 7, "upper_quartile": 7}


def test_contestants_take_turns_in_changing_order() -> None:
    order: list[str] = []
    contestants = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abcd"}
    figures = timing.interleaved(contestants, 6, monotonic() + 100, random.Random(0))
    rounds = [order[start : start + 4] for start in range(0, 24, 4)]
    assert all(sorted(each) == list("abcd") for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert {name: len(each) for name, each in figures.items()} == dict.fromkeys("abcd", 6)


def test_time_that_is_up_ends_after_a_whole_round() -> None:
    figures = timing.interleaved({"a": lambda: 1.0, "b": lambda: 2.0}, 50, monotonic(), random.Random(0))
    assert figures == {"a": [1.0], "b": [2.0]}


def test_rows_are_chosen_by_name() -> None:
    every = rows.all_rows(True, CPU)
    assert len(every) == 20
    picked = training.chosen(every, ["timm-bf16", "vitral-*-compiled"])
    assert [row.name for row in picked] == ["timm-bf16", "vitral-fp32-compiled", "vitral-bf16-compiled"]
    assert [row.name for row in rows.all_rows(False, CPU) if row.compiled] == [
        f"vitral-{choose('cpu').precision}-compiled"
    ]
    with pytest.raises(SystemExit, match="no row is called 'tim-fp32'"):
        training.chosen(every, ["tim-fp32"])


def test_comparison_is_with_the_fastest_peer_of_the_same_kind() -> None:
    def figures(
        library: str, precision: str, default: bool, rate: float, compiled: bool = False
    ) -> dict[str, object]:
        return {
            "row": f"{library}-{precision}",
            "library": library,
            "precision": precision,
            "compiled": compiled,
            "default": default,
            "default_when_long": compiled or (default and library != "vitral"),
            "images_per_second": {"median": rate},
        }

    measured = [
        figures("vitral", "fp32", False, 6.0),
        figures("timm", "fp32", True, 6.2),
        figures("transformers", "fp32", True, 5.0),
        figures("vitral", "bf16", True, 24.8),
        figures("timm", "bf16", False, 15.5),
        figures("vitral", "bf16", False, 31.0, compiled=True),
    ]
    found = {
        each["kind"]: (each["fastest_peer"], each["times_as_fast"]) for each in training.comparisons(measured)
    }
    assert found["default"] == ("timm-fp32", pytest.approx(4.0))
    assert found["default in a long training"] == ("timm-fp32", pytest.approx(5.0))
    assert found["fp32"] == ("timm-fp32", pytest.approx(6.0 / 6.2))
    assert found["bf16"] == ("timm-bf16", pytest.approx(1.6))


@pytest.mark.parametrize("row", rows.all_rows(False, CPU), ids=lambda row: row.name)
def test_every_row_is_a_real_training_step(row: rows.Row) -> None:
    """The loss on the one batch falls, from about that of guessing among ten classes."""
    pytest.importorskip(rows.LIBRARIES[row.library])
    step = rows.make_step(row, rows.make_task(SMALL, 8, CPU))
    losses = [float(step()) for _ in range(40)]
    assert 1.5 < losses[0] < 4.5
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("library", [name for name in rows.LIBRARIES if name != "vitral"])
def test_every_peer_is_the_same_architecture(library: str) -> None:
    """vit-pytorch has no biases in q, k, v, and two more norms; the others are equal to the last number."""
    pytest.importorskip(rows.LIBRARIES[library])
    config = config_for("vit_tiny_patch16_224")
    expected = sum(parameter.numel() for parameter in create_model("vit_tiny_patch16_224").parameters())
    count = sum(parameter.numel() for parameter in rows._peer_model(library, config).parameters())
    assert count == pytest.approx(expected, rel=2e-3 if library == "vit-pytorch" else 0)


def test_peers_see_the_pixels_from_minus_one_to_one() -> None:
    images = rows.make_task(SMALL, 8, CPU).images
    pixels = rows.preprocessing(SMALL).normalise(images.permute(0, 2, 3, 1).numpy())
    torch.testing.assert_close(torch.from_numpy(pixels), images / 127.5 - 1, atol=1e-6, rtol=0)


def test_a_row_that_cannot_be_built_says_why() -> None:
    odd = ViTConfig(
        image_size=(32, 16), patch_size=(8, 8), layers=1, dim=32, mlp_dim=32, heads=1, num_classes=10
    )
    with pytest.raises(contestant.RowFailed, match="not square"):
        contestant.Contestant(rows.Row("torchvision", "fp32", False), rows.make_task(odd, 2, CPU))


def test_a_row_that_fails_on_the_way_is_left_out_and_the_others_go_on() -> None:
    class Failing:
        turns = 0

        def measure(self) -> float:
            self.turns += 1
            if self.turns > 1:
                raise contestant.RowFailed("its process ended with status -9", True)
            return 1.0

    class Steady:
        def measure(self) -> float:
            return 2.0

    steady, failing = rows.Row("vitral", "fp32", False), rows.Row("timm", "fp32", False)
    left_out: list[dict[str, object]] = []
    contestants = {steady: Steady(), failing: Failing()}
    times = training._take_turns(contestants, 4, monotonic() + 100, random.Random(0), left_out)
    assert times == {steady: [2.0] * 4}
    assert left_out == [{"row": "timm-fp32", "reason": "its process ended with status -9", "failed": True}]


@pytest.mark.parametrize("together", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_model_is_measured_whole(monkeypatch: pytest.MonkeyPatch, together: bool) -> None:
    monkeypatch.setitem(rows.LIBRARIES, "timm", "no_such_module")
    if not together:
        monkeypatch.setattr(training, "_memory", lambda device: 1)
    picked = training.chosen(rows.all_rows(False, CPU), ["vitral-fp32", "torchvision-fp32", "timm-fp32"])
    task = rows.make_task(SMALL, 4, CPU)
    measured = training.measure_model("small", task, picked, 3, monotonic() + 60, lambda line: None)
    assert measured["interleaved"] is together
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        VisionTransformer(SMALL)(torch.zeros(1, 3, 32, 32))
    assert 2 * measured["multiply_adds"] == counter.get_total_flops()
    assert [row["row"] for row in measured["rows"]] == ["vitral-fp32", "torchvision-fp32"]
    assert [row["row"] for row in measured["left_out"]] == ["timm-fp32"]
    assert "not installed" in measured["left_out"][0]["reason"]
    for row in measured["rows"]:
        assert len(row["seconds_per_step"]) == 3
        middle = sorted(row["seconds_per_step"])[1]
        assert row["images_per_second"]["median"] == pytest.approx(4 / middle)
