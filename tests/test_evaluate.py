"""A checkpoint is measured as its run did, and as scikit-learn would; its predictions are the model's, in order."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Result, Run, Train, read_csv, requested, settings_of
from lightning.pytorch import Trainer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from torch import nn

from lrtrain.configs import choices
from lrtrain.datasets import Inputs, Splits, digits, fashion_mnist
from lrtrain.datasets.sources import InMemory
from lrtrain.models import linear, mlp
from lrtrain.objectives import Targets, objective
from lrtrain.objectives.classification import confusions
from lrtrain.parameters.signatures import defaults
from lrtrain.plan.history import Segment, write_history
from lrtrain.report import confusion
from lrtrain.report.confusion import confusion_picture
from lrtrain.tasks import function
from lrtrain.training.evaluation import Evaluation

REFUSED = 2
WORSE_AT_LAST = (*SMALL, "scheduler=piecewise", "points=[[0ep,1],[2ep,1000]]")
"""A run whose best weights are not its last: the rate of its last epoch is far too high."""

Task = Callable[..., Run]


@pytest.fixture
def evaluate(train: Train) -> Task:
    return lambda *arguments: train("task=evaluate", "trainer=cpu", *arguments)


@pytest.fixture
def predict(train: Train) -> Task:
    return lambda *arguments: train("task=predict", "trainer=cpu", *arguments)


def plain(folder: Path, model: nn.Module, name: str = "best") -> nn.Module:
    """The README's recipe for plain PyTorch."""
    weights = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in weights.items()})
    return model.eval()


def probabilities(model: nn.Module, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    source = getattr(digits.load(), split)
    inputs, labels = source.gather(torch.arange(len(source)))
    with torch.no_grad():
        return model(inputs).double().softmax(-1).numpy(), labels.numpy()


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def one_line(result: Result, *parts: str) -> None:
    assert result.code == REFUSED, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert all(part in result.err for part in parts), result.err


@pytest.mark.parametrize("arguments", [WORSE_AT_LAST, (*SMALL, "model=mlp"), (*SMALL, "model=cnn", "batch_size=16")])
def test_measures_what_the_run_measured(arguments: tuple[str, ...], train: Train, evaluate: Task) -> None:
    done = train(*arguments, "epochs=3", "lr=0.02")
    best, final = done.summary["best"], done.summary["final"]
    assert best["step"] < done.summary["steps"] or arguments is not WORSE_AT_LAST
    before = snapshot(done.folder)
    ours = evaluate(f"checkpoint={done.folder}").summary
    assert {name: ours["final"][name] for name in ("test_loss", "test_acc")} == {
        name: best[name] for name in ("test_loss", "test_acc")
    }
    assert (ours["status"], ours["task"], ours["step"]) == ("finished", "evaluate", best["step"])
    assert ours["checkpoint"] == str(done.folder / "checkpoints" / "best.ckpt")
    last = evaluate(f"checkpoint={done.folder}/checkpoints/last.ckpt").summary["final"]
    assert (last["test_loss"], last["test_acc"]) == (final["test_loss"], final["test_acc"])
    seen = evaluate(f"checkpoint={done.folder}", "split=validation").summary["final"]
    assert (seen["val_loss"], seen["val_acc"]) == (best["val_loss"], best["val_acc"])
    assert snapshot(done.folder) == before


@pytest.mark.usefixtures("rendered")
@pytest.mark.parametrize(("split", "prefix"), [("test", "test"), ("validation", "val"), ("train", "train")])
def test_agrees_with_scikit_learn(split: str, prefix: str, trained: Train, evaluate: Task) -> None:
    done = trained(*SMALL, "epochs=2")
    run = evaluate(f"checkpoint={done.folder}", f"split={split}")
    expected, labels = probabilities(plain(done.folder, linear.linear(Inputs((1, 8, 8)), 10)), split)
    predicted = expected.argmax(axis=1)
    final = run.summary["final"]
    assert final[f"{prefix}_loss"] == pytest.approx(log_loss(labels, expected), rel=1e-6)
    assert final[f"{prefix}_acc"] == pytest.approx(accuracy_score(labels, predicted), rel=1e-6)
    macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert [final[f"{prefix}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(macro[:3], rel=1e-6)
    by_class = precision_recall_fscore_support(labels, predicted, average=None, zero_division=0)
    table = read_csv(run.folder / "per_class.csv")
    assert [row["class"] for row in table] == [str(index) for index in range(10)]
    for name, values in zip(("precision", "recall", "f1", "support"), by_class, strict=True):
        assert [float(row[name]) for row in table] == pytest.approx(values.tolist(), rel=1e-6)
    counts = [[int(row[str(k)]) for k in range(10)] for row in read_csv(run.folder / "confusion.csv")]
    assert counts == confusion_matrix(labels, predicted).tolist()
    assert run.summary["count"] == len(labels)
    assert (run.folder / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert f"accuracy {accuracy_score(labels, predicted):.4f} of {len(labels):,} samples" in run.result.out


@pytest.mark.parametrize("shape", [(300,), (60, 5)], ids=["samples", "tokens"])
def test_classes_that_do_not_occur(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(*shape, 7, generator=draw), torch.randint(0, 5, shape, generator=draw)
    logits[..., 6] = -9  # neither true nor predicted; 5 is predicted, but never true
    evaluation = Evaluation(nn.Identity(), objective("auto").make(Targets("classification", 7)))
    half = len(labels) // 2
    for part in (slice(0, half), slice(half, None)):
        evaluation.test_step((logits[part], labels[part]), 0)
    evaluation.on_test_epoch_end()
    measured = {name: value.tolist() for name, value in evaluation.measured.items()}
    true, predicted = labels.flatten().numpy(), logits.argmax(-1).flatten().numpy()
    macro = precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)[:3]
    assert [measured[name] for name in ("precision", "recall", "f1")] == pytest.approx(macro, rel=1e-6)
    classes = list(range(7))
    each = precision_recall_fscore_support(true, predicted, labels=classes, average=None, zero_division=0)
    for name, expected in zip(("precision", "recall", "f1"), each, strict=False):
        assert measured[f"{name}_by_class"] == pytest.approx(expected.tolist(), rel=1e-6)
    assert measured["confusion"] == confusion_matrix(true, predicted, labels=classes).tolist()


def test_model_and_data_are_those_of_the_run(train: Train, evaluate: Task) -> None:
    done = train(*SMALL[1:], "epochs=2", "model=mlp", "model.hidden=[16,8]")
    config = evaluate(f"checkpoint={done.folder}").summary["config"]
    assert config["model"] == done.summary["config"]["model"]
    assert config["scheduler"] == "step"
    plain(done.folder, mlp.mlp(Inputs((1, 8, 8)), 10, hidden=[16, 8], dropout=0.2))


def test_all_samples_whatever_the_run_was_tested_on(
    train: Train, evaluate: Task, predict: Task, command_line: CommandLine
) -> None:
    """Unless this command itself says how many."""
    for limited in ("trainer.limit_test_batches=1", "experiment=limit", "experiment=overfit epochs=2"):
        asked = (f"checkpoint={train(*SMALL, 'epochs=1', *limited.split()).folder}", "split=train")
        assert [task(*asked).summary["count"] for task in (evaluate, predict)] == [1257, 1257], limited
    assert evaluate(*asked, "trainer.limit_test_batches=2").summary["count"] == 2 * 512
    assert evaluate(*asked, "experiment=limit").summary["count"] == 512
    less = command_line("task=evaluate", *asked, "trainer.limit_test_batches=0.3")
    one_line(less, "trainer.limit_test_batches=0.3 of 3 train batches is less than one")


def test_what_is_taken_over_from_a_run(tmp_path: Path) -> None:
    """The model, the data and the precision; neither the hardware nor what only training needs."""
    kept = ["dataset=digits", "model=mlp", "model.hidden=[8]", "batch_size=16", "trainer.precision=bf16-mixed"]
    left = ["trainer=ddp", "trainer.devices=64", "+trainer.num_nodes=2", "trainer.strategy=ddp", "optimizer.eps=0.1"]
    left += ["task=train", "scheduler=step", "gamma=0.5", "lr=1", "groups={.*:2}", "optimizer=adam", "logger=none"]
    write_history(tmp_path / "plan.json", [Segment(settings_of(*left, *kept), 10)])
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    now = ["task=evaluate", "trainer=cpu", f"checkpoint={checkpoint}"]
    assert requested(*now).job.settings == settings_of("trainer=cpu", *kept)
    only_data = ["dataset=digits", "batch_size=16", "trainer.precision=bf16-mixed"]
    assert requested(*now, "model=cnn").job.settings == settings_of("trainer=cpu", "model=cnn", *only_data)


@pytest.mark.parametrize("name", ["best", "last"])
def test_of_the_newest_run(name: str, train: Train, command_line: CommandLine, tmp_path: Path) -> None:
    runs = tmp_path / "outputs" / "day"
    for index in range(2):
        shutil.move(train(*WORSE_AT_LAST, "epochs=3", "lr=0.02", f"seed={index}").folder, runs / str(index))
    os.utime(runs / "0" / "checkpoints" / "last.ckpt", (1, 1))
    asked = () if name == "best" else ("checkpoint=last",)
    result = command_line("task=evaluate", "trainer=cpu", *asked)
    assert result.code == 0, result.err
    assert f"weights of {runs}/1/checkpoints/{name}.ckpt" in result.out
    [summary] = tmp_path.glob("outputs/*/*_evaluate/summary.json")
    trained = json.loads((runs / "1" / "summary.json").read_text())
    expected = trained["best" if name == "best" else "final"]["test_loss"]
    assert json.loads(summary.read_text())["final"]["test_loss"] == expected


def test_file_without_its_run(trained: Train, evaluate: Task, command_line: CommandLine, tmp_path: Path) -> None:
    done = trained(*SMALL, "epochs=1")
    loose = tmp_path / "alone" / "it's 1.ckpt"
    loose.parent.mkdir()
    shutil.copy(done.folder / "checkpoints" / "best.ckpt", loose)
    quoted = "'" + str(loose).replace("'", "\\'") + "'"
    one_line(command_line("task=evaluate", f"checkpoint={loose.parent}"), "no file", "best.ckpt")
    one_line(command_line("task=evaluate", f"checkpoint={quoted}"), "do not fit model=mlp")
    ours = evaluate(f"checkpoint={quoted}", "model=linear").summary["final"]
    assert ours["test_loss"] == done.summary["best"]["test_loss"]


def test_weights_of_another_model(trained: Train, command_line: CommandLine, tmp_path: Path) -> None:
    done = trained(*SMALL, "epochs=1")
    for task in ("evaluate", "predict"):
        wrong = command_line(f"task={task}", f"checkpoint={done.folder}", "model=mlp", "model.hidden=[10]")
        one_line(wrong, "do not fit model=mlp", "4.weight is missing in the checkpoint, and 10 x 10 in the model")
    assert not (tmp_path / "outputs").exists()


class Payload:
    """Unpickled, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


Plant = Callable[[Path, dict[str, Any], Payload], object]
PLANTED: dict[str, Plant] = {
    "code": lambda path, whole, code: torch.save(code, path),
    "code among the weights": lambda path, whole, code: torch.save(whole | {"state_dict": {"model.x": code}}, path),
    "empty": lambda path, whole, code: path.write_bytes(b""),
    "text": lambda path, whole, code: path.write_text("weights"),
    "half": lambda path, whole, code: path.write_bytes(path.read_bytes()[:2000]),
    "a list": lambda path, whole, code: torch.save([1], path),
    "no weights": lambda path, whole, code: torch.save({"global_step": 1}, path),
    "weights of text": lambda path, whole, code: torch.save(whole | {"state_dict": {"model.1.weight": "x"}}, path),
    "only weights": lambda path, whole, code: torch.save(whole["state_dict"], path),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
def test_file_that_is_no_checkpoint(plant: Plant, trained: Train, command_line: CommandLine, tmp_path: Path) -> None:
    path = trained(*SMALL, "epochs=1").folder / "checkpoints" / "best.ckpt"
    plant(path, torch.load(path, weights_only=True), Payload(f"touch {tmp_path / 'canary'}"))
    for task in ("evaluate", "predict"):
        one_line(command_line(f"task={task}", f"checkpoint={path}"), str(path))
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "outputs").exists()


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when the module `poison` is imported."""
    (tmp_path / "modules").mkdir()
    path = tmp_path / "modules" / "imported"
    (tmp_path / "modules" / "poison.py").write_text(
        f"open({str(path)!r}, 'w').close()\ndef half(*_):\n    return 0.5\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "poison", raising=False)
    return path


def test_the_schedule_is_not_needed(train: Train, evaluate: Task, poison: Path) -> None:
    done = train(*SMALL, "epochs=1", "scheduler=custom", "function=poison:half", "optimizer=adam", "warmup=2st")
    poison.unlink()
    sys.modules.pop("poison")
    assert evaluate(f"checkpoint={done.folder}").summary["final"]["test_loss"] == done.summary["best"]["test_loss"]
    assert not poison.exists()


def test_code_of_the_model_must_be_said_again(trained: Train, command_line: CommandLine, poison: Path) -> None:
    path = trained(*SMALL, "epochs=1").folder / "plan.json"
    plan = json.loads(path.read_text())
    plan["segments"][-1]["settings"]["model"] = {"name": "custom", "function": "poison:half", "parameters": None}
    path.write_text(json.dumps(plan))
    refused = command_line("task=evaluate", f"checkpoint={path.parent}")
    one_line(refused, "model.function=poison:half", "repeat this option to confirm")
    assert not poison.exists()


def test_predictions(trained: Train, predict: Task) -> None:
    done = trained(*SMALL, "epochs=2")
    before = snapshot(done.folder)
    rows = read_csv(predict(f"checkpoint={done.folder}", "split=train").folder / "predictions.csv")
    expected, labels = probabilities(plain(done.folder, linear.linear(Inputs((1, 8, 8)), 10)), "train")
    assert list(rows[0]) == ["index", "label", "predicted", "probability", *(f"p{k}" for k in range(10))]
    assert [int(row["index"]) for row in rows] == list(range(len(labels)))
    assert [int(row["label"]) for row in rows] == labels.tolist()
    assert [int(row["predicted"]) for row in rows] == expected.argmax(axis=1).tolist()
    ours = np.array([[float(row[f"p{k}"]) for k in range(10)] for row in rows])
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)
    assert ours.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert [float(row["probability"]) for row in rows] == ours.max(axis=1).tolist()
    assert (ours == ours.astype(np.float32).astype(str).astype(np.float64)).all(), (
        "no digit more or less than is needed"
    )
    assert snapshot(done.folder) == before


def test_predictions_of_the_likeliest(trained: Train, predict: Task) -> None:
    done = trained(*SMALL, "epochs=2")
    run = predict(f"checkpoint={done.folder}", "top=3")
    rows = read_csv(run.folder / "predictions.csv")
    expected, _ = probabilities(plain(done.folder, linear.linear(Inputs((1, 8, 8)), 10)), "test")
    order = np.argsort(-expected, axis=1)
    for k in range(3):
        assert [int(row[f"class_{k + 1}"]) for row in rows] == order[:, k].tolist()
        ours = [float(row[f"probability_{k + 1}"]) for row in rows]
        assert ours == pytest.approx(expected[np.arange(len(rows)), order[:, k]].tolist(), rel=1e-5)
    assert len(rows[0]) == 4 + 6
    assert len(read_csv(predict(f"checkpoint={done.folder}", "top=99").folder / "predictions.csv")[0]) == 4 + 20
    assert (run.summary["status"], run.summary["task"], run.summary["count"]) == ("finished", "predict", 360)


def tokens() -> Splits:
    """Sequences of 4 tokens out of 5, each labelled with the next one."""
    draw = np.random.default_rng(0)
    start = draw.integers(0, 5, size=(digits.TRAIN, 1))
    values = (start + np.arange(5)) % 5
    train, validation, test = (
        InMemory(values[n:m, :-1], values[n:m, 1:], tokens=True) for n, m in ((0, 1257), (0, 100), (100, 150))
    )
    return Splits(train, validation, test, Targets("classification", 5, each_token=True), tokens=5)


def test_a_label_for_each_token(train: Train, evaluate: Task, predict: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "load", tokens)
    monkeypatch.setattr(linear, "linear", lambda inputs, classes, /: nn.Embedding(inputs.tokens, classes))
    done = train(*SMALL, "epochs=2", "lr=10")
    run = evaluate(f"checkpoint={done.folder}")
    assert run.summary["final"]["test_loss"] == done.summary["best"]["test_loss"]
    assert run.summary["final"]["test_acc"] == 1
    assert run.summary["count"] == 50 * 4
    rows = read_csv(predict(f"checkpoint={done.folder}").folder / "predictions.csv")
    assert [(int(row["index"]), int(row["position"])) for row in rows] == [(n, k) for n in range(50) for k in range(4)]
    source = tokens().test
    labels = source.gather(torch.arange(len(source)))[1].flatten().tolist()
    assert [int(row["label"]) for row in rows] == [int(row["predicted"]) for row in rows] == labels


@pytest.mark.parametrize("task", ["evaluate", "predict"])
def test_damaged_weights_are_not_used(task: str, trained: Train, command_line: CommandLine) -> None:
    best = trained(*SMALL, "epochs=1").folder / "checkpoints" / "best.ckpt"
    with zipfile.ZipFile(best) as archive:
        weights = max(archive.infolist(), key=lambda info: info.file_size)
    data = bytearray(best.read_bytes())
    data[weights.header_offset + weights.file_size // 2] ^= 1
    best.write_bytes(data)
    one_line(command_line(f"task={task}", f"checkpoint={best}"), "damaged")


def test_split_without_samples(trained: Train, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    done = trained(*SMALL, "epochs=1")
    splits = digits.load()
    monkeypatch.setattr(digits, "load", lambda: splits._replace(test=InMemory(np.empty((0, 1, 8, 8)), np.empty(0))))
    for task in ("evaluate", "predict"):
        words = (f"task={task}", f"checkpoint={done.folder}", "dataset=digits")
        one_line(command_line(*words), "no sample in its test split")
        assert command_line(*words, "split=validation").code == 0


def test_predictions_need_one_device(
    trained: Train, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = trained(*SMALL, "epochs=1")
    monkeypatch.setattr(Trainer, "test", lambda *_, **__: pytest.fail("began, and would have started processes"))
    several = ("trainer=cpu", "trainer.devices=2", "trainer.strategy=ddp")
    one_line(command_line("task=predict", f"checkpoint={done.folder}", *several), "trainer.devices=1")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("task=evaluate",), ("checkpoint=best", "no run", "checkpoint=FOLDER")),
        (("task=predict", "checkpoint=last"), ("checkpoint=last", "no run")),
        (("task=evaluate", "checkpoint=nowhere"), ("checkpoint=nowhere", "no file")),
        (("task=evaluate", "checkpoint=" + "x" * 5000), ("checkpoint=",)),
        (("task=evaluate", "checkpoint="), ("checkpoint=",)),
        (("-m", "task=evaluate", "checkpoint=a,b"), ("leave out -m",)),
        (("split=test",), ("split belongs to task=evaluate or predict",)),
        (("top=3",), ("top belongs to task=predict",)),
    ],
)
def test_refused(arguments: tuple[str, ...], parts: tuple[str, ...], command_line: CommandLine, tmp_path: Path) -> None:
    one_line(command_line(*arguments), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "part"), [("split=tests", "split must be"), ("top=0", "top must be"), ("resume=last", "resume")]
)
def test_wrong_values(argument: str, part: str, trained: Train, command_line: CommandLine, tmp_path: Path) -> None:
    done = trained(*SMALL, "epochs=1")
    one_line(command_line("task=predict", f"checkpoint={done.folder}", argument), part)
    assert not (tmp_path / "outputs").exists()


def test_help_has_every_key_of_every_task(command_line: CommandLine) -> None:
    out = command_line("--help").out
    tasks = {name: list(defaults(function(name))) for name in choices("task")}
    assert set(tasks) == {
        "train",
        "preview",
        "evaluate",
        "predict",
        "compare",
        "status",
        "find_lr",
        "diagnose",
        "export",
    }
    assert set(tasks["evaluate"]) == {"checkpoint", "split"}
    for name, keys in tasks.items():
        section = out.partition(f"\n  task={name} ")[2].partition("\n  task=")[0]
        assert section, name
        assert all(f"\n    {key}=" in section for key in keys), name


def test_classes_have_their_names(train: Train, evaluate: Task, tmp_path: Path) -> None:
    """Whole in the files, in one line of limited length in the table; brackets are no style."""
    names = ["[bold] and short", f"a name that is {'very ' * 20}long"]
    rows = [f'{row % 2 + row / 99},"{names[row % 2]}"' for row in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["size,kind", *rows]))
    asked = ("dataset=csv", f"dataset.file={tmp_path}/table.csv", "dataset.target=kind")
    done = evaluate(f"checkpoint={train(*SMALL, *asked, 'epochs=1').folder}")
    assert [row["class"] for row in read_csv(done.folder / "per_class.csv")] == names
    table = read_csv(done.folder / "confusion.csv")
    assert list(table[0]) == ["true", *names]
    assert [row["true"] for row in table] == names
    printed = [line.strip() for line in done.result.out.splitlines()]
    assert any(line.startswith("[bold] and short  ") for line in printed)
    assert any(line.startswith("a name that is very very very very very…  ") for line in printed)


NAMED = {
    "2 long names": ["the first of two long names", "the second of two long names, $6"],
    "10 names": list(fashion_mnist.FASHION_MNIST.names or ()),
    "65 numbers": list(map(str, range(65))),
    "65 names": [f"some class with the name {index}" for index in range(65)],
    "300 numbers": list(map(str, range(300))),
}


@pytest.mark.parametrize("labels", NAMED.values(), ids=NAMED.keys())
def test_names_stand_apart_in_the_picture(labels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(confusion, "png", drawn.append)
    confusion_picture(np.diag(np.full(len(labels), 99)), labels, "title")
    [figure] = drawn
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticklabels()
    places = [tick.get_window_extent() for tick in ticks]
    apart = places[1].x1 - places[0].x1
    height = float(ticks[0].get_fontsize()) * figure.dpi / 72
    if angle := float(ticks[0].get_rotation()):
        assert apart * math.sin(math.radians(angle)) > 1.1 * height, "across the lines"
    else:
        assert all(left.x1 + height / 2 < right.x0 for left, right in pairwise(places))
    assert not any(tick.get_parse_math() for tick in ticks), "a dollar is one"
    for place in (*places, *(tick.get_window_extent() for tick in figure.axes[0].get_yticklabels())):
        assert 0 <= place.x0 < place.x1 <= figure.bbox.x1
        assert 0 <= place.y0 < place.y1 <= figure.bbox.y1
    assert figure.axes[0].get_window_extent().width > 0.85 * figure.axes[0].get_window_extent().height


def test_most_frequent_errors_first() -> None:
    counts = np.array([[9, 2, 0], [5, 1, 1], [0, 2, 7]])
    assert confusions(counts, 3) == [(1, 0, 5), (0, 1, 2), (2, 1, 2)]
    assert confusions(counts, 99) == [(1, 0, 5), (0, 1, 2), (2, 1, 2), (1, 2, 1)]
    assert confusions(np.diag([3, 4]), 5) == []


@pytest.mark.parametrize(("classes", "written"), [(2, True), (10, True), (65, False), (100, False), (600, False)])
def test_counts_are_drawn_where_they_are_legible(classes: int, written: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    sizes: list[float] = []
    monkeypatch.setattr(Axes, "text", lambda axes, *_, fontsize, **__: sizes.append(fontsize))
    counts = np.diag(np.full(classes, 1234))
    labels = [str(index) for index in range(classes)]
    confusion_picture(counts, labels, "title")
    assert len(sizes) == (classes if written else 0)
    assert all(size >= 5 for size in sizes)
