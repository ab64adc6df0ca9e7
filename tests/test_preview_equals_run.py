"""What is previewed is what a run uses: every update's rate, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CommandLine, read_csv

CONF = Path(__file__).parents[1] / "conf" / "scheduler"
FORESEEN = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem not in ("custom", "validation_drop", "greedy"))
"""All strategies but the user's own, and those whose rate depends on what the validation will say."""

QUIET = ("logger=none", "trainer.enable_progress_bar=false", "trainer=cpu", "model=linear", "log_every=1")
PATIENT = {"plateau": ("patience=99",)}


# Batches added up to an update, whether the smaller last batch is left out, and the updates that two epochs then
# have: 1,257 samples are 12 batches of 100 and a smaller one.
LOADING = [(1, "false", 26), (3, "true", 8), (1, "true", 24), (3, "false", 10)]
CASES = [
    (name, *case) for name in FORESEEN for case in (LOADING if name in ("inverse_time", "plateau") else LOADING[:2])
]


@pytest.mark.parametrize(("strategy", "accumulate", "drop_last", "updates"), CASES)
def test_rates(
    strategy: str, accumulate: int, drop_last: str, updates: int, command_line: CommandLine, tmp_path: Path
) -> None:
    plan = (f"scheduler={strategy}", "epochs=2", "batch_size=100", f"drop_last={drop_last}", "warmup=10%")
    plan += (f"trainer.accumulate_grad_batches={accumulate}", *PATIENT.get(strategy, ()))
    assert command_line(*plan, "task=preview", f"hydra.run.dir={tmp_path}/preview").code == 0
    assert command_line(*plan, *QUIET, f"hydra.run.dir={tmp_path}/run").code == 0
    previewed = [(row["step"], row["epoch"], row["lr"]) for row in read_csv(tmp_path / "preview/schedule.csv")]
    used = [(row["step"], row["epoch"], row["lr"]) for row in read_csv(tmp_path / "run/metrics.csv")]
    assert len(used) == updates
    assert used == previewed[:-1]
