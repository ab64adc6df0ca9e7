"""How long an update takes for each run of a population, beside runs one after the other, on one device.

    python scripts/population_speed.py [--device cuda] [--members 8 48 128] [--updates 60]

Prints microseconds an update and run: the plain loop in PyTorch, the population's update as it is and compiled; and
with all that a run leaves (records, validations, checkpoints), one after the other and as a population. Both turn by
turn in one process, the median of the turns; one CPU thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.nn.functional import cross_entropy

from lrtrain import models
from lrtrain.datasets import Inputs, LastRead
from lrtrain.plan.start import FRESH
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.settings import Settings, TrainerSettings
from lrtrain.training.population.fit import Ordered, Population
from lrtrain.training.population.stack import Member, Program, Stack
from lrtrain.training.run import run_in

TURNS = 5
INPUTS = Inputs((1, 8, 8), None)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long something takes, until the device has done it."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def compare_updates(net: str, options: dict[str, object], members: int, updates: int, device: torch.device) -> None:
    """Print a line for one net and number of members."""
    inputs, labels = torch.rand(1257, 1, 8, 8, device=device), torch.randint(10, (1257,), device=device)
    made = models.model(net, **options)
    nets = [made.make(INPUTS, 10).to(device) for _ in range(members + 1)]
    optimizers = [torch.optim.SGD(own.parameters(), 0.05, momentum=0.9, fused=True) for own in nets]
    runs = [
        Member(own, optimizer, float("inf"), torch.Generator(device))
        for own, optimizer in zip(nets[1:], optimizers[1:], strict=True)
    ]

    def gather(places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return inputs.index_select(0, places), labels.index_select(0, places)

    program = Program(runs[0], cross_entropy, gather, by_value=False)
    stack = Stack(program, runs)
    values = torch.tensor([[program.rule.read(group, 1) for group in each.param_groups] for each in optimizers[1:]])
    values = values.permute(2, 1, 0).expand(10, -1, -1, -1)
    places = [torch.randint(1257, (members, 32), device=device) for _ in range(10)]

    def plain() -> None:
        for batch in places:
            own, targets = gather(batch[0])
            optimizers[0].zero_grad()
            torch.autograd.backward(cross_entropy(nets[0](own), targets))
            optimizers[0].step()

    def together(compiled: int) -> None:
        stack.compiled = compiled
        stack.take(places, values, [9])

    ways = {"plain loop": plain, "eager": lambda: together(0), "compiled": lambda: together(32)}
    compiling = seconds(ways["compiled"], device)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, work in ways.items():
            for _ in range(max(1, updates // 10)):
                found[name].append(seconds(work, device) / 10 / (1 if name == "plain loop" else members) * 1e6)
    medians = {name: sorted(each)[len(each) // 2] for name, each in found.items()}
    said = ", ".join(f"{name} {value:8.2f}" for name, value in medians.items())
    fault = f"; not compiled: {program.fault}" if program.fault else ""
    gain = medians["plain loop"] / min(medians["eager"], medians["compiled"])
    print(
        f"{net:4} {members:5} members: {said} us  ({gain:.1f}x; first compiled call {compiling:.1f} s){fault}",
        flush=True,
    )


def compare_runs(members: int, device: torch.device) -> None:
    """Print what whole runs take, two one after the other and a population."""

    def settings(seed: int) -> Settings:
        trainer = TrainerSettings(accelerator="gpu" if device.type == "cuda" else "cpu", enable_progress_bar=False)
        model = models.model("mlp", hidden=[128], dropout=0.0)
        return Settings(model=model, epochs=5, seed=seed, threads=1, trainer=trainer)

    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        run_in(settings(0), f"{place}/warm")
        one = min(seconds(partial(run_in, settings(number), f"{place}/{number}"), device) for number in (1, 2))
        orders = [
            Ordered(settings(number), ClaimedFolder(f"{place}/together/{number}"), FRESH, {})
            for number in range(members)
        ]
        outcomes: dict[int, object] = {}
        both = seconds(
            lambda: Population(lambda line: sys.stderr.write(f"{line}\n"), LastRead()).train(
                orders, outcomes.__setitem__
            ),
            device,
        )
    assert all(getattr(outcome, "status", "") == "finished" for outcome in outcomes.values()), outcomes
    updates = 5 * 40
    print(
        f"whole runs of {updates} updates, with records, validations, checkpoints, tests: one after the other "
        f"{one / updates * 1e6:.0f} us an update ({one:.2f} s a run), {members} together "
        f"{both / members / updates * 1e6:.0f} us ({both / members:.3f} s a run)",
        flush=True,
    )


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--members", type=int, nargs="+", default=[8, 48])
    parser.add_argument("--updates", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} cores"
    print(f"torch {torch.__version__}, {name}", flush=True)
    for members in asked.members:
        compare_updates("mlp", {"hidden": [128], "dropout": 0.0}, members, asked.updates, device)
    compare_updates("cnn", {"channels": [16, 32], "batch_norm": False}, min(asked.members), asked.updates, device)
    compare_runs(min(48, max(asked.members)), device)


if __name__ == "__main__":
    main()
