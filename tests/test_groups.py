"""Parameter groups, and other hyperparameters on a schedule."""

from __future__ import annotations

import csv
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, Run, Train, settings_of
from torch import nn

from lrtrain import Scheduler
from lrtrain.cli.main import main
from lrtrain.datasets import Inputs
from lrtrain.errors import RequestError
from lrtrain.schedules import between, cosine, frozen, linear
from lrtrain.training.groups import parameter_groups


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def test_patterns_multiply_the_rate_and_name_the_group() -> None:
    groups = parameter_groups(model(), 0.1, {"0.*": 0.5, "1.*": 2})
    assert [(group["name"], group["lr"], len(group["params"])) for group in groups] == [
        ("0", 0.05, 2),
        ("1", 0.2, 2),
        ("rest", 0.1, 2),
    ]


def test_no_decay_takes_biases_and_norms() -> None:
    groups = {group["name"]: group for group in parameter_groups(model(), 0.1, {}, no_decay=True)}
    assert [tuple(p.shape) for p in groups["rest"]["params"]] == [(3, 2), (1, 3)]
    assert {p.ndim for p in groups["no_decay"]["params"]} == {1}
    assert groups["no_decay"]["weight_decay"] == 0


def test_layer_decay_counts_from_the_output() -> None:
    groups = parameter_groups(model(), 0.1, {}, layer_decay=0.5)
    assert {group["name"]: group["lr"] for group in groups} == {"layer0": 0.025, "layer1": 0.05, "layer2": 0.1}


def test_every_parameter_is_in_one_group() -> None:
    network = model()
    groups = parameter_groups(network, 0.1, {"0.weight": 2, ".*weight": 3}, no_decay=True, layer_decay=0.9)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in network.parameters())


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match=r"'backbone\.\*' matches no parameter; there are 0\.weight"):
        parameter_groups(model(), 0.1, {"backbone.*": 0.1})


def test_a_frozen_group_keeps_its_weights_and_then_follows_its_schedule() -> None:
    first, last = nn.Linear(2, 3), nn.Linear(3, 1)
    groups = parameter_groups(nn.Sequential(first, last), 0.1, {"0.*": 1.0})
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    curves = {"0": frozen(linear(), "3st"), "rest": linear()}
    Scheduler(optimizer, curves, total_steps=10, steps_per_epoch=1)
    before = first.weight.clone()
    rates = []
    for step in range(5):
        rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"]))
        last(first(torch.ones(4, 2))).sum().backward()
        optimizer.step()
        assert torch.equal(first.weight, before) == (step < 3)
    assert rates == [(0, 0.1), (0, 0.1 * 0.9), (0, 0.1 * 0.8), (0.1 * 0.7, 0.1 * 0.7), (0.1 * 0.6, 0.1 * 0.6)]


def test_other_hyperparameters_follow_their_curves() -> None:
    weight = nn.Parameter(torch.ones(2))
    groups: list[dict[str, Any]] = [
        {"params": [weight]},
        {"params": [nn.Parameter(torch.ones(1))], "fixed": ("weight_decay",)},
    ]
    optimizer = torch.optim.AdamW(groups)
    others = {"weight_decay": between(cosine(), 0.04, 0.4), "momentum": between(linear(), 0.85, 0.95)}
    Scheduler(optimizer, linear(), total_steps=10, hyperparameters=others)
    fixed = optimizer.param_groups[1]["weight_decay"]
    for step in range(11):
        shape = (1 + math.cos(math.pi * step / 10)) / 2
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.4 - 0.36 * shape, rel=1e-12)
        assert optimizer.param_groups[0]["betas"] == (pytest.approx(0.95 - 0.1 * (1 - step / 10), rel=1e-12), 0.999)
        assert optimizer.param_groups[1]["weight_decay"] == fixed
        weight.grad = torch.ones(2)
        optimizer.step()


def test_an_unknown_hyperparameter_is_refused() -> None:
    with pytest.raises(ValueError, match="no setting 'momentun'"):
        Scheduler(
            torch.optim.SGD([nn.Parameter(torch.ones(1))]),
            linear(),
            total_steps=3,
            hyperparameters={"momentun": linear()},
        )


def test_the_record_of_a_run_names_groups_and_hyperparameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = (
        "lrtrain scheduler=linear epochs=4 batch_size=419 log_every=1 optimizer=adamw lr=0.01 logger=none trainer=cpu "
        "groups={1.*:0.1,4.*:{frozen:1ep}} hyperparameters={weight_decay:{scheduler:cosine,high:0.04,low:0.4}}"
    )
    monkeypatch.setattr(sys, "argv", command.split())
    assert main() == 0
    (table,) = tmp_path.glob("outputs/*/*/metrics.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr/1"]) for row in rows] == [0.01 * 0.1 * (1 - step / 12) for step in range(12)]
    assert [float(row["lr/4"]) for row in rows] == [0.0] * 3 + [0.01 * (1 - step / 12) for step in range(3, 12)]
    expected = [0.4 - 0.36 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert [float(row["weight_decay"]) for row in rows] == pytest.approx(expected, rel=1e-12)


def state_of(run: Run) -> dict[str, Any]:
    return dict(torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True))


def test_what_is_frozen_has_no_moments_and_still_statistics(train: Train) -> None:
    words = ["model=cnn", "model.channels=[4]", "trainer=cpu", "trainer.limit_train_batches=3", "optimizer=adamw"]
    names = [name for name, _ in cnn_of([4]).named_parameters()]
    still = next(name for name, value in cnn_of([4]).named_buffers() if "running_mean" in name)
    norm = re.escape(still.rpartition(".")[0])
    for epochs, length, moments, moved in ((1, "1ep", 0, False), (2, "1ep", 3, True), (1, "1st", 2, True)):
        run = train(*words, f"epochs={epochs}", f"groups={{{norm}.*:{{frozen:{length}}}}}")
        saved = state_of(run)
        groups, state = (saved["optimizer_states"][0][key] for key in ("param_groups", "state"))
        held = next(group["params"] for group in groups if group["pattern"])
        assert len(held) == 2
        assert [int(state[index]["step"]) if index in state else 0 for index in held] == [moments] * 2
        assert {int(state[index]["step"]) for index in range(len(names)) if index not in held} == {3 * epochs}
        assert bool(saved["state_dict"][f"model.{still}"].any()) == moved


def cnn_of(channels: list[int]) -> nn.Module:
    made: nn.Module = settings_of("model=cnn", f"model.channels={channels}").model.make(Inputs((1, 8, 8)), 10)
    return made


def test_what_a_model_froze_stays_and_has_no_rate(train: Train) -> None:
    words = ("model=custom", "model.function=user_code:HalfFrozen", *SMALL[1:], "epochs=1")
    run = train(*words, "groups={body.*:0.5}")
    assert "not updated, as they do not require gradients: body.weight, body.bias" in run.result.out
    assert list(run.series("lr/rest").values()) == [0.1] * 4
    assert run.series("lr/body") == {}
    assert run.summary["lr"] == {"first": 0.1, "last": 0.1}
    assert len(state_of(run)["optimizer_states"][0]["state"]) == 2
    refused = train("model=custom", "model.function=user_code:all_frozen", *SMALL[1:], code=2)
    assert "nothing to train" in refused.result.err


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("patterns", [{"head.*": 0.5}, {"embed.*": 0.5}, {"embed.*": 0.5, "head.*": 2.0}])
def test_half_of_a_tie_is_refused(patterns: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=r"embed\.weight and head\.weight are the same weights"):
        parameter_groups(Tied(), 0.1, patterns)
    groups = parameter_groups(Tied(), 0.1, {r"(embed|head)\.weight": 0.5})
    assert [(group["lr"], len(group["params"])) for group in groups] == [(0.05, 1), (0.1, 1)]
