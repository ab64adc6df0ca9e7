"""The command line: what it trains under is the formula, and what it leaves is the contract."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Run, Train, python, settings_of
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from lrtrain.configs import config_dir
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment
from lrtrain.schedules import Feedback, Observed, Progress, by_name, registered
from lrtrain.training.record import SIZES

LR, LENGTH, EPOCHS = 0.1, 4, 4
TOTAL = LENGTH * EPOCHS
STRATEGIES = sorted(path.stem for path in (config_dir() / "scheduler").glob("*.yaml"))
SCALARS = {"lr", "epoch", "train_loss", "val_loss", "val_acc", "test_loss", "test_acc", *SIZES}

FORMULAS: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "constant": ("constant", lambda t, e: LR),
    "step": ("step gamma=0.3 every=2ep", lambda t, e: LR * 0.3 ** (e // 2)),
    "exponential": ("exponential gamma=0.7", lambda t, e: LR * 0.7**e),
    "exponential per step": ("exponential gamma=0.7 per=step", lambda t, e: LR * 0.7 ** (t / LENGTH)),
    "multistep": ("multistep gamma=0.2 milestones=[2ep,14st]", lambda t, e: LR * 0.2 ** ((t >= 8) + (t >= 14))),
    "inverse_time": ("inverse_time decay=0.5", lambda t, e: LR / (1 + 0.5 * e)),
    "inverse_time per step": ("inverse_time decay=0.5 per=step", lambda t, e: LR / (1 + 0.5 * t / LENGTH)),
    "inverse_time staircase": (
        "inverse_time decay=0.5 every=10st per=step staircase=true",
        lambda t, e: LR / (1 + 0.5 * (t // 10)),
    ),
    "linear": ("linear end=0.1", lambda t, e: LR * (1 - 0.9 * t / TOTAL)),
    "cosine": ("cosine", lambda t, e: LR * (1 + math.cos(math.pi * t / TOTAL)) / 2),
    "cosine after a warm-up": (
        "cosine warmup=1ep",
        lambda t, e: LR * (t + 1) / 4 if t < 4 else LR * (1 + math.cos(math.pi * (t - 4) / (TOTAL - 4))) / 2,
    ),
    "step during a warm-up": (
        "step gamma=0.3 every=1ep warmup=25%",
        lambda t, e: LR * 0.3**e * min(1.0, (t + 1) / 4),
    ),
    "kept above min_lr": ("exponential gamma=0.5 min_lr=0.02", lambda t, e: max(LR * 0.5**e, 0.02)),
    "patient plateau": ("plateau patience=100", lambda t, e: LR),
    "warm-up to a plateau": ("plateau patience=100 warmup=5st", lambda t, e: LR * min(1.0, (t + 1) / 5)),
}


class Events(NamedTuple):
    """What TensorBoard reads."""

    scalars: Mapping[str, list[tuple[int, float]]]
    hparams: Mapping[str, Any]


def events(folder: Path) -> Events:
    files = list(folder.glob("events.out.tfevents.*"))
    assert len(files) == 1, "a run is one curve"
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    scalars = {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    content = reader.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    return Events(scalars, {key: getattr(value, value.WhichOneof("kind")) for key, value in info.hparams.items()})


def assert_rates(run: Run, expected: list[float]) -> None:
    """Each logged rate is the expected one, to a rounding of the base rate; the event file holds it as float32."""
    logged = run.series("lr")
    assert list(logged) == list(range(len(expected)))
    assert list(logged.values()) == pytest.approx(expected, rel=2.0**-52, abs=LR * 2.0**-52)
    in_events = dict(events(run.folder).scalars["lr"])
    assert in_events == {step: float(np.float32(rate)) for step, rate in logged.items()}


def scales(run: Run, rule: Callable[[Observed, float], Observed]) -> list[float]:
    """The scale in each epoch that a feedback rule gives for the validation losses of a run."""
    states = accumulate(run.series("val_loss").values(), rule, initial=Observed())
    return [state.scale for state in states]


def test_tests_compose_the_same_words_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else these tests would take twice as long, and nothing would say so."""
    train(*SMALL, "epochs=1")
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", lambda *_, **__: pytest.fail("composed again"))
    train(*SMALL, "epochs=1", "seed=1")


@pytest.mark.parametrize(("arguments", "formula"), FORMULAS.values(), ids=FORMULAS.keys())
def test_rate_is_the_formula(arguments: str, formula: Callable[[int, int], float], train: Train) -> None:
    run = train(*f"scheduler={arguments}".split(), *SMALL, f"lr={LR}", f"epochs={EPOCHS}")
    assert_rates(run, [formula(t, t // LENGTH) for t in range(TOTAL)])


FORESEEN = {name for name in STRATEGIES if name not in ("validation_drop", "greedy")}
"""Whose rate does not depend on what the validation will say of a run as short as these."""


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "custom"])
def test_every_strategy_trains_with_its_defaults_as_previewed(name: str, train: Train) -> None:
    epochs = 3 if name in registered(Feedback) else 2
    asked = (f"scheduler={name}", *SMALL, f"lr={LR}", f"epochs={epochs}")
    run, total = train(*asked), epochs * LENGTH
    config = OmegaConf.to_container(OmegaConf.load(config_dir() / "scheduler" / f"{name}.yaml"))
    assert isinstance(config, dict)
    parameters = {str(key): value for key, value in config.items() if key not in ("scheduler", "defaults")}
    if name in registered(Feedback):
        factors = [scale for scale in scales(run, by_name(name, shared(name), Feedback)) for _ in range(LENGTH)]
    else:
        schedule = by_name(name, parameters)
        factors = [schedule(Progress(t, LENGTH, total)) for t in range(total)]
    assert_rates(run, [LR * factor for factor in factors[:total]])
    assert run.summary["status"] == "finished"
    if name in FORESEEN:
        plan = plan_run([Segment(settings_of(*asked), LENGTH)])
        assert [rate for *_, rate in run.rates] == [repr(rate) for rate in plan.rates()][:-1]


def shared(name: str) -> dict[str, Any]:
    """The parameters of a feedback rule, as its configuration has them."""
    values = OmegaConf.to_container(OmegaConf.load(config_dir() / "feedback" / f"{name}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "feedback"}


def falling(progress: Progress, /, power: float) -> float:
    """Somebody's own schedule."""
    return float((1 + progress.step) ** -power)


def test_own_function_trains(train: Train) -> None:
    run = train("scheduler=custom", f"function={__name__}:falling", "parameters={power:0.5}", *SMALL, "epochs=3")
    assert_rates(run, [LR / math.sqrt(1 + t) for t in range(12)])


def test_the_founding_example(train: Train) -> None:
    run = train(
        "scheduler=inverse_time", "decay=0.01", "lr=0.1", "epochs=100", *SMALL[:-1], "trainer.limit_train_batches=2"
    )
    rates = run.series("lr")
    assert rates[100] == rates[101] == 0.1 / 1.5
    assert list(rates.values()) == pytest.approx([0.1 / (1 + 0.01 * (t // 2)) for t in range(200)], rel=2.0**-52, abs=0)
    assert "0.1 -> 0.05025 over 100 epochs, 200 updates, per epoch" in run.summary["schedule"]


def test_validation_drop_reduces_whenever_the_loss_falls(train: Train) -> None:
    run = train("scheduler=validation_drop", "factor=0.5", *SMALL, "epochs=5")
    losses = list(run.series("val_loss").values())
    drops = [sum(losses[i] < min(losses[:i]) for i in range(1, e)) for e in range(5)]
    assert drops[-1] > 0, "the loss of this run falls"
    assert_rates(run, [LR * 0.5 ** drops[t // LENGTH] for t in range(5 * LENGTH)])


def test_plateau_that_forgives_nothing(train: Train) -> None:
    run = train("scheduler=plateau", "factor=0.5", "patience=0", "threshold=10", *SMALL, "epochs=5")
    # No loss can be below best - 10 best: every validation but the first is bad.
    assert_rates(run, [LR * 0.5 ** max(0, t // LENGTH - 1) for t in range(5 * LENGTH)])
    assert "epoch 2: lr 0.1 -> 0.05 (val_loss had not improved on " in run.result.out


def test_feedback_on_top_of_a_schedule(train: Train) -> None:
    run = train(
        "scheduler=exponential", "gamma=0.9", "feedback=plateau", "patience=0", "threshold=10", *SMALL, "epochs=4"
    )
    assert_rates(run, [LR * (0.9**e * 0.5 ** max(0, e - 1)) for e in (t // LENGTH for t in range(4 * LENGTH))])


def test_accumulated_batches_are_one_update(train: Train) -> None:
    run = train("scheduler=linear", *SMALL[:-1], "trainer.limit_train_batches=8", "epochs=3",
                "trainer.accumulate_grad_batches=3")  # fmt: skip
    # 8 batches are 3 updates: 3 + 3 + 2.
    assert_rates(run, [LR * (1 - t / 9) for t in range(9)])
    assert run.summary["steps"] == 9
    assert run.summary["epochs"] == 3
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["lr_schedulers"][0]["step"] == 9
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run by the real command line, in its own process and an empty folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    result = python("-m", "lrtrain", "scheduler=inverse_time", "decay=0.01", "epochs=2", "seed=3", *SMALL, cwd=folder)
    assert result.code == 0, result.err
    [summary] = folder.glob("outputs/*/*/summary.json")
    return Run(result, summary.parent)


def test_run_folder(finished: Run) -> None:
    names = {path.name for path in finished.folder.iterdir() if "tfevents" not in path.name}
    contract = {".hydra", "checkpoints", "metrics.csv", "summary.json"}
    assert contract <= names <= contract | {"plan.json", ".lock"}
    weights = {path.name for path in (finished.folder / "checkpoints").iterdir()}
    assert {"last.ckpt", "best.ckpt"} <= weights <= {"last.ckpt", "best.ckpt", "previous.ckpt"}
    assert (finished.folder / ".hydra" / "config.yaml").exists()


def test_metrics(finished: Run) -> None:
    assert list(finished.rows[0])[:4] == ["step", "epoch", "lr", "train_loss"]
    assert set(finished.rows[0]) == {"step", *SCALARS}
    assert list(finished.series("epoch").values()) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert list(finished.series("train_loss")) == list(range(8))
    assert list(finished.series("val_loss")) == list(finished.series("val_acc")) == [3, 7]
    assert list(finished.series("test_acc")) == [7]
    assert finished.series("lr")[7] == 0.1 / 1.01


def test_summary(finished: Run) -> None:
    summary = finished.summary
    assert summary["status"] == "finished"
    assert (
        summary["command"] == f"python -m lrtrain scheduler=inverse_time decay=0.01 epochs=2 seed=3 {' '.join(SMALL)}"
    )
    assert summary["commit"] is None, "its folder is in no repository"
    assert summary["seed"] == 3
    assert summary["steps"] == 8
    assert summary["epochs"] == 2
    assert summary["wall_s"] > 0
    assert summary["lr"] == {"first": 0.1, "last": 0.1 / 1.01}
    assert "0.1 -> 0.09901 over 2 epochs, 8 updates, per epoch" in summary["schedule"]
    assert summary["config"]["decay"] == 0.01
    assert summary["config"]["model"] == {"name": "linear"}
    assert summary["config"]["trainer"]["limit_train_batches"] == 4
    assert set(summary["checkpoints"]) == {"last", "best"}
    assert all((finished.folder / path).is_file() for path in summary["checkpoints"].values())
    assert summary["versions"]["torch"] == torch.__version__
    assert {"lrtrain", "lightning", "hydra-core"} < set(summary["versions"])


def test_summary_has_the_numbers_of_the_table(finished: Run) -> None:
    losses = finished.series("val_loss")
    best, final = finished.summary["best"], finished.summary["final"]
    assert best["val_loss"] == min(losses.values())
    assert final["val_loss"] == losses[7]
    assert final["val_acc"] == finished.series("val_acc")[7]
    assert final["test_acc"] == finished.series("test_acc")[7]
    assert 0 <= best["test_acc"] <= 1
    assert finished.summary["monitor"] == "val_loss"


def test_scalars(finished: Run) -> None:
    scalars = events(finished.folder).scalars
    assert set(scalars) >= SCALARS
    for name in sorted(SCALARS):
        logged = finished.series(name)
        assert scalars[name] == [(step, float(np.float32(value))) for step, value in logged.items()], name


def test_validations_are_drawn_over_epochs_and_samples(finished: Run) -> None:
    found, losses = (
        events(finished.folder).scalars,
        [float(np.float32(loss)) for loss in finished.series("val_loss").values()],
    )
    assert found["val_loss/by_epoch"] == list(zip([1, 2], losses, strict=True))
    batch = finished.summary["config"]["batch_size"]
    assert found["val_loss/by_samples"] == list(zip([4 * batch, 8 * batch], losses, strict=True))


def test_the_first_page_shows_the_rate_and_the_losses(finished: Run) -> None:
    """The viewer sorts groups by name, capitals first; a group of one card each would fill a page."""
    found = events(finished.folder).scalars
    groups = sorted({name.partition("/")[0] for name in found})
    assert groups[0] == "Overview"
    assert {name for name in found if name.startswith("Overview/")} == {
        f"Overview/{name}" for name in ("lr", "train_loss", "val_loss")
    }
    assert all(found[name] == found[name.removeprefix("Overview/")] for name in found if name.startswith("Overview/"))


def test_hyperparameters_have_the_measured_result(finished: Run) -> None:
    scalars, hparams = events(finished.folder)
    assert hparams["scheduler"] == "inverse_time"
    assert hparams["decay"] == 0.01
    assert hparams["seed"] == 3
    [(_, value)] = scalars["best/val_loss"]
    assert value == float(np.float32(finished.summary["best"]["val_loss"]))
    assert "hp_metric" not in scalars


@pytest.mark.parametrize("name", ["last", "best"])
def test_checkpoint_is_safe_to_load(name: str, finished: Run) -> None:
    checkpoint = torch.load(finished.folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    steps = {"last": 8, "best": finished.summary["best"]["step"]}[name]
    [scheduler] = checkpoint["lr_schedulers"]
    assert scheduler["step"] == steps
    assert (scheduler["feedback"]["rule"], scheduler["feedback"]["scale"]) == (None, 1)
    assert checkpoint["global_step"] == steps
    assert any("weight" in key for key in checkpoint["state_dict"])


def test_what_is_printed(finished: Run) -> None:
    lines = finished.result.out.splitlines()
    assert lines[0] == "digits: 1,257 samples of 1 x 8 x 8 to train on, 180 to validate, 360 to test; held in memory"
    assert lines[1] == finished.summary["schedule"]
    assert f"tensorboard --logdir {finished.folder}" in lines
    assert f"{finished.summary['final']['test_acc']:.4f}" in finished.result.out
    assert finished.result.err == ""


def test_help_of_a_choice_by_its_name_alone(command_line: CommandLine) -> None:
    refused = command_line("--help", "inverse_time")
    assert (refused.code, refused.err.strip()) == (
        2,
        "lrtrain: --help inverse_time: write --help scheduler=inverse_time",
    )


def test_help_lists_everything(command_line: CommandLine, tmp_path: Path) -> None:
    code, out, _ = command_line("--help")
    assert code == 0
    for key in ("lr", "epochs", "batch_size", "seed", "monitor", "warmup"):
        assert f"  {key}=" in out
    sections = {text.split()[0]: text for text in out.split("\n  scheduler=")[1:]}
    assert sorted(sections) == STRATEGIES
    for name, section in sections.items():
        own = OmegaConf.load(config_dir() / "scheduler" / f"{name}.yaml")
        for key in [str(key) for key in own if key not in ("scheduler", "defaults")]:
            assert f"\n    {key}=" in section, f"{name}: {key}"
    for name, keys in {"plateau": ("factor", "patience", "threshold"), "validation_drop": ("factor",)}.items():
        assert all(f"\n    {key}=" in sections[name] for key in keys)
    assert list(tmp_path.iterdir()) == []


def test_configuration_is_printed(command_line: CommandLine, tmp_path: Path) -> None:
    code, out, _ = command_line("--cfg", "job", "scheduler=inverse_time", "decay=0.25", "model=cnn")
    config = OmegaConf.create(out)
    assert code == 0
    assert config.decay == 0.25
    assert config.scheduler == "inverse_time"
    assert config.model.name == "cnn"
    assert "gamma" not in config
    assert list(tmp_path.iterdir()) == []


def test_summary_is_json_that_others_read(finished: Run) -> None:
    text = (finished.folder / "summary.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["best"]["val_loss"] == finished.summary["best"]["val_loss"]


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--config-dir", "nowhere"), "--config-dir=nowhere"),
    (("--config-path", "elsewhere"), "--config-dir=FOLDER"),
    (("--experimental-rerun", "job.pickle"), "unpickles"),
    (("--resolve",), "--cfg"),
    (("hydra.mode=MULTIRUN", "seed=0,1"), "-m"),
    (("-m", "lr=glob(*)", "epochs=1"), "the sweep is empty"),
    (("-m", "lr=interval(0,1)", "epochs=1"), "is for a search"),
    (("-m", "seed=0,1", "hydra/launcher=joblib"), "write -m and jobs=N, with workers=slurm"),
    (("-m", "seed=0,1", "hydra/sweeper=optuna"), "write -m, with search=tpe trials=N"),
    (("hydra.run.dir=${nope}", "epochs=1"), "nope"),
    (("hydra.callbacks=${now:%Y}", "epochs=1"), "hydra.callbacks has no effect here"),
    (("batch_size=1e2",), "batch_size must be a whole number >= 1, got 100.0: write 100"),
    (("hydra.run.dir=${oc.decode:1}", "epochs=1"), "oc.decode"),
]


def test_flags_and_settings_of_hydra(command_line: CommandLine, tmp_path: Path) -> None:
    for arguments, said in REFUSED:
        refused = command_line(*arguments)
        assert refused.code == 2, (arguments, refused.err)
        assert len(refused.err.splitlines()) == 1, (arguments, refused.err)
        assert said in refused.err, arguments
        assert list(tmp_path.iterdir()) == [], arguments
