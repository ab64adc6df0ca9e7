"""Says of a sweep that it would be quicker as a population."""

from __future__ import annotations

from lrtrain.errors import RequestError
from lrtrain.run_folder.summary import GOOD, Summary
from lrtrain.settings import read_settings
from lrtrain.sweeps.coordinator import count_workers
from lrtrain.training.population.kinds import why_alone

GAINS = (({"linear", "mlp"}, 15_000, 2.5), ({"linear", "mlp"}, 45_000, 1.8), ({"cnn", "resnet", "gru"}, 8_000, 1.8))
"""How many times quicker runs of a model of up to so many parameters are, at least (scripts/README.md)."""
FEWEST = 16
"""Jobs that are left, below which nothing is said."""
LEAST = 30.0
"""Seconds that would be saved, likewise."""
BEGINNING = 3.0
"""Seconds that a population takes to begin."""


def hint_of_population(done: Summary, left: int, at_a_time: int) -> str | None:
    """What a person is told after the first job of a sweep; None where there is nothing to gain, or little.

    Args:
        done: Of the job.
        left: Jobs that are still to be done.
        at_a_time: How many of them.
    """
    model = (done.config.get("model") or {}).get("name")
    gain = next((gain for models, most, gain in GAINS if model in models and (done.parameters or 0) <= most), None)
    if gain is None or left < FEWEST or done.status not in GOOD:
        return None
    try:
        if why_alone(read_settings(done.config, stored=True)):
            return None
    except RequestError:
        return None
    now = left * done.wall_s / at_a_time
    then = left * done.wall_s / gain / count_workers("population", left) + BEGINNING
    if now - then < LEAST:
        return None
    return (
        f"the {left} jobs that are left will take about {_time(now)}; with jobs=population, which trains those of one "
        f"model and length as one, it would be about {_time(then)}"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
