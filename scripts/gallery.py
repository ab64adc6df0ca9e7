"""The gallery of strategies: a page with a picture of each, made from the configurations, formulas and docstrings.

Run: python scripts/gallery.py
Writes conf/scheduler/README.md and conf/scheduler/pictures/*.png.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import math
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.configs import choices, config_dir
from lrtrain.parameters.bound import plain
from lrtrain.parameters.signatures import meanings, rules
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment
from lrtrain.plan.plan import Plan
from lrtrain.report.curves import COLOURS, Curve, line, scale
from lrtrain.schedules import Feedback, Observed, Schedule, formula, registered
from lrtrain.settings import strategy_keys

FOUNDING = (
    "constant",
    "exponential",
    "step",
    "multistep",
    "inverse_time",
    "linear",
    "cosine",
    "plateau",
    "validation_drop",
)
EPOCHS, STEPS_PER_EPOCH, WARMUP = 20, 40, "2ep"
METRIC = tuple(
    round(0.3 + 0.7 * math.exp(-epoch / 2) + 0.02 * math.sin(3 * epoch) + 0.004 * epoch, 3) for epoch in range(EPOCHS)
)
"""A made-up validation loss: it falls fast, then wavers and slowly rises."""

HEAD = """\
# The strategies

Written by `python scripts/gallery.py` from the configurations, formulas and docstrings of this folder's strategies;
a test keeps it so. The pictures show the defaults over {epochs} epochs of {length} updates from `lr=0.1` (solid), and
with `warmup={warmup}` (dashed). In a formula *epoch* is the number of completed epochs, and *z* the fraction done of
what follows the warm-up. A length is written `5ep` (epochs), `300st` (updates) or `10%` (of the run). Every strategy
can be combined with `warmup=`, `min_lr=`, `hold=`, `final_cooldown=` and `stretch=`, and, where it is not a feedback
strategy itself, with `feedback=plateau`. In Python and as parts of `join` and `product` there are also `floor`,
`ceiling`, `hold`, `until`, `stretch`, `switch`. [Coming from ...](COMING_FROM.md) says what other libraries call them.

Feedback strategies depend on what training does. Their pictures follow a made-up validation loss (orange, right axis),
one value per epoch: {metric}.

![The nine founding strategies](pictures/strategies.png)

"""


class Entry(NamedTuple):
    """What the gallery shows of a strategy.

    Attributes:
        name: Of the strategy.
        curve: With its defaults; None where there is nothing to draw without the user.
        warmed: The same after a warm-up.
        metric: The validation losses that a feedback strategy was shown.
    """

    name: str
    curve: Curve | None
    warmed: Curve | None
    metric: tuple[float, ...]

    @property
    def digest(self) -> str:
        """What is drawn, in short; it does not depend on how matplotlib draws it."""
        curves = [*(self.curve.rates if self.curve else ()), *(self.warmed.rates if self.warmed else ()), *self.metric]
        return hashlib.sha256(",".join(f"{value:.6g}" for value in curves).encode()).hexdigest()


def entries() -> list[Entry]:
    """Every strategy, the founding ones first."""
    names = [*FOUNDING, *(name for name in choices("scheduler") if name not in FOUNDING)]
    with Composer() as composer:
        return [_entry(composer, name) for name in names]


def _entry(composer: Composer, name: str) -> Entry:
    if inspect.Parameter.empty in strategy_keys(name).values():
        return Entry(name, None, None, ())
    plan, warmed = _plan(composer, name), _plan(composer, name, f"warmup={WARMUP}")
    return Entry(name, _curve(plan), _curve(warmed), METRIC if plan.feedback else ())


def _plan(composer: Composer, name: str, *words: str) -> Plan:
    run = ["task=preview", f"steps_per_epoch={STEPS_PER_EPOCH}", f"epochs={EPOCHS}", "lr=0.1"]
    asked = read_request(composer, [f"scheduler={name}", *run, *words])
    return plan_run([Segment(asked.job.settings, STEPS_PER_EPOCH)])


def _curve(plan: Plan) -> Curve:
    """The plan's rates; a feedback rule sees the made-up metric after every epoch."""
    rates = list(plan.rates())
    if plan.feedback:
        scales = [state.scale for state in accumulate(METRIC, plan.feedback, initial=Observed())]
        rates = [rate * scales[step // STEPS_PER_EPOCH] for step, rate in enumerate(rates)]
    return Curve(rates, STEPS_PER_EPOCH, plan.warmup)


def page(shown: Sequence[Entry]) -> str:
    """The text of the gallery."""
    metric = ", ".join(f"{value:g}" for value in METRIC)
    head = HEAD.format(epochs=EPOCHS, length=STEPS_PER_EPOCH, warmup=WARMUP, metric=metric)
    links = " · ".join(f"[{entry.name}](#{entry.name})" for entry in shown)
    return head + links + "\n\n" + "\n".join("\n".join(_section(entry)) for entry in shown)


def _section(entry: Entry) -> Iterator[str]:
    name, keys = entry.name, strategy_keys(entry.name)
    function = formula({**registered(Schedule), **registered(Feedback)}[name])
    yield f"## {name}\n"
    if entry.curve:
        yield f"![{name}](pictures/{name}.png)\n"
    yield _markdown(inspect.getdoc(function) or "") + "\n"
    if keys:
        said, limits = meanings(function), rules(function)
        yield "| key | default | meaning |\n|---|---|---|"
        for key, default in keys.items():
            about = "; ".join(filter(None, (said.get(key, "").rstrip("."), str(limits.get(key) or ""))))
            shown = "must be given" if default is inspect.Parameter.empty else f"`{_shown(default)}`"
            yield f"| `{key}` | {shown} | {_markdown(about)} |"
        yield ""
    example = "function=my_module:my_schedule" if name == "custom" else _example(keys)
    command = f"python -m lrtrain scheduler={name} {example}".rstrip()
    yield f"```\n{command}\n{command.replace('scheduler=', 'task=preview scheduler=')}\n```\n"


def _example(keys: dict[str, object]) -> str:
    """The first key, with its default."""
    key, value = next(iter(keys.items()), ("", None))
    text = _shown(value)
    return "" if value is None else f"{key}={text}" if re.fullmatch(r"[\w.%-]+", text) else f"'{key}={text}'"


def _markdown(text: str) -> str:
    """A docstring without its arguments; code between single backticks."""
    text = re.split(r"^Args:", text, flags=re.MULTILINE)[0].strip()
    return text.replace("``", "`").replace("|", "\\|")


def _shown(value: object) -> str:
    value = plain(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_shown, value)) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def picture(entry: Entry) -> bytes:
    """A strategy's picture."""
    figure = Figure(figsize=(5.2, 2.1), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, entry)
    axes.set_xlabel("epochs", fontsize="small")
    axes.set_ylabel("learning rate", fontsize="small")
    return _png(figure, entry.digest)


def overview(shown: Sequence[Entry]) -> bytes:
    """The founding strategies as small multiples."""
    founding = [entry for entry in shown if entry.name in FOUNDING]
    figure = Figure(figsize=(9, 5.6), dpi=100, layout="constrained")
    for axes, entry in zip(figure.subplots(3, 3, sharex=True).flat, founding, strict=True):
        _draw(axes, entry)
        axes.set_title(entry.name, fontsize="medium")
    figure.supxlabel("epochs", fontsize="medium")
    figure.supylabel("learning rate", fontsize="medium")
    return _png(figure, overview_digest(shown))


def overview_digest(shown: Sequence[Entry]) -> str:
    """What the overview draws, in short."""
    return hashlib.sha256("".join(entry.digest for entry in shown if entry.name in FOUNDING).encode()).hexdigest()


def _draw(axes: Axes, entry: Entry) -> None:
    assert entry.curve is not None
    assert entry.warmed is not None
    line(axes, entry.warmed, color=COLOURS[0], alpha=0.6, linewidth=1.0, linestyle="--")
    line(axes, entry.curve, color=COLOURS[0])
    scale(axes, [entry.curve])
    axes.tick_params(labelsize="small")
    if entry.metric:
        right = axes.twinx()
        right.plot(range(1, EPOCHS + 1), entry.metric, color=COLOURS[1], marker=".", markersize=4, linewidth=0.8)
        right.set_ylim(0, 1.1)
        right.tick_params(labelsize="small", colors=COLOURS[1])
        right.spines[["top"]].set_visible(False)


def _png(figure: Figure, digest: str) -> bytes:
    """A small file: 24 colours, and what it shows in its description."""
    drawn, saved = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(drawn, format="png")
    info = PngInfo()
    info.add_text("Description", digest)
    Image.open(drawn).convert("RGB").quantize(24, Image.Quantize.MAXCOVERAGE).save(
        saved, format="png", optimize=True, pnginfo=info
    )
    return saved.getvalue()


def main() -> None:
    """Write the page and its pictures."""
    folder = config_dir() / "scheduler"
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    shown = entries()
    drawn = {"strategies": overview(shown)} | {entry.name: picture(entry) for entry in shown if entry.curve}
    for old in set(pictures.glob("*.png")) - {pictures / f"{name}.png" for name in drawn}:
        old.unlink()
    for name, data in drawn.items():
        (pictures / f"{name}.png").write_bytes(data)
    Path(folder / "README.md").write_text(page(shown))
    print(f"{len(shown)} strategies, {sum(map(len, drawn.values())) // 1024} KiB of pictures: {folder / 'README.md'}")


if __name__ == "__main__":
    main()
