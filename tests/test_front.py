"""The command line's words in Python."""

from __future__ import annotations

import inspect
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, read_csv
from resuming import assert_equal

import lrtrain
from lrtrain.datasets import dataset
from lrtrain.errors import RequestError
from lrtrain.schedules import plateau
from lrtrain.training.module import Supervised

WORDS = (*SMALL, "epochs=2", "scheduler=cosine")
NAMED: dict[str, Any] = {
    "scheduler": "cosine",
    "epochs": 2,
    "log_every": 1,
    "model": "linear",
    "trainer": {"name": "cpu", "limit_train_batches": 4},
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_trains_as_the_command_line_does(command_line: CommandLine, tmp_path: Path) -> None:
    assert command_line(*WORDS, "hydra.run.dir=by_command").code == 0
    by_words = lrtrain.train(WORDS, folder="by_words", quiet=True)
    by_name = lrtrain.train(folder="by_name", quiet=True, **NAMED)
    assert isinstance(by_words, lrtrain.Summary)
    assert by_words.config == by_name.config
    for folder in ("by_words", "by_name"):
        assert_equal(tmp_path / folder, tmp_path / "by_command")


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    lrtrain.train(WORDS, folder="run", quiet=True)
    assert tuple(capsys.readouterr()) == ("", "")


def test_goes_on() -> None:
    lrtrain.train(WORDS, folder="run", quiet=True)
    longer = lrtrain.train(resume="run", epochs=3, resume_plan="keep", quiet=True)
    assert (longer.status, longer.steps) == ("finished", 12)


def test_wrong_words() -> None:
    with pytest.raises(RequestError, match="did you mean decay"):
        lrtrain.train(["decy=0.1"])
    with pytest.raises(RequestError, match=r"lr must be below 1e\+300"):
        lrtrain.train("scheduler=step lr=1e300")
    with pytest.raises(RequestError, match="lr must be a number > 0"):
        lrtrain.train(lr=-1)
    assert list(Path().iterdir()) == []


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the loop that the call stands in, with a checkpoint to go on from."""
    step = Supervised.training_step

    def interrupted(module: Supervised, batch: Any, batch_idx: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt, match="resume="):
            lrtrain.train(WORDS, folder="run", quiet=True)
    assert lrtrain.runs(".")[0]["status"] == "interrupted"
    assert lrtrain.train(resume="run", quiet=True).status == "finished"


def test_model_is_loaded() -> None:
    summary = lrtrain.train(WORDS, folder="run", quiet=True)
    loaded = lrtrain.load("run")
    assert not loaded.model.training
    assert (loaded.inputs.shape, loaded.classes, loaded.step) == ((1, 8, 8), 10, summary.best["step"])
    inputs, labels = dataset("digits").make().test.gather(torch.arange(360))
    probabilities = loaded.predict(inputs.numpy())
    assert probabilities.shape == (360, 10)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(360), abs=1e-5)
    assert (probabilities.argmax(axis=1) == labels.numpy()).mean() == pytest.approx(summary.best["test_acc"])
    assert loaded.predict(inputs[0]).tolist() == pytest.approx(probabilities[0].tolist(), abs=1e-6)
    assert lrtrain.load("run", "last").step == 8
    assert lrtrain.load("run/checkpoints/last.ckpt").step == 8
    Path("elsewhere").mkdir()
    moved = Path("run").rename("elsewhere/of another name")
    assert lrtrain.load(moved).predict(inputs.numpy()).tolist() == probabilities.tolist()
    alone = (moved / "checkpoints" / "best.ckpt").rename("alone.ckpt")
    with pytest.raises(RequestError, match="not in a run's folder"):
        lrtrain.load(alone)
    with pytest.raises(ValueError, match=r"must have shape \(n, 1, 8, 8\)"):
        loaded.predict(np.zeros((3, 64)))


def test_bytes_are_scaled_as_in_training() -> None:
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (60, 1, 4, 4), np.uint8), np.arange(60) % 3
    np.save("inputs.npy", pictures)
    np.save("labels.npy", labels)
    data = {"name": "npy", "inputs": "inputs.npy", "labels": "labels.npy"}
    lrtrain.train(dataset=data, model="linear", epochs=1, trainer="cpu", folder="run", quiet=True)
    loaded = lrtrain.load("run")
    scaled = pictures.astype(np.float32) / 127.5 - 1
    assert loaded.predict(pictures) == pytest.approx(loaded.predict(scaled), abs=1e-5)


def test_model_of_code_is_asked_for(command_line: CommandLine) -> None:
    code = ("model=custom", "model.function=torch.nn:Flatten")
    assert command_line(*WORDS, "hydra.run.dir=run", *code, "model.parameters=null").code != 0
    own = ("model=custom", "model.function=test_front:tiny")
    assert command_line(*WORDS, "hydra.run.dir=own", *own).code == 0
    with pytest.raises(RequestError, match=r"load\(run, model="):
        lrtrain.load("own")
    assert lrtrain.load("own", model=tiny(10)).predict(np.zeros((2, 1, 8, 8))).shape == (2, 10)


def tiny(classes: int) -> torch.nn.Module:
    """Somebody's own model."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))


def test_runs_are_rows() -> None:
    for seed in (0, 1):
        lrtrain.train([*WORDS, f"seed={seed}"], folder=f"outputs/{seed}", quiet=True)
    rows = lrtrain.runs()
    assert [(row["folder"], row["status"], row["seed"]) for row in rows] == [
        ("outputs/0", "finished", 0), ("outputs/1", "finished", 1)
    ]  # fmt: skip
    assert all(row["model.name"] == "linear" and row["best_val_loss"] > 0 for row in rows)
    assert all(isinstance(value, int | float | str | list | None) for row in rows for value in row.values())


@pytest.mark.usefixtures("rendered")
def test_preview_is_a_figure() -> None:
    figure = lrtrain.preview(scheduler="inverse_time", decay=0.01)
    assert figure._repr_png_().startswith(b"\x89PNG")
    [curve] = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 10]  # type: ignore[arg-type]
    assert np.asarray(curve.get_ydata())[0] == 0.1
    assert list(Path().iterdir()) == []


def test_defaults_are_those_of_the_command_line(command_line: CommandLine) -> None:
    _, out, _ = command_line("--cfg", "job", "scheduler=plateau")
    assert f"factor: {plateau().parameters['factor']}" in out
    assert f"patience: {plateau().parameters['patience']}" in out


@pytest.mark.parametrize("name", ["train", "load", "runs", "preview", "compare", "find_lr"])
def test_signatures_say_what_is_taken(name: str) -> None:
    function = getattr(lrtrain, name)
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    assert name in lrtrain.__all__
    assert len(inspect.getdoc(function) or "") > 100


def test_rows_of_a_sweep(command_line: CommandLine) -> None:
    assert command_line("-m", *WORDS, "seed=0,1").code == 0
    [sweep] = Path("outputs").glob("*/*_sweep")
    rows = read_csv(sweep / "summary.csv")
    assert len(lrtrain.runs(sweep)) == len(rows) == 2
    assert lrtrain.load(sweep).checkpoint.parent.parent.name == rows[0]["name"], "the best of its jobs"
