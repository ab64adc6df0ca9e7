"""What is trained: one file a model, named as in the configuration, with a function of that name.

The function is given what the inputs are and the number of outputs, one a class, label or column of numbers; its
keywords are the model's settings. It returns what maps (n, *inputs.shape) to outputs of shape (n, outputs), or
(n, length, outputs) where each token has some, and raises ValueError for inputs that the model cannot take. Its module
imports torch only when it is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lrtrain.configs import choices
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import bind, check_choice

if TYPE_CHECKING:
    from lrtrain.datasets import Inputs

__all__ = ["function", "model", "refuse_tokens"]


def function(name: str) -> Callable[..., Any]:
    """The function whose signature declares a model's settings.

    Raises:
        SettingError: There is no such model.
    """
    check_choice("model", name, choices("model"))
    return getattr(importlib.import_module(f"lrtrain.models.{name}"), name)  # type: ignore[no-any-return]


def model(name: str, **settings: Any) -> Bound:
    """A model with its settings; `make(inputs, outputs)` builds the network.

    Raises:
        SettingError: There is no such model, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, "model."))


def refuse_tokens(name: str, inputs: Inputs) -> None:
    """Raise ValueError where the inputs are tokens, for a model that takes numbers."""
    if inputs.tokens is not None:
        raise ValueError(f"model={name} takes numbers, not tokens; use model=transformer or model=gru")
