"""What the curves of one run say of its learning rate: numbers in, findings out.

Each rule looks at one symptom and stays silent where the numbers that it needs are not there. `scripts/diagnosis.py`
trains runs that are wrong on purpose, and good ones, and counts how often each is named rightly.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Points = tuple[Floats, Floats]
"""Updates done, growing, and the values then."""

LATEST = 0.2
"""Share of a run where its record has begun at the latest: else what there is of the curves tells nothing."""
MOST = 3
"""Findings that are told, the most urgent first."""
LARGE_UPDATE = 0.03
"""Of the weights, by one update: more is too much for longer than a warm-up; around 1e-3 is usual."""
HUGE_UPDATE = 0.1
"""Too much for the usual one of a run, whatever its loss."""
LIVELY_UPDATE = 8e-3
"""Of the weights: more by the last updates, and the loss has not settled."""
SMALL_UPDATE = 1e-3
TINY_UPDATE = 5e-5
BARELY = 0.6
"""Of the norm of the weights: a training from random weights whose updates add up to less has hardly begun."""
TRIAL = 100
"""Updates: fewer add up to little at any rate."""
GROWTH = 8.0
"""Of the norm of the weights over a run."""
DEAD = 1e-6
"""Of the first gradient: a smaller one is none."""
FEWEST = 4
"""Measurements of which something is said."""


class Finding(NamedTuple):
    """Something odd about a run.

    Attributes:
        name: What it is, such as ``rate_too_high``.
        evidence: The numbers that say so, in a sentence.
        command: What to try; as `diagnose` returns it, the settings to change.
    """

    name: str
    evidence: str
    command: str = ""

    def sentence(self) -> str:
        """In a line or two."""
        return f"{self.name.replace('_', ' ')}: {self.evidence}" + (f"\n  try: {self.command}" if self.command else "")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of a run.

    Attributes:
        curves: What it recorded, by name: lr, train_loss, val_loss, grad_norm, update_ratio.
        status: As it ended.
        steps: Updates that it did.
        planned: Updates that it was to do; None where that is not known.
        lr: Its base rate; likewise.
        chance: The validation loss of what only knows how often each answer is right; likewise.
        clip: The gradient's norm that it was clipped at; likewise.
        feedback: The rule that looks at the validation, if there is one.
        patience: Of that rule.
    """

    curves: Mapping[str, Points] = field(default_factory=dict)
    status: str = "finished"
    steps: int = 0
    planned: int | None = None
    lr: float | None = None
    chance: float | None = None
    clip: float | None = None
    feedback: str | None = None
    patience: int | None = None

    def curve(self, name: str) -> Points:
        """A curve where it is a number; empty where there is none."""
        steps, values = self.curves.get(name, (np.array([]), np.array([])))
        steps, values = np.asarray(steps, np.float64), np.asarray(values, np.float64)
        known = np.isfinite(values)
        return steps[known], values[known]

    def has(self, *names: str) -> bool:
        """Whether there is enough of each of some curves."""
        return all(len(self.curve(name)[0]) >= FEWEST for name in names)

    @property
    def start(self) -> float:
        """The loss before the first update, or what is nearest to it."""
        for name in ("train_loss", "val_loss"):
            if len(values := self.curve(name)[1]):
                return float(values[0])
        return math.nan

    @property
    def growth(self) -> float:
        """The norm of the weights at the end over that at the beginning; NaN where it is not known."""
        changes, ratios = self.curve("update_norm")[1], self.curve("update_ratio")[1]
        if len(changes) != len(ratios) or len(ratios) < FEWEST or not (ratios > 0).all():
            return math.nan
        return float(changes[-1] / ratios[-1] / (changes[0] / ratios[0]))

    @property
    def update_at_peak(self) -> float:
        """The usual ratio of update and weights while the rate is high; NaN where it is not known."""
        (steps, rates), (at, ratios) = self.curve("lr"), self.curve("update_ratio")
        if not len(rates) or not len(ratios):
            return math.nan
        return _median(ratios[np.interp(at, steps, rates) > 0.5 * np.max(rates)])

    @property
    def moved(self) -> float:
        """The updates added up, however they point, over the norm of the weights; NaN where that is not known."""
        ratios = self.curve("update_ratio")[1]
        return float(np.mean(ratios)) * self.steps if len(ratios) >= FEWEST else math.nan

    @property
    def loss(self) -> Points:
        """The validation loss, or of a run without one the training loss."""
        return self.curve("val_loss" if self.has("val_loss") else "train_loss")

    def within(self, name: str, begin: float, end: float = 1.0) -> Floats:
        """The values of a curve between two shares of the run."""
        steps, values = self.curve(name)
        return values[(steps >= begin * self.steps) & (steps <= end * self.steps)]


def diagnose(run: Run) -> list[Finding]:
    """The findings of a run, the most urgent first; of several that have one cause only the first."""
    rates, _ = run.curve("lr")
    if len(rates) and rates[0] > LATEST * run.steps:  # what was recorded before it is lost
        run = replace(run, curves={})
    found: dict[str, Finding] = {}
    for rule in RULES:
        for name, evidence, changes in rule(run):
            if not HIDDEN_BY.get(name, set()) & found.keys():
                found.setdefault(name, Finding(name, evidence, changes))
    return list(found.values())[:MOST]


def diagnose_early(run: Run) -> list[Finding]:
    """What is wrong with a run that goes on, by the few rules that need not see its end."""
    found = [Finding(*said) for rule in EARLY for said in rule(run)]
    return found[:1]


def told(findings: Sequence[Finding], words: Sequence[str], folder: object) -> list[Finding]:
    """Findings with whole commands.

    Args:
        findings: As `diagnose` returns them.
        words: That the run was asked for by.
        folder: Of the run.
    """
    return [
        finding._replace(command=as_command(words, finding.command.replace("FOLDER", str(folder))))
        for finding in findings
    ]


def as_command(words: Sequence[str], changes: str) -> str:
    """The command of a run with other settings, or that goes on with it.

    Args:
        words: That it was asked for by.
        changes: What `diagnose` says to change.
    """
    changed = [word.partition("=")[0] for word in changes.split()]
    if "resume" in changed:
        return f"python -m lrtrain {changes}"
    own = [*changed, "task", "resume", "resume_plan", "hydra.run.dir", *(["lr"] if "task" in changed else [])]
    kept = [_bare(word) for word in words if word.partition("=")[0].lstrip("+~") not in own]
    return shlex.join(["python", "-m", "lrtrain", *kept, *changes.split()])


def _bare(word: str) -> str:
    """A word without the quotes around a path that needs none."""
    return re.sub(r"='([\w.-]*/[\w./-]*)'$", r"=\1", word)


Found = Iterator[tuple[str, str, str]]


def _dead(run: Run) -> Found:
    """No gradient reaches the weights."""
    if not run.has("grad_norm"):
        return
    late, first = run.within("grad_norm", 0.5), float(run.curve("grad_norm")[1][0])
    small = max(DEAD * first, 1e-12)
    if len(late) and np.median(late) <= small and _median(run.within("train_loss", 0.5)) > 0.5 * run.start:
        steps, norms = run.curve("grad_norm")
        since = int(steps[np.flatnonzero(norms <= small)[0]])
        yield (
            "dead_network",
            f"the gradient is {np.median(late):.2g} from update {since:,} on",
            _lower(run, "warmup=5%"),
        )


def _too_high(run: Run) -> Found:
    """The loss rises, or does not fall while the weights shoot about."""
    if run.status == "diverged":
        if run.steps:
            yield "rate_too_high", f"the loss diverged at update {run.steps:,}", _lower(run)
        return
    if not run.has("train_loss"):
        return
    start, late = run.start, _median(run.within("train_loss", 0.3))
    ratio = _median(run.within("update_ratio", 0.1))
    least = float(np.min(run.curve("train_loss")[1]))
    moves = f"one update changes the weights by {ratio:.1%}" if ratio == ratio else "the loss shoots about"
    if late > 1.05 * start or (late > 0.9 * start and ratio > LARGE_UPDATE):
        yield "rate_too_high", f"the training loss went from {start:.4g} to {late:.4g}; {moves}", _lower(run)
        return
    peak = float(np.max(_smooth(run.curve("train_loss")[1])))
    if peak > 2 * start and _worse_than(run, least):
        yield "rate_too_high", f"the training loss rose from {start:.4g} to {peak:.4g}; {moves}", _lower(run)
        return
    if run.growth > GROWTH and late > 0.3 * start:
        said = f"the weights grew to {run.growth:.2g} times their norm, and the training loss is still {late:.4g}"
        yield "rate_too_high", said, _lower(run)
        return
    losses, rates = run.loss[1], run.within("lr", 0.0)
    flat = len(rates) and rates[-1] > 0.3 * np.max(rates)
    if flat and ratio > HUGE_UPDATE:
        yield "rate_too_high", f"{moves}, to the end", _lower(run)
    elif (
        flat
        and ratio > LARGE_UPDATE
        and len(losses) >= FEWEST
        and _jumps(losses) > 0.15
        and _median(losses[1:]) > 0.15 * start
    ):
        yield "rate_too_high", f"the loss jumps by {_jumps(losses):.0%} between validations; {moves}", _lower(run)


def _too_low(run: Run) -> Found:
    """The loss crawls: it still falls at the end as it did in the middle, or is still high, by small updates."""
    steps, losses = run.loss
    if not run.has("train_loss", "lr") or len(losses) < FEWEST:
        return
    start, end, ratio = run.start, float(losses[-1]), run.update_at_peak
    middle, late = (float(np.interp(share * steps[-1], steps, losses)) for share in (0.5, 0.75))
    barely = run.steps >= TRIAL and run.moved < BARELY and end > 0.3 * start and _falls_as_it_moves(run)
    if end > 1.1 * start or (ratio > SMALL_UPDATE and not barely):
        return
    crawls = end > 0.95 * start or (middle - end > 0.2 * (start - end) and end > 0.35 * start)
    tiny = ratio < TINY_UPDATE and end > 0.35 * start
    falls = ratio < 4 * TINY_UPDATE and end < 0.97 * late
    if (crawls and not _is_gone(run, 0.5)) or tiny or falls or barely:
        size = f"; one update changes the weights by {ratio:.2g} of their norm" if ratio == ratio else ""
        said = f"the loss went from {start:.4g} to {end:.4g} in {run.steps:,} updates{size}"
        yield "rate_too_low", said, f"lr={_digits(10 * run.lr)}" if run.lr else "task=find_lr"


def _too_early(run: Run) -> Found:
    """The rate was gone while the loss still fell."""
    if run.feedback or not run.has("lr", "train_loss") or not _is_gone(run, 0.5):
        return
    told = _stopped_falling(run)
    end = float(run.loss[1][-1])
    if not told and _is_gone(run, 0.3) and 0.35 * run.start < end < 0.95 * run.start:
        told = f"the rate is below a twentieth of its peak for most of the run, and the loss stays at {end:.4g}"
    if told:
        yield "decayed_too_early", told, "scheduler=cosine"


def _too_late(run: Run) -> Found:
    """The loss stood still at a high rate, or fell only when the rate did, right at the end."""
    if run.feedback or not run.has("lr", "val_loss"):
        return
    (steps, rates), (at, losses) = run.curve("lr"), run.curve("val_loss")
    high = steps[np.flatnonzero(rates > 0.5 * np.max(rates))[-1]]
    held = losses[at <= high]
    third = len(held) // 3
    if third < 2 or high < 0.85 * run.steps or not run.update_at_peak > SMALL_UPDATE:
        return
    early, late, jumps = float(np.min(held[third : 2 * third])), _median(held[-third:]), _jumps(held[third:])
    if late - losses[-1] > 0.2 * late and high < 0.97 * run.steps:
        said = f"the loss was {late:.4g}, and fell to {losses[-1]:.4g} only as the rate did, from update {high:,.0f}"
        yield "decayed_too_late", said, "scheduler=cosine"
    elif late >= early and (jumps > 0.1 or (jumps > 0.05 and not _memorises(run))):
        said = f"the loss is no lower than {early:.4g} since the middle of the run, and jumps by {jumps:.0%}"
        yield "decayed_too_late", said, "scheduler=cosine"
    elif high >= 0.97 * run.steps and (size := _late_update(run)) > (LIVELY_UPDATE if late >= early else LARGE_UPDATE):
        said = f"one update changes the weights by {size:.1%} to the end, so that the loss cannot settle"
        yield "decayed_too_late", said, "scheduler=cosine"


def _plateau(run: Run) -> Found:
    """A feedback rule that did not act where it should have, or acted where the loss was falling."""
    if not run.feedback or not run.has("lr", "val_loss", "train_loss"):
        return
    rates, losses = run.curve("lr")[1], run.curve("val_loss")[1]
    drops = int(np.sum(np.diff(rates) < -1e-3 * np.max(rates)))
    count, best = len(losses), int(np.argmin(losses))
    before, late = losses[count // 4 : count // 2], losses[count // 2 :]
    still = count >= 8 and _median(late) > 0.9 * _median(before) and _jumps(late) > 0.1
    if not drops and run.patience is not None:
        why = None
        if still or count - best > max(5, count // 2):
            why = ", though val_loss stands still"
        elif 2 * run.patience > count and (size := _late_update(run)) > LIVELY_UPDATE:
            why = f": one update still changes the weights by {size:.1%}"
        if why:
            said = f"no reduction by {count} validations (patience {run.patience}){why}"
            yield "plateau_never_fired", said, f"patience={max(1, count // 10)}"
    if drops > 1 and _is_gone(run, 0.65) and (told := _stopped_falling(run)):
        longer = 2 * run.patience + 2 if run.patience is not None else 5
        yield "plateau_fired_on_noise", f"{drops} reductions: {told}", f"patience={longer} smooth=ema:0.9"


def _unfinished(run: Run) -> Found:
    """The run ended before its plan."""
    if run.status in ("stopped", "pruned", "interrupted") and run.planned and run.steps < run.planned:
        yield "schedule_unfinished", f"it ended at update {run.steps:,} of {run.planned:,}", "resume=FOLDER"


def _over_fitting(run: Run) -> Found:
    """The validation loss rises while that of the training goes on falling."""
    if not run.has("train_loss", "val_loss"):
        return
    at, losses = run.curve("val_loss")
    smooth = _smooth(losses, 3)
    best, end = int(np.argmin(smooth)), float(smooth[-1])
    if at[best] < 0.7 * run.steps and end > 1.1 * smooth[best] and _memorises(run):
        said = f"val_loss was {losses[best]:.4g} at update {at[best]:,.0f} and is {losses[-1]:.4g}; train_loss fell on"
        yield "over_fitting", said, "early_stop=5"


def _clipping(run: Run) -> Found:
    """Most gradients are cut off, so that the clip decides the size of updates."""
    if run.clip is None or not run.has("grad_norm"):
        return
    norms = run.curve("grad_norm")[1]
    share = float(np.mean(norms > run.clip))
    if share > 0.5:
        said = f"{share:.0%} of the gradients are above {run.clip:g}; their median is {np.median(norms):.3g}"
        yield "clipping", said, f"trainer.gradient_clip_val={_digits(float(np.quantile(norms, 0.9)))}"


def _chance(run: Run) -> Found:
    """Nothing was learnt that holds on other data."""
    losses = run.loss[1]
    if len(losses) < FEWEST or run.status == "diverged":
        return
    known = run.chance if run.chance is not None and run.has("val_loss") else run.start
    best = float(np.min(losses))
    if best > 0.98 * known:
        what = "of knowing only how often each answer is right" if run.chance is not None else "before the training"
        yield "no_better_than_chance", f"the best loss is {best:.4g}, that {what} {known:.4g}", "task=find_lr"


RULES: Sequence[Callable[[Run], Found]] = (
    *(_dead, _too_high, _unfinished, _plateau, _too_early, _too_low),
    *(_clipping, _too_late, _over_fitting, _chance),
)
"""The most urgent first."""

EARLY: Sequence[Callable[[Run], Found]] = (_dead, _too_high, _chance)

HIDDEN_BY: Mapping[str, set[str]] = {
    "rate_too_high": {"dead_network"},
    "rate_too_low": {"dead_network", "rate_too_high", "decayed_too_early", "plateau_fired_on_noise"},
    "decayed_too_late": {"rate_too_high", "rate_too_low"},
    "over_fitting": {"rate_too_high"},
    "no_better_than_chance": {"dead_network", "rate_too_high", "rate_too_low", "decayed_too_early"},
}
"""The findings that are the cause of another."""


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _smooth(values: Floats, width: int = 5) -> Floats:
    """Means of neighbours."""
    width = min(width, len(values))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _jumps(losses: Floats) -> float:
    """By how much the loss of one validation is usually above or below that of its neighbours, as a share."""
    if len(losses) < 3:
        return 0.0
    apart = losses[1:-1] - (losses[2:] + losses[:-2]) / 2
    return float(np.median(np.abs(apart)) / (np.median(np.abs(losses)) or 1.0))


def _worse_than(run: Run, least: float) -> bool:
    """Whether the training ended clearly above its least loss."""
    return (
        _median(run.within("train_loss", 0.8)) > 1.5 * least
        and _median(run.within("train_loss", 0.8)) > 0.3 * run.start
    )


def _memorises(run: Run) -> bool:
    """Whether the training loss fell on in the second half."""
    first, second = run.within("train_loss", 0.3, 0.6), run.within("train_loss", 0.7)
    return bool(len(first) and len(second) and np.mean(second) < 0.9 * np.mean(first))


def _falls_as_it_moves(run: Run) -> bool:
    """Whether the second half of what the weights moved still lowered the loss."""
    (at, ratios), (steps, losses) = run.curve("update_ratio"), run.loss
    halfway = at[np.searchsorted(np.cumsum(ratios), np.sum(ratios) / 2)]
    middle, end = float(np.interp(halfway, steps, losses)), float(losses[-1])
    return middle - end > 0.1 * (run.start - end)


def _late_update(run: Run) -> float:
    """The usual ratio of update and weights near the end, but for a last decay; NaN where it is not known."""
    return _median(run.within("update_ratio", 0.75, 0.9))


def _is_gone(run: Run, by: float) -> bool:
    """Whether the rate stays below a twentieth of its peak from a share of the run on."""
    steps, rates = run.curve("lr")
    return bool(np.max(rates[steps >= by * run.steps], initial=0.0) < 0.05 * np.max(rates))


def _stopped_falling(run: Run) -> str | None:
    """What says that the loss was falling while the rate was high, and no longer when that was gone."""
    (steps, rates), (seen, training), (at, losses) = run.curve("lr"), run.curve("train_loss"), run.loss
    high = steps[np.flatnonzero(rates > 0.5 * np.max(rates))[-1]]
    gone = steps[np.flatnonzero(rates > 0.05 * np.max(rates))[-1]]
    held = training[seen <= high]
    third = len(held) // 3
    if not third or not len(losses):
        return None
    now, end = float(np.interp(gone, at, losses)), float(losses[-1])
    fell = np.mean(held[-third:]) < 0.95 * np.mean(held[-2 * third : -third])
    if not fell or now - end > 0.3 * (run.start - now):
        return None
    return (
        f"the training loss fell while the rate was high, until update {high:,.0f}; it is below a twentieth of that "
        f"from update {gone:,.0f} of {run.steps:,} on, and the loss went from {now:.4g} to {end:.4g} since"
    )


def _lower(run: Run, *more: str) -> str:
    return " ".join([f"lr={_digits(run.lr / 10)}" if run.lr else "task=find_lr", *more])


def _digits(value: float) -> str:
    return f"{value:.2g}"
