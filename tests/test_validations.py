"""What a validation counts for: the values that it logged, of the weights that it measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, Run, Train, read_csv

QUARTET = SMALL[1:]
SELDOM = ("model=lightning", "model.function=user_code:Seldom", "monitor=val_score", "monitor_mode=max", *QUARTET)


def checkpoint(run: Run) -> dict[str, Any]:
    return dict(torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True))


def test_only_what_a_validation_logged_counts(train: Train) -> None:
    """The score rises at each of its four values; that of an earlier validation is not seen as bad again."""
    run = train(*SELDOM, "scheduler=plateau", "patience=0", "early_stop=1", "epochs=11")
    assert set(run.series("lr").values()) == {0.1}
    assert list(run.series("val_loss")) == [4 * epoch + 3 for epoch in range(11)]
    assert run.series("val_score") == pytest.approx({3: 0.1, 15: 3.1, 27: 6.1, 39: 9.1})
    assert checkpoint(run)["lr_schedulers"][0]["feedback"]["best"] == pytest.approx(9.1)
    assert run.summary["best"]["step"] == 40
    assert run.summary["ended_by"] == "end"
    assert "val_score" not in run.summary["final"], "the final weights were not given one"


FINAL = {
    "every third epoch of four": (["trainer.check_val_every_n_epoch=3", "epochs=4"], [11, 15], [11]),
    "every third batch of four": (["trainer.val_check_interval=3", "epochs=2"], [2, 6, 7], [2, 6]),
    "before the first update": (
        ["trainer.accumulate_grad_batches=4", "trainer.val_check_interval=3", "epochs=1"],
        [0],
        [-1],
    ),
    "in the middle of an epoch": (["trainer.check_val_every_n_epoch=2", "epochs=9st"], [7, 8], [7]),
    "where there is one anyway": (["epochs=2"], [3, 7], [3, 7]),
}


@pytest.mark.parametrize(("words", "measured", "decided"), FINAL.values(), ids=FINAL.keys())
def test_final_weights_are_measured_and_decide_nothing(
    words: list[str], measured: list[int], decided: list[int], train: Train
) -> None:
    run = train(*SMALL, "scheduler=plateau", "factor=0.5", "patience=0", "threshold=10", "early_stop=9", *words)
    loss = run.series("val_loss")
    assert list(loss) == measured
    assert run.summary["final"]["val_loss"] == loss[measured[-1]]
    best = min(loss, key=loss.__getitem__)
    assert (run.summary["best"]["step"], run.summary["best"]["val_loss"]) == (best + 1, loss[best])
    assert checkpoint(run)["lr_schedulers"][0]["feedback"]["scale"] == 0.5 ** (len(decided) - 1)
    [stop] = [state for name, state in checkpoint(run)["callbacks"].items() if name.startswith("EarlyStop")]
    if decided != [-1]:  # which is of before the first row
        assert float(stop["best_score"]) == pytest.approx(min(loss[step] for step in decided))


def test_time_limit_stops_a_run_that_can_go_on(train: Train, command_line: CommandLine) -> None:
    run = train(*SMALL, "epochs=100000", "log_every=1000", "+trainer.max_time=00:00:00:01")
    first = run.summary
    assert (first["status"], first["ended_by"]) == ("stopped", "max_time")
    assert f"at update {first['steps']:,} of 400,000" in first["findings"][0]["evidence"]
    assert first["final"]["val_loss"] == float(read_csv(run.folder / "metrics.csv")[-1]["val_loss"])
    assert command_line(f"resume={run.folder}").code == 0
    assert run.summary["steps"] > first["steps"], "each command has the time that it asks for"


@pytest.mark.parametrize(("policy", "said"), [("stretch", True), ("keep", True), ("append", False), ("switch", False)])
def test_a_decay_that_is_over_is_warned_of(policy: str, said: bool, train: Train, command_line: CommandLine) -> None:
    run = train(*SMALL, "scheduler=cosine", "epochs=1")
    result = command_line(f"resume={run.folder}", "epochs=3", f"resume_plan={policy}")
    warning = "over at update 4: the 8 updates from there on have a rate of 0, where it was up to 0.1"
    assert (warning in result.out) == said
    assert any(warning in each["evidence"] for each in run.summary["findings"]) == said


def test_no_decay_is_over_where_the_rate_goes_on(train: Train) -> None:
    for words in (["scheduler=constant"], ["scheduler=step", "every=1"], ["scheduler=cosine"]):
        assert "is over" not in train(*SMALL, "epochs=3", *words).result.out
