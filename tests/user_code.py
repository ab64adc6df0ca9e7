"""What a user might bring along: models, a LightningModule and a LightningDataModule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics.classification import MulticlassF1Score

from lrtrain.datasets import Inputs


class Net(nn.Module):
    """Is told the size of the inputs and the number of classes."""

    def __init__(self, inputs: Inputs, classes: int, width: int) -> None:
        super().__init__()
        features = torch.Size(inputs.shape).numel()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)  # type: ignore[no-any-return]


class Scales(nn.Module):
    """Two layers of zeros side by side, of which one counts ten times."""

    def __init__(self, inputs: Any, classes: int) -> None:
        super().__init__()
        self.large, self.small = (nn.Linear(torch.Size(inputs.shape).numel(), classes, bias=False) for _ in range(2))
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.flatten(1)
        return 10 * self.large(inputs) + self.small(inputs)  # type: ignore[no-any-return]


def fixed_net() -> nn.Module:
    """Is told nothing."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class InfiniteAt(torch.autograd.Function):
    """The identity, whose gradient is infinite in one backward pass, counted from 0."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, passes: list[int], at: int) -> Tensor:
        ctx.passes, ctx.at = passes, at
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.passes.append(0)
        found = torch.full_like(gradient, float("inf")) if len(ctx.passes) == ctx.at + 1 else gradient
        return found, None, None


class Saturating(nn.Module):
    """Has a gate whose gradient, or whose weight or average itself, becomes infinite, while its loss stays finite.

    Args:
        gradient_at: The backward pass in which the gradient is, counted from 0.
        weight_at: The training step in which the weight is.
        buffer_at: The training step in which a buffer is not a number.
    """

    def __init__(
        self, inputs: Inputs, classes: int, gradient_at: int = -1, weight_at: int = -1, buffer_at: int = -1
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(64, classes)
        self.gate = nn.Parameter(torch.zeros(classes))
        self.phase = nn.Parameter(torch.zeros(classes, dtype=torch.complex64))
        self.seen: Tensor
        self.register_buffer("mask", torch.full((2,), float("-inf")))
        self.register_buffer("seen", torch.zeros(1))
        self.passes: list[int] = []
        self.steps, self.at = 0, (gradient_at, weight_at, buffer_at)

    def forward(self, inputs: Tensor) -> Tensor:
        gate = self.gate
        if self.training:
            if self.steps == self.at[1]:
                gate.data.fill_(float("inf"))
            if self.steps == self.at[2]:
                self.seen.fill_(float("nan"))
            self.steps += 1
            gate = InfiniteAt.apply(gate, self.passes, self.at[0])  # type: ignore[no-untyped-call]
        return self.layer(inputs.flatten(1)) * (0.5 + torch.sigmoid(gate)) + self.phase.real  # type: ignore[no-any-return]


class LitNet(pl.LightningModule):
    """Logs a loss and an F1 score, and has no test."""

    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes))
        self.val_f1 = MulticlassF1Score(classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, labels = batch
        loss = cross_entropy(self(inputs), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, labels = batch
        logits = self(inputs)
        self.val_f1(logits, labels)
        self.log("val_loss", cross_entropy(logits, labels))
        self.log("val_f1", self.val_f1, prog_bar=True)

    def configure_optimizers(self) -> Any:
        raise AssertionError("ours is used instead")


class Skipping(LitNet):
    """Leaves out every other batch, as Lightning lets a module do."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:  # type: ignore[override]
        return super().training_step(batch, batch_idx) if batch_idx % 2 else None


class TestedNet(LitNet):
    """The same, with a test and an accuracy; it is told what the inputs are, and saves that with its arguments."""

    def __init__(self, width: int, inputs: Inputs | None = None, classes: int = 10) -> None:
        super().__init__(width, classes)
        self.save_hyperparameters()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("test_loss", cross_entropy(logits, batch[1]))
        self.log("test_acc", (logits.argmax(1) == batch[1]).float().mean())


class Points(LitNet):
    """For the points of `LitData`."""

    def __init__(self) -> None:
        super().__init__(width=4, classes=3)
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.2), nn.Linear(4, 3))


class Bag(nn.Module):
    """The mean of what is learned of each token."""

    def __init__(self, inputs: Inputs, classes: int) -> None:
        super().__init__()
        assert inputs.tokens is not None
        self.layer = nn.Embedding(inputs.tokens, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(tokens).mean(1)  # type: ignore[no-any-return]


class Regression(pl.LightningModule):
    """Logs nothing but an error."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return mse_loss(self.layer(batch["x"]), batch["y"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val_error", mse_loss(self.layer(batch["x"]), batch["y"]))


class Undefined(LitNet):
    """Has a huge loss before training, and then a score that is not a number."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", 1e9 if self.trainer.sanity_checking else 1.0)
        self.log("val_score", float("nan"))


class Faltering(LitNet):
    """Logs no loss, but a score that is no number any more in the second epoch."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        lost = self.current_epoch > 0 and not self.trainer.sanity_checking
        self.log("val_score", float("nan") if lost else 1.0)


class Manual(LitNet):
    """Steps its optimizers itself."""

    def __init__(self) -> None:
        super().__init__(width=4)
        self.automatic_optimization = False


class Unmeasured(pl.LightningModule):
    """Has no validation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        raise AssertionError("it is refused before")


def below_zero(progress: Any) -> float:
    """A multiplier that gives no rate."""
    return -1.0


def broken() -> nn.Module:
    raise ZeroDivisionError("somebody's mistake")


def points(count: int, seed: int, *, classes: int = 3) -> TensorDataset:
    inputs = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs[:, :classes].argmax(1))


class LitData(pl.LightningDataModule):
    """50 points for training, of three classes; the data loader is torch's."""

    def __init__(self, batch_size: int, count: int = 50) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.count = count

    def setup(self, stage: str) -> None:
        self.train, self.rest = points(self.count, 0), points(40, 1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.rest, 20)


class TwiceMeasured(LitData):
    """Two validation loaders."""

    def val_dataloader(self) -> Any:
        return [DataLoader(self.rest, 20), DataLoader(self.train, 25)]


class Twice(Points):
    """Measures a loss on each loader, and a size of its own at the end."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def on_validation_epoch_end(self) -> None:
        self.log("val_size", sum(parameter.norm() for parameter in self.parameters()))


class Fractions(LitData):
    """Labels that are floating-point numbers."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        inputs, labels = self.train.tensors
        self.train = self.rest = TensorDataset(inputs, labels / 2)


class TestedData(LitData):
    """The same with a test set, and with a training loader that can go on in mid-epoch."""

    def train_dataloader(self) -> Any:
        return Stateful(self.train, self.batch_size)

    def test_dataloader(self) -> Any:
        return DataLoader(self.rest, 20)


class Stateful(DataLoader[Any]):
    """Batches in their order, and the place to go on from."""

    place = 0
    goes_on = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        first, self.goes_on = self.place if self.goes_on else 0, False
        for index in range(first, len(self)):
            self.place = index + 1
            span = slice(index * (self.batch_size or 1), (index + 1) * (self.batch_size or 1))
            yield list(self.dataset[span])

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.place, self.goes_on = state_dict["place"], True


class Stream(IterableDataset[dict[str, Tensor]]):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        while True:
            x = torch.randn(3, generator=generator)
            yield {"x": x, "y": x.sum(0, keepdim=True)}


class Endless(pl.LightningDataModule):
    """Batches that are no pairs, from a loader without a length."""

    def train_dataloader(self) -> Any:
        return DataLoader(Stream(), 8)

    def val_dataloader(self) -> Any:
        samples = [sample for sample, _ in zip(Stream(), range(16), strict=False)]
        return DataLoader(samples, 8)  # type: ignore[arg-type]


class WholeNumbers(LitData):
    """Inputs of whole numbers."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train = self.rest = TensorDataset(torch.arange(80).view(20, 4) % 7, torch.arange(20) % 3)


class BrokenData(LitData):
    def setup(self, stage: str) -> None:
        raise FileNotFoundError("no such folder")


class Unvalidated(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(points(8, 0), 4)


class Seldom(LitNet):
    """Logs a score that rises, in every third epoch only."""

    def __init__(self) -> None:
        super().__init__(width=4)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))
        if self.current_epoch % 3 == 0:
            self.log("val_score", 0.1 + self.current_epoch)


class HalfFrozen(nn.Module):
    """Its body never moves."""

    def __init__(self, inputs: Inputs, classes: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(torch.Size(inputs.shape).numel(), 4), nn.Linear(4, classes)
        self.body.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs.flatten(1)))  # type: ignore[no-any-return]


class Noisy(nn.Module):
    """Draws from numpy's own random numbers."""

    def __init__(self, inputs: Inputs, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(torch.Size(inputs.shape).numel(), classes)

    def forward(self, inputs: Tensor) -> Tensor:
        noise = torch.from_numpy(np.random.rand(1)).float() if self.training else torch.ones(1)
        return self.layer(inputs.flatten(1)) * noise  # type: ignore[no-any-return]


def all_frozen() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)


class LinearModule(pl.LightningModule):
    """model=linear, as a module of one's own."""

    def __init__(self, inputs: Inputs, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(torch.Size(inputs.shape).numel(), classes)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self.layer(batch[0].flatten(1)), batch[1]))


class Notes(pl.Callback):
    """Counts what it is called for, by itself; may do what is not its business.

    Args:
        every: Updates between notes.
        rate: It sets after the first.
        keeps: An object that is not plain in its state.
    """

    def __init__(self, every: int = 1, rate: float | None = None, keeps: bool = False) -> None:
        self.every, self.rate, self.keeps = every, rate, keeps
        self.seen: list[int] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step - 1
        if step % self.every == 0:
            self.seen.append(step)
        if self.rate is not None:
            trainer.optimizers[0].param_groups[0]["lr"] = self.rate

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, **({"keeps": self} if self.keeps else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = list(state_dict["seen"])


def batches() -> pl.Callback:
    """A callback whose hook is the instance's."""
    return pl.callbacks.LambdaCallback(on_train_batch_start=lambda *_: BATCHES.append(1))


BATCHES: list[int] = []


class WithFinder(pl.LightningModule):
    """Brings a callback along that sets the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def training_step(self, batch: Any, _: int) -> Tensor:
        return cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    validation_step = training_step

    def configure_callbacks(self) -> pl.Callback:
        return pl.callbacks.LearningRateFinder()
