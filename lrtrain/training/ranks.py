"""What the ranks of a distributed run share, and what each has of its own."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from lrtrain.run_folder.folder import RunFolder
from lrtrain.training.stretch import Stretched


class SharedFolder(pl.Callback):
    """Gives all ranks the first one's run folder: what started them may have given each its own.

    Args:
        folder: Of the run; the other ranks' is changed.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the first rank's."""
        if trainer.world_size > 1:
            self.folder.move_to(trainer.strategy.broadcast(str(self.folder.path)))


class RandomNumbers(Stretched, pl.Callback):
    """Gives each rank its own random numbers, and a resumed run those that would have come next.

    All ranks start from the weights of the first one, so these do not depend on the number of ranks.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None
        self._own: dict[str, Any] | None = None
        self._generator = torch.Generator()

    def set_aside(self) -> torch.Generator:
        """Keep the present random numbers, whoever draws from now on; torch's go on in the generator."""
        if self._saved is not None:  # a resumed run has not drawn from them yet
            _restore(self._saved)
            self._saved = None
        self._own = _state()
        return self._generator.set_state(self._own["torch"])

    def take_back(self) -> None:
        """Let the process go on with those that were kept."""
        if self._own is not None:
            _restore(self._own)
            self._own = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the other ranks differently from the first."""
        if trainer.global_rank:
            seed = torch.initial_seed() + trainer.global_rank
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the state of a resumed run, now that nothing else will draw from it."""
        if self._saved is not None:
            _restore(self._saved)
            self._saved = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the state of every rank, as plain values."""
        own = self._own and {**self._own, "torch": self._generator.get_state()}
        states: list[Any] = [own or _state()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, states[0])
        checkpoint["random"] = states

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep this rank's state until the first step, once it is known to be one."""
        before, self._saved = _state(), checkpoint["random"][trainer.global_rank]
        _restore(self._saved)
        _restore(before)


def _state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    common = np.random.get_state(legacy=False)  # what a call of np.random.rand draws from
    key = torch.from_numpy(common["state"]["key"].astype(np.int64))
    state = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(internal), gauss],  # a list of 625 numbers takes longer than all else to save
        "numpy": {**common, "state": {**common["state"], "key": key}},
    }
    return state | ({"cuda": torch.cuda.get_rng_state().cpu()} if torch.cuda.is_available() else {})


def _restore(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    numbers = internal.tolist() if isinstance(internal, torch.Tensor) else internal  # of earlier versions
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "numpy" in state:  # which checkpoints of earlier versions do not have
        key = state["numpy"]["state"]["key"].numpy().astype(np.uint32)
        np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
