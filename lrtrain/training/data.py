"""The data as Lightning takes it."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lrtrain.datasets import Arrays, Splits

Batch = tuple[torch.Tensor, torch.Tensor]


class Data(pl.LightningDataModule):
    """Splits held in memory, in batches.

    Args:
        splits: The three parts.
        batch_size: Samples a training batch.
        seed: Of the order of the training samples, which are shuffled anew every epoch.
        drop_last: Leave out an epoch's last batch when it is smaller.
    """

    def __init__(self, splits: Splits, batch_size: int, seed: int, drop_last: bool = False) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches."""
        order = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            _tensors(self.splits.train),
            batch_size=self.batch_size,
            shuffle=True,
            generator=order,
            drop_last=self.drop_last,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Large batches in a fixed order."""
        return DataLoader(_tensors(self.splits.validation), batch_size=max(self.batch_size, 512))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Large batches in a fixed order."""
        return DataLoader(_tensors(self.splits.test), batch_size=max(self.batch_size, 512))


def _tensors(arrays: Arrays) -> Dataset[Batch]:
    return TensorDataset(*(torch.from_numpy(array) for array in arrays))  # type: ignore[return-value]
