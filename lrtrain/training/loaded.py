"""The model of a run, to be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lrtrain.datasets import Asked, Identity, Inputs, read
from lrtrain.datasets.csv import encode as encode_columns
from lrtrain.datasets.sources import Converter, Scale
from lrtrain.datasets.text import encode as encode_text
from lrtrain.errors import RequestError, first_line, of_values
from lrtrain.objectives import AUTO, Objective
from lrtrain.parameters.places import named_code
from lrtrain.plan.history import read_data, read_stored
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.folder import RunFolder
from lrtrain.settings import Settings, read_settings
from lrtrain.training.network import build_network, build_objective
from lrtrain.training.saved import load_weights


@dataclass(frozen=True)
class Loaded:
    """A model with the weights of a checkpoint, in eval mode.

    Attributes:
        model: Maps (n, *inputs.shape) to outputs (n, outputs), or (n, length, outputs) where each token has some.
        objective: What its outputs are.
        inputs: What it is given.
        scale: What makes numbers of bytes; None where the inputs are not bytes.
        data: What else the run has recorded of its data, such as the scaling of columns.
        config: The run's settings, as plain values.
        checkpoint: The file of the weights.
        step: The updates that they have had.
    """

    model: nn.Module
    objective: Objective
    inputs: Inputs
    scale: Scale | None
    data: Identity
    config: dict[str, Any]
    checkpoint: Path
    step: int

    @property
    def classes(self) -> int:
        """How many outputs there are: one a class, label or column."""
        return self.objective.targets.outputs

    @property
    def names(self) -> tuple[str, ...] | None:
        """Theirs; None where classes are numbers only."""
        return self.objective.targets.names

    @torch.no_grad()
    def predict(self, given: ArrayLike | Mapping[str, Sequence[Any]]) -> NDArray[np.floating[Any]]:
        """The probability of each class or label, or the value of each column in the data's own unit.

        Args:
            given: Inputs of shape (n, *inputs.shape): as the dataset gives them, bytes unscaled; or of one sample. For
                a table, its columns by name, as a mapping or a data frame: they are scaled as the run's were. For a
                text, a text.

        Returns:
            Of shape (n, outputs), (outputs,) for one sample, and with (length, outputs) in the place of outputs where
            each token has some.

        Raises:
            ValueError: They have another shape, or are not what the model was trained on.
        """
        stored = torch.as_tensor(self._encoded(given))
        one = tuple(stored.shape) == self.inputs.shape
        stored = stored[None] if one else stored
        if tuple(stored.shape[1:]) != self.inputs.shape:
            raise ValueError(
                f"the inputs must have shape (n, {', '.join(map(str, self.inputs.shape))}), got {tuple(stored.shape)}"
            )
        scale = self.scale if stored.dtype == torch.uint8 else None
        if self.scale and not scale and stored.numel() and stored.max() > _most(self.scale):
            raise ValueError(
                f"the inputs go up to {stored.max():g}: give bytes as uint8, which are scaled as in training"
            )
        inputs = Converter(scale, tokens=self.inputs.tokens is not None)(stored)
        weight = next(self.model.parameters())
        inputs = inputs.to(weight.device, weight.dtype if inputs.is_floating_point() else inputs.dtype)
        found: NDArray[np.floating[Any]] = self.objective.predictions(self.model(inputs)).cpu().numpy()
        return found[0] if one else found

    def _encoded(self, given: Any) -> Any:
        numbers, texts, vocabulary = self.data.numbers, self.data.texts, self.data.vocabulary
        if isinstance(given, str) and vocabulary:
            return encode_text(given, vocabulary)
        if numbers is not None and texts is not None and (isinstance(given, Mapping) or hasattr(given, "columns")):
            return encode_columns({str(name): list(given[name]) for name in given}, numbers, texts)
        return np.asarray(given)


def _most(scale: Scale) -> float:
    """The largest number that a byte becomes, and a little."""
    return max((1 - mean) / std for mean, std in zip(scale.mean, scale.std, strict=True)) + 1e-3


def load_run(path: Path, model: nn.Module | None = None) -> Loaded:
    """Load a checkpoint of a run's folder.

    Args:
        path: Its file.
        model: To be given the weights; None builds the run's own.

    Raises:
        RequestError: It is not in a run's folder, it is damaged, or only code of the user's can build its model.
    """
    folder = RunFolder(path.parent.parent)
    if not folder.history.exists():
        raise RequestError(f"{path} is not in a run's folder, which says what its model is: give that folder")
    stored = read_stored(folder.history)[-1]["settings"]
    own = {key: stored.get(key) for key in ("model", "dataset")}
    if model is None and (code := named_code(own)):
        raise RequestError(
            f"the run used {', '.join(sorted(code))}, code to run: give its model by load(run, model=...)"
        )
    # What is not needed here is not read, as it may name code; nor is a compiler needed.
    others: dict[str, Any] = {"optimizer": {"name": "sgd"}, "scheduler": "constant", "feedback": None, "groups": None}
    data = read_data(folder)
    asked = {"name": data.targets.objective} if data and data.targets else {"name": AUTO}
    others |= {"hyperparameters": None, "monitor": "val_loss", "objective": asked, "compile": False} | (
        {"model": {"name": "linear"}} if model is not None else {}
    )
    return _load(read_settings({**stored, **others}, stored=True), path, model, stored)


def load_as(settings: Settings, path: Path) -> Loaded:
    """Load a checkpoint of a run's folder, whose settings were read with leave to run the code that they name.

    Args:
        settings: Of the run.
        path: Its file.

    Raises:
        RequestError: It is damaged, or its model cannot be built.
    """
    return _load(replace(settings, compile=False), path, None, settings.plain())


def _load(settings: Settings, path: Path, model: nn.Module | None, config: dict[str, Any]) -> Loaded:
    data = _data_of(RunFolder(path.parent.parent), settings)
    assert data.shape is not None, "it is recorded with the targets"
    assert data.targets is not None, "_data_of sees to that"
    inputs = Inputs(data.shape, data.tokens)
    try:
        with kept_as_it_is():
            network = model if model is not None else build_network(settings, inputs, data.targets.outputs)
            objective = build_objective(settings, data.targets)
        with of_values():
            step = load_weights(path, network, "the model" if model is not None else f"model={settings.model.name}")
    except ValueError as error:
        raise RequestError(first_line(error)) from error
    scale = Scale(data.scale["mean"], data.scale["std"]) if data.scale else None
    return Loaded(network.eval(), objective, inputs, scale, data, config, path, step)


def _data_of(folder: RunFolder, settings: Settings) -> Identity:
    """What the run's data was, as it has recorded; of one that has not, the data is read."""
    recorded = read_data(folder)
    if recorded and recorded.targets:
        return recorded
    if settings.dataset.name == "custom":
        raise RequestError(f"{folder.path} does not say what its data was: use your own code to load it")
    return read(settings.dataset, Asked.by(settings.objective.name, recorded)).means()
