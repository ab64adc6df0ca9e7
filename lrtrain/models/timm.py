"""Any picture model of the timm library (Wightman, github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from lrtrain.datasets import Inputs
from lrtrain.errors import RequestError


def timm(
    inputs: Inputs, classes: int, architecture: str, pretrained: bool, parameters: Mapping[str, Any] | None
) -> nn.Module:
    """The named architecture, for as many channels and classes as the data has.

    Args:
        inputs: Pictures (channels, height, width).
        classes: Number of classes.
        architecture: As `timm.create_model` knows it.
        pretrained: Begin from its published weights.
        parameters: Further arguments of `timm.create_model`.

    Raises:
        RequestError: timm is not installed.
        ValueError: The inputs are not pictures.
    """
    if len(inputs.shape) != 3:
        raise ValueError(f"model=timm needs pictures of shape (channels, height, width), got {inputs.shape}")
    try:
        library = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise RequestError(f'model=timm needs another package: pip install "lrtrain[timm]" ({error})') from None
    return library.create_model(  # type: ignore[no-any-return]
        architecture, pretrained=pretrained, num_classes=classes, in_chans=inputs.shape[0], **(parameters or {})
    )
