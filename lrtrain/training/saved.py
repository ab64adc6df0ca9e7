"""Reads what a training has saved, and refuses what is damaged or does not fit."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrtrain.errors import RequestError
from lrtrain.run_folder.folder import RunFolder
from lrtrain.settings import Metric
from lrtrain.training.validation_feedback import ValidationFeedback


class Saved(NamedTuple):
    """A checkpoint of a run that is whole.

    Attributes:
        path: Its file.
        content: What it holds, on the CPU.
    """

    path: Path
    content: dict[str, Any]

    @property
    def step(self) -> int:
        """The updates done by then."""
        return int(self.content["lr_schedulers"][0]["step"])


def sound_checkpoint(folder: RunFolder) -> Saved:
    """The newest checkpoint of a run that is whole.

    A checkpoint is a zip archive, whose checksums are compared with what is in it.

    Raises:
        RequestError: There is none.
    """
    found = []
    for path in (folder.last_checkpoint, folder.previous_checkpoint):
        try:
            return Saved(path, _read_run(path))
        except Exception as error:  # whatever reading a damaged file runs into
            found.append(f"{path.name}: {error if isinstance(error, _DamageError) else type(error).__name__}")
        if path == folder.last_checkpoint and path.is_file():
            print(f"{path} is damaged; going back to the one before")
    raise RequestError(
        f"{folder.path} has no checkpoint that is whole ({', '.join(found)}); the best weights may be in best.ckpt"
    )


def feedback_states(checkpoint: Saved, *metrics: Metric) -> list[dict[str, Any]]:
    """What the scheduler of a checkpoint knew of its feedback, for each metric that is to be observed.

    Where it observed another metric, the rule is said to be another too.
    """
    state = checkpoint.content["lr_schedulers"][0]["feedback"]
    observed = checkpoint.content["callbacks"][ValidationFeedback.__name__]
    was = observed["monitor"], observed["mode"]
    other = {**state, "rule": f"{state['rule']} of {observed['monitor']}"}
    return [other if state["rule"] and metric != was else dict(state) for metric in metrics]


def load_weights(path: Path, model: nn.Module, name: str) -> int:
    """Give a model the weights of a checkpoint.

    Args:
        path: A checkpoint of a `Supervised`.
        model: Of the kind that the checkpoint was written of.
        name: What a person calls the model.

    Returns:
        The updates done by then.

    Raises:
        RequestError: The file is damaged, holds more than plain data, or other weights than the model's.
    """
    try:
        checkpoint = _read(path)
        step = int(checkpoint["global_step"])
        named = {str(key): value for key, value in checkpoint["state_dict"].items()}
        weights = {key.removeprefix("model."): value for key, value in named.items() if key.startswith("model.")}
        found = {key: tuple(value.shape) for key, value in weights.items()}
    except Exception as error:  # whatever reading a damaged or a hostile file runs into
        raise RequestError(f"{path} is damaged, or no checkpoint of ours ({type(error).__name__})") from error
    needed = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key in [*needed, *found]:
        if needed.get(key) != found.get(key):
            raise RequestError(
                f"the weights of {path} do not fit {name}: {key} is {_shape(found, key)} in the checkpoint, "
                f"and {_shape(needed, key)} in the model"
            )
    model.load_state_dict(weights)
    return step


PARTS: Mapping[str, type] = {
    "state_dict": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "callbacks": dict,
    "loops": dict,
    "random": list,
}
"""What a run goes on from."""

SHAPED = ("torch", "lrtrain", "schedulefree")
"""The packages whose optimizers keep nothing of another shape than a parameter's, or with sides of 1 in it."""


def _shape(shapes: Mapping[str, tuple[int, ...]], key: str) -> str:
    return " x ".join(map(str, shapes[key])) or "a number" if key in shapes else "missing"


def _read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; raises an error of any kind where it is not what was written.

    torch itself reads it without a look at the checksums.
    """
    if not path.is_file():  # such as a pipe, which would be waited for
        raise FileNotFoundError(path)
    data = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(data) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")
    data.seek(0)
    return torch.load(data, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


class _DamageError(ValueError):
    """A checkpoint lacks what a run goes on from."""


def _read_run(path: Path) -> dict[str, Any]:
    """What a checkpoint of a run holds; raises an error of any kind where it is not what was written."""
    checkpoint = _read(path)
    for part, kind in PARTS.items():
        if not isinstance(checkpoint.get(part), kind) or not checkpoint[part]:
            raise _DamageError(f"it has no {part}")
    step = checkpoint["lr_schedulers"][0]["step"]
    if type(step) is not int or step < 0:
        raise _DamageError(f"its step is {step!r}")
    return checkpoint


def whole_run(path: Path) -> dict[str, Any] | None:
    """What a checkpoint of a run holds, or None where it is damaged or not there."""
    try:
        return _read_run(path)
    except Exception:  # whatever reading a damaged file runs into, it is not whole
        return None


def check_moments(checkpoint: Saved, optimizer: Optimizer) -> None:
    """Refuse an optimizer's state that does not fit its parameters: kernels of torch take its size for granted.

    Raises:
        RequestError: Names the value.
    """
    if type(optimizer).__module__.partition(".")[0] not in SHAPED:
        return
    saved = checkpoint.content["optimizer_states"][0]
    for group, had in zip(optimizer.param_groups, saved["param_groups"], strict=False):
        for name, value in group.items():
            if isinstance(value, float | tuple) and not _alike(value, had.get(name, value)):
                raise RequestError(f"{checkpoint.path} has {name}={had[name]!r}, and the run {value!r}: start over")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    indices = [index for group in saved["param_groups"] for index in group["params"]]
    for index, parameter in zip(indices, parameters, strict=False):
        for name, value in saved["state"].get(index, {}).items():
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            sides = zip(shape, parameter.shape, strict=False)
            same = len(shape) == parameter.ndim and all(side in (1, whole) for side, whole in sides)
            if not (same or math.prod(shape) == 1) or isinstance(value, str | list | dict):
                had = f"of shape {shape}" if isinstance(value, Tensor) else repr(value)
                raise RequestError(
                    f"{checkpoint.path}: the optimizer's {name} is {had}, for parameters of shape "
                    f"{tuple(parameter.shape)}: it is not of this run. Start over, or give resume_plan=weights_only"
                )


def _alike(value: Any, other: Any) -> bool:
    """Whether two settings of an optimizer are of the same kind: numbers, or as many of them."""
    if isinstance(value, tuple):
        return isinstance(other, list | tuple) and len(value) == len(other) and all(map(_alike, value, other))
    return type(value) is not float or isinstance(other, float | int | Tensor)
