"""What the curves of a run are said to tell of its rate: on curves made by formulas, and on runs."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, CommandLine, Train

from lrtrain.evidence.diagnosis import Finding, Run, as_command, diagnose

STEPS = np.arange(1, 401)
EVERY = 20


def run_of(
    rate: Any = 0.1, loss: Any = None, measured: Any = None, ratio: Any = 3e-3, norm: Any = 1.0, **known: Any
) -> Run:
    """A run of 400 updates and 20 validations, of functions of the share done; the losses fall to 0.5 if not said."""
    share = STEPS / STEPS[-1]
    fall = loss or (lambda z: 0.5 + 1.8 * np.exp(-8 * z))
    values = {"lr": rate, "train_loss": fall, "update_ratio": ratio, "grad_norm": norm}
    curves = {
        name: (STEPS, np.array([value(z) if callable(value) else value for z in share]))
        for name, value in values.items()
    }
    at = slice(EVERY - 1, None, EVERY)
    curves["val_loss"] = STEPS[at], np.array([(measured or fall)(z) for z in share[at]])
    return Run(**{"curves": curves, "steps": 400, "planned": 400, "lr": 0.1, "chance": 2.3, **known})


def cosine(z: float) -> float:
    return 0.05 * (1 + math.cos(math.pi * z))


def noisy(level: float, jumps: float = 0.2) -> Any:
    """A loss that falls at once, and then jumps about a level."""
    return lambda z: level * (1 + jumps * math.sin(12345.678 * z * z + 1)) + 2 * math.exp(-60 * z)


def cut_short(z: float) -> float:
    """A loss that stops to fall at 7 % of the run."""
    return 1.2 + 1.1 * math.exp(-30 * min(z, 0.07))


CASES = {
    "rate_too_high": [
        run_of(status="diverged", steps=7),
        run_of(loss=lambda z: 2.3 + 5 * z, ratio=0.2),
        run_of(loss=noisy(1.2, 0.4), ratio=0.1),
        run_of(ratio=0.2),  # though the loss falls
    ],
    "rate_too_low": [
        run_of(loss=lambda z: 2.3 - 0.3 * z, ratio=1e-5),
        run_of(  # the loss falls in proportion to what the weights move, which is little
            rate=cosine,
            loss=lambda z: 2.3 - 0.5 * (z + math.sin(math.pi * z) / math.pi),
            ratio=lambda z: 5e-3 * cosine(z),
        ),
    ],
    "decayed_too_early": [
        run_of(rate=lambda z: 0.1 * 0.1 ** (5 * z), loss=cut_short),
        run_of(rate=lambda z: 0.1 if z < 0.005 else 0.001, loss=lambda z: 1.2 + 1.1 * math.exp(-99 * z)),
    ],
    "decayed_too_late": [
        run_of(loss=noisy(0.5), ratio=0.01),
        run_of(ratio=0.04),
        run_of(
            rate=lambda z: 0.1 if z < 0.92 else 0.001,
            loss=lambda z: 0.5 + 2 * math.exp(-60 * z) if z < 0.92 else 0.2,
            ratio=0.01,
        ),
    ],
    "plateau_never_fired": [
        run_of(loss=noisy(0.5), ratio=0.01, feedback="plateau", patience=50),
        run_of(ratio=0.01, feedback="plateau", patience=50),
    ],
    "plateau_fired_on_noise": [
        run_of(rate=lambda z: 0.1 * 0.1 ** int(15 * z), loss=cut_short, feedback="plateau", patience=0)
    ],
    "schedule_unfinished": [run_of(rate=cosine, status="stopped", planned=4000)],
    "over_fitting": [
        run_of(rate=cosine, loss=lambda z: 2.3 * math.exp(-8 * z), measured=lambda z: 1 + 2 * (z - 0.3) ** 2)
    ],
    "clipping": [run_of(rate=cosine, clip=0.1)],
    "no_better_than_chance": [run_of(rate=cosine, loss=lambda z: 2.31, ratio=3e-3)],
    "dead_network": [run_of(rate=cosine, loss=lambda z: 2.3, norm=lambda z: 1.0 if z < 0.1 else 0.0, ratio=0.0)],
}


@pytest.mark.parametrize(("name", "run"), [(name, run) for name, runs in CASES.items() for run in runs])
def test_a_fault_is_named(name: str, run: Run) -> None:
    found = diagnose(run)
    assert name in [finding.name for finding in found]
    assert len(found) <= 3
    assert all(finding.evidence and finding.command for finding in found)


@pytest.mark.parametrize(
    "run",
    [
        run_of(rate=cosine),
        run_of(),
        run_of(rate=cosine, loss=lambda z: 0.8 + 0.1 * math.exp(-12 * z), ratio=3e-4),  # of weights trained before
        run_of(rate=cosine, clip=10.0),
        run_of(rate=lambda z: 0.1 * 0.5 ** int(4 * z)),
        run_of(rate=lambda z: 0.1 / (1 + 4 * z)),
        run_of(rate=lambda z: 0.1 * 0.1 ** (z > 0.7), feedback="plateau", patience=3),
        run_of(rate=cosine, ratio=lambda z: 0.1 if z < 0.05 else 1e-3),  # a hot start is no fault
        Run(),  # of which nothing is known
        Run(curves={"train_loss": (STEPS, 2 / STEPS)}, steps=400),
        run_of(loss=lambda z: 2.3 - 0.5 * z, steps=8, planned=8),  # a trial, however little it moves the weights
    ],
)
def test_nothing_is_said_of_a_good_run(run: Run) -> None:
    assert diagnose(run) == []


def test_a_record_without_its_beginning_tells_nothing() -> None:
    """The losses before were lost: what is left of them seems flat."""
    slow = run_of(loss=lambda z: 2.3 - 0.3 * z, ratio=1e-5)
    assert diagnose(slow)
    late = {name: (steps[steps > 150], values[steps > 150]) for name, (steps, values) in slow.curves.items()}
    assert diagnose(replace(slow, curves=late)) == []


def test_a_command_is_that_of_the_run_with_the_change() -> None:
    words = ["scheduler=step", "lr=3", "model.hidden=[8, 8]", "task=train", "hydra.run.dir=here"]
    changed = as_command(words, "lr=0.3 warmup=5%")
    expected = ["python", "-m", "lrtrain", "scheduler=step", "model.hidden=[8, 8]", "lr=0.3", "warmup=5%"]
    assert shlex.split(changed) == expected
    assert "lr=3" not in as_command(words, "task=find_lr")
    assert as_command(["dataset.file='data/new.csv'"], "lr=1") == "python -m lrtrain dataset.file=data/new.csv lr=1"
    assert as_command(words, "resume=outputs/run") == "python -m lrtrain resume=outputs/run"


def test_a_run_says_what_is_wrong_unless_it_is_not_to(train: Train, command_line: CommandLine) -> None:
    run = train("lr=1e4", *SMALL, "epochs=8", code=1)
    [finding, *_] = run.summary["findings"]
    assert finding.keys() == {"name", "evidence", "command"}
    assert finding["name"] == "rate_too_high"
    assert "lr=1e+03" in finding["command"]
    assert "rate too high: " in run.result.out
    silent = train("lr=1e4", *SMALL, "epochs=8", "diagnosis=false", code=1)
    assert "try: " not in silent.result.out

    again = command_line("task=diagnose", f"run={run.folder}")
    assert again.code == 0
    assert Finding(**finding).sentence() in again.out


@pytest.mark.parametrize(("words", "told"), [((), 1), (("diagnosis=false",), 0), (("lr=0.1",), 0)])
def test_what_is_certain_is_told_once_before_the_end(words: tuple[str, ...], told: int, train: Train) -> None:
    given = {"lr": "lr=1e-9"} | {word.partition("=")[0]: word for word in words}
    lines = train(*given.values(), *SMALL, "epochs=20", "logger=none").result.out.splitlines()
    assert not any("tensorboard" in line for line in lines), "there is nothing to look at"
    found = [
        line for line in lines if line.startswith("epoch ") and "no better than chance: the best loss is 2." in line
    ]
    assert len(found) == told
    assert all(float(line.split(":")[0].removeprefix("epoch ")) <= 8 for line in found), "before half of the run"


def test_a_log_of_another_program_is_diagnosed(command_line: CommandLine, tmp_path: Path) -> None:
    rows = [f"{epoch},{10 * epoch},{0.1},{2.3 + epoch},{2.4 + epoch}" for epoch in range(12)]
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,step,lr-SGD,train_loss,val_loss", *rows, ""]))
    result = command_line("task=diagnose", f"run={tmp_path}", "tags={lr:lr-SGD}")
    assert result.code == 0, result.err
    assert "rate too high: the training loss went from 2.3 to " in result.out


def test_there_must_be_a_run(command_line: CommandLine, tmp_path: Path) -> None:
    assert command_line("task=diagnose", f"run={tmp_path}").code == 2
