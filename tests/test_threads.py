"""How many CPU threads a run takes."""

from __future__ import annotations

import pytest
import torch
from conftest import Train
from torch import Tensor, nn

from lrtrain.datasets import Inputs
from lrtrain.models import model
from lrtrain.training import threads
from lrtrain.training.loader import Batch
from lrtrain.training.module import Supervised
from lrtrain.training.threads import operations, use_threads


@pytest.fixture(autouse=True)
def own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_OWN", 2)


def test_operations_by_hand() -> None:
    # Two for each weight at each place: 64 x 10 weights at one place; 9 x 8 weights at 28 x 28 places, and so on.
    assert operations(model("linear").make(Inputs((1, 8, 8)), 10), Inputs((1, 8, 8))) == 2 * 64 * 10
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 14 * 14, 5))
    assert operations(network, Inputs((1, 28, 28))) == 2 * (9 * 8 * 28 * 28 + 8 * 14 * 14 * 5)


def test_looking_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    operations(network, Inputs((1, 8, 8)))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert network.training


@pytest.mark.parametrize(
    ("asked", "width", "environment", "expected"),
    [(None, 8, {}, 1), (None, 4096, {}, 2), (2, 8, {}, 2), (1, 4096, {}, 1), (None, 8, {"OMP_NUM_THREADS": "2"}, 2)],
)
def test_number(
    asked: int | None, width: int, environment: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    try:
        network = nn.Sequential(nn.Linear(64, width), nn.Linear(width, width))
        use_threads(asked, network, Inputs((64,)), 32)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_a_run_takes_them(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all its updates, and gives them back."""
    taken, step, before = set(), Supervised.training_step, torch.get_num_threads()

    def training_step(module: Supervised, batch: Batch, batch_idx: int) -> Tensor:
        taken.add(torch.get_num_threads())
        return step(module, batch, batch_idx)

    monkeypatch.setattr(Supervised, "training_step", training_step)
    try:
        for own, asked, expected in ((1, ("threads=2",), 2), (2, (), 1)):
            torch.set_num_threads(own)
            train("trainer=cpu", "model=linear", "epochs=1", *asked)
            assert taken == {expected}
            assert torch.get_num_threads() == own
            taken.clear()
    finally:
        torch.set_num_threads(before)
