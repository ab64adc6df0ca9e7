"""The learning rate as a function of time; needs neither torch nor an optimizer.

Every schedule is a function that returns a value, which maps a `Progress` to a multiplier on the base rate::

    inverse_time(decay=0.01)(Progress(step=50, steps_per_epoch=1, total_steps=100))

All that the modules of this folder define is here: a new schedule needs no entry.
"""

# ruff: noqa: F403
from lrtrain.parameters.spans import Span as Span
from lrtrain.schedules.annealing import *
from lrtrain.schedules.combinators import *
from lrtrain.schedules.custom import *
from lrtrain.schedules.cyclic import *
from lrtrain.schedules.decay import *
from lrtrain.schedules.feedback import *
from lrtrain.schedules.feedback import Feedback as Feedback
from lrtrain.schedules.noise import *
from lrtrain.schedules.piecewise import *
from lrtrain.schedules.progress import Horizon as Horizon
from lrtrain.schedules.progress import Progress as Progress
from lrtrain.schedules.progress import updates as updates
from lrtrain.schedules.registry import Schedule as Schedule
from lrtrain.schedules.registry import by_name as by_name
from lrtrain.schedules.registry import formula as formula
from lrtrain.schedules.registry import registered as registered
from lrtrain.schedules.registry import schedule as schedule

__all__ = [
    *registered(),
    *registered(Feedback),
    *("Feedback", "Horizon", "Observed", "Progress", "Schedule", "Span"),
    *("by_name", "feedback", "formula", "registered", "schedule", "updates"),
]
