"""Options of training: each does what it says, and none of them moves the rates that were previewed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import Train, read_csv, settings_of
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn

from lrtrain.datasets import Inputs
from lrtrain.objectives import Targets
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary
from lrtrain.settings import Settings
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.configure_optimizers import Scheduled
from lrtrain.training.data import build_data
from lrtrain.training.module import Supervised
from lrtrain.training.network import build_module
from lrtrain.training.run import run_in
from lrtrain.training.session import Session
from lrtrain.training.trainer import build_trainer

QUIET = ("trainer=cpu", "logger=none", "trainer.enable_progress_bar=false", "log_every=1")
PLAN = ("scheduler=cosine", "warmup=2st", "epochs=2", "batch_size=126")
"""Ten updates an epoch, each with a rate of its own."""

OPTIONS = {
    "none": "",
    "precision": "trainer.precision=bf16-mixed",
    "weights of 16 bits": "trainer.precision=bf16-true",
    "double precision": "trainer.precision=64-true",
    "accumulation": "trainer.accumulate_grad_batches=3",
    "clipping by norm": "trainer.gradient_clip_val=0.1",
    "clipping by value": "trainer.gradient_clip_val=0.01 trainer.gradient_clip_algorithm=value",
    "moving average": "ema=0.9",
    "channels last": "channels_last=true model=cnn",
    "fused": "optimizer.fused=true",
    "a number of batches": "trainer.limit_train_batches=4",
    "a share of the batches": "trainer.limit_train_batches=0.55",
    "the same batches": "trainer.overfit_batches=2",
    "the same share of batches": "trainer.overfit_batches=1.0",
    "often validated": "trainer.val_check_interval=4",
    "validated at the end of an epoch": "trainer.val_check_interval=10",
    "muon": "optimizer=muon lr=0.1 optimizer.adamw_lr=0.1",
    "schedule-free": "optimizer=schedulefree_sgd lr=0.1",
    "prodigy": "optimizer=prodigy lr=0.1",
    "limit": "experiment=limit",
    "fast_dev_run": "experiment=fast_dev_run epochs=2",
    "overfit": "experiment=overfit scheduler=cosine epochs=5",
    "profile": "experiment=profile epochs=2",
}


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS.keys())
def test_rates_are_the_previewed_ones(option: str, tmp_path: Path) -> None:
    asked = (*PLAN, "model=mlp", "model.hidden=[8]", *option.split())
    if "model=cnn" in option:
        asked = tuple(word for word in asked if word not in ("model=mlp", "model.hidden=[8]"))
    settings = settings_of(*asked, *QUIET)
    assert run_in(settings, tmp_path / "run").status == "finished"
    expected = list(plan_run([Segment(settings, steps_per_epoch(settings))]).rates())[:-1]
    rows = read_csv(tmp_path / "run/metrics.csv")
    assert [float(row.get("lr") or row["lr/rest"]) for row in rows] == expected


class Watch(pl.Callback):
    """The training weights after each update, and what the model holds in each validation and at the end.

    Also whether torch was told to be deterministic while it trained.
    """

    def __init__(self) -> None:
        self.trained: list[Tensor] = []
        self.deterministic: set[bool] = set()
        self.validated: list[Tensor] = []
        self.final = torch.zeros(0)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.trained.append(flat(pl_module))
        self.deterministic.add(torch.are_deterministic_algorithms_enabled())

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.validated.append(flat(pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.final = flat(pl_module)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).double()


Fit = Callable[..., tuple[Watch, RunFolder]]


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Train in this process, watching the weights."""

    def run(*overrides: str) -> tuple[Watch, RunFolder]:
        watch, folder = Watch(), RunFolder(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        with monkeypatch.context() as patched:
            callbacks = Session._callbacks
            patched.setattr(Session, "_callbacks", lambda *given: [*callbacks(*given), watch])
            summary = run_in(settings_of(*overrides, *QUIET), folder.path)
        assert summary.status == "finished", summary.error
        return watch, folder

    return run


def saved(folder: RunFolder, name: str = "last") -> dict[str, Any]:
    path = folder.best_checkpoint if name == "best" else folder.last_checkpoint
    return dict(torch.load(path, weights_only=True))


def weights(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for name, value in state.items() if name.endswith(("weight", "bias"))]).double()


SMALL = ("model=linear", "trainer.limit_train_batches=4", "epochs=3", "lr=0.5")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_learns_in_every_precision(precision: str, fit: Fit) -> None:
    """As it comes, with momentum: ten classes are told apart after three epochs."""
    _, folder = fit(f"trainer.precision={precision}", "epochs=3")
    assert read_summary(folder.summary).final["val_acc"] > 0.85
    types = {weight.dtype for name, weight in saved(folder)["state_dict"].items() if "weight" in name}
    assert types == {{"bf16-true": torch.bfloat16, "64-true": torch.float64}.get(precision, torch.float32)}


def averages(trained: list[Tensor], decay: float) -> list[np.ndarray[Any, Any]]:
    found = [trained[0].numpy()]
    for new in trained[1:]:
        found.append(decay * found[-1] + (1 - decay) * new.numpy())
    return found


def test_moving_average_is_what_a_run_is_judged_by(fit: Fit) -> None:
    watch, folder = fit(*SMALL, "ema=0.7")
    expected = averages(watch.trained, 0.7)
    for seen, update in zip(watch.validated, (3, 7, 11), strict=True):
        assert seen.numpy() == pytest.approx(expected[update], rel=1e-5, abs=1e-7)
    assert watch.final.numpy() == pytest.approx(expected[-1], rel=1e-5, abs=1e-7)
    assert torch.equal(weights(saved(folder)["state_dict"]), watch.final)
    assert torch.equal(weights(saved(folder)["current_model_state"]), watch.trained[-1])
    best = read_summary(folder.summary).best["step"]
    assert torch.equal(weights(saved(folder, "best")["state_dict"]), watch.validated[best // 4 - 1])
    assert best == min((4, 8, 12), key=lambda step: float(folder_row(folder, step - 1)["val_loss"]))


def folder_row(folder: RunFolder, step: int) -> dict[str, str]:
    return next(row for row in read_csv(folder.metrics) if int(row["step"]) == step)


def test_moving_average_counts_updates(fit: Fit) -> None:
    watch, _ = fit(*SMALL, "ema=0.7", "trainer.accumulate_grad_batches=2")
    assert watch.final.numpy() == pytest.approx(averages(watch.trained[1::2], 0.7)[-1], rel=1e-5, abs=1e-7)


def test_moving_average_leaves_the_training_alone(fit: Fit) -> None:
    plain, averaged = fit(*SMALL)[0], fit(*SMALL, "ema=0.9")[0]
    assert all(torch.equal(a, b) for a, b in zip(plain.trained, averaged.trained, strict=True))


def schedulefree(trained: Tensor, state: dict[int, dict[str, Tensor]], beta: float) -> np.ndarray[Any, Any]:
    """The average x from the training weights y = (1 - beta) z + beta x."""
    z = torch.cat([state[index]["z"].flatten() for index in sorted(state)]).double()
    return np.asarray((trained - (1 - beta) * z) / beta)


@pytest.mark.parametrize("name", ["schedulefree_sgd", "schedulefree_adamw", "schedulefree_radam"])
def test_schedulefree_is_judged_by_its_average(name: str, fit: Fit) -> None:
    watch, folder = fit(*SMALL[:-1], f"optimizer={name}", "scheduler=constant", "lr=0.1")
    last = saved(folder)
    expected = schedulefree(watch.trained[-1], last["optimizer_states"][0]["state"], 0.9)
    assert watch.validated[-1].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert torch.equal(watch.final, watch.validated[-1])
    assert torch.equal(weights(last["state_dict"]), watch.final)
    assert torch.equal(weights(last["current_model_state"]), watch.trained[-1])
    assert not torch.equal(watch.final, watch.trained[-1])
    best = read_summary(folder.summary).best["step"]
    assert torch.equal(weights(saved(folder, "best")["state_dict"]), watch.validated[best // 4 - 1])


def test_validations_leave_no_trace_in_schedulefree_training(fit: Fit) -> None:
    few, many = (
        fit(*SMALL[:-1], "optimizer=schedulefree_sgd", f"trainer.val_check_interval={every}")[0] for every in (4, 1)
    )
    assert len(many.validated) == 12
    assert all(torch.equal(a, b) for a, b in zip(few.trained, many.trained, strict=True))


def test_batch_norm_is_warned_about(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    fit("model=cnn", "optimizer=schedulefree_sgd", "trainer.limit_train_batches=2", "epochs=1")
    assert capsys.readouterr().out.count("batch norm's statistics") == 1


def test_clipping_bounds_the_update_but_not_the_record(fit: Fit) -> None:
    plain = ("optimizer.momentum=0", "scheduler=constant", "lr=0.5", *SMALL[:-1])
    watch, folder = fit(*plain, "trainer.gradient_clip_val=0.1")
    rows = read_csv(folder.metrics)
    moved = [float((b - a).norm()) for a, b in zip(watch.trained, watch.trained[1:], strict=False)]
    assert moved == pytest.approx([0.5 * 0.1] * 11, rel=1e-4)
    unclipped = fit(*plain, "epochs=1")[1]
    assert rows[0]["grad_norm"] == read_csv(unclipped.metrics)[0]["grad_norm"]
    assert float(rows[0]["grad_norm"]) > 0.1


def test_overfitting_sees_the_same_batches(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], Supervised.training_step

    def training_step(module: Supervised, batch: Any, batch_idx: int) -> Tensor:
        seen.append(batch[0].clone())
        return original(module, batch, batch_idx)

    monkeypatch.setattr(Supervised, "training_step", training_step)
    fit("experiment=overfit", "trainer.overfit_batches=2", "model=linear", "epochs=3")
    assert len(seen) == 6
    assert all(torch.equal(seen[index], seen[index + 2]) for index in range(4))
    assert not torch.equal(seen[0], seen[1])


def test_new_loaders_go_on_with_the_order(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], Supervised.training_step

    def training_step(module: Supervised, batch: Any, batch_idx: int) -> Tensor:
        seen.append(batch[1].tolist())
        return original(module, batch, batch_idx)

    monkeypatch.setattr(Supervised, "training_step", training_step)
    fit(*SMALL)
    fit(*SMALL, "+trainer.reload_dataloaders_every_n_epochs=1")
    assert seen[:12] == seen[12:]
    assert len({str(labels) for labels in seen[:12]}) == 12, "an order of its own for each of three epochs"


def test_overfitting_brings_the_loss_to_nothing(fit: Fit) -> None:
    _, folder = fit("experiment=overfit", "model.dropout=0")
    assert float(read_csv(folder.metrics)[-1]["train_loss"]) < 0.01


@pytest.mark.parametrize("profiler", ["simple", "advanced"])
def test_profile_is_in_the_folder(profiler: str, fit: Fit) -> None:
    _, folder = fit("experiment=profile", f"trainer.profiler={profiler}", "trainer.limit_train_batches=2")
    for stage in ("fit", "test"):
        assert f"{'training' if stage == 'fit' else 'test'}_step" in (folder.path / f"{stage}-profile.txt").read_text()


def test_compiled_once_whatever_the_rate(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs of the first epoch, with its whole and its smaller batch, are those of all."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    graphs: list[int] = []
    end = LastAndBest.on_train_epoch_end

    def count(self: Any, *arguments: Any) -> None:
        graphs.append(counters["stats"]["unique_graphs"])
        end(self, *arguments)

    monkeypatch.setattr(LastAndBest, "on_train_epoch_end", count)
    torch._dynamo.reset()
    counters.clear()
    asked = ("epochs=4", "batch_size=500", "scheduler=cosine", "warmup=1ep", "model.dropout=0", "seed=3")
    compiled, folder = fit(*asked, "compile=true")
    assert graphs[0] > 0
    assert graphs[1:] == [graphs[1]] * 3
    plain, other = fit(*asked)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(compiled.trained, plain.trained, strict=True))
    assert saved(folder)["state_dict"].keys() == saved(other)["state_dict"].keys()
    rates = [[row["lr"] for row in read_csv(each.metrics)] for each in (folder, other)]
    assert rates[0] == rates[1]
    assert len(set(rates[0])) > 8


def test_no_compiler(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "compile=true needs a C++ compiler" in train("compile=true", "trainer=cpu", code=2).result.err


def built(settings: Settings, inputs: Inputs) -> Scheduled:
    return build_module(
        settings, plan_run([Segment(settings, steps_per_epoch(settings))]), inputs, Targets("classification", 10)
    )


def test_channels_last_changes_the_layout_only() -> None:
    settings = settings_of("model=cnn", "seed=0")
    outputs = []
    for last in (False, True):
        torch.manual_seed(0)
        module = built(replace(settings, channels_last=last), Inputs((3, 8, 8)))
        weight = next(parameter for parameter in module.parameters() if parameter.ndim == 4)
        assert weight.is_contiguous(memory_format=torch.channels_last) == last
        outputs.append(module.eval()(torch.linspace(0, 1, 4 * 3 * 64).view(4, 3, 8, 8)))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-5)


def test_channels_last_is_for_pictures() -> None:
    with pytest.raises(ValueError, match="channels_last=true is for pictures; digits has none"):
        built(settings_of("channels_last=true"), Inputs((64,)))


def test_deterministic(fit: Fit) -> None:
    for asked in (True, False):
        watch, _ = fit(f"trainer.deterministic={str(asked).lower()}", *SMALL, "epochs=1")
        assert watch.deterministic == {asked}
        assert not torch.are_deterministic_algorithms_enabled(), "it is put back"


REFUSED = {
    "+trainer.fast_dev_run=true": "write experiment=fast_dev_run",
    "+trainer.max_steps=100": "trainer.max_steps is not used here: write epochs=300st",
    "+trainer.max_epochs=3": "write epochs=",
    "+trainer.limit_val_batches=1": "there is a trainer.limit_val_batches already: write it without +",
    "trainer.limit_train_batches=0": "trainer.limit_train_batches must be a whole number of batches >= 1, or a share",
    "trainer.limit_test_batches=1.5": "or a share of them up to 1.0, got 1.5",
    "trainer.limit_train_batches=0.01": "trainer.limit_train_batches=0.01 of 40 training batches is less than one",
    "trainer.limit_val_batches=0.5": "trainer.limit_val_batches=0.5 of 1 validation batches is less than one",
    "trainer.limit_test_batches=0.5": "trainer.limit_test_batches=0.5 of 1 test batches is less than one: give their",
    "trainer.overfit_batches=0.5": "trainer.overfit_batches=0.5 of 1 validation batches is less than one",
    "trainer.val_check_interval=41": "trainer.val_check_interval=41 is more than the 40 batches of an epoch",
    "trainer.limit_train_batches=4 trainer.val_check_interval=5": "more than the 4 batches of an epoch",
    "trainer.precision=16": "trainer.precision must be 32-true or bf16-mixed",
    "trainer.precision=16-mixed trainer=cpu": "trainer.precision=16-mixed needs a GPU: write bf16-mixed",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches must be a whole number >= 1, got 0",
    "trainer.gradient_clip_val=0": "trainer.gradient_clip_val must be a number > 0",
    "trainer.gradient_clip_algorithm=nrom": "trainer.gradient_clip_algorithm must be norm or value",
    "+trainer.enable_checkpointing=false": "trainer.enable_checkpointing is set by lrtrain itself: leave it out",
    "+trainer.callbacks=[]": "trainer.callbacks is not used here: write callbacks=[my_module:MyCallback]",
    "+trainer.num_sanity_val_steps=2": "trainer.num_sanity_val_steps is set by lrtrain itself",
    "ema=1": "ema must be a number in [0, 1)",
    "compile=yes": "compile must be true or false",
    "optimizer=muon model=cnn channels_last=true": "leave out channels_last",
    "optimizer.fused=true trainer.precision=bf16-true": "wrong for weights of 16 bits (trainer.precision=bf16-true)",
    "optimizer=adamw optimizer.fused=true trainer.precision=16-true": "(trainer.precision=16-true); leave it out",
    "ema=0.9 trainer.precision=bf16-true": "bf16-true: EMA needs 32-bit weights; write trainer.precision=bf16-mixed",
    "ema=0.9 trainer.precision=16-true": "trainer.precision=16-true: EMA needs 32-bit weights",
    "trainer=fsdp": "torch finds no GPU here; write trainer=auto",
    "trainer=fsdp trainer.gradient_clip_val=1": "clips by value only",
    "trainer=fsdp ema=0.9": "ema needs them whole",
    "trainer=fsdp optimizer=muon": "optimizer=muon needs them whole",
    "optimizer.fused=true trainer.gradient_clip_val=1 trainer.precision=16-mixed": "too late to clip them",
}


def test_refused(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for arguments, said in REFUSED.items():
        run = train(*arguments.split(), code=2)
        assert said in run.result.err, arguments
        assert len(run.result.err.splitlines()) == 1, arguments
        assert list(tmp_path.iterdir()) == [], arguments


def test_sharded_training_is_set_up_as_our_checkpoints_need_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One file a checkpoint, and parameters that stay those in the optimizer's groups."""
    from lightning.pytorch.accelerators import CUDAAccelerator

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", staticmethod(lambda: 2))
    monkeypatch.setattr("lightning.fabric.utilities.device_parser._get_all_available_gpus", lambda **_: [0, 1])
    trainer = build_trainer(settings_of("trainer=fsdp", "logger=none"), RunFolder(tmp_path), [])
    strategy = trainer.strategy
    assert isinstance(strategy, FSDPStrategy)
    assert strategy._state_dict_type == "full"
    assert strategy.kwargs["use_orig_params"] is True
    assert trainer.num_devices == 2


def test_data_goes_on_where_its_loader_is_there_before_its_position() -> None:
    """As when a strategy restores a run only after the trainer has asked how many batches there are."""
    position = {"train": {"epoch": 1, "batch": 2}}
    first = []
    for early in (True, False):
        data = build_data(settings_of("seed=5"))
        if early:
            data.load_state_dict(position)
        loader = data.train_dataloader()
        if not early:
            data.load_state_dict(position)
        first.append(next(iter(loader))[0])
    assert torch.equal(*first)
    assert not torch.equal(first[0], next(iter(build_data(settings_of("seed=5")).train_dataloader()))[0])
