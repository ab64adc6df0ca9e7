"""Weights leave as files that need no lrtrain: read back by their own packages, they are those of the checkpoint."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Run, Train
from safetensors.torch import load_file
from test_evaluate import one_line, snapshot
from torch import Tensor, nn

import lrtrain
from lrtrain.datasets import Inputs
from lrtrain.models import model
from lrtrain.training.export import EXPORTS

OWN = ("model=custom", "model.function=test_export:Moody")


class Moody(nn.Module):
    """Takes another way for some inputs, which no graph can hold."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.map = nn.Linear(64, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.map(inputs.flatten(1))
        return outputs if inputs.sum() > 0 else -outputs


def weights(run: Run) -> dict[str, Tensor]:
    """Those of the best checkpoint, by plain torch."""
    stored = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in stored.items()}


def meaning(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "model.json").read_text())  # type: ignore[no-any-return]


def test_network(trained: Train, train: Train) -> None:
    run = trained(*SMALL, "epochs=1")
    before = snapshot(run.folder)
    folder = train("task=export", f"checkpoint={run.folder}").folder
    network = torch.export.load(folder / "model.pt2").module()
    matrix, shift = weights(run).values()
    for count in (1, 7):
        inputs = torch.rand(count, 1, 8, 8)
        assert torch.allclose(network(inputs), inputs.flatten(1) @ matrix.T + shift, atol=1e-6)
    said = meaning(folder)
    assert (said["inputs"]["shape"], said["inputs"]["type"]) == (["batch", 1, 8, 8], "float32")
    assert (said["outputs"]["shape"], said["outputs"]["objective"]) == (["batch", 10], "classification")
    assert snapshot(run.folder) == before


def test_weights(trained: Train, train: Train) -> None:
    run = trained(*SMALL, "epochs=1")
    folder = train("task=export", f"checkpoint={run.folder}", "format=safetensors").folder
    read = load_file(folder / "model.safetensors")
    assert read.keys() == weights(run).keys()
    assert all(torch.equal(read[name], value) for name, value in weights(run).items())
    assert json.loads((folder / "summary.json").read_text())["exported"] == "model.safetensors"


def test_what_is_beside_the_weights_is_enough(train: Train, tmp_path: Path) -> None:
    """Values in the table's own unit, by numpy, from the two files alone."""
    rng = np.random.default_rng(0)
    size, kind = rng.normal(50, 9, 80), rng.integers(0, 3, 80)
    rows = [f"{a},{'xyz'[b]},{3 * a + 100 * b}" for a, b in zip(size, kind, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["size,kind,price", *rows]))
    data = ("dataset=csv", f"dataset.file={tmp_path}/table.csv", "dataset.target=price")
    run = train(*data, "model=linear", "trainer=cpu", "epochs=3", "lr=0.01")
    folder = train("task=export", f"checkpoint={run.folder}", "format=safetensors").folder

    said, read = meaning(folder), load_file(folder / "model.safetensors")
    [(mean, deviation)] = said["inputs"]["numbers"].values()  # type: ignore[attr-defined]
    [categories] = said["inputs"]["texts"].values()  # type: ignore[attr-defined]
    [(middle, spread)] = said["outputs"]["standards"].values()  # type: ignore[attr-defined]
    inputs = np.array([[(60 - mean) / deviation, *(name == "y" for name in categories)]], np.float32)
    matrix, shift = read["1.weight"].numpy(), read["1.bias"].numpy()
    expected = (inputs @ matrix.T + shift) * spread + middle
    found = lrtrain.load(run.folder).predict({"size": [60.0], "kind": ["y"]})
    assert found == pytest.approx(expected, rel=1e-5)
    assert said["outputs"]["names"] == ["price"]


@pytest.mark.parametrize(
    ("kind", "name", "settings", "inputs", "outputs"),
    [
        ("torch_export", "cnn", {"channels": [4]}, Inputs((1, 8, 8)), 10),
        ("safetensors", "transformer", {"layers": 1, "heads": 1, "width": 4}, Inputs((3,), 7), 7),
    ],
)
def test_models(kind: str, name: str, settings: dict[str, object], inputs: Inputs, outputs: int) -> None:
    """Batch norm, and weights that layers share; each is read back and compared on the way."""
    network = model(name, **settings).make(inputs, outputs).eval()
    assert EXPORTS[kind].content(network, inputs)


def test_custom_model_that_has_no_graph(trained: Train, command_line: CommandLine, tmp_path: Path) -> None:
    run = trained(*SMALL, "epochs=1", *OWN)
    words = ("task=export", f"checkpoint={run.folder}", "hydra.run.dir=out")
    one_line(command_line(*words), "repeat this option to confirm")
    one_line(command_line(*words, *OWN), "torch.export cannot take this model", "format=safetensors")
    assert not (tmp_path / "out").exists()
    assert command_line(*words, *OWN, "format=safetensors").code == 0
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == {"map.weight", "map.bias"}


def test_lightning_module(trained: Train, command_line: CommandLine) -> None:
    lit = ("model=lightning", "model.function=user_code:LitNet", "model.parameters={width:8}")
    run = trained(*SMALL, "epochs=1", *lit)
    one_line(command_line("task=export", f"checkpoint={run.folder}", *lit), "LightningModule of yours")


@pytest.mark.parametrize(("kind", "place"), [("torch_export", "torch.export"), ("safetensors", "safetensors.torch")])
def test_file_that_reads_back_otherwise(
    kind: str, place: str, trained: Train, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(*SMALL, "epochs=1")
    load = import_module(place).load

    def load_otherwise(content: Any) -> Any:
        read = load(content)
        next(iter((read if isinstance(read, dict) else read.state_dict).values())).data.mul_(1.001)
        return read

    monkeypatch.setattr(f"{place}.load", load_otherwise)
    words = ("task=export", f"checkpoint={run.folder}", f"format={kind}", "hydra.run.dir=out")
    one_line(command_line(*words), "what it gives differs")
    assert not (tmp_path / "out").exists()


def test_package_that_is_not_there(
    trained: Train, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(*SMALL, "epochs=1")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    words = ("task=export", f"checkpoint={run.folder}", "format=safetensors", "hydra.run.dir=out")
    one_line(command_line(*words), 'pip install "lrtrain[safetensors]"')
    assert not (tmp_path / "out").exists()
