"""What a schedule and a scheduler step cost, side by side with torch's own in one process.

Run: OMP_NUM_THREADS=1 python scripts/scheduler_speed.py
Prints microseconds, the median of 7 rounds in which all entries take turns, and the ratio to torch's counterpart.
"""

from __future__ import annotations

import inspect
import statistics
import timeit
import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch.optim import SGD
from torch.optim import lr_scheduler as theirs

from lrtrain import Scheduler
from lrtrain import schedules as ours
from lrtrain.parameters.signatures import defaults
from lrtrain.schedules import Progress

TOTAL, STEPS_PER_EPOCH, CALLS, ROUNDS = 1_000_000, 1000, 20_000, 7


def optimizer() -> SGD:
    """One group of one small parameter."""
    return SGD([torch.nn.Parameter(torch.zeros(3))], lr=0.1)


def our_step(schedule: Callable[[Progress], float]) -> Callable[[], None]:
    """All that our scheduler does after an update."""
    own = optimizer()
    scheduler = Scheduler(own, schedule, total_steps=TOTAL, steps_per_epoch=STEPS_PER_EPOCH)
    return partial(scheduler._updated, own)


def their_step(make: Callable[[SGD], theirs.LRScheduler]) -> Callable[[], None]:
    """All that torch's scheduler does after an update."""
    own = optimizer()
    scheduler = make(own)
    own.step()
    return scheduler.step


def call(schedule: Callable[[Progress], float]) -> Callable[[], float]:
    """The schedule alone, past its warm-up."""
    progress = Progress(TOTAL // 3, STEPS_PER_EPOCH, TOTAL)
    return lambda: schedule(progress)


STEPS = {
    "step": (ours.step(), lambda o: theirs.StepLR(o, 5000)),
    "multistep": (ours.multistep(), lambda o: theirs.MultiStepLR(o, [500_000, 750_000])),
    "exponential": (ours.exponential(), lambda o: theirs.ExponentialLR(o, 0.999)),
    "inverse_time": (ours.inverse_time(), lambda o: theirs.LambdaLR(o, lambda t: 1 / (1 + 0.01 * (t // 1000)))),
    "linear": (ours.linear(), lambda o: theirs.LinearLR(o, 1.0, 1e-3, TOTAL)),
    "cosine": (ours.cosine(), lambda o: theirs.CosineAnnealingLR(o, TOTAL)),
    "one_cycle": (ours.one_cycle(), lambda o: theirs.OneCycleLR(o, 0.1, TOTAL)),
    "warm-up + cosine": (
        ours.warmup(ours.cosine(), "1000st"),
        lambda o: theirs.SequentialLR(
            o, [theirs.LinearLR(o, 1e-3, 1.0, 1000), theirs.CosineAnnealingLR(o, TOTAL)], [1000]
        ),
    ),
}
COMBINED = ours.warmup(ours.floor(ours.cosine(), 0.01), "1%")


def medians(entries: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds per call of each entry; the entries take turns, so that noise falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(ROUNDS):
        for name, function in entries.items():
            times[name].append(timeit.timeit(function, number=CALLS) / CALLS * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print both tables."""
    warnings.simplefilter("ignore")  # torch's own SequentialLR warns of its own calls
    pairs = {
        f"{who} {name}": step
        for name, (mine, make) in STEPS.items()
        for who, step in (("ours", our_step(mine)), ("torch", their_step(make)))
    }
    measured = medians(pairs)
    print(f"{'scheduler step, one group':28s}{'ours us':>9s}{'torch us':>10s}{'ratio':>7s}")
    for name in STEPS:
        own, other = measured[f"ours {name}"], measured[f"torch {name}"]
        print(f"{name:28s}{own:9.2f}{other:10.2f}{own / other:7.2f}")
    # What needs parameters to be built, such as the combinators, is left out.
    factories = {
        name: factory
        for name, factory in ours.registered().items()
        if inspect.Parameter.empty not in defaults(ours.formula(factory)).values()
    }
    calls = medians(
        {name: call(factory()) for name, factory in factories.items()} | {"warm-up + floor": call(COMBINED)}
    )
    print(f"\n{'schedule call':28s}{'us':>9s}")
    for name, value in sorted(calls.items(), key=lambda item: item[1]):
        print(f"{name:28s}{value:9.2f}")


if __name__ == "__main__":
    main()
