"""The data as Lightning takes it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from lrtrain.datasets import Arrays, Splits
from lrtrain.training.loader import Loader


class Data(pl.LightningDataModule):
    """Splits held in memory, in batches.

    Args:
        splits: The three parts.
        batch_size: Samples a training batch.
        seed: Of the order of the training samples.
        drop_last: Leave out an epoch's last batch when it is smaller.
        workers: Processes that gather the training batches.
    """

    def __init__(
        self, splits: Splits, batch_size: int, seed: int = 0, drop_last: bool = False, workers: int = 0
    ) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self._train: Loader | None = None
        self._position: dict[str, int] | None = None

    def train_dataloader(self) -> Loader:
        """Shuffled batches, from where a resumed run had stopped."""
        again = getattr(self.trainer, "overfit_batches", 0)  # the same batches in every epoch
        order = {"shuffle": not again, "seed": self.seed, "drop_last": self.drop_last, "workers": self.workers}
        self._train = self._loader(self.splits.train, self.batch_size, **order)
        if self._position:
            self._train.load_state_dict(self._position)
        return self._train

    def state_dict(self) -> dict[str, Any]:
        """The position in the training data.

        Lightning keeps a loader's state too, but has lost it by the time it is due where anything asked for the
        length of the run.
        """
        if self._train is None:
            return {}
        position = self._train.state_dict()
        if self.trainer and position["batch"] >= self.trainer.num_training_batches:
            position["batch"] = len(self._train)  # the trainer ends an epoch before all batches are used
        return {"train": position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin the training data at a saved position."""
        self._position = state_dict.get("train")
        if self._train and self._position:  # a strategy that shards the weights restores only once all is set up
            self._train.load_state_dict(self._position)

    def val_dataloader(self) -> Loader:
        """Large batches in a fixed order."""
        return self._loader(self.splits.validation, max(self.batch_size, 512))

    def test_dataloader(self) -> Loader:
        """Large batches in a fixed order."""
        return self._loader(self.splits.test, max(self.batch_size, 512))

    def _loader(self, arrays: Arrays, batch_size: int, **order: Any) -> Loader:
        tensors = tuple(torch.from_numpy(array) for array in arrays)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Loader(tensors, batch_size, rank=rank, world=world, **order)
