"""The scheduler in loops of torch and Lightning, beside other writers of the rate: a wrong rate is never used."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import warnings
import weakref
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import BaseFinetuning, Callback, StochasticWeightAveraging
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, lr_scheduler
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader, TensorDataset

from lrtrain import Scheduler
from lrtrain.errors import RequestError
from lrtrain.schedules import Schedule, between, constant, cosine, exponential, linear, plateau, step, validation_drop
from lrtrain.training.configure_optimizers import with_schedule
from lrtrain.training.validation_feedback import ValidationFeedback

BASE, TOTAL, LENGTH = 0.1, 12, 4
COSINE = [BASE * (1 + math.cos(math.pi * t / TOTAL)) / 2 for t in range(TOTAL + 1)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What torch, Lightning and other packages say of other people's calls is not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make(kind: Callable[..., Optimizer] = SGD, lr: Any = BASE, **settings: Any) -> Optimizer:
    weight = nn.Parameter(torch.ones(2, dtype=torch.float64))
    weight.grad = torch.ones(2, dtype=torch.float64)
    return kind([weight], lr=lr, **settings)


def scheduled(optimizer: Optimizer, schedule: Schedule | None = None, **settings: Any) -> Scheduler:
    return Scheduler(optimizer, schedule or cosine(), total_steps=TOTAL, steps_per_epoch=LENGTH, **settings)


def rate(optimizer: Optimizer, group: int = 0) -> float:
    return float(optimizer.param_groups[group]["lr"])


def moved(optimizer: Optimizer) -> float:
    """The rate that an update of SGD really had: how far it moves a weight whose gradient is 1."""
    weight = optimizer.param_groups[0]["params"][0]
    before = weight.detach().clone()
    optimizer.step()
    return float((before - weight.detach())[0])


# Copies


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


# Taking turns


def test_detached_it_leaves_the_rate_and_the_settings_where_they_are() -> None:
    optimizer = make(AdamW, weight_decay=0.5)
    scheduler = scheduled(
        optimizer, hyperparameters={"weight_decay": linear(), "momentum": between(linear(), 0.9, 0.6)}
    )
    for _ in range(6):
        optimizer.step()
    scheduler.detach()
    scheduler.detach()
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    group = optimizer.param_groups[0]
    assert [group["lr"], group["weight_decay"], group["betas"][0]] == pytest.approx([BASE / 2, 0.5, 0.75])
    group["lr"] = 0.3
    assert Scheduler.of(optimizer) is None
    assert scheduled(optimizer, linear()).base_lrs == [0.3], "what follows begins at the rate that it finds"


def test_another_takes_over_after_detach() -> None:
    optimizer = make()
    scheduler = scheduled(optimizer)
    for _ in range(6):
        optimizer.step()
    scheduler.detach()
    theirs = lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    rates = []
    for _ in range(3):
        rates.append(moved(optimizer))
        theirs.step()
    assert rates == pytest.approx([BASE / 2, BASE / 4, BASE / 8])


def test_a_second_scheduler_is_refused_and_names_the_first() -> None:
    optimizer = make()
    scheduled(optimizer)
    with pytest.raises(RuntimeError, match=r"cosine\(.*at update 0.*detach"):
        scheduled(optimizer, linear())
    assert [moved(optimizer) for _ in range(3)] == pytest.approx(COSINE[:3])


def test_one_that_could_not_be_built_leaves_the_optimizer_free() -> None:
    optimizer = make()
    with pytest.raises(ValueError, match="needs total_steps"):
        Scheduler(optimizer, cosine())
    scheduled(optimizer)


# Other writers

Intruder = Callable[[Optimizer, Scheduler], Callable[[], None]]


def by_hand(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    def write() -> None:
        if scheduler.last_epoch == 3:
            optimizer.param_groups[0]["lr"] = 0.02

    return write


def torch_plateau(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    return lambda: theirs.step(1.0)


def sequential_first(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    return lr_scheduler.SequentialLR(optimizer, [scheduler, lr_scheduler.StepLR(optimizer, 2)], [3]).step


def sequential_last(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    return lr_scheduler.SequentialLR(optimizer, [lr_scheduler.ConstantLR(optimizer, 1.0), scheduler], [3]).step


INTRUDERS: dict[str, Intruder] = {
    "by hand": by_hand,
    "StepLR": lambda optimizer, _: lr_scheduler.StepLR(optimizer, 3).step,
    "LinearLR": lambda optimizer, _: lr_scheduler.LinearLR(optimizer).step,
    "OneCycleLR": lambda optimizer, _: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=99).step,
    "ReduceLROnPlateau": torch_plateau,
    "SWALR": lambda optimizer, _: SWALR(optimizer, 0.05, anneal_epochs=2).step,
    "ChainedScheduler": lambda optimizer, ours: (
        lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(optimizer, 0.9), ours]).step
    ),
    "SequentialLR, ours first": sequential_first,
    "SequentialLR, ours last": sequential_last,
}


@pytest.mark.parametrize("lr", [BASE, torch.tensor(BASE, dtype=torch.float64)], ids=["float", "tensor"])
def test_another_writer_is_refused_before_its_rate_is_used(lr: Any) -> None:
    """Whether ours is stepped in turn with it, or never."""
    for (name, intruder), in_turn in product(INTRUDERS.items(), (True, False)):
        optimizer = make(lr=copy.deepcopy(lr))
        scheduler = scheduled(optimizer)
        rates: list[float] = []
        with pytest.raises(RuntimeError, match=r"detach\(\)|join\(\[first, second\]"):
            train_with(intruder, optimizer, scheduler, rates, in_turn)
        assert rates == pytest.approx(COSINE[: len(rates)], rel=1e-7), f"{name}: until then all rates were ours"


def train_with(intruder: Any, optimizer: Optimizer, scheduler: Scheduler, rates: list[float], in_turn: bool) -> None:
    intrude = intruder(optimizer, scheduler)
    for _ in range(TOTAL):
        rates.append(moved(optimizer))
        intrude()
        if in_turn:
            scheduler.step()


def test_another_writer_of_a_scheduled_setting_is_refused() -> None:
    optimizer = make(SGD, momentum=0.9)
    scheduled(optimizer, hyperparameters={"momentum": linear()})
    optimizer.param_groups[0]["momentum"] = 0.3
    with pytest.raises(RuntimeError, match=r"momentum of group 0 was set to 0\.3 .* at 1"):
        optimizer.step()


def test_the_refusal_names_the_group_and_both_rates() -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups: list[dict[str, Any]] = [{"params": [a], "name": "body"}, {"params": [b], "name": "head", "lr": 0.5}]
    optimizer = SGD(groups, lr=BASE)
    scheduled(optimizer, constant())
    optimizer.param_groups[1]["lr"] = 0.25
    with pytest.raises(RuntimeError, match=r"group 'head' was set to 0\.25 .* at 0\.5: call detach"):
        optimizer.step()


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


# By group


def test_settings_have_curves_by_group_and_the_others_keep_theirs() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "name": name} for name in ("body", "head")]
    optimizer = SGD(groups, lr=BASE, momentum=0.9, weight_decay=0.5)
    curves = {"momentum": {"head": between(linear(), 0.8, 0.2)}, "weight_decay": linear()}
    scheduled(optimizer, hyperparameters=curves)
    for _ in range(6):
        optimizer.step()
    found = [group[name] for group in optimizer.param_groups for name in ("momentum", "weight_decay")]
    assert found == pytest.approx([0.9, 0.5, 0.5, 0.5])


def test_plateau_has_the_floors_of_torch_by_group() -> None:
    def groups() -> list[dict[str, Any]]:
        rates = {"body": 0.2, "head": 0.1}
        return [{"params": [nn.Parameter(torch.ones(1))], "name": name, "lr": lr} for name, lr in rates.items()]

    theirs = SGD(groups())
    oracle = lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=0, min_lr=[0.04, 0.02])
    optimizer = SGD(groups())
    rule = plateau(factor=0.5, patience=0)
    scheduler = scheduled(optimizer, constant(), feedback=rule, min_lr={"body": 0.04, "head": 0.02})
    for _ in range(6):
        oracle.step(1.0)
        scheduler.observe(1.0)
        assert [rate(optimizer, n) for n in (0, 1)] == pytest.approx([rate(theirs, n) for n in (0, 1)])


# Groups that come later


def test_a_group_added_at_its_own_rate_has_that_as_its_base_rate() -> None:
    optimizer = make()
    scheduled(optimizer, exponential(gamma=0.5, every="1st", per="step"))
    optimizer.step()
    for settings in ({"lr": 0.8}, {}, {"lr": 0.025, "initial_lr": 0.4}):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], **settings})
    optimizer.step()
    assert [rate(optimizer, group) for group in range(4)] == [BASE / 4, 0.8 / 4, BASE / 4, 0.4 / 4]


def test_a_group_added_at_a_part_of_a_present_rate_stays_that_part() -> None:
    optimizer = make()
    scheduled(optimizer)
    for _ in range(4):
        optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": rate(optimizer) / 10})
    for _ in range(4):
        optimizer.step()
        assert rate(optimizer, 1) == pytest.approx(rate(optimizer) / 10)


def test_a_group_is_refused_whose_rate_may_be_its_own_or_a_part_of_a_present_one() -> None:
    optimizer = make()
    scheduled(optimizer, step(gamma=0.5, every="1st"))
    optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.005})
    with pytest.raises(RuntimeError, match=r"initial_lr=0\.01 for 0\.1 times the other's rates, or initial_lr=0\.005"):
        optimizer.step()


# Lightning


class Module(pl.LightningModule):
    """Somebody's module; what `configure_optimizers` returns is given to it, and its metric is one that gets worse."""

    def __init__(self, configure: Callable[[Module], Any]) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(1, 1), nn.Linear(1, 1)
        self.configure = configure
        self.rates: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        return self.head(self.body(batch[0])).sum()  # type: ignore[no-any-return]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def fit(module: pl.LightningModule, *callbacks: Callback, epochs: int = TOTAL // LENGTH) -> None:
    data = DataLoader(TensorDataset(torch.ones(LENGTH, 1)))
    pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        num_sanity_val_steps=1,
    ).fit(module, data, data)


def test_lightning_gives_its_monitor_to_a_feedback_rule() -> None:
    def configure(module: Module) -> Any:
        optimizer = SGD(module.parameters(), lr=BASE)
        rule = plateau(factor=0.5, patience=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduled(optimizer, constant(), feedback=rule), "monitor": "val_loss"},
        }

    module = Module(configure)
    fit(module)
    assert [rates[0] for rates in module.rates[::LENGTH]] == [BASE, BASE, BASE / 2]


def test_lightning_refuses_a_feedback_rule_without_a_monitor() -> None:
    def configure(module: Module) -> Any:
        optimizer = SGD(module.parameters(), lr=BASE)
        return [optimizer], [scheduled(optimizer, feedback=plateau())]

    with pytest.raises(MisconfigurationException, match="monitor"):
        fit(Module(configure))


def with_plateau(module: Module) -> Any:
    optimizer = SGD(module.parameters(), lr=BASE)
    return with_schedule(optimizer, constant(), module.trainer, feedback=plateau(factor=0.5, patience=0))


def test_with_schedule_decides_once_a_validation() -> None:
    module = Module(with_plateau)
    fit(module, ValidationFeedback())
    assert [rates[0] for rates in module.rates[::LENGTH]] == [BASE, BASE, BASE / 2]


@pytest.mark.parametrize(
    ("callbacks", "line"),
    [
        ([], r"add ValidationFeedback\('val_loss'\) to the Trainer's callbacks"),
        ([ValidationFeedback("val_acc")], r"ValidationFeedback\('val_acc'\).*monitor='val_loss'"),
        (
            [ValidationFeedback(), StochasticWeightAveraging(0.05)],
            r"StochasticWeightAveraging.*brings its own schedule",
        ),
    ],
    ids=["no callback", "of another metric", "stochastic weight averaging"],
)
def test_with_schedule_refuses_what_would_not_do_as_it_says(callbacks: list[Callback], line: str) -> None:
    with pytest.raises(RequestError, match=line):
        fit(Module(with_plateau), *callbacks)


def test_stochastic_weight_averaging_is_refused_before_its_rate_is_used() -> None:
    def configure(module: Module) -> Any:
        optimizer = SGD(module.parameters(), lr=BASE)
        return [optimizer], [scheduled(optimizer)]

    module = Module(configure)
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        fit(module, StochasticWeightAveraging(0.05, swa_epoch_start=1, annealing_epochs=1))
    assert [rates[0] for rates in module.rates] == pytest.approx(COSINE[:LENGTH])


class Unfreeze(BaseFinetuning):
    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        self.freeze(pl_module.body)

    def finetune_function(self, pl_module: pl.LightningModule, epoch: int, optimizer: Optimizer) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.body, optimizer)


def test_finetuning_adds_a_group_at_a_tenth_of_the_rate() -> None:
    def configure(module: Module) -> Any:
        optimizer = SGD(module.head.parameters(), lr=BASE)
        return [optimizer], [{"scheduler": scheduled(optimizer), "interval": "step"}]

    module = Module(configure)
    fit(module, Unfreeze())
    assert [rates[0] for rates in module.rates] == pytest.approx(COSINE[:TOTAL])
    assert [rates[1] for rates in module.rates[LENGTH:]] == pytest.approx([r / 10 for r in COSINE[LENGTH:TOTAL]])


def test_two_optimizers_with_a_scheduler_each() -> None:
    class Adversaries(pl.LightningModule):
        automatic_optimization = False

        def __init__(self) -> None:
            super().__init__()
            self.maker, self.judge = nn.Linear(1, 1), nn.Linear(1, 1)
            self.rates: list[list[float]] = []

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizers: Any = self.optimizers()
            self.rates.append([rate(each) for each in optimizers])
            for optimizer, layer in zip(optimizers, (self.maker, self.judge), strict=True):
                if layer is self.judge or batch_idx % 2 == 0:  # the judge learns twice as often
                    optimizer.zero_grad()
                    self.manual_backward(layer(batch[0]).sum())
                    optimizer.step()
            for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
                scheduler.step()

        def configure_optimizers(self) -> Any:
            both = [SGD(layer.parameters(), lr=BASE) for layer in (self.maker, self.judge)]
            return both, [scheduled(each) for each in both]

    module = Adversaries()
    fit(module)
    assert [rates[1] for rates in module.rates] == pytest.approx(COSINE[:TOTAL])
    assert [rates[0] for rates in module.rates] == pytest.approx([COSINE[(t + 1) // 2] for t in range(TOTAL)])


@pytest.mark.parametrize("order", ["before setup", "after setup"])
def test_fabric(order: str) -> None:
    fabric = Fabric(accelerator="cpu")
    layer = nn.Linear(1, 1)
    optimizer: Any = SGD(layer.parameters(), lr=BASE)
    if order == "before setup":
        scheduled(optimizer)
    model, optimizer = fabric.setup(layer, optimizer)
    if order == "after setup":
        scheduled(optimizer)
    rates = []
    for _ in range(5):
        rates.append(rate(optimizer))
        optimizer.zero_grad()
        fabric.backward(model(torch.ones(1, 1)).sum())
        optimizer.step()
    assert rates == pytest.approx(COSINE[:5])
