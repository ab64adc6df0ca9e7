"""The published set-ups are what they say."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
from conftest import CommandLine, Run, Train, settings_of

from lrtrain.datasets.mnist1d import generate
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.plan.plan import Plan
from lrtrain.settings import Settings
from lrtrain.training.data import build_data, describe_data
from lrtrain.training.network import build_module

generated = functools.cache(generate)


def planned(settings: Settings) -> Plan:
    return plan_run([Segment(settings, steps_per_epoch(settings))])


@pytest.mark.parametrize(("name", "size"), [("linear", 410), ("mlp", 15_210), ("cnn", 5_210)])
def test_networks_of_the_authors_of_mnist1d(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """6,000 updates of Adam at 0.01, and as many parameters as they report."""
    monkeypatch.setattr("lrtrain.datasets.mnist1d.generate", generated)
    settings = settings_of(f"experiment=mnist1d_{name}")
    plan = planned(settings)
    assert plan.horizon.total_steps == 6000
    assert {plan.rate(step) for step in (0, 3000, 5999)} == {0.01}
    data = build_data(settings)
    module = build_module(settings, plan, *describe_data(settings, data))
    assert sum(weight.numel() for weight in module.parameters()) == size
    batches = data.train_dataloader()
    first, again = ([labels.tolist() for _, labels in batches] for _ in range(2))
    assert first == again, "the order is that of the data, every epoch"
    assert [len(labels) for labels in first] == [100] * 40


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("to be or not to be, that is the question\n" * 200)
    return file


def test_nanogpt_on_a_cpu(text: Path) -> None:
    settings = settings_of("experiment=shakespeare", f"dataset.file={text}")
    plan = planned(settings)
    assert plan.horizon.total_steps == 2000
    for step, expected in ((0, 1e-5), (99, 1e-3), (100, 1e-3), (1050, 5.5e-4), (2000, 1e-4)):
        assert plan.rate(step) == pytest.approx(expected, rel=1e-9)
    module = build_module(settings, plan, *describe_data(settings, build_data(settings)))
    groups = {group["name"]: group for group in module.make_optimizer().param_groups}
    assert groups["rest"]["weight_decay"] == 0.1
    assert groups["no_decay"]["weight_decay"] == 0
    assert groups["rest"]["betas"] == (0.9, 0.99)


def test_transformer_learns_a_text(text: Path, train: Train) -> None:
    short = ("epochs=1", "trainer.limit_train_batches=40", "warmup=0", "trainer=cpu", "logger=none")
    small = ("model.layers=1", "model.width=32", "lr=0.01")
    run: Run = train("experiment=shakespeare", f"dataset.file={text}", *short, *small)
    characters = len(set(text.read_text()))
    assert run.summary["final"]["val_loss"] < 0.6 * math.log(characters)


def test_a_preset_gives_way_to_the_command_line(command_line: CommandLine) -> None:
    result = command_line("experiment=mnist1d_cnn", "scheduler=cosine", "lr=0.03", "--cfg", "job")
    assert "scheduler: cosine" in result.out
    assert "lr: 0.03" in result.out
    assert "batch_size: 100" in result.out
