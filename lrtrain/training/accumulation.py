"""What a batch counts in an update that several batches make."""

from __future__ import annotations

import lightning.pytorch as pl

from lrtrain.training.loader import Loader
from lrtrain.training.module import Supervised


def weight_of(trainer: pl.Trainer, batch_idx: int) -> float:
    """What a batch counts, where every batch of a full window of equal ones counts 1.

    The last window of an epoch may hold fewer batches, and the last batch fewer samples. Samples count alike in a
    built-in model, where a batch is known to be a mean over them; else batches do.

    Args:
        trainer: That trains on the batch; it divides each loss by the length of a full window.
        batch_idx: The batch's place in the epoch.
    """
    window = trainer.accumulate_grad_batches
    if window == 1:
        return 1.0
    first = batch_idx - batch_idx % window
    held = range(first, int(min(first + window, trainer.num_training_batches)))
    loader = trainer.train_dataloader
    if isinstance(trainer.lightning_module, Supervised) and isinstance(loader, Loader):
        return window * loader.size(batch_idx) / sum(map(loader.size, held))
    return window / len(held)
