"""Code that a user names by its place is trained like ours: a model, a LightningModule, a LightningDataModule."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import user_code
from conftest import CommandLine, Run, Train, settings_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lrtrain.plan.length import steps_per_epoch

REFUSED = 2
SHORT = (
    "trainer=cpu",
    "log_every=1",
    "epochs=2",
    "trainer.limit_train_batches=4",
    "trainer.enable_progress_bar=false",
)
NET = ("model=custom", "model.function=user_code:Net", "model.parameters={width:5}")
LIT = ("model=lightning", "model.function=user_code:LitNet", "model.parameters={width:8}")
TESTED = ("model=lightning", "model.function=user_code:TestedNet", "model.parameters={width:8}")
DATA = ("dataset=custom", "dataset.function=user_code:LitData")
ENDLESS = ("dataset=custom", "dataset.function=user_code:Endless")
F1 = ("monitor=val_f1", "monitor_mode=max")


def checkpoint(run: Run, name: str = "last") -> dict[str, Any]:
    return dict(torch.load(run.folder / "checkpoints" / f"{name}.ckpt", weights_only=True))


def test_module_is_told_what_it_asks_for(train: Train) -> None:
    run = train(*NET, *SHORT, "groups={layers.3.*:0.5}")
    shapes = {name: tuple(weight.shape) for name, weight in checkpoint(run)["state_dict"].items() if "layers" in name}
    assert shapes["model.layers.1.weight"] == (5, 64)
    assert shapes["model.layers.3.weight"] == (10, 5)
    assert list(run.series("lr/layers.3")) == list(run.series("lr/rest")) == list(range(8))
    assert run.summary["final"].keys() >= {"val_acc", "test_acc"}


def test_function_that_makes_a_module(train: Train) -> None:
    run = train("model=custom", "model.function=user_code:fixed_net", *SHORT)
    assert run.summary["status"] == "finished"


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no place": (("model=custom",), "model.function must be a place such as my_module:MyClass, got None"),
    "no name": (("model=custom", "model.function=user_code"), "model.function must be a place such as my_module:"),
    "no module": (("model=custom", "model.function=user_cod:Net"), "there is no module user_cod"),
    "no parent": (("model=custom", "model.function=nowhere.nets:Net"), "No module named 'nowhere'"),
    "no such thing": (("model=custom", "model.function=user_code:Ned"), "cannot be imported: AttributeError"),
    "wrong argument": ((*NET[:2], "model.parameters={depth:3}"), "fails: TypeError"),
    "its own mistake": (("model=custom", "model.function=user_code:broken"), "ZeroDivisionError: somebody's mistake"),
    "no table": ((*NET[:2], "model.parameters=3"), "model.parameters must be a table such as {name:value}, got 3"),
    "no nn.Module": (
        ("model=custom", "model.function=collections:OrderedDict"),
        "makes a OrderedDict, which is not a torch.nn.Module",
    ),
    "no LightningModule": (("model=lightning", *NET[1:]), "use model=custom"),
    "manual": (("model=lightning", "model.function=user_code:Manual"), "automatic_optimization=False"),
    "no validation": (("model=lightning", "model.function=user_code:Unmeasured"), "has no validation_step"),
    "unknown metric": (
        (*LIT, "monitor=val_f2", "monitor_mode=max"),
        "val_f2 is not logged...there are val_f1, val_loss",
    ),
    "unknown metric, plateau": ((*LIT, "scheduler=plateau", "monitor=val_acc"), "there are val_f1, val_loss"),
    "no mode": ((*LIT, "monitor=val_score"), "monitor=val_score: set monitor_mode=min or max"),
    "monitor that is no name": ((*LIT, "monitor=true", "monitor_mode=max"), "monitor must be the name of a metric"),
    "monitor that is a number": (
        (*LIT, "monitor=3", "monitor_mode=max"),
        "monitor=3 is not logged...there are val_f1, val_loss",
    ),
    "metric of another's": (("model=mlp", *F1), "monitor=val_f1: objective=classification measures val_loss, val_acc"),
    "order of several devices": (("shuffle=false", "trainer.devices=2"), "shuffle=false is for one device"),
    "data, no classes": (("model=mlp", *DATA), "dataset.classes"),
    "data, no place": (("dataset=custom", "dataset.classes=3"), "dataset.function must be a place"),
    "data, no module": ((*LIT, "dataset=custom", "dataset.function=nowhere:Data"), "there is no module nowhere"),
    "data, of another kind": ((*LIT, "dataset=custom", "dataset.function=user_code:fixed_net"), "LightningDataModule"),
    "data, broken": ((*LIT, "dataset=custom", "dataset.function=user_code:BrokenData"), "FileNotFoundError: no such"),
    "data, no validation": ((*LIT, "dataset=custom", "dataset.function=user_code:Unvalidated"), "no val_dataloader"),
    "data, no length": ((*LIT, *ENDLESS), "has no length; give trainer.limit_train_batches=N"),
    "data, no pairs": (
        ("model=mlp", *ENDLESS, "dataset.classes=3", "trainer.limit_train_batches=2"),
        "not pairs (inputs, labels); use model=lightning",
    ),
    "data, augmented": ((*LIT, *DATA, "augment.flip=true"), "augment is for built-in image datasets"),
    "data, labels beyond the classes": (
        ("model=mlp", *DATA, "dataset.classes=2"),
        "dataset.classes=2: labels are then from 0 to 1, but those of its first training batch are from 0 to 2",
    ),
    "data, labels that are no numbers of classes": (
        ("model=mlp", "dataset=custom", "dataset.function=user_code:Fractions", "dataset.classes=3"),
        "torch.int64, they are torch.float32",
    ),
    "data, share of the validation": (
        (*LIT, *DATA, "trainer.limit_val_batches=0.4"),
        "trainer.limit_val_batches=0.4 of 2 validation batches is less than one",
    ),
    "data, share of the test": (
        (*LIT, "dataset=custom", "dataset.function=user_code:TestedData", "trainer.limit_test_batches=0.4"),
        "trainer.limit_test_batches=0.4 of 2 test batches is less than one",
    ),
    "data, interval": ((*LIT, *DATA, "trainer.val_check_interval=3"), "more than the 2 batches of an epoch"),
    "data, two validations": (
        ("model=mlp", "dataset=custom", "dataset.function=user_code:TwiceMeasured", "dataset.classes=3"),
        "there are 2 validation loaders, and built-in models take one loader; use model=lightning",
    ),
    "data, tokens or numbers": (
        ("model=mlp", "dataset=custom", "dataset.function=user_code:WholeNumbers", "dataset.classes=3"),
        "give dataset.tokens",
    ),
}


def test_wrong_request(command_line: CommandLine, tmp_path: Path) -> None:
    for what, (arguments, fragment) in WRONG.items():
        result = command_line(*arguments, "trainer=cpu", "epochs=2")
        assert result.code == REFUSED, (what, result.err)
        lines = [line for line in result.err.splitlines() if line.startswith("lrtrain: ")]
        assert len(lines) == 1, what
        assert "Traceback" not in result.err, what
        assert all(part in lines[0] for part in fragment.split("...")), (what, lines[0])
        assert list(tmp_path.iterdir()) == [], what


@pytest.fixture
def lit(train: Train) -> Run:
    return train(*LIT, *SHORT, *F1, "scheduler=inverse_time", "decay=1", "per=step", "optimizer=adam", "lr=0.01")


def test_lightning_module_under_our_schedule(lit: Run) -> None:
    assert list(lit.series("lr").values()) == pytest.approx([0.01 / (1 + step / 4) for step in range(8)], rel=1e-15)
    assert (
        "optimizer=adam and scheduler=inverse_time replace configure_optimizers of user_code:LitNet" in lit.result.out
    )
    assert checkpoint(lit)["optimizer_states"][0]["param_groups"][0]["betas"] == (0.9, 0.999)


def test_lightning_module_is_recorded_by_its_own_metrics(lit: Run) -> None:
    scores = lit.series("val_f1")
    assert list(scores) == list(lit.series("val_loss")) == [3, 7]
    assert list(lit.rows[0])[-4:] == ["val_loss", "val_f1", "test_loss", "test_f1"]
    best = lit.summary["best"]
    assert best["val_f1"] == max(scores.values())
    assert scores[best["step"] - 1] == best["val_f1"]
    assert lit.summary["final"].keys() == {"train_loss", "val_loss", "val_f1"}
    assert f"{best['val_f1']:.4f}" in lit.result.out


def test_each_event_of_a_lightning_module_is_written_once(lit: Run) -> None:
    events = EventAccumulator(str(lit.folder)).Reload()
    for name in ("train_loss", "val_loss", "val_f1", "lr", "epoch"):
        expected = lit.series(name)
        assert [(event.step, event.value) for event in events.Scalars(name)] == [
            (step, pytest.approx(value, rel=1e-6)) for step, value in expected.items()
        ]


TWICE = (
    "dataset=custom",
    "dataset.function=user_code:TwiceMeasured",
    "model=lightning",
    "model.function=user_code:Twice",
)


@pytest.mark.parametrize("monitor", ["val_loss/dataloader_idx_1", "val_size"])
def test_several_validation_loaders(monitor: str, train: Train, command_line: CommandLine) -> None:
    """The feedback looks at one of them, or at what the module makes of all."""
    run = train(*TWICE, *SHORT[:3], f"monitor={monitor}", "monitor_mode=min", "scheduler=plateau", "patience=0")
    names = ["val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1", "val_size"]
    assert sorted(list(run.rows[0])[-6:-3]) == names
    assert all(len(run.series(name)) == 2 for name in names)
    assert run.summary["best"][monitor] == min(run.series(monitor).values())
    unknown = command_line(*TWICE, *SHORT, "monitor=val_loss")
    assert unknown.code == REFUSED
    assert f"there are {', '.join(names)}" in unknown.err


def test_lightning_module_with_a_test(train: Train) -> None:
    run = train(*TESTED, *SHORT)
    assert list(run.series("test_acc")) == [7]
    for weights in ("best", "final"):
        assert run.summary[weights].keys() >= {"val_acc", "val_f1", "test_loss", "test_acc"}


def test_module_that_skips_batches(train: Train) -> None:
    module = ("model=lightning", "model.function=user_code:Skipping", "model.parameters={width:4}")
    rows = train(*module, *SHORT, "log_every=1").rows
    assert rows
    assert all(not row["train_loss"] or float(row["train_loss"]) > 0 for row in rows)
    assert any(row["train_loss"] for row in rows)


def test_checkpoint_of_a_lightning_module_is_plain(train: Train) -> None:
    """What it saved of its arguments is there, but for an object of a class."""
    saved = checkpoint(train(*TESTED, *SHORT))
    assert saved["hyper_parameters"] == {"width": 8, "classes": 10}


def test_feedback_knows_which_way_is_better() -> None:
    for arguments, mode in (
        (("monitor=val_acc",), "max"),
        (("monitor=val_loss",), "min"),
        ((*LIT, "monitor=top5_accuracy"), "max"),
        ((*LIT, "monitor=val_error"), "min"),
        ((*LIT, *F1), "max"),
        (("monitor=val_acc", "monitor_mode=min"), "min"),
    ):
        rule = settings_of("scheduler=plateau", *arguments).feedback
        assert rule is not None
        assert rule.parameters["mode"] == mode


def test_sweep_is_ranked_by_any_metric(command_line: CommandLine, tmp_path: Path) -> None:
    result = command_line(
        "-m", *LIT, *SHORT, *F1, "lr=1e-6,0.1", "logger=none", f"hydra.sweep.dir={tmp_path / 'sweep'}"
    )
    assert result.code == 0, result.err
    with (tmp_path / "sweep" / "summary.csv").open(newline="") as file:
        scores = [float(row["best_val_f1"]) for row in csv.DictReader(file)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[1]


@pytest.mark.parametrize(
    ("arguments", "updates"),
    [
        ((), 2),  # 50 samples in batches of 32
        (("batch_size=8",), 7),
        (("batch_size=8", "trainer.devices=2"), 4),
        (("batch_size=8", "trainer.accumulate_grad_batches=3"), 3),
        (("batch_size=8", "trainer.limit_train_batches=5"), 5),
        (("batch_size=8", "trainer.limit_train_batches=0.5"), 3),
        (("batch_size=8", "dataset.parameters={count:64}"), 8),
        (("batch_size=8", "dataset.parameters={batch_size:50}"), 1),
    ],
)
def test_plan_asks_the_data_for_its_length(arguments: tuple[str, ...], updates: int) -> None:
    state = torch.get_rng_state()
    assert steps_per_epoch(settings_of(*LIT, *DATA, *arguments)) == updates
    assert torch.equal(torch.get_rng_state(), state)


def test_our_model_on_the_users_data(train: Train) -> None:
    run = train("model=mlp", "model.hidden=[8]", *DATA, "dataset.classes=3", *SHORT[:3])
    assert list(run.series("lr")) == [0, 1, 2, 3]
    shapes = [tuple(weight.shape) for weight in checkpoint(run)["state_dict"].values()]
    assert shapes == [(8, 5), (8,), (3, 8), (3,)]
    assert "val_acc" in run.summary["final"]
    assert "test_acc" not in run.summary["final"], "there is no test set"


def test_tokens_of_the_user(train: Train) -> None:
    data = ("dataset=custom", "dataset.function=user_code:WholeNumbers", "dataset.classes=3", "dataset.tokens=7")
    run = train("model=custom", "model.function=user_code:Bag", *data, *SHORT[:3])
    assert run.summary["status"] == "finished"


def test_everything_of_the_user(train: Train) -> None:
    """Neither pairs, nor classes, nor a loader with a length."""
    regression = ("model=lightning", "model.function=user_code:Regression", *ENDLESS, "monitor=val_error")
    run = train(*regression, *SHORT, "lr=0.02", "scheduler=cosine")
    errors = run.series("val_error")
    assert list(errors) == [3, 7]
    assert errors[7] < errors[3]


def test_metric_that_is_no_number(train: Train) -> None:
    arguments = ("model=lightning", "model.function=user_code:Undefined", "model.parameters={width:4}", *SHORT)
    run = train(*arguments, "monitor=val_score", "monitor_mode=max", code=1)
    assert run.summary["status"] == "diverged"
    assert "val_score is nan at update 4" in run.result.err
    assert train(*arguments).summary["best"]["val_loss"] == 1.0


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, int], None]:
    """Let the training step of a class fail, once, at its n-th call."""

    def fail(kind: type, call: int) -> None:
        original, calls = getattr(kind, "training_step"), [0]  # noqa: B009

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            calls[0] += 1
            if calls[0] == call:
                raise RuntimeError("the machine is on fire")
            return original(self, batch, batch_idx)

        monkeypatch.setattr(kind, "training_step", training_step)

    return fail


@pytest.mark.parametrize("call", [10, 7], ids=["in mid-epoch", "at the end of an epoch"])
def test_resumed(call: int, train: Train, failing: Callable[[type, int], None]) -> None:
    """Module and data are the user's, and the loader can go on where it was."""
    data = ("dataset=custom", "dataset.function=user_code:TestedData", "dataset.parameters={batch_size:9}")
    module = ("model=lightning", "model.function=user_code:Points")
    arguments = (*module, *data, *SHORT[:2], "epochs=3", "checkpoint_every=1st", "scheduler=cosine", *F1)
    whole = train(*arguments)
    failing(user_code.Points, call)  # six batches an epoch
    stopped = train(*arguments, code=1)
    assert len(stopped.series("lr")) == call - 1
    train(f"resume={stopped.folder}", *(word for word in arguments if "function" in word))
    assert (stopped.folder / "metrics.csv").read_text() == (whole.folder / "metrics.csv").read_text()
    for name, weight in checkpoint(whole)["state_dict"].items():
        assert torch.equal(checkpoint(stopped)["state_dict"][name], weight)


def test_resume_names_the_code_again(train: Train, command_line: CommandLine) -> None:
    run = train(*NET, *SHORT)
    more = (f"resume={run.folder}", "epochs=3", "resume_plan=keep")
    refused = command_line(*more)
    assert refused.code == REFUSED
    assert "model.function=user_code:Net" in refused.err
    assert command_line(*more, NET[1]).code == 0


def test_preview_of_the_users_data(command_line: CommandLine, tmp_path: Path) -> None:
    arguments = ("task=preview", *LIT, *DATA, "epochs=3", f"hydra.run.dir={tmp_path / 'preview'}")
    assert command_line(*arguments).code == 0
    rows = (tmp_path / "preview" / "schedule.csv").read_text().splitlines()
    assert len(rows) == 1 + 6 + 1, "the names, six updates and the end"


def test_feedback_never_sees_a_metric_that_is_not_finite(train: Train) -> None:
    """Though it would reduce the rate at any that is no improvement."""
    arguments = ("model=lightning", "model.function=user_code:Faltering", "model.parameters={width:4}", *SHORT)
    feedback = ("scheduler=constant", "feedback=plateau", "patience=0", "monitor=val_score", "monitor_mode=max")
    run = train(*arguments, *feedback, "lr=0.1", code=1)
    assert run.result.err.startswith("lrtrain: val_score is nan at update 8 (epoch 1), learning rate 0.1:")
    assert "lr 0.1 ->" not in run.result.out


def test_unknown_metric_on_resume(train: Train, command_line: CommandLine) -> None:
    run = train(*LIT, *F1, *SHORT)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    asked = (f"resume={run.folder}", LIT[1], "epochs=3", "resume_plan=switch", "monitor=val_zz")
    resumed = command_line(*asked)
    assert resumed.code == REFUSED
    assert resumed.err == "lrtrain: monitor=val_zz is not logged by the validation; there are val_f1, val_loss\n"
    assert {path: path.read_bytes() for path in before} == before
    assert command_line(*asked[:-1], "monitor=val_loss").code == 0
