"""What a model is trained to tell: one file an objective, named as in the configuration, with a function of that name.

The function is given the `Targets`; its keywords are the objective's settings. It returns an `Objective`, and imports
torch only then. Its module also has what is known without torch: `MEASURED` names its metrics, `claims` says why
targets as a file holds them are of this objective, `read` makes an array and `Targets` of them, and `fit` what a model
is trained on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lrtrain.configs import choices
from lrtrain.errors import RequestError
from lrtrain.objectives.building import Objective
from lrtrain.objectives.targets import Encoded, Raw, Targets
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import bind, check_choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AUTO", "Objective", "Raw", "Targets", "choose", "fit", "function", "measured", "objective", "read"]

AUTO = "auto"
"""The choice that leaves it to the targets."""


def function(name: str) -> Callable[..., Any]:
    """The function whose signature declares an objective's settings.

    Raises:
        SettingError: There is no such objective.
    """
    check_choice("objective", name, choices("objective"))
    return getattr(_module(name), name)  # type: ignore[no-any-return]


def objective(name: str, **settings: Any) -> Bound:
    """An objective with its settings; `make(targets)` builds the `Objective`.

    Raises:
        SettingError: There is no such objective, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, "objective."))


def measured(name: str) -> list[str]:
    """The metrics that an objective measures by itself, beside the loss; of auto, those of all."""
    names = [other for other in choices("objective") if other != AUTO] if name == AUTO else [name]
    return [metric for each in names for metric in _module(each).MEASURED]


def choose(raw: Raw, asked: str | None = None) -> tuple[str, str]:
    """The objective of targets as a file holds them, and why it is that.

    Raises:
        RequestError: None fits.
    """
    if asked:
        return asked, _module(asked).claims(raw) or "is asked for"
    for name in choices("objective"):
        if name != AUTO and (why := _module(name).claims(raw)):
            return name, str(why)
    raise RequestError(f"{raw.what} hold names and numbers: several targets must all be numbers, or zeros and ones")


def read(name: str, raw: Raw, known: Targets | None = None) -> Encoded:
    """What an objective makes of targets as a file holds them: an array with a row for each, and what it means.

    Args:
        name: Of the objective.
        raw: The targets.
        known: What a run's targets were that comes back to them.

    Raises:
        RequestError: They are not of this objective, or not what the run's were.
    """
    return _module(name).read(raw, known)  # type: ignore[no-any-return]


def fit(values: NDArray[Any], train: NDArray[np.int64], targets: Targets) -> Encoded:
    """What a model is trained on, as the training split has it, or as a run had it.

    Args:
        values: As `read` has returned them.
        train: Which of them are trained on.
        targets: What they mean.

    Raises:
        RequestError: Nothing can be learned of them.
    """
    return _module(targets.objective).fit(values, train, targets)  # type: ignore[no-any-return]


def _module(name: str) -> Any:
    return importlib.import_module(f"lrtrain.objectives.{name}")
