"""The learning rate's course, decay, weights in two precisions and their average, against torch's own."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel

from vitral.model import VisionTransformer
from vitral.training import Recipe
from vitral.training.optimizer import Weights, gradient_norm, learning_rate, make_optimizers, update_average

STEPS = 40


def torchs_rates(scheduler: Callable, warmup: int) -> list[float]:
    """The rates that torch's schedulers give, with torch's linear warm-up before."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    parts = [scheduler(optimizer)]
    if warmup:
        parts.insert(0, LinearLR(optimizer, 1 / warmup, 1.0, max(1, warmup - 1)))
    course = SequentialLR(optimizer, parts, [warmup] if warmup else [])
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        course.step()
    return rates


@pytest.mark.filterwarnings(
    "ignore:The epoch parameter in"
)  # torch's SequentialLR uses what torch deprecates
@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rate_is_torchs(schedule: str, warmup: int) -> None:
    rest = STEPS - warmup
    schedulers = {
        "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=rest),
        "linear": lambda optimizer: LambdaLR(optimizer, lambda step: 1 - step / rest),
        "constant": lambda optimizer: ConstantLR(optimizer, factor=1.0),
    }
    recipe = Recipe(learning_rate=0.02, schedule=schedule, warmup_steps=warmup)  # type: ignore[arg-type]
    mine = [learning_rate(recipe, step, STEPS, 10) for step in range(STEPS)]
    assert mine == pytest.approx(torchs_rates(schedulers[schedule], warmup), rel=1e-6, abs=1e-12)


def test_warmup_in_epochs_counts_the_updates_of_an_epoch() -> None:
    by_epochs = Recipe(warmup_epochs=1.5)
    by_steps = Recipe(warmup_steps=15)
    for step in range(STEPS):
        assert learning_rate(by_epochs, step, STEPS, 10) == learning_rate(by_steps, step, STEPS, 10)


def test_the_rate_is_never_zero_nor_above_the_highest() -> None:
    for schedule in ("cosine", "linear", "constant"):
        for steps in (1, 2, 7):
            recipe = Recipe(learning_rate=1.0, schedule=schedule, warmup_steps=3)  # type: ignore[arg-type]
            rates = [learning_rate(recipe, step, steps, 1) for step in range(steps)]
            assert min(rates) > 0
            assert max(rates) <= 1


def test_what_decays_is_exactly_the_kernels(make_model: Callable[..., VisionTransformer]) -> None:
    model = make_model(representation_size=8)
    (optimizer,) = make_optimizers(Recipe(weight_decay=0.1), model, Weights(model, torch.float32))
    decays = {
        id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]
    }
    by_name = {name: decays[id(weight)] for name, weight in model.named_parameters()}
    kernels = {name for name, decay in by_name.items() if decay == 0.1}
    assert {name for name, decay in by_name.items() if decay == 0} == by_name.keys() - kernels
    per_block = {"attention.qkv.weight", "attention.out.weight", "mlp.hidden.weight", "mlp.out.weight"}
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert len(kernels) == len(per_block) * 2 + 3, kernels  # and patches, pre-training layer, head
    assert {"embedding.patch.weight", "representation.weight", "head.weight"} <= kernels
    assert all(len(shapes[name]) >= 2 for name in kernels)
    for name in by_name:
        if any(word in name for word in ("bias", "norm", "class_token", "position")):
            assert name not in kernels


def test_everything_decays_where_the_recipe_says_all(make_model: Callable[..., VisionTransformer]) -> None:
    model = make_model()
    (optimizer,) = make_optimizers(
        Recipe(weight_decay=0.1, decay="all"), model, Weights(model, torch.float32)
    )
    decayed = [
        weight
        for group in optimizer.param_groups
        if group["weight_decay"] == 0.1
        for weight in group["params"]
    ]
    assert len(decayed) == len(list(model.parameters()))


def test_muon_turns_the_encoders_matrices_and_adamw_the_rest(
    make_model: Callable[..., VisionTransformer],
) -> None:
    model = make_model()
    recipe = Recipe(optimizer="muon", learning_rate=0.1, weight_decay=0.0)
    muon, adamw = make_optimizers(recipe, model, Weights(model, torch.float32))
    names = {id(weight): name for name, weight in model.named_parameters()}
    turned = {names[id(weight)] for group in muon.param_groups for weight in group["params"]}
    others = {names[id(weight)] for group in adamw.param_groups for weight in group["params"]}
    assert turned | others == set(names.values())
    assert not turned & others
    assert turned == {
        f"blocks.{block}.{name}.weight"
        for block in range(model.config.layers)
        for name in ("attention.qkv", "attention.out", "mlp.hidden", "mlp.out")
    }
    # Whatever the gradient's size, a step is close to a matrix whose singular values are equal (Jordan et al. 2024),
    # as long as an update of AdamW's is: 0.2 * learning rate in the mean square.
    weight = model.blocks[0].mlp.hidden.weight
    before = weight.detach().clone()
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    muon.step()
    step = weight.detach() - before
    values = torch.linalg.svdvals(step)
    assert values.max() / values.min() < 2
    assert step.square().mean().sqrt() == pytest.approx(0.2 * 0.1, rel=0.25)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_an_update_is_the_textbooks(kind: str) -> None:
    """Three updates by hand: Adam (Kingma and Ba 2015, algorithm 1), AdamW (Loshchilov and Hutter 2019), SGD."""
    rate, beta1, beta2, decay = 0.1, 0.8, 0.95, 0.3
    layer = nn.Linear(3, 2)
    start = layer.weight.detach().double().clone()
    recipe = Recipe(
        optimizer=kind, learning_rate=rate, momentum=beta1, beta2=beta2, weight_decay=decay, decay="all"
    )  # type: ignore[arg-type]
    (optimizer,) = make_optimizers(recipe, layer, Weights(layer, torch.float32))
    torch.manual_seed(0)
    gradients = [torch.randn(2, 3) for _ in range(3)]
    for gradient in gradients:
        layer.weight.grad, layer.bias.grad = gradient.clone(), torch.zeros(2)
        optimizer.step()

    weight, first, second = start, torch.zeros(2, 3).double(), torch.zeros(2, 3).double()
    for step, gradient in enumerate(map(torch.Tensor.double, gradients), start=1):
        if kind == "adamw":
            weight = weight - rate * decay * weight
        else:
            gradient = gradient + decay * weight
        if kind == "sgd":
            first = gradient if step == 1 else beta1 * first + gradient
            weight = weight - rate * first
            continue
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        corrected = first / (1 - beta1**step), second / (1 - beta2**step)
        weight = weight - rate * corrected[0] / (corrected[1].sqrt() + 1e-8)
    torch.testing.assert_close(layer.weight.detach().double(), weight, rtol=1e-5, atol=1e-6)


def test_clipping_is_torchs() -> None:
    torch.manual_seed(0)
    mine, theirs = (
        [nn.Parameter(torch.zeros(4, 4)) for _ in range(3)],
        [nn.Parameter(torch.zeros(4, 4)) for _ in range(3)],
    )
    for a, b in zip(mine, theirs, strict=True):
        a.grad = torch.randn(4, 4)
        b.grad = a.grad.clone()
    before = torch.cat([weight.grad.flatten() for weight in theirs if weight.grad is not None]).norm()
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert gradient_norm(mine, 1.0).item() == pytest.approx(before.item())
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(mine, theirs, strict=True))  # type: ignore[arg-type]


def test_no_clipping_leaves_the_gradients_alone() -> None:
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([1e3, -2e3, 1e-3])
    gradient_norm([weight], 0.0)
    assert weight.grad.tolist() == torch.tensor([1e3, -2e3, 1e-3]).tolist()


def test_updates_below_bf16s_resolution_add_up() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    weights = Weights(layer, torch.bfloat16)
    (optimizer,) = make_optimizers(
        Recipe(optimizer="sgd", learning_rate=1e-4, momentum=0.0, weight_decay=0.0), layer, weights
    )
    for _ in range(100):  # 1 - 1e-4 is 1 in bf16, whose numbers below 1 lie 2^-8 apart
        layer.weight.grad = torch.ones_like(layer.weight)
        weights.add_gradients()
        optimizer.step()
        optimizer.zero_grad()
        weights.show()
    assert weights.master[0].item() == pytest.approx(0.99, abs=1e-5)
    assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.item() == torch.tensor(0.99).bfloat16().item()


def test_gradients_add_up_in_fp32() -> None:
    layer = nn.Linear(1, 1, bias=False)
    weights = Weights(layer, torch.bfloat16)
    for _ in range(300):  # in bf16 the sum would stay at 256
        layer.weight.grad = torch.ones_like(layer.weight)
        weights.add_gradients()
    assert weights.master[0].grad is not None
    assert weights.master[0].grad.item() == 300
    assert layer.weight.grad is None


def test_in_fp32_there_is_one_copy_of_the_weights() -> None:
    layer = nn.Linear(2, 2)
    assert all(
        mine is theirs
        for mine, theirs in zip(Weights(layer, torch.float32).master, layer.parameters(), strict=True)
    )


def test_the_average_is_torchs() -> None:
    """torch's AveragedModel with the same decays, which grow as (1 + step) / (10 + step) up to the recipe's."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    averaged = [weight.detach().clone() for weight in layer.parameters()]
    decay = 0.0
    reference = AveragedModel(layer, avg_fn=lambda old, new, _: decay * old + (1 - decay) * new)
    reference.update_parameters(layer)  # the first call copies
    for step in range(60):
        with torch.no_grad():
            for weight in layer.parameters():
                weight.add_(torch.randn_like(weight))
        update_average(averaged, list(layer.parameters()), 0.8, step)
        decay = min(0.8, (1 + step) / (10 + step))
        reference.update_parameters(layer)
    for mine, theirs in zip(averaged, reference.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.detach())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_layers_learn_slower_the_deeper_they_lie(
    optimizer: str, make_model: Callable[..., VisionTransformer]
) -> None:
    """BEiT's scales: decay^(layers + 1 - layer), the embedding layer 0, the head and the last norm layers + 1."""
    model = make_model()  # two layers
    recipe = Recipe(optimizer=optimizer, layer_decay=0.5)  # type: ignore[arg-type]
    shares = {
        id(weight): group["share"]
        for one in make_optimizers(recipe, model, Weights(model, torch.float32))
        for group in one.param_groups
        for weight in group["params"]
    }
    expected = {"embedding": 0.125, "blocks.0": 0.25, "blocks.1": 0.5, "norm": 1.0, "head": 1.0}
    for name, weight in model.named_parameters():
        parts = name.split(".")
        assert shares[id(weight)] == expected[".".join(parts[:2]) if parts[0] == "blocks" else parts[0]], name


def test_what_is_frozen_is_kept_in_fp32(make_model: Callable[..., VisionTransformer]) -> None:
    model = make_model()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith("head"))
    weights = Weights(model, torch.bfloat16)
    assert weights.names == ["head.weight", "head.bias"]
    assert next(model.parameters()).dtype == torch.bfloat16
    kept = weights.tensors(weights.master)
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())
