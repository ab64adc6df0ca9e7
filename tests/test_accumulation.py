"""The gradient of an update is the mean over what its window holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Train, settings_of
from resuming import checkpoint
from torch.nn.functional import cross_entropy

from lrtrain.training.data import Data, build_data

LINEAR = ("trainer=cpu", "epochs=1", "log_every=1", "optimizer.momentum=0", "scheduler=constant", "lr=0.1")


def expected(words: tuple[str, ...], window: int, batches: int, by_samples: bool) -> list[tuple[float, float]]:
    """Loss of the last batch and norm of the gradient of each update of a linear model, by plain torch."""
    settings = settings_of("model=linear", *LINEAR, *words)
    torch.manual_seed(settings.seed)
    data = build_data(settings)
    assert isinstance(data, Data)
    held = [batch for batch, _ in zip(data.train_dataloader(), range(batches), strict=False)]
    weight, bias = start(words)
    found = []
    for first in range(0, batches, window):
        part = held[first : first + window]
        counts = [len(labels) if by_samples else 1 for _, labels in part]
        losses = [cross_entropy(inputs.flatten(1) @ weight.T + bias, labels) for inputs, labels in part]
        mean = sum(count * loss for count, loss in zip(counts, losses, strict=True)) / sum(counts)
        gradients = torch.autograd.grad(torch.as_tensor(mean), [weight, bias])
        norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        found.append((float(losses[-1]), norm))
        with torch.no_grad():
            weight -= 0.1 * gradients[0]
            bias -= 0.1 * gradients[1]
    return found


def start(words: tuple[str, ...]) -> list[torch.Tensor]:
    """The weights that a run begins with."""
    torch.manual_seed(0)
    network: Any = settings_of("model=linear", *LINEAR, *words).model.make(build_inputs(), 10)
    return [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]


def build_inputs() -> Any:
    data = build_data(settings_of("model=linear"))
    assert isinstance(data, Data)
    return data.splits.inputs


@pytest.mark.parametrize(
    ("words", "window", "batches"),
    [
        (("trainer.limit_train_batches=3",), 2, 3),  # a window of one batch
        (("batch_size=500",), 4, 3),  # a window of 500, 500 and 257 samples, of all that there are
        (("batch_size=500",), 3, 3),  # a full one
        (("trainer.limit_train_batches=5", "trainer.gradient_clip_val=100"), 3, 5),
    ],
)
def test_last_window_is_divided_by_what_it_holds(
    words: tuple[str, ...], window: int, batches: int, train: Train
) -> None:
    run = train("model=linear", *LINEAR, *words, f"trainer.accumulate_grad_batches={window}")
    rows = [(float(row["train_loss"]), float(row["grad_norm"])) for row in run.rows]
    assert rows == [pytest.approx(pair, rel=1e-4) for pair in expected(words, window, batches, by_samples=True)]
    [(loss, _)] = expected(words, 1, 1, by_samples=True)
    first = checkpoint(run.folder)["callbacks"]["DivergenceGuard"]["first"]
    assert first == pytest.approx(loss), "what later losses are compared with is the loss of a batch, not its share"


def test_modules_of_a_user_count_batches(train: Train) -> None:
    own = ("model=lightning", "model.function=user_code:LinearModule")
    words = ("batch_size=500",)
    run = train(*own, *LINEAR, *words, "trainer.accumulate_grad_batches=4")
    [pair] = expected(words, 4, 3, by_samples=False)
    assert (float(run.rows[0]["train_loss"]), float(run.rows[0]["grad_norm"])) == pytest.approx(pair, rel=1e-4)
