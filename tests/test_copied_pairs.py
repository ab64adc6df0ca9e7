"""An optimizer and its scheduler that are copied go on as a pair of their own."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from loops import BASE, COSINE, make, moved, rate, scheduled
from torch import nn
from torch.optim import SGD

from lrtrain import Scheduler

pytestmark = pytest.mark.filterwarnings("ignore")  # what others say of these calls is not looked at


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda pair: pickle.loads(pickle.dumps(pair)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("lr", [BASE, torch.tensor(BASE, dtype=torch.float64)], ids=["float", "tensor"])
def test_a_copied_pair_goes_on_apart_from_the_original(copied: Callable[[Any], Any], lr: Any) -> None:
    optimizer = make(lr=copy.deepcopy(lr))
    scheduler = scheduled(optimizer)
    for _ in range(3):
        optimizer.step()
    twin, second = copied((optimizer, scheduler))
    twin.param_groups[0]["params"][0].grad = torch.ones(2, dtype=torch.float64)
    assert [moved(twin) for _ in range(5)] == pytest.approx(COSINE[3:8], rel=1e-7)
    assert (scheduler.last_epoch, second.last_epoch) == (3, 8)
    assert moved(optimizer) == pytest.approx(COSINE[3], rel=1e-7)


def test_a_copied_module_holds_a_pair_that_goes_on() -> None:
    class Holder(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.chosen = SGD(self.parameters(), lr=BASE)
            self.schedule = scheduled(self.chosen)

    holder = Holder()
    holder.chosen.step()
    twin = copy.deepcopy(holder)
    assert twin.chosen.param_groups[0]["params"][0] is twin.layer.weight
    for _ in range(2):
        twin.chosen.step()
    assert [rate(holder.chosen), rate(twin.chosen)] == pytest.approx([COSINE[1], COSINE[3]])


def test_a_copied_scheduler_brings_its_own_optimizer_and_a_shallow_one_is_a_second() -> None:
    scheduler = scheduled(make())
    assert copy.deepcopy(scheduler).optimizer is not scheduler.optimizer
    with pytest.raises(RuntimeError, match="already"):
        copy.copy(scheduler)


def test_it_lives_as_long_as_its_optimizer() -> None:
    optimizer = make()
    scheduled(optimizer)
    gc.collect()
    assert [moved(optimizer) for _ in range(4)] == pytest.approx(COSINE[:4])
    kept = weakref.ref(Scheduler.of(optimizer)), weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert [reference() for reference in kept] == [None, None]
