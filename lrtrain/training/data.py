"""The data as Lightning takes it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lrtrain.datasets import Source, Splits
from lrtrain.training.augment import Augment
from lrtrain.training.loader import Loader


class Data(pl.LightningDataModule):
    """The splits of a dataset, in batches.

    Args:
        splits: The three parts.
        batch_size: Samples a training batch.
        seed: Of the order of the training samples.
        shuffle: Draw a new order of them every epoch.
        drop_last: Leave out an epoch's last batch when it is smaller.
        workers: Processes that gather the training batches, and all batches of samples that are not in memory.
        augment: Changes the inputs of training batches.
    """

    def __init__(
        self,
        splits: Splits,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        workers: int = 0,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.workers = workers
        self.augment = augment
        self._train: Loader | None = None
        self._position: dict[str, int] | None = None

    def train_dataloader(self) -> Loader:
        """Shuffled batches, from where a resumed run had stopped, or the loader before this one is."""
        again = getattr(self.trainer, "overfit_batches", 0)  # the same batches in every epoch
        shuffle = self.shuffle and not again
        order = {"shuffle": shuffle, "seed": self.seed, "drop_last": self.drop_last, "augment": self.augment}
        before, self._train = (
            self._train,
            self._loader(self.splits.train, self.batch_size, workers=self.workers, **order),
        )
        if before:
            self._train.follow(before)
        elif self._position:
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
        return self._measuring(self.splits.validation)

    def test_dataloader(self) -> Loader:
        """Large batches in a fixed order."""
        return self._measuring(self.splits.test)

    def measuring_batches(self, part: str, devices: int) -> int:
        """The batches of ``validation`` or ``test`` on the last of so many devices, which has the fewest."""
        source = getattr(self.splits, part)
        return len(Loader(source, self._large, rank=devices - 1, world=devices))

    @property
    def _large(self) -> int:
        return max(self.batch_size, 512)

    def _measuring(self, source: Source) -> Loader:
        return self._loader(source, self._large, workers=0 if source.in_memory else self.workers)

    def _loader(self, source: Source, batch_size: int, **order: Any) -> Loader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Loader(source, batch_size, rank=rank, world=world, **order)
