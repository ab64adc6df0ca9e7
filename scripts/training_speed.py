"""What a training step costs: lrtrain's default run beside plain PyTorch loops and idiomatic Lightning.

The work is the same for all, on one thread: scikit-learn's digits, a multilayer perceptron, SGD with momentum, a step
decay, a validation every epoch. All of them take turns in one process; printed is the median of the turns in
microseconds an update, and the median of the ratios to the plain DataLoader loop within each turn.

Run: python scripts/training_speed.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import lightning.pytorch as pl
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lrtrain.configs import config_dir
from lrtrain.datasets import dataset
from lrtrain.request import plain_config
from lrtrain.runs import RunFolder
from lrtrain.tasks import run

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]


class Work(NamedTuple):
    """What is trained: hidden units, samples a batch, epochs."""

    hidden: tuple[int, ...]
    batch_size: int
    epochs: int


SMALL = Work((128,), 32, 20)
LARGE = Work((1024, 1024), 128, 3)

splits = dataset("digits").load()
(inputs, labels), (val_inputs, val_labels) = (
    part.gather(torch.arange(len(part))) for part in (splits.train, splits.validation)
)


def network(work: Work) -> nn.Module:
    """The multilayer perceptron."""
    torch.manual_seed(0)
    widths = [64, *work.hidden]
    layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], 10))


def optimizer_of(net: nn.Module) -> tuple[Optimizer, StepLR]:
    """SGD with momentum under a step decay."""
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    return optimizer, StepLR(optimizer, 5, 0.5)


def loaders(work: Work) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Torch's own, as one writes them."""
    train = DataLoader(TensorDataset(inputs, labels), batch_size=work.batch_size, shuffle=True)
    return train, DataLoader(TensorDataset(val_inputs, val_labels), batch_size=512)


def plain(work: Work, batches: Batches, validate: Callable[[nn.Module], float]) -> None:
    """A loop without a framework."""
    net = network(work)
    optimizer, scheduler = optimizer_of(net)
    for _ in range(work.epochs):
        for x, y in batches():
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(net(x), y))
            optimizer.step()
        scheduler.step()
        with torch.no_grad():
            validate(net)


def with_dataloader(work: Work) -> None:
    """The plain loop over torch's loader."""
    train, val = loaders(work)

    def validate(net: nn.Module) -> float:
        return float(sum((net(x).argmax(1) == y).sum().item() for x, y in val))

    plain(work, lambda: iter(train), validate)


def in_memory(work: Work) -> None:
    """The plain loop over slices of tensors."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.split(torch.randperm(len(inputs)), work.batch_size):
            yield inputs[chosen], labels[chosen]

    plain(work, batches, lambda net: (net(val_inputs).argmax(1) == val_labels).float().mean().item())


class Idiomatic(pl.LightningModule):
    """A LightningModule as the documentation has it."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.net = network(work)
        self.accuracy = MulticlassAccuracy(10, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss, logged."""
        loss = cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy."""
        logits = self.net(batch[0])
        self.accuracy(logits, batch[1])
        self.log("val_loss", cross_entropy(logits, batch[1]))
        self.log("val_acc", self.accuracy)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        optimizer, scheduler = optimizer_of(self.net)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def lightning(work: Work, everything: bool) -> None:
    """Idiomatic Lightning, with TensorBoard, checkpoints and the bar or without."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=work.epochs,
            accelerator="cpu",
            num_sanity_val_steps=0,
            enable_model_summary=False,
            default_root_dir=folder,
            logger=TensorBoardLogger(folder) if everything else False,
            enable_checkpointing=everything,
            enable_progress_bar=everything,
        )
        trainer.fit(Idiomatic(work), *loaders(work))


def ours(work: Work) -> None:
    """The default run of `python -m lrtrain`: curves, metrics.csv, gradient norms, checkpoints, guard, signals."""
    settings = [f"model.hidden={list(work.hidden)}", f"batch_size={work.batch_size}", f"epochs={work.epochs}"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = plain_config(compose("config", ["trainer=cpu", "model.dropout=0", *settings]))
    with tempfile.TemporaryDirectory() as folder:
        run(config, RunFolder(Path(folder)))


def seconds(task: Callable[[], None]) -> float:
    """The time of a loop, or of `Trainer.fit` where there is a Trainer."""
    took: list[float] = []
    fit = pl.Trainer.fit

    def timed(*arguments: Any, **settings: Any) -> None:
        began = time.perf_counter()
        fit(*arguments, **settings)
        took.append(time.perf_counter() - began)

    with patch.object(pl.Trainer, "fit", timed), contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        task()
        whole = time.perf_counter() - began
    return took[0] if took else whole


def compare(title: str, work: Work, rounds: int) -> None:
    """Let all take turns, and print what an update takes."""
    rows: dict[str, Callable[[], None]] = {
        "plain DataLoader loop": lambda: with_dataloader(work),
        "plain in-memory loop": lambda: in_memory(work),
        "lrtrain, everything on": lambda: ours(work),
        "Lightning, no extras": lambda: lightning(work, everything=False),
        "Lightning, everything on": lambda: lightning(work, everything=True),
    }
    for task in rows.values():
        seconds(task)
    updates = work.epochs * -(-len(inputs) // work.batch_size)
    turns = [{name: seconds(task) / updates * 1e6 for name, task in rows.items()} for _ in range(rounds)]
    print(f"\n{title}\n{'':26s}{'us/update':>10s}{'ratio':>8s}")
    for name in rows:
        ratio = statistics.median(turn[name] / turn["plain DataLoader loop"] for turn in turns)
        print(f"{name:26s}{statistics.median(turn[name] for turn in turns):10.0f}{ratio:8.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    compare("digits, 64-128-10, batches of 32, 20 epochs", SMALL, rounds)
    compare("digits, 64-1024-1024-10, batches of 128, 3 epochs", LARGE, rounds)


if __name__ == "__main__":
    main()
