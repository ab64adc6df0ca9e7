"""The learning rate as a function of time; needs neither torch nor an optimizer.

Every schedule is a function that returns a value, which maps a `Progress` to a multiplier on the base rate::

    inverse_time(decay=0.01)(Progress(step=50, steps_per_epoch=1, total_steps=100))
"""

from lrtrain.schedules.annealing import cosine, linear
from lrtrain.schedules.combinators import floor, warmup
from lrtrain.schedules.curve import Plan
from lrtrain.schedules.decay import constant, exponential, inverse_time, multistep, step
from lrtrain.schedules.feedback import Feedback, Observed, plateau, validation_drop
from lrtrain.schedules.progress import Horizon, Progress, Span, updates
from lrtrain.schedules.schedule import Schedule, by_name, formula, registered, schedule

__all__ = [
    "Feedback",
    "Horizon",
    "Observed",
    "Plan",
    "Progress",
    "Schedule",
    "Span",
    "by_name",
    "constant",
    "cosine",
    "exponential",
    "floor",
    "formula",
    "inverse_time",
    "linear",
    "multistep",
    "plateau",
    "registered",
    "schedule",
    "step",
    "updates",
    "validation_drop",
    "warmup",
]
