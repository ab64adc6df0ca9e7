"""What a training step costs: lrtrain's default run beside plain PyTorch loops and idiomatic Lightning.

The work is the same for all, on one thread: scikit-learn's digits, one network, SGD with momentum, a step decay, a
validation every epoch. All of them take turns in one process; printed is the median of the turns in microseconds an
update, and the median of the ratios to the plain DataLoader loop within each turn. Then what it costs that no run is
lost: the same run with and without guard, signals, checkpoints before its end, and waiting for the disk. Then, in
processes of their own: the MNIST job of lightning-hydra-template (784-64-128-64-10 with batch norm, Adam, batches of
128; random pictures unless --mnist names a folder with the files), the times to start, and the peak memory.

Run: python scripts/training_speed.py [--rounds 5] [--mnist FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import itertools
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.datasets import Inputs, dataset, mnist
from lrtrain.models import model
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.guard import DivergenceGuard
from lrtrain.training.interruption import Interruption
from lrtrain.training.ranks import RandomNumbers
from lrtrain.training.run import run_in
from lrtrain.training.session import Session

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]


class Work(NamedTuple):
    """What is trained: a model with its parameters, samples a batch, epochs."""

    model: str
    parameters: dict[str, Any]
    batch_size: int
    epochs: int


SMALL = Work("mlp", {"hidden": [128], "dropout": 0.0}, 32, 20)
LARGE = Work("cnn", {"channels": [64, 128, 128], "dropout": 0.0}, 64, 3)

splits = dataset("digits").make()
(inputs, labels), (val_inputs, val_labels) = (
    part.gather(torch.arange(len(part))) for part in (splits.train, splits.validation)
)


def network(work: Work) -> nn.Module:
    """The model."""
    torch.manual_seed(0)
    made: nn.Module = model(work.model, **work.parameters).make(Inputs((1, 8, 8)), 10)
    return made


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

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
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
        trainer.fit(Idiomatic(network(work)), *loaders(work))


def ours(work: Work) -> None:
    """The default run of `python -m lrtrain`: curves, metrics.csv, gradient norms, checkpoints, guard, signals."""
    words = [
        "trainer=cpu",
        f"model={work.model}",
        f"batch_size={work.batch_size}",
        f"epochs={work.epochs}",
        "threads=1",
    ]
    words += [f"model.{key}={value}" for key, value in work.parameters.items()]
    with Composer() as composer:
        settings = read_request(composer, words).job.settings
    with tempfile.TemporaryDirectory() as folder:
        run_in(settings, folder)


def unsafe(work: Work) -> None:
    """The same without what a run without faults does not need: only the best and the final weights are saved."""
    safety = (DivergenceGuard, RandomNumbers, Interruption)

    def callbacks(session: Session, scale: float | None) -> list[pl.Callback]:
        return [callback for callback in all_callbacks(session, scale) if not isinstance(callback, safety)]

    all_callbacks = Session._callbacks
    with (
        patch.object(Session, "_callbacks", callbacks),
        patch.object(LastAndBest, "_asked", lambda *_: (False, 0)),
        patch("os.fsync", lambda _: None),
    ):
        ours(work)


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


def safety(work: Work, rounds: int) -> None:
    """Let both take turns, each the first in every other one, and print what the difference is."""
    tasks = {"with": ours, "without": unsafe}
    turns = []
    for index in range(rounds):
        names = list(tasks)[:: -1 if index % 2 else 1]
        turns.append({name: seconds(partial(tasks[name], work)) for name in names})
    print(f"\n{work.epochs} epochs of model={work.model}, seconds of training")
    for name in tasks:
        print(f"{name + ' what a fault needs':26s}{statistics.median(turn[name] for turn in turns):10.2f}")
    print(f"{'ratio within a turn':26s}{statistics.median(turn['with'] / turn['without'] for turn in turns):10.3f}")


class Picture(Dataset[tuple[Tensor, int]]):
    """Pictures as torchvision gives them: each is converted and normalised by itself."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = torch.from_numpy(self.images[index]).to(torch.float32).div(255)
        return picture.sub_(0.1307).div_(0.3081), int(self.labels[index])


class Template(Idiomatic):
    """Trains by the optimizer of lightning-hydra-template."""

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.net.parameters(), lr=0.001)


def template() -> None:
    """One epoch of the template's job by idiomatic Lightning, in this process."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 1, 28, 28), np.uint8)
    labels = np.arange(60_000, dtype=np.uint8) % 10
    train, val = Picture(images[:55_000], labels[:55_000]), Picture(images[55_000:], labels[55_000:])
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            num_sanity_val_steps=0,
            enable_model_summary=False,
            default_root_dir=folder,
            logger=TensorBoardLogger(folder),
        )
        chosen = model("mlp", hidden=[64, 128, 64], dropout=0.0, batch_norm=True)
        net = chosen.make(Inputs((1, 28, 28)), 10)
        trainer.fit(Template(net), DataLoader(train, batch_size=128, shuffle=True), DataLoader(val, batch_size=128))


def random_mnist(folder: Path) -> None:
    """Files of MNIST's names and sizes."""
    generator = np.random.default_rng(0)
    sizes = [60_000, 60_000, 10_000, 10_000]
    for name, size in zip(mnist.MNIST.files, sizes, strict=True):
        shape = (size, 28, 28) if "images" in name else (size,)
        values = generator.integers(0, 256 if "images" in name else 10, shape, np.uint8)
        if "labels" in name:
            values[: len(mnist.MNIST.first)] = mnist.MNIST.first
        header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
        with gzip.open(folder / name, "wb", compresslevel=1) as file:
            file.write(header + values.tobytes())


def process(*arguments: str) -> float:
    """The seconds of a Python process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - began


def peak(code: str) -> float:
    """The peak memory of a Python process in MiB, as Linux counts it."""
    told = f"{code}\nimport sys; print(open('/proc/self/status').read(), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)  # noqa: S603
    [line] = [line for line in done.stderr.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def processes(rounds: int, folder: str) -> None:
    """What takes a process of its own: the template's job, starting, memory."""
    folders = (f"hydra.run.dir={folder}/run{index}" for index in itertools.count())

    def lrtrain(*arguments: str) -> float:
        return process("-m", "lrtrain", next(folders), "threads=1", *arguments)

    job = (
        *("dataset=mnist", f"dataset.data_dir={folder}", "model=mlp", "model.hidden=[64,128,64]"),
        *("model.dropout=0", "model.batch_norm=true", "optimizer=adam", "batch_size=128", "scheduler=constant"),
    )
    step = [f"trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
    figures: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for _ in range(rounds):
        add("--help, s", process("-m", "lrtrain", "--help"))
        add("template's job: a whole run of one step, s", lrtrain(*job, "epochs=1", *step))
        add("template's job: an epoch, s", (lrtrain(*job, "epochs=4") - lrtrain(*job, "epochs=1")) / 3)
        add("template's job: an epoch by idiomatic Lightning, s", seconds(template))
        add("peak memory of import lightning.pytorch, MiB", peak("import lightning.pytorch"))
        arguments = [next(folders), "threads=1"]
        command = f"import sys; sys.argv[1:] = {arguments}; from lrtrain.cli.main import main; main()"
        add("peak memory of the default run, MiB", peak(command))
    print()
    for name, values in figures.items():
        print(f"{name:52s}{statistics.median(values):8.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mnist", help="a folder with the files of MNIST")
    rounds, given = vars(parser.parse_args()).values()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    compare("digits, 64-128-10, batches of 32, 20 epochs", SMALL, rounds)
    compare("digits, convolutions of 64, 128, 128 channels, batches of 64, 3 epochs", LARGE, rounds)
    safety(SMALL._replace(epochs=200), rounds)
    safety(LARGE, rounds)
    with tempfile.TemporaryDirectory() as folder:
        if given:
            for name in mnist.MNIST.files:
                (Path(folder) / name).symlink_to(Path(given).resolve() / name)
        else:
            random_mnist(Path(folder))
        processes(rounds, folder)


if __name__ == "__main__":
    main()
