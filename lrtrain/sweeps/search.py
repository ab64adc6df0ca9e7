"""Which settings a search tries next: Optuna's samplers, asked one job at a time and told only by the job folders."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lrtrain.errors import RequestError
from lrtrain.run_folder.sweep_folder import PlannedJob, Standing
from lrtrain.settings import Metric
from lrtrain.sweeps.grid import by_key, name_job

if TYPE_CHECKING:
    import optuna

TRIES = 100
"""How often settings are drawn again that a job has had already, before one is taken from what is left."""
ROUNDS = 4
"""Batches of a sampler that learns from those before, where the jobs of one train together."""
DIGITS = 4
"""Of a drawn number, as fine as its range needs: it is part of a folder's name."""


class Axis(NamedTuple):
    """The values that a search may give a key: some words, or the numbers between two.

    Attributes:
        values: The words; empty where any number will do.
        ordered: They are numbers, the smallest first.
        low: The smallest number.
        high: The largest one.
        log: Draw by the logarithm.
        integer: Whole numbers only.
    """

    values: Sequence[str] = ()
    ordered: bool = False
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False

    @property
    def size(self) -> float:
        """How many values there are."""
        if self.values:
            return len(self.values)
        return self.high - self.low + 1 if self.integer else math.inf if self.low < self.high else 1

    @property
    def first(self) -> str:
        """One of the values, as a word has it."""
        return self.values[0] if self.values else self._word(self.low)

    def __str__(self) -> str:
        if self.values:
            return ", ".join(self.values)
        kind = ", ".join(name for name, is_so in (("whole numbers", self.integer), ("log", self.log)) if is_so)
        return f"{self._word(self.low)} to {self._word(self.high)}" + (f" ({kind})" if kind else "")

    def distribution(self) -> optuna.distributions.BaseDistribution:
        """As Optuna has it."""
        from optuna import distributions as known

        if self.ordered:
            return known.IntDistribution(0, len(self.values) - 1)
        if self.values:
            return known.CategoricalDistribution(self.values)
        if self.integer:
            return known.IntDistribution(int(self.low), int(self.high), log=self.log)
        return known.FloatDistribution(self.low, self.high, log=self.log)

    def draw(self, key: str, trial: optuna.Trial) -> str:
        """What a trial of Optuna's is to have for a key, as a word has it."""
        if self.ordered:
            return self.values[trial.suggest_int(key, 0, len(self.values) - 1)]
        if self.values:
            return trial.suggest_categorical(key, self.values)
        if self.integer:
            return self._word(trial.suggest_int(key, int(self.low), int(self.high), log=self.log))
        return self._word(trial.suggest_float(key, self.low, self.high, log=self.log))

    def drawn(self, word: str) -> str | float:
        """What Optuna had drawn for a word."""
        return self.values.index(word) if self.ordered else word if self.values else float(word)

    @property
    def all(self) -> Sequence[str]:
        """All values, where these can be counted."""
        return self.values or [self._word(number) for number in range(int(self.low), int(self.high) + 1)]

    def _word(self, number: float) -> str:
        if self.integer:
            return str(int(number))
        width, largest = self.high - self.low, max(abs(self.low), abs(self.high))
        finer = max(0, int(math.log10(largest / width))) if width else 0
        return repr(min(max(float(f"{number:.{DIGITS + finer}g}"), self.low), self.high))


class Branch(NamedTuple):
    """What is searched under one combination of choices, such as a strategy: the keys that these own.

    Attributes:
        words: That all its jobs have, the choices among them.
        axes: The keys that are searched.
    """

    words: Sequence[str]
    axes: Mapping[str, Axis]

    def job(self, values: Mapping[str, str]) -> list[str]:
        """The words of a job."""
        return [*self.words, *(f"{key}={value}" for key, value in values.items())]


class Space(NamedTuple):
    """All that a search may try.

    Attributes:
        choices: The keys that choose, such as ``scheduler``.
        branches: By the values of these.
    """

    choices: Mapping[str, Axis]
    branches: Mapping[tuple[str, ...], Branch]

    @classmethod
    def of(
        cls,
        words: Sequence[str],
        axes: Mapping[str, Axis],
        chooses: Callable[[str], bool],
        owned: Callable[[Sequence[str]], Sequence[str]],
    ) -> Space:
        """What the words of a sweep ask for.

        Args:
            words: Of all jobs; what they say of a key that is searched is not looked at.
            axes: The keys that are searched.
            chooses: Whether a key makes a choice, which other keys belong to.
            owned: Those of a job's words whose keys its choices own.
        """
        choices = {key: axis for key, axis in axes.items() if chooses(key)}
        fixed = {key: word for word in words if (key := word.partition("=")[0]) not in axes}
        first = {key: f"{key}={axis.first}" for key, axis in axes.items()}
        found = {}
        for values in itertools.product(*(axis.values for axis in choices.values())):
            chosen = {key: f"{key}={value}" for key, value in zip(choices, values, strict=True)}
            found[values] = {**fixed, **first, **chosen}
        mine = {values: set(owned(list(said.values()))) for values, said in found.items()}
        known = set().union(*mine.values())
        branches = {}
        for values, said in found.items():
            own = [key for key, word in said.items() if word in mine[values] or word not in known]
            searched = {key: axes[key] for key in own if key in axes and key not in choices}
            branches[values] = Branch([said[key] for key in own if key not in searched], searched)
        return cls(choices, branches)

    @property
    def size(self) -> float:
        """How many settings there are."""
        return sum(math.prod(axis.size for axis in branch.axes.values()) for branch in self.branches.values())

    @property
    def probes(self) -> list[list[str]]:
        """The words of a job of each branch."""
        return [branch.job({key: axis.first for key, axis in branch.axes.items()}) for branch in self.branches.values()]

    def all(self) -> Iterator[list[str]]:
        """The words of all jobs, where these can be counted."""
        for branch in self.branches.values():
            for values in itertools.product(*(axis.all for axis in branch.axes.values())):
                yield branch.job(dict(zip(branch.axes, values, strict=True)))


class Search(NamedTuple):
    """A search; it remembers nothing, as what the jobs of a sweep say decides what comes next.

    Attributes:
        sampler: ``tpe`` or ``random``.
        trials: How many jobs there are to be.
        space: What may be tried.
        metric: By which settings are judged.
        seed: With a trial's number, of what is drawn for it.
    """

    sampler: str
    trials: int
    space: Space
    metric: Metric
    seed: int

    @property
    def batch(self) -> int:
        """How many jobs it proposes at once where these train together."""
        return self.trials if self.sampler == "random" else math.ceil(self.trials / ROUNDS)

    def propose(self, jobs: Sequence[PlannedJob], standings: Sequence[Standing]) -> PlannedJob:
        """The next job, with settings that no job has had.

        Args:
            jobs: That there are.
            standings: How these stand.
        """
        words, width = self._next(jobs, standings), len(str(self.trials - 1))
        if jobs:
            width = len(jobs[0].name.partition("_")[0])
        axes = [self.space.choices, *(branch.axes for branch in self.space.branches.values())]
        keys = dict.fromkeys(key.lstrip("+") for each in axes for key in each)
        return PlannedJob(len(jobs), name_job(len(jobs), width, words, list(keys)), words)

    def _next(self, jobs: Sequence[PlannedJob], standings: Sequence[Standing]) -> list[str]:
        study = new_study(self.metric)
        study.add_trials([self._told(*pair) for pair in zip(jobs, standings, strict=True)])
        known, seed = {frozenset(job.words) for job in jobs}, (self.seed, len(jobs))
        for attempt in range(TRIES):
            study.sampler = _sampler("random" if attempt else self.sampler, (*seed, attempt))
            words = self._draw(study.ask())
            if frozenset(words) not in known:
                return words
        left = [words for words in self.space.all() if frozenset(words) not in known]
        return random.Random(str(seed)).choice(left)  # noqa: S311

    def _draw(self, trial: optuna.Trial) -> list[str]:
        choices = tuple(axis.draw(key, trial) for key, axis in self.space.choices.items())
        branch = self.space.branches[choices]
        return branch.job({key: axis.draw(key, trial) for key, axis in branch.axes.items()})

    def _told(self, job: PlannedJob, standing: Standing) -> optuna.trial.FrozenTrial:
        """A job as a trial of Optuna's."""
        from optuna import trial

        said = by_key(job.words)
        branch = self.space.branches[tuple(said[key] for key in self.space.choices)]
        axes = {**self.space.choices, **branch.axes}
        state, value = outcome_of(standing, self.metric)
        steps = standing.summary.steps if standing.summary else 0  # the further one came, the more it counts
        return trial.create_trial(
            state=trial.TrialState[state],
            value=value,
            params={key: axis.drawn(said[key.lstrip("+")]) for key, axis in axes.items()},
            distributions={key: axis.distribution() for key, axis in axes.items()},
            intermediate_values={steps: value} if state == "PRUNED" and value is not None else {},
        )


def outcome_of(standing: Standing, metric: Metric) -> tuple[str, float | None]:
    """What a job is to Optuna, and its value: what has diverged has the worst, and what failed says nothing."""
    summary, worst = standing.summary, metric.worst
    if standing.state == "failed":
        return "FAIL", None
    if standing.state == "diverged":
        return "COMPLETE", worst
    if summary is None or not (summary.is_good or standing.state == "pruned"):
        return "RUNNING", None
    value = summary.best.get(metric.name)
    known = worst if value is None or not math.isfinite(value) else value
    return ("PRUNED" if standing.state == "pruned" else "COMPLETE"), known


def new_study(metric: Metric, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    """An empty study, in memory."""
    import optuna

    return optuna.create_study(
        study_name="lrtrain", direction="maximize" if metric.mode == "max" else "minimize", pruner=pruner
    )


def _sampler(name: str, seeds: tuple[int, int, int]) -> optuna.samplers.BaseSampler:
    import numpy as np
    from optuna import exceptions, samplers

    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    if name == "random":
        return samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():  # what belongs to one strategy only is a group of its own
        warnings.simplefilter("ignore", exceptions.ExperimentalWarning)
        return samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def load_optuna() -> None:
    """Import Optuna, which is an extra, and have it say less; raises RequestError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise RequestError('search= needs Optuna: pip install "lrtrain[search]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
