"""Softmax regression."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lrtrain.models import refuse_tokens

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def linear(inputs: Inputs, classes: int, /) -> nn.Module:
    """Softmax regression: one affine map of the flattened input."""
    from torch import nn

    refuse_tokens("linear", inputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs.shape), classes))
