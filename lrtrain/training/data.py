"""The data as Lightning takes it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lrtrain.datasets import Asked, Identity, Inputs, Read, Source, Splits, read
from lrtrain.datasets.look import measuring_batches
from lrtrain.datasets.sources import InMemory
from lrtrain.errors import RequestError, of_values
from lrtrain.objectives import AUTO, Targets
from lrtrain.plan.length import given_to_data, limited, look_at_data
from lrtrain.settings import Settings
from lrtrain.training.augment import Augment
from lrtrain.training.custom import data_module
from lrtrain.training.loader import Loader

MOST_OF_GPU = 0.1
"""Of a GPU's free memory, that a split may take."""


def build_data(
    settings: Settings,
    known: Identity | None = None,
    read: Read = read,
) -> pl.LightningDataModule:
    """The data module of a run.

    Args:
        settings: Of the run.
        known: What its data meant before; a user's data module is not asked.
        read: Reads a dataset of ours.

    Raises:
        ValueError: The data cannot be read, or no longer means that.
    """
    if settings.dataset.name == "custom":
        return data_module(settings.dataset, given_to_data(settings))
    with of_values():
        splits = read(settings.dataset, Asked.by(settings.objective.name, known))
    changes = {name: value for name, value in asdict(settings.augment).items() if name != "mixup"}
    augment = Augment(splits.inputs.shape, **changes) if any(changes.values()) else None
    if settings.augment.mixup and splits.inputs.tokens:
        raise ValueError("augment.mixup mixes numbers, and the inputs are tokens: leave it out")
    balanced = settings.sampler == "balanced"
    if balanced and (splits.targets.objective != "classification" or splits.targets.each_token):
        raise ValueError("sampler=balanced is for samples of one class each: leave it out")
    return Data(splits, augment=augment, balanced=balanced, **given_to_data(settings))


def check_samples(known: Identity, found: Identity, instead: str) -> None:
    """Refuse other samples than a run has had.

    Args:
        known: What the run has recorded.
        found: What is there now.
        instead: What can be done, other than bringing them back.

    Raises:
        RequestError: They are others.
    """
    if line := known.has_others(found):
        raise RequestError(f"the data is not what the run had: {line}. Restore it, or {instead}")


def unrecorded(known: Identity) -> list[str]:
    """What is said where it is not recorded which samples a run has had."""
    return [] if known.fingerprint else ["which samples the run had is not recorded: these are taken for the same"]


def describe_data(settings: Settings, data: pl.LightningDataModule) -> tuple[Inputs | None, Targets | None]:
    """The inputs and the targets that the model is built for; None for what a user's data does not tell.

    Raises:
        ValueError: A built-in model would have to know.
    """
    if isinstance(data, Data):
        return data.splits.inputs, data.splits.targets
    found, own = look_at_data(settings), settings.dataset.parameters
    inputs = None if found.shape is None else Inputs(found.shape, own["tokens"])
    if settings.is_built_in:
        if inputs is None:
            raise ValueError(
                "dataset.function: its training batches are not pairs (inputs, labels); use model=lightning"
            )
        if found.integers and own["tokens"] is None:
            raise ValueError(
                "dataset.function: its inputs are whole numbers; give dataset.tokens, or make them float32"
            )
        assert found.labels is not None, "the batch is a pair"
        return inputs, _targets_of(found.labels, settings.objective.name, own["classes"])
    return inputs, Targets("classification", own["classes"]) if own["classes"] else None


def check_measuring(settings: Settings, data: pl.LightningDataModule, devices: int) -> None:
    """Refuse what would be found out only after the training: batches that cannot be measured, or less than one.

    Args:
        settings: Of the run.
        data: Its data module.
        devices: How many train together.

    Raises:
        ValueError: There is such a part.
    """
    limits = {
        "validation": settings.trainer.batch_limit("limit_val_batches"),
        "test": settings.trainer.batch_limit("limit_test_batches"),
    }
    counts: dict[str, list[int | None]]
    if isinstance(data, Data):
        counts = {part: [data.measuring_batches(part, devices)] for part in limits}
    elif settings.is_built_in or any(limit < 1 for limit, _ in limits.values()):
        counts = measuring_batches(settings.dataset, given_to_data(settings))
    else:
        return
    for part, loaders in counts.items():
        if settings.is_built_in and len(loaders) > 1:
            raise ValueError(
                f"dataset.function: there are {len(loaders)} {part} loaders, and built-in models take one loader; "
                "use model=lightning"
            )
        limit, asked = limits[part]
        for batches in loaders:
            if batches is not None:
                own = batches if isinstance(data, Data) else math.ceil(batches / devices)
                limited(own, limit, f"{asked} of {{}} {part} batches")


def _targets_of(labels: Tensor, objective: str, classes: int | None) -> Targets:
    """What the labels of a first batch mean: classes where their number is given, else by type, if not told otherwise.

    Raises:
        ValueError: They are not what the objective tells.
    """
    if objective == AUTO:
        objective = "regression" if labels.is_floating_point() and classes is None else "classification"
    if objective != "classification":
        if labels.dim() > 2:
            raise ValueError(f"dataset.function: objective={objective} takes labels (n,) or (n, columns)")
        if objective == "multilabel" and not (labels.dim() == 2 and bool(((labels == 0) | (labels == 1)).all())):
            raise ValueError("dataset.function: objective=multilabel takes labels (n, columns) of zeros and ones")
        columns = 1 if labels.dim() == 1 else labels.shape[1]
        names = ("target",) if columns == 1 else tuple(map(str, range(columns)))
        return Targets(objective, columns, names)
    if classes is None:
        raise ValueError("dataset=custom: give the number of dataset.classes, or a module of yours: model=lightning")
    if labels.dtype != torch.int64:
        raise ValueError(
            f"dataset.function: its labels must be whole numbers of torch.int64, they are {labels.dtype}; "
            "objective=regression or objective=multilabel take others"
        )
    if labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        ends = f"from {labels.min()} to {labels.max()}"
        raise ValueError(
            f"dataset.classes={classes}: labels are then from 0 to {classes - 1}, but those of its first training "
            f"batch are {ends}"
        )
    return Targets("classification", classes, each_token=labels.dim() > 1)


class Data(pl.LightningDataModule):
    """The splits of a dataset, in batches.

    Args:
        splits: The three parts.
        batch_size: Samples a training batch.
        seed: Of the order of the training samples.
        shuffle: Draw a new order of them every epoch.
        balanced: Draw them so that each class comes equally often.
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
        balanced: bool = False,
        drop_last: bool = False,
        workers: int = 0,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.balanced = balanced
        self.drop_last = drop_last
        self.workers = workers
        self.augment = augment
        self._near: dict[int, InMemory] = {}
        self._train: Loader | None = None
        self._position: dict[str, int] | None = None

    def train_dataloader(self) -> Loader:
        """Shuffled batches, from where a resumed run had stopped, or the loader before this one is."""
        again = getattr(self.trainer, "overfit_batches", 0)  # the same batches in every epoch
        shuffle = self.shuffle and not again
        order = {"shuffle": shuffle, "balanced": self.balanced, "seed": self.seed, "drop_last": self.drop_last}
        before, self._train = (
            self._train,
            self._loader(self.splits.train, self.batch_size, workers=self.workers, augment=self.augment, **order),
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
        if self.trainer is None:
            return Loader(source, batch_size, **order)
        if not (order.get("workers") or order.get("augment")):  # which change samples of the host
            source = self._brought_near(source, self.trainer.strategy.root_device)
        return Loader(source, batch_size, rank=self.trainer.global_rank, world=self.trainer.world_size, **order)

    def _brought_near(self, source: Source, device: torch.device) -> Source:
        """Samples in memory on the GPU that they are for, where they take little of it: batches are gathered there."""
        if device.type != "cuda" or not isinstance(source, InMemory):
            return source
        if id(source) not in self._near:
            free, _ = torch.cuda.mem_get_info(device)
            if source.nbytes > MOST_OF_GPU * free:
                return source
            self._near[id(source)] = source.on(device)
        return self._near[id(source)]
