"""Weights as files that need no lrtrain, each read back and compared before it is given out."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrtrain import __version__
from lrtrain.datasets import Inputs
from lrtrain.errors import RequestError, first_line
from lrtrain.training.loaded import Loaded

FORMAT = 1
"""Of `model.json`."""
VERSIONS = {"lrtrain": __version__, "torch": torch.__version__}
BATCHES = (1, 2, 5)
"""Sizes of the batches that a file is compared on."""


class Export(NamedTuple):
    """A kind of file.

    Attributes:
        ending: Of its name.
        load: How it is read, in Python.
        content: Of the file, checked; raises RequestError where the model cannot be exported.
    """

    ending: str
    load: str
    content: Callable[[nn.Module, Inputs], bytes]


def _export_network(model: nn.Module, inputs: Inputs) -> bytes:
    """The network with its weights, by `torch.export`, for batches of any size."""
    buffer = io.BytesIO()
    try:
        with _silenced():
            batch = {0: torch.export.Dim("batch")}
            example = _example(model, inputs, 2)  # one sample would be taken for a constant
            program = torch.export.export(copy.deepcopy(model), (example,), dynamic_shapes=(batch,))
            torch.export.save(program, buffer)
            buffer.seek(0)
            network = torch.export.load(buffer).module()
        _check_same(network, model, inputs)
    except Exception as error:  # whatever tracing somebody's network runs into
        raise RequestError(
            f"torch.export cannot take this model: {first_line(error)}; format=safetensors keeps its weights"
        ) from error
    return buffer.getvalue()


def _export_weights(model: nn.Module, inputs: Inputs) -> bytes:
    """The weights and buffers by their names."""
    try:
        from safetensors.torch import load, save
    except ImportError as error:
        raise RequestError('format=safetensors needs its package: pip install "lrtrain[safetensors]"') from error
    twin = copy.deepcopy(model)
    try:
        # Weights that two layers share are written twice.
        content: bytes = save({name: each.contiguous().clone() for name, each in model.state_dict().items()})
        for each in twin.state_dict().values():
            each.zero_()
        twin.load_state_dict(load(content))
        _check_same(twin, model, inputs)
    except Exception as error:  # whatever a state of somebody's model is, or does
        raise RequestError(f"safetensors cannot take this model: {first_line(error)}") from error
    return content


EXPORTS = {
    "torch_export": Export("pt2", 'torch.export.load("model.pt2").module()', _export_network),
    "safetensors": Export("safetensors", 'safetensors.torch.load_file("model.safetensors")', _export_weights),
}
"""By the name of the format."""


def meaning(loaded: Loaded) -> dict[str, Any]:
    """What a user without lrtrain has to know of a model: what it is given, and what comes out."""
    data, targets, weight = loaded.data, loaded.objective.targets, next(loaded.model.parameters())
    kind = torch.int64 if data.tokens else weight.dtype
    outputs = _outputs(loaded.model, _example(loaded.model, loaded.inputs, 2))
    return {
        "format": FORMAT,
        "model": loaded.config["model"],
        "dataset": loaded.config["dataset"]["name"],
        "inputs": {
            "shape": ["batch", *loaded.inputs.shape],
            "type": str(kind).removeprefix("torch."),
            "made": _made(loaded),
            "scale": data.scale,
            "numbers": data.numbers,
            "texts": data.texts,
            "vocabulary": data.vocabulary,
        },
        "outputs": {
            "shape": ["batch", *outputs.shape[1:]],
            "objective": targets.objective,
            "means": loaded.objective.means,
            "names": targets.names,
            "standards": targets.standards,
        },
        "checkpoint": str(loaded.checkpoint),
        "step": loaded.step,
        "versions": VERSIONS,
    }


def _made(loaded: Loaded) -> str:
    """How inputs are made, in words."""
    data = loaded.data
    if data.vocabulary is not None:
        return "the place of each character in vocabulary, from 0"
    if data.scale is not None:
        return "(byte / 255 - mean) / std, with scale's mean and std of all channels, or of each"
    if data.numbers is not None:
        return (
            "for each column in numbers, in order, (value - mean) / deviation, 0 where the value is missing or the "
            "deviation is 0; then for each category of each column in texts 1 or 0, that of a missing value being ''"
        )
    return f"as dataset={loaded.config['dataset']['name']} gives them"


def _example(model: nn.Module, inputs: Inputs, count: int) -> Tensor:
    """Inputs at random, of the type that the model takes."""
    random = torch.Generator().manual_seed(count)
    if inputs.tokens:
        return torch.randint(inputs.tokens, (count, *inputs.shape), generator=random)
    return torch.randn(count, *inputs.shape, generator=random).to(next(model.parameters()).dtype)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep what torch warns of while it traces, and the graph that it prints where it fails, out of sight."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def _outputs(model: nn.Module, batch: Tensor) -> Tensor:
    found: Tensor = model(batch)
    return found


def _check_same(exported: nn.Module, model: nn.Module, inputs: Inputs) -> None:
    """Refuse what does not give the outputs of the model within rounding, for batches of several sizes."""
    for count in BATCHES:
        batch = _example(model, inputs, count)
        torch.testing.assert_close(_outputs(exported, batch), _outputs(model, batch), msg="what it gives differs")
