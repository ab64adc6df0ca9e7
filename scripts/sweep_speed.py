"""What a sweep of 48 small runs takes, from the command to its end: ours, and Lightning as its documentation has it.

Run: OMP_NUM_THREADS=1 python scripts/sweep_speed.py [--turns 1] [--only jobs=2 lightning] [--epochs 20]
Four schedules, four rates, three seeds on digits (64-128-10, batches of 32, 20 epochs), turn by turn: ours with jobs=1,
jobs=2 and jobs=population, and a Lightning script with TensorBoard, CSV, checkpoints and a test under Hydra's basic
launcher: this one, which imports nothing of ours therefore. Prints seconds, and those of CPU of all its processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import lightning.pytorch as pl
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy

SWEPT = ["scheduler=step,exponential,inverse_time,cosine", "lr=0.02,0.05,0.1,0.2", "seed=0,1,2"]
LIGHTNING = "lightning"
"""The Lightning script, which is this one with its arguments from the second on."""


@dataclass
class Config:
    """Of the Lightning script."""

    scheduler: str = "step"
    lr: float = 0.1
    seed: int = 0
    epochs: int = 20


class Classifier(pl.LightningModule):
    """The network and how it is trained."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.val_acc, self.test_acc = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss, logged."""
        loss = cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def measure(self, batch: tuple[Tensor, Tensor], split: str, accuracy: MulticlassAccuracy) -> None:
        """Log loss and accuracy."""
        logits = self.net(batch[0])
        accuracy(logits, batch[1])
        self.log(f"{split}_loss", cross_entropy(logits, batch[1]))
        self.log(f"{split}_acc", accuracy)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy."""
        self.measure(batch, "val", self.val_acc)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy."""
        self.measure(batch, "test", self.test_acc)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        optimizer = optim.SGD(self.parameters(), self.config.lr, momentum=0.9)
        made: dict[str, Any] = {
            "step": lambda: optim.lr_scheduler.StepLR(optimizer, 10),
            "exponential": lambda: optim.lr_scheduler.ExponentialLR(optimizer, 0.95),
            "inverse_time": lambda: optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + 0.05 * epoch)),
            "cosine": lambda: optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.epochs),
        }
        return {"optimizer": optimizer, "lr_scheduler": made[self.config.scheduler]()}


@hydra.main(version_base=None, config_name="config")
def train(config: Config) -> None:
    """Train one model by Lightning, as a job of Hydra's."""
    torch.set_num_threads(1)
    pl.seed_everything(config.seed)
    folder, found = HydraConfig.get().runtime.output_dir, load_digits()
    data = TensorDataset(torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target))
    training, validation, test = random_split(data, [0.7, 0.15, 0.15])
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=config.epochs,
        logger=[TensorBoardLogger(folder), CSVLogger(folder)],
        callbacks=[ModelCheckpoint(folder, monitor="val_loss", save_last=True)],
        enable_progress_bar=False,
    )
    trainer.fit(Classifier(config), DataLoader(training, 32, shuffle=True), DataLoader(validation, 256))
    trainer.test(dataloaders=DataLoader(test, 256), ckpt_path="best", verbose=False)


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def main() -> None:
    """Compare."""
    ways = ["jobs=1", "jobs=2", "jobs=population", LIGHTNING]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=ways, default=ways)
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for _ in range(asked.turns):
        for way in asked.only:
            with tempfile.TemporaryDirectory() as place:
                words = [*SWEPT, f"epochs={asked.epochs}", f"hydra.sweep.dir={Path(place) / 'sweep'}"]
                if way == LIGHTNING:
                    command = [sys.executable, __file__, LIGHTNING, "-m", *words]
                else:
                    net = ["model.hidden=[128]", "model.dropout=0", "trainer=cpu"]
                    command = [sys.executable, "-m", "lrtrain", "-m", *words, *net, way]
                wall, used = seconds(command)
            print(f"{way:16} {wall:6.1f} s, {used:6.1f} s of CPU", flush=True)


if __name__ == "__main__":
    if LIGHTNING in sys.argv[1:2]:
        sys.argv.pop(1)
        ConfigStore.instance().store(name="config", node=Config)
        train()
    else:
        main()
