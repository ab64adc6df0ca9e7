"""The scheduler in the loops of other packages; `pip install -e ".[integrations]"` brings them."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import BASE, COSINE, TOTAL
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lrtrain import Scheduler, schedules
from lrtrain.configs import config_dir
from lrtrain.schedules import constant, cosine, inverse_time, plateau

pytestmark = pytest.mark.filterwarnings("ignore")  # what others say of these calls is not looked at


def rate(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


# accelerate


@pytest.fixture
def accelerate() -> Iterator[Any]:
    package = pytest.importorskip("accelerate", reason="needs the extra integrations")
    yield package
    package.state.AcceleratorState._reset_state(True)
    package.state.GradientState._reset_state()


@pytest.mark.parametrize("order", ["scheduler first", "optimizer first", "scheduler not prepared"])
@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate(accelerate: Any, order: str, accumulated: int, precision: str) -> None:
    accelerator = accelerate.Accelerator(
        cpu=True, mixed_precision=precision, gradient_accumulation_steps=accumulated, step_scheduler_with_optimizer=True
    )
    model = nn.Linear(1, 1)
    optimizer: Any = SGD(model.parameters(), lr=BASE)
    loader = DataLoader(TensorDataset(torch.ones(TOTAL * accumulated, 1)))
    if order == "scheduler first":
        scheduler: Any = Scheduler(optimizer, cosine(), total_steps=TOTAL)
        model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    else:
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        scheduler = Scheduler(optimizer, cosine(), total_steps=TOTAL)
    if order == "optimizer first":
        scheduler = accelerator.prepare(scheduler)
    rates, shown = [], []
    for [batch] in loader:
        with accelerator.accumulate(model):
            if accelerator.sync_gradients:
                rates.append(rate(optimizer))
            accelerator.backward(model(batch).sum())
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if accelerator.sync_gradients:
                shown.append(scheduler.get_last_lr()[0])
    assert rates == pytest.approx(COSINE[:TOTAL])
    assert shown[:-1] == pytest.approx(COSINE[1:TOTAL]), "as of torch's schedulers, the next rate after step()"


@pytest.mark.parametrize("total", [TOTAL, None])
def test_accelerate_steps_once_a_process(accelerate: Any, monkeypatch: pytest.MonkeyPatch, total: int | None) -> None:
    """With two processes accelerate calls `step()` twice; the updates are counted all the same."""
    accelerator = accelerate.Accelerator(cpu=True)
    model = nn.Linear(1, 1)
    optimizer: Any = SGD(model.parameters(), lr=BASE)
    schedule = cosine() if total else inverse_time(decay=1.0, every="1st", per="step")
    scheduler: Any = Scheduler(optimizer, schedule, total_steps=total)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    monkeypatch.setitem(accelerate.state.AcceleratorState._shared_state, "num_processes", 2)
    rates = []
    for _ in range(5):
        rates.append(rate(optimizer))
        accelerator.backward(model(torch.ones(1, 1)).sum())
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(COSINE[:5] if total else [BASE / (1 + t) for t in range(5)])


def test_accelerate_keeps_a_position(accelerate: Any, tmp_path: Path) -> None:
    def begin() -> tuple[Any, Any, Any]:
        accelerator = accelerate.Accelerator(cpu=True)
        model = nn.Linear(1, 1)
        optimizer = SGD(model.parameters(), lr=BASE)
        return accelerator, *accelerator.prepare(optimizer, Scheduler(optimizer, cosine(), total_steps=TOTAL))

    accelerator, optimizer, _ = begin()
    for _ in range(4):
        optimizer.step()
    accelerator.save_state(str(tmp_path))
    accelerator, optimizer, scheduler = begin()
    accelerator.load_state(str(tmp_path))
    assert [rate(optimizer), *scheduler.get_last_lr()] == pytest.approx([COSINE[4]] * 2)


# Transformers


class Numbers(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(1), "labels": torch.ones(1)}


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        predicted = self.layer(x)
        return {"loss": ((predicted - labels) ** 2).mean(), "logits": predicted}


def trainer_of(transformers: Any, folder: Path, kind: Any = AdamW, **settings: Any) -> tuple[Any, Any]:
    """Transformers' Trainer with our scheduler, for 12 updates in 6 epochs, and what was used and logged."""
    model = Regression()
    optimizer = kind(model.parameters(), lr=BASE)
    rule = settings.pop("feedback", None)
    scheduler = Scheduler(
        optimizer, constant() if rule else cosine(), total_steps=TOTAL, steps_per_epoch=2, feedback=rule
    )
    used: list[float] = []
    lengths = {"max_steps": TOTAL, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "save_steps": 4}
    arguments = lengths | {"logging_steps": 1, "report_to": "none", "disable_tqdm": True, "use_cpu": True} | settings

    class Watch(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            used.append(rate(optimizer))

    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(str(folder), **arguments),
        train_dataset=Numbers(),
        eval_dataset=Numbers(),
        optimizers=(optimizer, scheduler),
        callbacks=[Watch()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer, used


@pytest.fixture
def transformers(accelerate: Any) -> Any:
    return pytest.importorskip("transformers", reason="needs the extra integrations")


def logged(trainer: Any) -> list[float]:
    return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]


def test_transformers_trainer_uses_logs_and_resumes_the_rates(transformers: Any, tmp_path: Path) -> None:
    trainer, used = trainer_of(transformers, tmp_path)
    trainer.train()
    assert used == pytest.approx(COSINE[:TOTAL])
    assert logged(trainer) == pytest.approx(COSINE[:TOTAL])
    trainer, used = trainer_of(transformers, tmp_path, save_strategy="no")
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert used == pytest.approx(COSINE[4:TOTAL])
    assert logged(trainer)[4:] == pytest.approx(COSINE[4:TOTAL])


def test_transformers_trainer_gives_its_metric_to_a_feedback_rule(transformers: Any, tmp_path: Path) -> None:
    rule = plateau(factor=0.5, patience=0, threshold=10.0)  # nothing is an improvement after the first
    settings = {"eval_strategy": "steps", "eval_steps": 4, "metric_for_best_model": "loss", "save_strategy": "no"}
    trainer, used = trainer_of(transformers, tmp_path, feedback=rule, **settings)
    trainer.train()
    assert used == pytest.approx([BASE] * 8 + [BASE / 2] * 4)


# ignite


@pytest.mark.parametrize("wrapped", [False, True])
def test_ignite(wrapped: bool) -> None:
    pytest.importorskip("ignite", reason="needs the extra integrations")
    from ignite.engine import Engine, Events
    from ignite.handlers.param_scheduler import LRScheduler

    weight = nn.Parameter(torch.ones(1))
    optimizer = SGD([weight], lr=BASE)
    scheduler = Scheduler(optimizer, cosine(), total_steps=TOTAL)
    rates = []

    def update(engine: Any, batch: Any) -> None:
        rates.append(rate(optimizer))
        weight.grad = torch.ones(1)
        optimizer.step()

    engine = Engine(update)
    if wrapped:
        engine.add_event_handler(Events.ITERATION_STARTED, LRScheduler(scheduler))
    engine.run([0] * 4, max_epochs=TOTAL // 4)
    assert rates == pytest.approx(COSINE[:TOTAL])


# pytorch_optimizer


def wrappers(package: Any, weight: nn.Parameter) -> dict[str, Any]:
    return {
        "SAM": lambda: package.SAM([weight], SGD, lr=BASE),
        "SAM in two steps": lambda: package.SAM([weight], SGD, lr=BASE),
        "Lookahead": lambda: package.Lookahead(SGD([weight], lr=BASE)),
        "Lookahead of Lookahead": lambda: package.Lookahead(package.Lookahead(SGD([weight], lr=BASE))),
        "OrthoGrad": lambda: package.OrthoGrad(SGD([weight], lr=BASE)),
    }


@pytest.mark.parametrize("name", wrappers(None, nn.Parameter()))
def test_wrapped_optimizers(name: str) -> None:
    package = pytest.importorskip("pytorch_optimizer", reason="needs the extra integrations")
    weight = nn.Parameter(torch.full((2,), 3.0))

    def closure() -> torch.Tensor:
        weight.grad = None
        loss = (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def update() -> None:
        closure()
        if name == "SAM in two steps":
            optimizer.first_step()
            closure()
            optimizer.second_step()
        else:
            optimizer.step(closure)

    optimizer = wrappers(package, weight)[name]()
    scheduler = Scheduler(optimizer, cosine(), total_steps=TOTAL)
    rates = []
    for _ in range(5):
        rates.append(rate(optimizer))
        update()
    assert rates == pytest.approx(COSINE[:5])
    saved = optimizer.state_dict(), scheduler.state_dict()
    optimizer = wrappers(package, weight)[name]()
    scheduler = Scheduler(optimizer, cosine(), total_steps=TOTAL)
    scheduler.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[0])
    update()
    assert rate(optimizer) == pytest.approx(COSINE[6])


# The page for those who come from other libraries

LOOPS = (config_dir() / "scheduler" / "COMING_FROM.md").read_text().partition("## In their loops")[2]
SNIPPETS = re.findall(r"^(\w[^\n]*):\n\n```python\n(.+?)```", LOOPS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "code"), SNIPPETS, ids=[title for title, _ in SNIPPETS])
def test_the_snippets_run_and_end_where_the_schedule_does(
    title: str, code: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for package in re.findall(r"^from (\w+)[\w.]* import", code, re.MULTILINE):
        pytest.importorskip(package, reason="needs the extra integrations")
        if package in ("accelerate", "transformers"):
            request.getfixturevalue(package)

    hf_model = Regression()
    model = hf_model.layer
    ends: dict[str, Any] = {
        **vars(schedules),
        "torch": torch,
        "Scheduler": Scheduler,
        "model": model,
        "folder": str(tmp_path),
        "hf_model": hf_model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=BASE),
        "batches": [torch.ones(2, 1)] * 12,
        "hf_data": [{"x": torch.ones(1), "labels": torch.ones(1)}] * 96,
        "loss_of": lambda model, batch: (model(batch) ** 2).sum(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, ends)
    scheduler = ends["scheduler"]
    if "detach" in code:
        half_way = (1 + math.cos(math.pi * 3 / 9)) / 2
        assert ends["optimizer"].param_groups[0]["lr"] == pytest.approx(BASE * half_way * 0.5**6)
    else:
        assert getattr(scheduler, "scheduler", scheduler).last_epoch == 12
        assert float(ends["optimizer"].param_groups[0]["lr"]) == pytest.approx(0, abs=1e-12)
