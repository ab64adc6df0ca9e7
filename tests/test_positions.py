"""The position of a scheduler counts the updates that were done, whoever counts what else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from loops import BASE, COSINE, LENGTH, TOTAL, make, moved, rate, scheduled
from torch import nn
from torch.optim import LBFGS, SGD, Adam, Optimizer, lr_scheduler

from lrtrain import Scheduler
from lrtrain.schedules import constant, plateau, step, validation_drop

pytestmark = pytest.mark.filterwarnings("ignore")  # what others say of these calls is not looked at


# What counts as an update


def test_a_step_that_calls_its_parents_counts_once_and_keeps_its_rate_to_its_end() -> None:
    seen = []

    class Twice(SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            super().step()
            super().step()
            seen.append(self.param_groups[0]["lr"])

    make(SGD)  # from now on torch reports SGD.step as well
    optimizer = make(Twice)
    scheduler = scheduled(optimizer)
    for _ in range(3):
        optimizer.step()
    assert scheduler.last_epoch == 3
    assert seen == pytest.approx([COSINE[0]] * 2 + [COSINE[1]] * 2 + [COSINE[2]] * 2)


def test_a_step_that_raises_does_not_count_and_the_next_does() -> None:
    def fail() -> float:
        raise KeyboardInterrupt

    optimizer = make()
    scheduler = scheduled(optimizer)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            optimizer.step(fail)
    assert [moved(optimizer) for _ in range(3)] == pytest.approx(COSINE[:3])
    assert scheduler.last_epoch == 3


def test_all_evaluations_of_lbfgs_are_one_update() -> None:
    optimizer = make(LBFGS, max_iter=5)
    scheduler = scheduled(optimizer)
    [weight] = optimizer.param_groups[0]["params"]

    def closure() -> float:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return float(loss)

    for _ in range(4):
        optimizer.step(closure)
    assert scheduler.last_epoch == 4
    assert rate(optimizer) == pytest.approx(COSINE[4])


def test_an_optimizer_that_tells_of_no_update_is_refused() -> None:
    class Silent:
        param_groups: tuple[dict[str, Any], ...] = ({"lr": BASE, "params": []},)

    with pytest.raises(TypeError, match="Silent does not tell of its updates"):
        Scheduler(Silent(), constant())  # type: ignore[arg-type]


def test_zero_redundancy_optimizer() -> None:
    from torch import distributed
    from torch.distributed import HashStore  # type: ignore[attr-defined]
    from torch.distributed.optim import ZeroRedundancyOptimizer

    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        weight = nn.Parameter(torch.ones(2))
        weight.grad = torch.ones(2)
        optimizer = ZeroRedundancyOptimizer([weight], optimizer_class=SGD, lr=BASE)
        scheduled(optimizer)
        assert [moved(optimizer) for _ in range(5)] == pytest.approx(COSINE[:5], rel=1e-5)
        assert optimizer.optim.param_groups[0]["lr"] == pytest.approx(COSINE[4])
    finally:
        distributed.destroy_process_group()


def test_a_compiled_update_is_not_compiled_again_for_other_positions() -> None:
    from torch._dynamo.testing import CompileCounter

    optimizer = make(Adam, lr=torch.tensor(BASE))
    scheduled(optimizer, step(gamma=0.5, every="3st"))
    counter = CompileCounter()
    update = torch.compile(optimizer.step, backend=counter)
    rates, compiled = [], []
    for _ in range(TOTAL):
        rates.append(rate(optimizer))
        update()
        compiled.append(counter.frame_count)
    assert rates == pytest.approx([BASE * 0.5 ** (t // 3) for t in range(TOTAL)])
    assert compiled[1] == compiled[-1], "the second update has what the first one has not: the optimizer's state"


# What step() takes


@pytest.mark.parametrize("epoch", [0, 3])
def test_an_epoch_is_no_metric(epoch: int) -> None:
    optimizer = make()
    scheduler = scheduled(optimizer)
    optimizer.step()
    scheduler.step(epoch)
    scheduler.step(epoch=epoch)
    assert rate(optimizer) == pytest.approx(COSINE[1])
    fed = scheduled(make(), constant(), feedback=validation_drop())
    with pytest.raises(ValueError, match=rf"step\({epoch}\) may be an epoch or a metric"):
        fed.step(epoch)


def test_a_metric_by_position_by_name_or_after_the_epoch() -> None:
    optimizer = make()
    scheduler = scheduled(optimizer, constant(), feedback=validation_drop(factor=0.5))
    scheduler.step(4.0)
    scheduler.step(metrics=3)
    scheduler.step(7, torch.tensor(2.0))
    assert rate(optimizer) == BASE / 4
    with pytest.raises(ValueError, match="no feedback rule"):
        scheduled(make()).step(1.0)


# Positions of others


def test_last_epoch_is_the_last_update_done() -> None:
    optimizer = make()
    scheduler = scheduled(optimizer, last_epoch=4)
    assert scheduler._step_count == 6
    assert moved(optimizer) == pytest.approx(COSINE[5])


def trained_by_torch(kind: Callable[..., Optimizer], every: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states of an optimizer and a torch scheduler, which stepped once every so many of the 8 updates."""
    optimizer = make(kind)
    theirs = lr_scheduler.CosineAnnealingLR(optimizer, TOTAL // every)
    for t in range(8):
        optimizer.step()
        if (t + 1) % every == 0:
            theirs.step()
    return optimizer.state_dict(), theirs.state_dict()


@pytest.mark.parametrize("every", [1, LENGTH])
def test_the_state_of_a_torch_scheduler_gives_the_position(every: int) -> None:
    optimizers, theirs = trained_by_torch(Adam, every)
    optimizer = make(Adam)
    optimizer.load_state_dict(optimizers)
    scheduler = scheduled(optimizer)
    scheduler.load_state_dict(theirs)
    assert scheduler.last_epoch == 8
    assert rate(optimizer) == pytest.approx(COSINE[8])


def test_the_state_of_a_torch_scheduler_is_refused_where_nothing_says_what_it_counts() -> None:
    optimizers, theirs = trained_by_torch(SGD, LENGTH)
    optimizer = make(SGD)
    optimizer.load_state_dict(optimizers)
    with pytest.raises(ValueError, match=r"last_epoch=1\).*last_epoch=2 \* steps_per_epoch - 1"):
        scheduled(optimizer).load_state_dict(theirs)


def test_a_state_of_lrtrain_0_1() -> None:
    optimizer = make()
    scheduler = scheduled(optimizer, feedback=plateau())
    observed = {"rule": "plateau", "scale": 0.5, "best": 0.7, "bad": 1, "cooling": 0, "average": 0.7, "good": 0}
    scheduler.load_state_dict({"step": 5, "feedback": observed})
    assert rate(optimizer) == pytest.approx(COSINE[5] / 2)
    assert scheduler.state.best == 0.7
