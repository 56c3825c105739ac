"""One step and one loss, against plain torch written out by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vitral.data.augment import Augmentation
from vitral.data.loader import Batch
from vitral.errors import VitralError
from vitral.model import VisionTransformer
from vitral.training import Plan, Recipe
from vitral.training.loop import Learner, Progress, class_weights, correct_answers, loss_of, train_step
from vitral.training.optimizer import learning_rate
from vitral.training.plan import make_learner

PLAIN = {"random_crop": 0.0, "flip": "none"}


def batches_of(plan: Plan, count: int) -> list[Batch]:
    stream = plan.batches.stream()
    return [next(stream) for _ in range(count)]


def weights_of(learner: Learner) -> list[Tensor]:
    return [weight.detach().clone() for weight in learner.weights.master]


def test_the_share_of_a_layer_is_its_share_of_the_learning_rate(make_plan: Callable[..., Plan]) -> None:
    """With plain gradient descent a weight's step is its gradient times its rate: half the rate, half the step."""
    plain = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "clip_norm": 0.0,
        "schedule": "constant",
    }
    moved = []
    for decay in (1.0, 0.5):
        plan = make_plan(**plain, **PLAIN, layer_decay=decay)
        learner = make_learner(plan)
        before = weights_of(learner)
        train_step(learner, batches_of(plan, 1))
        moved.append([after - start for start, after in zip(before, weights_of(learner), strict=True)])
    names = learner.weights.names
    for name, alike, by_layer in zip(names, *moved, strict=True):
        share = {"embedding": 0.125, "blocks.0": 0.25, "blocks.1": 0.5}
        expected = next((value for start, value in share.items() if name.startswith(start)), 1.0)
        torch.testing.assert_close(by_layer, alike * expected, rtol=1e-3, atol=1e-7)


def test_five_steps_are_those_of_a_plain_loop(
    make_plan: Callable[..., Plan], make_model: Callable[..., VisionTransformer]
) -> None:
    plan = make_plan(
        epochs=10, warmup_steps=2, weight_decay=0.1, decay="all", clip_norm=0.5, label_smoothing=0.1
    )
    plan.model.load_state_dict(make_model(dropout=0.0).state_dict())
    for module in plan.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batches = batches_of(plan, 5)
    learner = make_learner(plan)
    losses = [train_step(learner, [batch])[0].item() for batch in batches]

    model = make_model(dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1, fused=True)
    for step, (batch, loss_before) in enumerate(zip(batches, losses, strict=True)):
        optimizer.param_groups[0]["lr"] = learning_rate(plan.recipe, step, plan.steps, plan.steps_per_epoch)
        images = learner.normalise(batch.images)
        torch.testing.assert_close(images, (batch.images.float() / 255 - 0.5) / 0.5, rtol=0, atol=1e-6)
        loss = F.cross_entropy(model(images), batch.labels, label_smoothing=0.1)
        assert loss_before == pytest.approx(loss.item(), rel=1e-6)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    for mine, theirs in zip(weights_of(learner), model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"class_weights": "balanced"}, {"loss": "sigmoid", "label_smoothing": 0.1}]
)
@pytest.mark.parametrize("sizes", [(8, 8, 8), (8, 8, 3), (1, 1, 1, 1)])
def test_accumulated_batches_are_one_big_batch(
    make_plan: Callable[..., Plan], sizes: tuple[int, ...], changes: dict
) -> None:
    plan = make_plan(optimizer="sgd", learning_rate=0.5, clip_norm=0.0, **PLAIN, **changes)
    for module in plan.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    start = {name: tensor.clone() for name, tensor in plan.model.state_dict().items()}
    stream = batches_of(plan, 3)
    images, labels = torch.cat([b.images for b in stream]), torch.cat([b.labels for b in stream])
    parts = [Batch(i, t) for i, t in zip(images.split(8), labels.split(8), strict=True)]
    parts = [
        Batch(part.images[:size], part.labels[:size])
        for part, size in zip([*parts, *parts], sizes, strict=False)
    ]
    whole = Batch(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))

    one = make_learner(plan)
    figures_one = train_step(one, [whole])
    weights_one = weights_of(one)
    plan.model.load_state_dict(start)
    many = make_learner(plan)
    figures_many = train_step(many, parts)
    torch.testing.assert_close(figures_many, figures_one, rtol=1e-5, atol=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(weights_one, start.values(), strict=True))
    for mine, theirs in zip(weights_of(many), weights_one, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_bf16_step_goes_the_same_way_as_an_fp32_step(make_plan: Callable[..., Plan]) -> None:
    changes = {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "accumulate": 2,
        "weight_decay": 0.0,
        "clip_norm": 0.0,
    }
    moves = []
    for precision in ("fp32", "bf16"):
        plan = make_plan(precision=precision, **changes)
        start = torch.cat([weight.detach().flatten().clone() for weight in plan.model.parameters()])
        learner = make_learner(plan)
        train_step(learner, batches_of(plan, 2))
        assert all(weight.dtype == torch.float32 for weight in learner.weights.master)
        assert next(plan.model.parameters()).dtype == plan.compute.dtype
        moves.append(torch.cat([weight.flatten() for weight in weights_of(learner)]) - start)
    assert F.cosine_similarity(moves[0], moves[1], dim=0) > 0.99


def test_softmax_loss_is_torchs() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5), torch.randint(5, (8,))
    for smoothing in (0.0, 0.2):
        recipe = Recipe(label_smoothing=smoothing)
        expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        torch.testing.assert_close(loss_of(logits, labels, recipe, None), expected)
    mixed = torch.softmax(torch.randn(8, 5), dim=1)
    torch.testing.assert_close(loss_of(logits, mixed, Recipe(), None), F.cross_entropy(logits, mixed))
    torch.testing.assert_close(
        loss_of(logits, mixed, Recipe(), None), -(mixed * logits.log_softmax(1)).sum(1).mean()
    )


def test_sigmoid_loss_is_one_yes_or_no_question_a_class() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5), torch.randint(5, (8,))
    expected = sum(
        F.binary_cross_entropy(logits[:, index].sigmoid(), (labels == index).float()) for index in range(5)
    )
    torch.testing.assert_close(loss_of(logits, labels, Recipe(loss="sigmoid"), None), expected)


def test_class_weights_make_every_class_weigh_the_same() -> None:
    """Twice the images of a class with the balanced weight give the loss that once them gives without."""
    torch.manual_seed(0)
    counts = [6, 3, 1]
    weights = class_weights(counts)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    totals = torch.zeros(3).index_add(0, labels, weights[labels])
    assert totals.tolist() == pytest.approx([10 / 3] * 3)
    logits = torch.randn(10, 3)
    for loss in ("softmax", "sigmoid"):
        recipe = Recipe(loss=loss, class_weights="balanced")  # type: ignore[arg-type]
        by_class = [loss_of(logits[labels == i], labels[labels == i], recipe, None) for i in range(3)]
        torch.testing.assert_close(loss_of(logits, labels, recipe, weights), torch.stack(by_class).mean())


def test_class_weights_go_with_mixed_images() -> None:
    torch.manual_seed(0)
    logits, weights = torch.randn(4, 3), torch.tensor([0.5, 1.0, 3.0])
    labels = torch.tensor([0, 1, 2, 2])
    for loss in ("softmax", "sigmoid"):
        recipe = Recipe(loss=loss)  # type: ignore[arg-type]
        as_labels = loss_of(logits, labels, recipe, weights)
        torch.testing.assert_close(loss_of(logits, F.one_hot(labels).float(), recipe, weights), as_labels)


def test_right_answers_are_counted() -> None:
    logits = torch.tensor([[3.0, 0, 0], [0, 2.0, 1.0], [0, 0, 1.0]])
    assert correct_answers(logits, torch.tensor([0, 2, 2])).item() == 2
    shares = torch.tensor([[0.7, 0.3, 0], [0, 0.4, 0.6], [0.5, 0.5, 0]])
    assert correct_answers(logits, shares).item() == pytest.approx(0.7 + 0.4)


def test_dropout_and_mixing_come_from_seed_and_step_alone(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(mixup=0.8, cutmix=1.0)
    start = {name: tensor.clone() for name, tensor in plan.model.state_dict().items()}
    [batch] = batches_of(plan, 1)

    def loss(step: int, seed: int, state: int) -> float:
        plan.model.load_state_dict(start)
        learner = make_learner(replace(plan, seed=seed))
        learner.step = step
        torch.manual_seed(state)
        return train_step(learner, [batch])[0].item()

    assert loss(step=3, seed=0, state=5) == loss(step=3, seed=0, state=6)
    assert loss(step=3, seed=0, state=5) != loss(step=4, seed=0, state=5)
    assert loss(step=3, seed=0, state=5) != loss(step=3, seed=1, state=5)


def test_the_loss_of_a_step_is_in_the_figures(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(**PLAIN)
    learner = make_learner(plan)
    [batch] = batches_of(plan, 1)
    plan.model.eval()  # no dropout
    logits = plan.model(learner.normalise(batch.images)).detach()
    loss, correct = train_step(learner, [batch]).tolist()
    assert loss == pytest.approx(F.cross_entropy(logits, batch.labels).item(), rel=1e-5)
    assert correct == (logits.argmax(1) == batch.labels).sum().item()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_is_an_error_with_the_step(bad: float) -> None:
    progress = Progress(unread=[(6, 8, torch.tensor([1.0, 2.0])), (7, 8, torch.tensor([bad, 2.0]))])
    with pytest.raises(VitralError, match=r"step 8\b.*--learning-rate") as caught:
        progress.read()
    assert "\n" not in str(caught.value)


def test_a_gradient_that_is_not_finite_counts_as_such_a_loss(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan()
    learner = make_learner(plan)
    [batch] = batches_of(plan, 1)
    plan.model.head.weight.register_hook(lambda gradient: gradient * float("nan"))
    assert not torch.isfinite(train_step(learner, [batch])[0])


def test_the_figures_of_an_epoch_are_means_over_its_images() -> None:
    progress = Progress(unread=[(0, 8, torch.tensor([1.0, 4.0])), (1, 2, torch.tensor([6.0, 1.0]))])
    progress.read()
    assert (progress.images, progress.loss / progress.images, progress.correct) == (10, 2.0, 5.0)
    assert progress.unread == []


def test_the_plan_hands_every_augmentation_on(make_plan: Callable[..., Plan]) -> None:
    changes = {
        "random_crop": 0.3,
        "flip": "both",
        "randaugment": 2,
        "randaugment_magnitude": 5,
        "color_jitter": 0.2,
        "random_erasing": 0.1,
        "mixup": 0.3,
        "cutmix": 0.4,
        "mix_probability": 0.5,
    }
    assert make_plan(**changes).batches.augmentation == Augmentation(**changes)
