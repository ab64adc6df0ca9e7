"""Where a run is logged, besides its own `metrics.csv`: one function a logger, named as in the configuration.

A function is given what is logged; its keywords are the logger's settings. It opens one of Lightning's loggers, with
the methods of `RunLogger`, or raises RequestError where that cannot be done. It imports its package when it is called.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.rules import Address, OrNull, Text
from lrtrain.parameters.signatures import bind, check_choice
from lrtrain.run_folder.folder import RunFolder

if TYPE_CHECKING:
    from lrtrain.loggers.run_logger import RunLogger

__all__ = ["Subject", "check_packages", "csv", "function", "logger", "mlflow", "tensorboard", "wandb"]


OptionalName = Annotated[str | None, OrNull(Text("a name"))]


class Subject(NamedTuple):
    """What is logged.

    Attributes:
        folder: Of the run; the ids by which it is known elsewhere are kept there.
        name: Of the run.
        tags: Words to find it by.
        description: The plan and its curve, in Markdown.
        config: The settings, as plain values.
        axes: What an update advances other axes by, by their names.
    """

    folder: RunFolder
    name: str
    tags: Sequence[str]
    description: str
    config: Mapping[str, Any]
    axes: Mapping[str, Fraction] = {}


def tensorboard(subject: Subject, /) -> RunLogger:
    """TensorBoard's event file, in the run's folder."""
    from lrtrain.loggers.event_file import EventFile

    return EventFile(subject)


def csv(subject: Subject, /) -> RunLogger:
    """Lightning's CSVLogger, in the run's folder: csv_log/metrics.csv, and hparams.yaml beside it."""
    from lrtrain.loggers.csv_file import CSVFile

    return CSVFile(subject)


def wandb(
    subject: Subject, /, *, project: Annotated[str, Text("a name")] = "lrtrain", entity: OptionalName = None
) -> RunLogger:
    """Weights & Biases: offline, in the run's folder, for `wandb sync`; or as WANDB_MODE says.

    Args:
        project: of the run
        entity: whose project it is; null: yours
    """
    from lrtrain.loggers.wandb_run import WandbRun

    return WandbRun(subject, project, entity)


def mlflow(
    subject: Subject,
    /,
    *,
    experiment: Annotated[str, Text("a name")] = "lrtrain",
    tracking_uri: Annotated[str | None, OrNull(Address())] = None,
) -> RunLogger:
    """MLflow: mlflow.db in the run's folder, or where MLFLOW_TRACKING_URI or `tracking_uri` says.

    Args:
        experiment: of the run
        tracking_uri: such as http://host:5000 or sqlite:///mlflow.db; passwords are told by MLFLOW_TRACKING_PASSWORD
    """
    from lrtrain.loggers.mlflow_run import MLFlowRun

    return MLFlowRun(subject, experiment, tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"))


KINDS: Mapping[str, Callable[..., RunLogger]] = {made.__name__: made for made in (tensorboard, csv, wandb, mlflow)}
"""By name."""

PACKAGES = {"wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy")}
"""What a logger needs that does not come with lrtrain."""


def function(name: str) -> Callable[..., RunLogger]:
    """The function whose signature declares a logger's settings.

    Raises:
        SettingError: There is no such logger.
    """
    check_choice("logger", name, tuple(KINDS))
    return KINDS[name]


def logger(name: str, **settings: Any) -> Bound:
    """A logger with its settings; `make(subject)` opens it.

    Raises:
        SettingError: There is no such logger, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, f"logger.{name}."))


def check_packages(loggers: Sequence[Bound]) -> None:
    """Refuse a logger whose package is not here; raises RequestError."""
    for each in loggers:
        if missing := [name for name in PACKAGES.get(each.name, ()) if not importlib.util.find_spec(name)]:
            needed = " and ".join(missing)
            raise RequestError(f'logger={each.name} needs {needed}: pip install "lrtrain[{each.name}]"')
