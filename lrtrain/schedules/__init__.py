"""The learning rate as a function of time; needs neither torch nor an optimizer.

Every schedule is a function that returns a value, which maps a `Progress` to a multiplier on the base rate::

    inverse_time(decay=0.01)(Progress(step=50, steps_per_epoch=1, total_steps=100))
"""

from lrtrain.schedules.annealing import (
    cosine,
    geometric,
    knee,
    linear,
    polynomial,
    power_cool,
    rex,
    sqrt,
    tanh,
    trapezoid,
    wsd,
)
from lrtrain.schedules.combinators import (
    append,
    between,
    cooldown,
    floor,
    frozen,
    hold,
    join,
    product,
    stretch,
    stretched_rest,
    switch,
    until,
    warmup,
)
from lrtrain.schedules.curve import Plan
from lrtrain.schedules.custom import custom
from lrtrain.schedules.cyclic import (
    chebyshev,
    cosine_restarts,
    cosine_waves,
    cyclic,
    one_cycle,
    polynomial_restarts,
)
from lrtrain.schedules.decay import constant, exponential, inverse_sqrt, inverse_time, multistep, noam, power, step
from lrtrain.schedules.feedback import Feedback, Observed, greedy, plateau, validation_drop
from lrtrain.schedules.noise import noise
from lrtrain.schedules.piecewise import piecewise
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
    "append",
    "between",
    "by_name",
    "chebyshev",
    "constant",
    "cooldown",
    "cosine",
    "cosine_restarts",
    "cosine_waves",
    "custom",
    "cyclic",
    "exponential",
    "floor",
    "formula",
    "frozen",
    "geometric",
    "greedy",
    "hold",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "knee",
    "linear",
    "multistep",
    "noam",
    "noise",
    "one_cycle",
    "piecewise",
    "plateau",
    "polynomial",
    "polynomial_restarts",
    "power",
    "power_cool",
    "product",
    "registered",
    "rex",
    "schedule",
    "sqrt",
    "step",
    "stretch",
    "stretched_rest",
    "switch",
    "tanh",
    "trapezoid",
    "until",
    "updates",
    "validation_drop",
    "warmup",
    "wsd",
]
