"""The scheduler in the loops of Lightning and Fabric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import BaseFinetuning, Callback, StochasticWeightAveraging
from loops import BASE, COSINE, LENGTH, TOTAL, rate, scheduled
from torch import nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from lrtrain.errors import RequestError
from lrtrain.schedules import constant, plateau
from lrtrain.training.configure_optimizers import with_schedule
from lrtrain.training.validation_feedback import ValidationFeedback

pytestmark = pytest.mark.filterwarnings("ignore")  # what others say of these calls is not looked at


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
