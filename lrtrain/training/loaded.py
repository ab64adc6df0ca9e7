"""The model of a run, to be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lrtrain.datasets import Inputs
from lrtrain.datasets.sources import Converter, Scale
from lrtrain.errors import RequestError, first_line, of_values
from lrtrain.parameters.places import named_code
from lrtrain.plan.history import read_stored
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary
from lrtrain.settings import Settings, read_settings
from lrtrain.training.checkpoints import load_weights
from lrtrain.training.network import build_network


@dataclass(frozen=True)
class Loaded:
    """A model with the weights of a checkpoint, in eval mode.

    Attributes:
        model: Maps (n, *inputs.shape) to logits (n, classes), or (n, length, classes) for a label per token.
        inputs: What it is given.
        classes: How many.
        names: Theirs; None where they are numbers only.
        scale: What makes numbers of bytes; None where the inputs are not bytes.
        config: The run's settings, as plain values.
        checkpoint: The file of the weights.
        step: The updates that they have had.
    """

    model: nn.Module
    inputs: Inputs
    classes: int
    names: tuple[str, ...] | None
    scale: Scale | None
    config: dict[str, Any]
    checkpoint: Path
    step: int

    @torch.no_grad()
    def predict(self, array: ArrayLike) -> NDArray[np.float32]:
        """The probability of each class.

        Args:
            array: Inputs of shape (n, *inputs.shape): as the dataset gives them, bytes unscaled; or of one sample.

        Returns:
            Of shape (n, classes), (classes,) for one sample, and with (length, classes) in the place of classes for a
            label per token.

        Raises:
            ValueError: They have another shape.
        """
        stored = torch.as_tensor(np.asarray(array))
        one = tuple(stored.shape) == self.inputs.shape
        stored = stored[None] if one else stored
        if tuple(stored.shape[1:]) != self.inputs.shape:
            raise ValueError(
                f"the inputs must have shape (n, {', '.join(map(str, self.inputs.shape))}), got {tuple(stored.shape)}"
            )
        scale = self.scale if stored.dtype == torch.uint8 else None
        inputs = Converter(scale, tokens=self.inputs.tokens is not None)(stored)
        weight = next(self.model.parameters())
        inputs = inputs.to(weight.device, weight.dtype if inputs.is_floating_point() else inputs.dtype)
        found: NDArray[np.float32] = self.model(inputs).float().softmax(-1).cpu().numpy()
        return found[0] if one else found


def load_run(path: Path, model: nn.Module | None = None) -> Loaded:
    """Load a checkpoint of a run's folder.

    Args:
        path: Its file.
        model: To be given the weights; None builds the run's own.

    Raises:
        RequestError: It is not in a run's folder, it is damaged, or only code of the user's can build its model.
    """
    folder = RunFolder(path.parent.parent)
    stored = read_stored(folder.history)[-1]["settings"]
    own = {key: stored.get(key) for key in ("model", "dataset")}
    if model is None and (code := named_code(own)):
        raise RequestError(
            f"the run used {', '.join(sorted(code))}, code to run: give its model by load(run, model=...)"
        )
    # What is not needed here is not read, as it may name code.
    others = {"optimizer": {"name": "sgd"}, "scheduler": "constant", "feedback": None, "groups": None}
    others |= {"hyperparameters": None, "monitor": "val_loss"} | (
        {"model": {"name": "linear"}} if model is not None else {}
    )
    settings = read_settings({**stored, **others}, stored=True)
    data = _data_of(folder, settings)
    inputs = Inputs(tuple(data["shape"]), data["tokens"])
    try:
        with kept_as_it_is():
            network = model if model is not None else build_network(settings, inputs, data["classes"])
        with of_values():
            step = load_weights(path, network, "the model" if model is not None else f"model={settings.model.name}")
    except ValueError as error:
        raise RequestError(first_line(error)) from error
    scale = data["scale"] and Scale(tuple(data["scale"]["mean"]), tuple(data["scale"]["std"]))
    names = tuple(data["names"]) if data["names"] else None
    return Loaded(network.eval(), inputs, data["classes"], names, scale, stored, path, step)


def _data_of(folder: RunFolder, settings: Settings) -> dict[str, Any]:
    """What the run's data was, as it has recorded; of a run that did not come to that, the data is read."""
    try:
        recorded = dict(read_summary(folder.summary).data)
    except (FileNotFoundError, RequestError):
        recorded = {}
    if recorded:
        return recorded
    if settings.dataset.name == "custom":
        raise RequestError(f"{folder.path} does not say what its data was: use your own code to load it")
    return dict(settings.dataset.make().describe())
