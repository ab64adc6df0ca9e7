"""What is previewed is what a run uses: every update's rate, to the last bit."""

from __future__ import annotations

import itertools

from conftest import Train

QUIET = ("logger=none", "trainer.enable_progress_bar=false", "trainer=cpu", "model=linear", "log_every=1")
STRATEGIES = (("inverse_time",), ("plateau", "patience=99"))

# Batches added up to an update, whether the smaller last batch is left out, and the updates that two epochs then
# have: 1,257 samples are 12 batches of 100 and a smaller one.
LOADING = [(1, "false", 26), (3, "true", 8), (1, "true", 24), (3, "false", 10)]


def test_rates(train: Train) -> None:
    """However the batches come; test_command_line and test_options say the same of each strategy and option."""
    for (strategy, *own), (accumulate, drop_last, updates) in itertools.product(STRATEGIES, LOADING):
        plan = (f"scheduler={strategy}", *own, "epochs=2", "batch_size=100", f"drop_last={drop_last}", "warmup=10%")
        plan += (f"trainer.accumulate_grad_batches={accumulate}",)
        previewed, used = train(*plan, "task=preview").rates, train(*plan, *QUIET).rates
        assert len(used) == updates, plan
        assert used == previewed[:-1], plan
