"""task=train: train a model under the strategy, and keep what came of it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping

from lrtrain import build
from lrtrain.errors import DivergedError, RequestError
from lrtrain.report.table import print_result
from lrtrain.runs import RunFolder
from lrtrain.schedules import Plan
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.guard import DivergenceGuard
from lrtrain.training.loggers import EventFile
from lrtrain.training.module import Classifier
from lrtrain.training.progress_bar import RunBar
from lrtrain.training.record import TEST, Record
from lrtrain.training.scheduling import ValidationFeedback

Config = Mapping[str, Any]


def run(config: Config, folder: RunFolder) -> float:
    """Train, test the final and the best weights, write the summary, and print a short table.

    Returns:
        The best value of the monitored metric; always finite.

    Raises:
        RequestError: The objects cannot be built from the configuration, or the hardware is not there.
        DivergedError: The loss was no longer finite.
    """
    _quiet()
    pl.seed_everything(config["seed"], verbose=False)
    checkpoints = LastAndBest(folder, config["monitor"], build.metric_mode(config))
    record = Record(folder, config["log_every"])
    callbacks: list[pl.Callback] = [
        DivergenceGuard(),
        ValidationFeedback(config["monitor"]),
        record,
        checkpoints,
    ]
    if config["early_stop"]:
        mode = build.metric_mode(config)
        callbacks.append(EarlyStopping(config["monitor"], patience=config["early_stop"], mode=mode))
    if config["trainer"]["enable_progress_bar"]:
        callbacks.append(RunBar(config["log_every"]))
    try:
        trainer = build.trainer(config, folder, callbacks)
        plan = build.plan(config, trainer.num_devices * trainer.num_nodes)
        data = build.data(config)
        inputs = data.splits.train[0]
        module = build.module(config, plan, inputs.shape[1:], data.splits.classes)
        module.make_scheduler(module.make_optimizer())
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise RequestError(str(error).strip().splitlines()[0]) from error

    trainer.print("\n".join([plan.sentence(), *(f"warning: {line}" for line in build.warnings(config, plan))]))
    summary = _Summary(config, folder, plan, record, checkpoints, trainer)
    try:
        trainer.fit(module, data)
        if not checkpoints.best:
            raise RuntimeError("the run ended before its first validation: nothing was measured")
        final = {**record.last_metrics, **_test(trainer, module, data)}
        best = {**checkpoints.best, **_test(trainer, module, data, str(folder.best_checkpoint))}
    except RequestError:
        raise
    except BaseException as error:
        summary.write("diverged" if isinstance(error, DivergedError) else "failed", error=str(error))
        raise
    if trainer.is_global_zero:
        record.add_test({name: final[name] for name in TEST})
        if isinstance(trainer.logger, EventFile):
            metrics = {f"best/{name}": best[name] for name in ("val_loss", "val_acc", "test_acc")}
            trainer.logger.log_result(config, metrics, record.steps - 1)
        print_result(summary.write("finished", best, final), folder)
    return float(checkpoints.best[config["monitor"]])


class _Summary:
    """Collects and writes `summary.json`."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        plan: Plan,
        record: Record,
        checkpoints: LastAndBest,
        trainer: pl.Trainer,
    ) -> None:
        self.config, self.folder, self.plan = config, folder, plan
        self.record, self.checkpoints, self.trainer = record, checkpoints, trainer
        self.began = time.perf_counter()

    def write(
        self,
        status: str,
        best: Mapping[str, float] | None = None,
        final: Mapping[str, float] | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        """Write the summary as of now and return it."""
        steps = self.record.steps
        files = (self.folder.last_checkpoint, self.folder.best_checkpoint)
        summary = {
            "status": status,
            "error": error,
            "strategy": self.plan.strategy,
            "schedule": self.plan.sentence(),
            "seed": self.config["seed"],
            "steps": steps,
            "epochs": steps // self.plan.horizon.steps_per_epoch,
            "wall_s": round(time.perf_counter() - self.began, 3),
            "lr": {"first": self.record.first_rate, "last": self.record.last_rate},
            "monitor": self.config["monitor"],
            "best": dict(best or self.checkpoints.best),
            "final": dict(final or self.record.last_metrics),
            "checkpoints": {file.stem: str(file.relative_to(self.folder.path)) for file in files if file.exists()},
            "versions": {name: version(name) for name in ("lrtrain", "torch", "lightning", "hydra-core")},
            "config": self.config,
        }
        if self.trainer.is_global_zero:
            self.folder.write_summary(summary)
        return summary


def _test(
    trainer: pl.Trainer, module: Classifier, data: pl.LightningDataModule, checkpoint: str | None = None
) -> dict[str, float]:
    """Test the module's own weights, or those of a checkpoint."""
    trainer.test(module, data, ckpt_path=checkpoint, weights_only=True, verbose=False)
    return {name: float(trainer.callback_metrics[name]) for name in TEST}


def _quiet() -> None:
    """Keep Lightning's advice on other settings out of the user's sight; what concerns the run, we say ourselves."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
