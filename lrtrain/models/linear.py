"""A linear model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lrtrain.models import refuse_tokens

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def linear(inputs: Inputs, outputs: int, /) -> nn.Module:
    """One affine map of the flattened input: softmax regression where classes are told, or linear regression."""
    from torch import nn

    refuse_tokens("linear", inputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs.shape), outputs))
