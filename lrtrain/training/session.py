"""A training that can be held: built, fitted, paused, tested, and summed up."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from lrtrain import __version__, loggers
from lrtrain.callbacks import make_callbacks
from lrtrain.datasets import Identity, Read, read
from lrtrain.errors import DivergedError, InterruptedRunError, RequestError, first_line, of_values
from lrtrain.evidence.diagnosis import Finding, Run, as_command, diagnose, told
from lrtrain.loggers.run_logger import RunLogger
from lrtrain.objectives import objective
from lrtrain.parameters.bound import plain
from lrtrain.parameters.spans import Span, SpanLike
from lrtrain.plan.changes import WEIGHTS_ONLY, check_devices, go_on
from lrtrain.plan.curve import plan_run, warn_of
from lrtrain.plan.history import Segment, as_of, read_data, read_history, write_history
from lrtrain.plan.length import steps_per_epoch
from lrtrain.plan.start import FRESH, Start
from lrtrain.process import ranks, signals
from lrtrain.process.commit import commit_of
from lrtrain.records.folders import read_series
from lrtrain.report.text_plot import text_plot, wants_log
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import GOOD, Summary
from lrtrain.schedules import updates
from lrtrain.settings import Settings
from lrtrain.training.averaging import build_averaging
from lrtrain.training.checkpoints import Cadence, Judge, LastAndBest, PausedRunError, Sharers
from lrtrain.training.configure_optimizers import Scheduled, scheduler_of
from lrtrain.training.data import Data, build_data, check_measuring, check_samples, describe_data, unrecorded
from lrtrain.training.early_findings import EarlyFindings
from lrtrain.training.early_stop import EarlyStop
from lrtrain.training.end_of_run import EndOfRun
from lrtrain.training.epoch_loop import take_plain_test
from lrtrain.training.faults import explained
from lrtrain.training.freezing import Freezing
from lrtrain.training.guard import DivergenceGuard, Rescale
from lrtrain.training.interruption import Interruption
from lrtrain.training.measures import check_single
from lrtrain.training.module import Supervised
from lrtrain.training.network import build_module
from lrtrain.training.population.kinds import why_alone
from lrtrain.training.private import children_observed
from lrtrain.training.progress_bar import RunBar
from lrtrain.training.ranks import RandomNumbers, SharedFolder
from lrtrain.training.rate_changes import Milestones
from lrtrain.training.record import Record, rates_of
from lrtrain.training.saved import Saved, check_moments, sound_checkpoint
from lrtrain.training.stretch import Stepper
from lrtrain.training.trainer import (
    build_trainer,
    check_fused,
    check_processes,
    count_devices,
    set_length,
    starts_processes,
)
from lrtrain.training.validation_feedback import ValidationFeedback

Say = Callable[[str], Any]

log = logging.getLogger("lrtrain")

OF_CONTENT = ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError
"""What Lightning runs into where a checkpoint holds what it should not."""

SHOWN = 4
"""Names in a line that could have any number of them."""

VERSIONS = {"lrtrain": __version__, **{name: version(name) for name in ("torch", "lightning", "hydra-core")}}
"""Of the packages; lrtrain may run from its sources without being installed."""


@dataclass(frozen=True)
class Ended:
    """How a call of `Session.fit` ended.

    Attributes:
        status: As in a summary, or ``paused``.
        by: What ended it: ``end``, ``early_stop``, a signal's name, ...
        error: What went wrong.
    """

    status: str
    by: str | None = None
    error: BaseException | None = None


class Session:
    """One run, from its first object to its summary.

    It is made by `open`, which writes nothing; what `fit` leaves in the folder is complete whenever it returns.

    Attributes:
        settings: Of the run.
        folder: Where it keeps what it leaves behind.
        plan: What the learning rate will do.
        data: On what it is trained.
        module: What is trained.
        trainer: By what.
    """

    def __init__(
        self,
        settings: Settings,
        folder: RunFolder,
        asked: Mapping[str, str],
        say: Say,
        stepper: Stepper | None,
        read: Read,
        sharers: Sharers,
    ) -> None:
        self.settings, self.folder, self.say = settings, folder, say
        if stepper is None and settings.compile and why_alone(settings) is None:
            from lrtrain.training.population.one import Whole  # few runs are compiled, and all wait for imports

            stepper = Whole()
        self._stepper, self._read, self._sharers = stepper, read, sharers
        self._asked = asked
        self._began, self._started = time.perf_counter(), datetime.now(UTC)
        self._paused = False
        self._loggers: list[RunLogger] = []

    @classmethod
    def open(
        cls,
        settings: Settings,
        folder: RunFolder,
        start: Start = FRESH,
        *,
        scale: float | None = None,
        asked: Mapping[str, str] | None = None,
        say: Say = print,
        stepper: Stepper | None = None,
        read: Read = read,
        sharers: Sharers | None = None,
    ) -> Session:
        """Build all that a run is made of; writes nothing.

        Args:
            settings: Of the run.
            folder: Its own.
            start: Where it starts from; at the first update if not said.
            scale: What the rates are multiplied by from here on, after a rollback.
            asked: The words of the command that asked for it, by name of the file that keeps them.
            say: Tells a person a line; there is a progress bar only where that is printed.
            stepper: Takes the updates where it can, instead of Lightning's loop.
            read: Reads the dataset.
            sharers: Runs that take turns in this process, none of which is watched by a person; None if it is alone.

        Raises:
            RequestError: Something cannot be built from the settings, the hardware is not there, or the checkpoint is
                not one of such a run.
        """
        session = cls(settings, folder, asked or {}, say, stepper, read, sharers or Sharers())
        session._build(start, scale)
        return session

    def _build(self, start: Start, scale: float | None = None) -> None:
        settings, self._start = self.settings, start
        pl.seed_everything(settings.seed, verbose=False)
        try:
            self._checkpoint = sound_checkpoint(start.folder) if start.folder else None
            bar = settings.trainer.enable_progress_bar and self.say is print and self._sharers.count == 1
            self._bar = RunBar(settings.log_every, bar, self.say)
            self.record = Record(self.folder, settings.log_every)
            self.checkpoints = LastAndBest(self.folder, settings.metric, Cadence(), self._sharers)
            patience, metric = settings.early_stop, settings.metric
            self._early_stop = EarlyStop(metric.name, metric.mode, patience) if patience else None
            callbacks = self._callbacks(scale)
            loggers.check_packages(settings.logger)
            others = [DummyLogger() for _ in settings.logger]  # which the first rank replaces when it begins
            self.trainer = build_trainer(settings, self.folder, callbacks, others, self._stepper)
            check_processes(self.trainer)
            check_fused(settings, self.trainer)
            devices = count_devices(self.trainer)
            self._segments = self._follow(steps_per_epoch(settings, devices))
            self.plan = plan_run(self._segments)
            self._odd = warn_of(settings, self.plan)
            set_length(self.trainer, self.plan.horizon.epochs)
            assert isinstance(settings.checkpoint_every, Span)
            goes_back = settings.guard.on_nonfinite == "rollback"
            self.checkpoints.cadence = Cadence.of(settings.checkpoint_every, self.plan.horizon, needed=goes_back)
            if self._early_stop and self._checkpoint:
                self._early_stop.anew = self._segments[-1].step == self._checkpoint.step
            self.data, self.identity, self._of_data = self._read_data()
            check_measuring(settings, self.data, devices)
            self._described = describe_data(settings, self.data)
            self.module = build_module(settings, self.plan, *self._described)
            if isinstance(self.module, Supervised) and isinstance(self.data, Data):
                check_single(self.module.objective, "validation", self.data.splits.validation)
                check_single(self.module.objective, "test", self.data.splits.test)
            optimizer = self.module.make_optimizer()
            self.module.make_scheduler(optimizer)
            if self._checkpoint:
                self.checkpoints.source = self._checkpoint
                with of_values():
                    _load(self._checkpoint, self.module, callbacks if start.resumes else [])
                if start.resumes:
                    check_moments(self._checkpoint, optimizer)
                    check_devices(settings, len(self._checkpoint.content["random"]), devices)
        except (OSError, MemoryError) as error:
            raise RequestError(str(error) or "out of memory") from error
        except (ValueError, MisconfigurationException) as error:  # what is said of values, ours or a user's
            raise RequestError(first_line(error)) from error

    def _callbacks(self, scale: float | None) -> list[pl.Callback]:
        settings, metric = self.settings, self.settings.metric
        found = [SharedFolder(self.folder), *build_averaging(settings.optimizer, settings.ema), EndOfRun()]
        found += [Freezing(), DivergenceGuard(metric.name), ValidationFeedback(metric.name), self.record]
        found += [EarlyFindings(self._judged)] if settings.diagnosis and self._sharers.count == 1 else []
        found += [Milestones(settings.strategy), *([self._early_stop] if self._early_stop else [])]
        self.checkpoints.of_user = make_callbacks(settings.callbacks)
        found += self.checkpoints.of_user
        found += [self._bar, RandomNumbers(), Interruption(), self.checkpoints]
        return found if scale is None else [*found, Rescale(scale)]  # after the feedback, which may begin anew

    def _follow(self, length: int) -> list[Segment]:
        """The plans that the run has been given with the present one."""
        if not (self._start.resumes and self._start.folder and self._checkpoint):
            return [Segment(self.settings, length)]
        step = self._checkpoint.step
        before = as_of(read_history(self._start.folder.history), step)
        return go_on(before, self.settings, self._start.policy, step, length)

    def _read_data(self) -> tuple[pl.LightningDataModule, Identity | None, list[str]]:
        """The data, what is recorded of it, and what there is to say of that.

        Raises:
            RequestError: A run that goes on would go on with data that means something else, or with other samples.
        """
        settings, start = self.settings, self._start
        known = read_data(start.folder) if start.folder else None
        said = []
        try:
            data = build_data(settings, known, self._read)
        except RequestError as error:
            if known is None or start.resumes:
                raise
            data = build_data(settings, None, self._read)
            said.append(f"warning: the weights that this run begins with were of other data: {error}")
        if not isinstance(data, Data):
            unknown = f"whether {settings.dataset.parameters['function']} gives the same samples cannot be known here"
            return data, None, [unknown] * start.resumes
        identity = data.splits.identity()
        if known and start.resumes:
            check_samples(known, identity, f"give {WEIGHTS_ONLY}")
            said += unrecorded(known)
        return data, identity, said

    def announce(self) -> list[str]:
        """What is said at the start: from where, what the rate will do, what is told, and what is odd about it."""
        settings, lines = self.settings, []
        if self._checkpoint:
            verb = "going on" if self._start.resumes else "beginning"
            lines.append(f"{verb} from {self._checkpoint.path}, update {self._checkpoint.step:,}")
            if self._start.resumes and self._checkpoint.step and not self._has_rows():
                lines.append(f"warning: what was recorded before is lost: {self.folder.metrics} has no row of it")
        if isinstance(self.data, Data):
            lines += [f"{settings.dataset.name}: {self.data.splits.sentence()}", *self.data.splits.remarks]
        lines += self._of_data
        if not settings.is_built_in:
            ours = f"optimizer={settings.optimizer.name} and scheduler={settings.scheduler}"
            lines.append(f"{ours} replace configure_optimizers of {settings.model.parameters['function']}")
        if still := [name for name, parameter in self.module.named_parameters() if not parameter.requires_grad]:
            still = [name.removeprefix("model.") if settings.is_built_in else name for name in still]
            shown = ", ".join([*still[:SHOWN], *([f"... ({len(still)} in all)"] if len(still) > SHOWN else [])])
            lines.append(f"not updated, as they do not require gradients: {shown}")
        lines.append(self.plan.sentence())
        if isinstance(self.module, Supervised):
            why = self.data.splits.why if isinstance(self.data, Data) else ""
            lines += [self.module.objective.sentence(why), *self.module.objective.remarks]
        return [*lines, *(f"warning: {line}" for line in self._odd)]

    def _has_rows(self) -> bool:
        """Whether there is a record of a run that goes on: a line below the names of its columns."""
        path = self.folder.metrics
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return any(islice(file, 1, 2))

    def fit(self, until: SpanLike | Judge | None = None) -> Ended:
        """Train to the end, or until a position in the run: then at the first update that it can go on from exactly.

        Or until a judge says so, who is asked after each validation. A run that has paused goes on by another call, as
        if it had not stopped; its curve is the same in any case.

        Raises:
            RequestError: Lightning finds a setting wrong, or the folder cannot be written; nothing is left behind.
        """
        if self._paused:
            self._build(Start.resume(self.folder))
        if callable(until):
            self.checkpoints.judge = until
        else:
            self.checkpoints.until = None if until is None else updates(until, self.plan.horizon.at(0))
        self._paused = False
        self._begin()
        try:
            with self._others(), children_observed():
                path = str(self._checkpoint.path) if self._checkpoint and self._start.resumes else None
                self.trainer.fit(self.module, self.data, ckpt_path=path, weights_only=True)
            ended = self._done()
        except PausedRunError:
            self._paused = True
            ended = Ended("paused")
        except RequestError:
            self._withdraw()
            raise
        except BaseException as error:
            ended = self.explain(error)
        if ended.status not in GOOD:  # else there is a test to be logged
            self._close_loggers(ended.status)
        return ended

    def _others(self) -> AbstractContextManager[None]:
        """What is around the training where other processes of it have to be started."""
        if not starts_processes(self.trainer):
            return nullcontext()
        source = self._start.folder
        return ranks.starting(self.folder.path, source.path if source else None, self._start.resumes)

    def _begin(self) -> None:
        """Write what was asked for, once all is known to fit."""
        if not self.trainer.is_global_zero:
            return
        commit_of(Path.cwd())  # as it is when the run begins
        try:
            self.folder.check_files()
            if not self.folder.begun:
                self.folder.write_request(self._asked, anew=not self._start.resumes)
                write_history(self.folder.history, self._segments, self.identity)
            going_on = self._checkpoint if self._start.resumes else None
            if going_on is None:
                self.folder.clear()
            self._open_loggers()
            for logger in self._loggers:
                if going_on:
                    logger.drop_from(going_on.step, self.record.is_new)
        except RequestError:
            self._withdraw()
            raise
        except OSError as error:
            self._withdraw()
            raise RequestError(f"cannot write to {self.folder.path} ({error.strerror}); nothing was begun") from error

    def _open_loggers(self) -> None:
        settings, folder = self.settings, self.folder
        name = folder.path.name if folder.sweep else settings.name or folder.path.name
        axes = {"epoch": Fraction(1, self.plan.horizon.steps_per_epoch), "samples": Fraction(settings.batch)}
        subject = loggers.Subject(folder, name, settings.tags, self._describe(), settings.plain(), axes)
        for each in settings.logger:
            self._loggers.append(each.make(subject))
        self.trainer.loggers = list(self._loggers)

    def _close_loggers(self, status: str) -> None:
        """Close the loggers at an end of the run, which it does not depend on that they can be closed."""
        opened, self._loggers = self._loggers, []
        for logger in opened:
            try:
                logger.end(status)
            except Exception as error:  # of a service, a network or a disk
                log.warning("logger %s could not be closed: %s", type(logger).__name__, error)

    def _withdraw(self) -> None:
        """Undo what was written of a run that did not begin to train."""
        self._close_loggers("failed")
        self.folder.withdraw()

    def _describe(self) -> str:
        """The plan in a sentence, and its curve made of characters."""
        total = self.plan.horizon.total_steps
        rates = [self.plan.rate(step) for step in range(0, total, max(1, total // 1000))]
        drawn = text_plot({"lr": rates}, self.plan.horizon.epochs, 80, log=wants_log([rates]), unicode=True)
        return "\n".join([f"{self.plan.sentence()}\n", *(f"    {line}" for line in drawn)])

    def _done(self) -> Ended:
        """Refuse to call a run finished that has not measured anything; say what ended it.

        Raises:
            RequestError: Nothing was left to do that would have measured anything.
            RuntimeError: Something is wrong.
        """
        done, planned = scheduler_of(self.trainer).last_epoch, self.plan.horizon.total_steps
        if not self.checkpoints.best:
            if self._start.resumes and self._checkpoint and self._checkpoint.step == done:
                raise RequestError(
                    f"no update is left, so that no best weights by {self.settings.monitor} will be found: give more "
                    "epochs, or start over without resume"
                )
            raise RuntimeError(f"the run ended before its first validation that logs {self.settings.monitor}")
        if done >= planned:
            return Ended("finished", "end")
        if self._early_stop and self._early_stop.wait_count >= self._early_stop.patience:
            return Ended("finished", "early_stop")
        if not self.trainer.should_stop:
            raise RuntimeError(f"the run ended after {done:,} of its {planned:,} updates, and nothing had stopped it")
        left = [each.time_remaining() for each in self.checkpoints.of_user if isinstance(each, Timer)]
        timed = "max_time" in self.settings.trainer.others or any(time is not None and time <= 0 for time in left)
        return Ended("stopped", "max_time" if timed else "trainer")

    def explain(self, error: BaseException) -> Ended:
        """How the run has ended by an error.

        Raises:
            RequestError: It had not begun, and Lightning or a checkpoint's content was the reason.
        """
        reason = explained(error, self.folder, self.trainer.world_size)
        if not self.folder.begun:
            if isinstance(reason, InterruptedRunError):
                self._withdraw()
                raise reason
            if reason is error:
                self._refuse(error)
        if reason is not error:
            reason.__cause__ = error
        if isinstance(reason, InterruptedRunError):
            return Ended("interrupted", signals.name_of(reason.signum), reason)
        return Ended("diverged" if isinstance(reason, DivergedError) else "failed", "error", reason)

    def _refuse(self, error: BaseException) -> None:
        """Raise RequestError for what Lightning finds wrong before it trains: a setting, or what a checkpoint holds."""
        said = None
        if isinstance(error, MisconfigurationException):
            said = first_line(error)
        elif self._checkpoint and self._start.resumes and isinstance(error, OF_CONTENT):
            what = f"{type(error).__name__}: {first_line(error)}"
            said = f"{self._checkpoint.path} is not a valid lrtrain checkpoint ({what}): start over"
        if said:
            self._withdraw()
            raise RequestError(said) from error

    def test(self, checkpoint: Path) -> dict[str, float]:
        """Test the weights of a checkpoint of this run; what a user's module or data has no test for is left out."""
        if not is_overridden("test_step", self.module) or not is_overridden("test_dataloader", self.data):
            return {}
        module = self._restored(checkpoint)
        if take_plain_test(self.trainer, module, self.data):
            assert isinstance(module, Supervised), "only these are tested so"
            return {f"test_{name}": float(value.mean()) for name, value in module.test.compute()}
        self.trainer.test(module, self.data, verbose=False)
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def _restored(self, checkpoint: Path) -> Scheduled:
        """The module with a checkpoint's weights.

        Not by Lightning's ckpt_path, which would set the callbacks back to when the weights were saved.
        """
        if checkpoint == self.folder.last_checkpoint and self.checkpoints.has_saved and self.trainer.world_size == 1:
            return self.module  # which has them
        whole = isinstance(self.trainer.strategy, FSDPStrategy)  # it leaves a module in shards, not to be used again
        module = build_module(self.settings, self.plan, *self._described) if whole else self.module
        if whole or self.trainer.is_global_zero:  # the others are given the weights of the first rank
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
            module.load_state_dict(content["state_dict"])
        return module

    def conclude(self, ended: Ended) -> Summary:
        """Test the final and the best weights of a run that has come to its end, and write the summary."""
        summary = self._concluded(ended)
        self._close_loggers(summary.status)
        return summary

    def _concluded(self, ended: Ended) -> Summary:
        final, best = dict(self.record.last_metrics), dict(self.checkpoints.best)
        try:
            if ended.status in ("finished", "stopped"):
                tested = self.test(self.folder.last_checkpoint)
                same = best["step"] == scheduler_of(self.trainer).last_epoch
                final |= tested
                best |= tested if same else self.test(self.folder.best_checkpoint)
                signals.defer()  # only the writing down is left
                if self.trainer.is_global_zero:
                    self._log_result(final, best)
                return self._write(self.summarise(ended, final, best))
        except BaseException as error:
            ended = self.explain(error)
        try:
            return self._write(self.summarise(ended, final, best))
        except OSError:  # what went wrong before is to be said
            return self.summarise(ended, final, best)
        except RuntimeError as late:  # torch says that a worker was lost in whatever goes on when it hears of it
            return self._write(self.summarise(self.explain(late), final, best))

    def _log_result(self, final: Mapping[str, float], best: Mapping[str, float]) -> None:
        self.record.add_test(self.trainer, final)
        shown = dict.fromkeys((self.settings.monitor, *best))
        metrics = {f"best/{name}": best[name] for name in shown if name.startswith(("val_", "test_"))}
        for logger in self._loggers:
            logger.log_result(self.settings.plain(), metrics, scheduler_of(self.trainer).last_epoch - 1)

    def summarise(self, ended: Ended, final: Mapping[str, float], best: Mapping[str, float]) -> Summary:
        """What has come of the run so far."""
        configs = self.trainer.lr_scheduler_configs  # none yet where the run failed before it began
        scheduler = scheduler_of(self.trainer) if configs else None
        steps = scheduler.last_epoch if scheduler else 0
        used = list(rates_of(scheduler).values()) if scheduler and scheduler.used_lrs else [self.record.last_rate]
        horizon, now, files = self.plan.horizon, datetime.now(UTC), self.folder
        kept = (files.last_checkpoint, files.best_checkpoint)
        return Summary(
            status=ended.status,
            ended_by=ended.by,
            error=str(ended.error) or type(ended.error).__name__ if ended.error else None,
            strategy=self.plan.strategy,
            schedule=self.plan.sentence(),
            seed=self.settings.seed,
            steps=steps,
            epochs=horizon.epochs if steps == horizon.total_steps else math.floor(steps / horizon.steps_per_epoch),
            wall_s=round((time.perf_counter() - self._began) / self._sharers.count, 3),
            started=self._started.isoformat(timespec="seconds"),
            ended=now.isoformat(timespec="seconds"),
            host=socket.gethostname(),
            commit=commit_of(Path.cwd()),
            command=as_command(self.folder.words, "") if self.folder.has_words else None,
            parameters=sum(parameter.numel() for parameter in self.module.parameters()),
            lr={"first": self.record.first_rate, "last": used[0]},
            monitor=self.settings.monitor,
            best=dict(best),
            final=dict(final),
            checkpoints={file.stem: str(file.relative_to(files.path)) for file in kept if file.exists()},
            versions=VERSIONS,
            data=plain(self.identity) if self.identity else {},
            findings=tuple(finding._asdict() for finding in self._findings(ended.status, steps)),
            config=self.settings.plain(),
            folder=files.path,
            exception=ended.error,
        )

    def _findings(self, status: str, steps: int) -> list[Finding]:
        """What the curves of the run tell, and what was odd about its plan."""
        found = told(diagnose(self._judged(status, steps)), self.folder.words, self.folder.path)
        if not self.settings.diagnosis:
            found = [finding for finding in found if finding.name == "schedule_unfinished"]
        return [*found, *(Finding("warning", line) for line in self._odd)]

    def _judged(self, status: str, steps: int) -> Run:
        """What the diagnosis sees of the run."""
        usual = self.settings.objective == objective(self.settings.objective.name)  # its loss is the entropy
        settings = self.settings
        trainer, feedback = settings.trainer, self.plan.feedback
        return Run(
            curves=read_series(self.folder) if settings.diagnosis and self.trainer.is_global_zero else {},
            status=status,
            steps=steps,
            planned=self.plan.horizon.total_steps,
            lr=settings.lr,
            chance=self.data.splits.chance() if isinstance(self.data, Data) and usual else None,
            clip=trainer.gradient_clip_val if trainer.gradient_clip_algorithm == "norm" else None,
            feedback=feedback.name if feedback else None,
            patience=feedback.parameters.get("patience") if feedback else None,
        )

    def _write(self, summary: Summary) -> Summary:
        """Write it, where anything of the run is there."""
        files = self.folder
        begun = files.has_checkpoint or files.metrics.exists() or summary.status != "interrupted"
        if self.trainer.is_global_zero and begun:
            summary.write(files.summary)
            files.begun = True
        return summary


def _load(checkpoint: Saved, module: Scheduled, callbacks: list[pl.Callback]) -> None:
    """Load a checkpoint's weights and callbacks; Lightning loads all the rest, once it is known that these fit."""
    try:
        module.load_state_dict(checkpoint.content["state_dict"])
    except RuntimeError as error:
        said = str(error).partition("\n")[2].strip().partition("\n")[0] or str(error)
        raise RequestError(f"the weights of {checkpoint.path} do not fit the model: {said}") from error
    try:
        for callback in callbacks:
            if callback.state_key in checkpoint.content["callbacks"]:
                callback.load_state_dict(checkpoint.content["callbacks"][callback.state_key])
    except KeyError as error:
        raise RequestError(
            f"{checkpoint.path} has no {error}, as another version of lrtrain wrote it: go on with that version, or "
            "start over with resume_plan=weights_only"
        ) from error
    except RequestError:
        raise
    except OF_CONTENT as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise RequestError(f"{checkpoint.path} is not a valid lrtrain checkpoint ({said}): start over") from error
