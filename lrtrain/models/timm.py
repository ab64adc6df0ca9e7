"""The picture models of the timm library."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import OptionalTable, Text

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def timm(
    inputs: Inputs,
    outputs: int,
    /,
    *,
    architecture: Annotated[str, Text()] = "resnet18",
    pretrained: bool = False,
    parameters: OptionalTable = None,
) -> nn.Module:
    """Any picture model of the timm library, for as many channels and classes as the data has.

    Source: Wightman, github.com/huggingface/pytorch-image-models; pip install "lrtrain[timm]".

    Args:
        inputs: Pictures (channels, height, width).
        architecture: any of timm.list_models().
        pretrained: begin from its published weights.
        parameters: further arguments of timm.create_model: {drop_path_rate:0.1}.

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
        architecture, pretrained=pretrained, num_classes=outputs, in_chans=inputs.shape[0], **(parameters or {})
    )
