"""What a preview costs, whole commands in processes of their own, and where the time goes for a million updates.

Run: python scripts/preview_speed.py
Prints seconds, the median of 5 rounds, and the ratio to `python -m lrtrain --cfg job`, which only composes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from lrtrain.plan.plan import Plan
from lrtrain.schedules import Horizon, cosine, floor, inverse_time, step, warmup
from lrtrain.schedules.theory import last_iterate_bound

ROUNDS = 5
MILLION = ("steps_per_epoch=10000", "epochs=100")
COMMANDS = {
    "compose only": ("--cfg", "job"),
    "800 updates": ("task=preview", "scheduler=inverse_time"),
    "1,000,000 updates, inverse_time": ("task=preview", "scheduler=inverse_time", *MILLION),
    "1,000,000 updates, cosine": ("task=preview", "scheduler=cosine", *MILLION),
    "1,000,000 updates, cosine with warm-up": ("task=preview", "scheduler=cosine", "warmup=5%", *MILLION),
}
SCHEDULES = {
    "step": step(),
    "inverse_time": inverse_time(),
    "cosine": cosine(),
    "cosine, floor, warm-up": warmup(floor(cosine(), 0.01), "5%"),
}


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time, the median of the rounds."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def command(*arguments: str) -> None:
    """Run the command line in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        whole = [sys.executable, "-m", "lrtrain", *arguments]
        subprocess.run(whole, cwd=folder, check=True, capture_output=True)  # noqa: S603


def main() -> None:
    """Print both tables."""
    print(f"{'command':42s} {'s':>6s}  ratio")
    base = 0.0
    for name, arguments in COMMANDS.items():
        taken = seconds(lambda arguments=arguments: command(*arguments))  # type: ignore[misc]
        base = base or taken
        print(f"{name:42s} {taken:6.2f}  {taken / base:5.2f}")
    print(f"\n{'rates of 1,000,000 updates':42s} {'s':>6s}  ratio to calling the plan for each")
    for name, schedule in SCHEDULES.items():
        plan = Plan(name, 0.1, schedule, None, Horizon.of(10_000, "100ep"), 50_000 if "warm-up" in name else 0)
        fast = seconds(lambda plan=plan: list(plan.rates()))  # type: ignore[misc]
        slow = seconds(lambda plan=plan: [plan.rate(step) for step in range(1_000_001)])  # type: ignore[misc]
        print(f"{name:42s} {fast:6.2f}  {fast / slow:5.2f}")
    rates = list(Plan("cosine", 0.1, cosine(), None, Horizon.of(10_000, "100ep")).rates())[:-1]
    print(f"{'their convex bound':42s} {seconds(lambda: last_iterate_bound(rates)):6.2f}")


if __name__ == "__main__":
    main()
