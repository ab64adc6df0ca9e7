"""Augmented pictures, each compared with one that is sliced by hand from the same random numbers; and mixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Train
from numpy.typing import NDArray
from torch import Tensor, nn

from lrtrain.datasets.sources import InMemory
from lrtrain.objectives import Targets, objective
from lrtrain.training.augment import Augment, cut_out, moved
from lrtrain.training.loader import Loader
from lrtrain.training.module import Supervised

COUNT, SHAPE = 40, (3, 7, 9)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand((COUNT, *SHAPE), generator=torch.Generator().manual_seed(0)) + 1


@pytest.mark.parametrize("crop", [0, 1, 6])
def test_moved_and_mirrored(crop: int, pictures: Tensor) -> None:
    random = np.random.default_rng(0)
    shifts, mirrored = random.integers(-crop, crop + 1, (2, COUNT)), random.random(COUNT) < 0.5
    expected = []
    for picture, (down, right), mirror in zip(pictures.numpy(), shifts.T, mirrored, strict=True):
        padded = np.pad(picture, ((0, 0), (crop, crop), (crop, crop)), mode="reflect")
        cropped = padded[:, crop + down : crop + down + 7, crop + right : crop + right + 9]
        expected.append(cropped[:, :, ::-1] if mirror else cropped)
    ours = moved(pictures, torch.from_numpy(shifts), torch.from_numpy(mirrored))
    assert np.array_equal(ours.numpy(), np.stack(expected))


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_cut_out(side: int, pictures: Tensor) -> None:
    random = np.random.default_rng(0)
    centres = np.stack([random.integers(0, length, COUNT) for length in SHAPE[1:]])
    expected = pictures.numpy().copy()
    for picture, (row, column) in zip(expected, centres.T, strict=True):
        top, left = row - side // 2, column - side // 2
        picture[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
    assert np.array_equal(cut_out(pictures, torch.from_numpy(centres), side).numpy(), expected)


def candidates(picture: NDArray[Any], crop: int) -> list[NDArray[Any]]:
    padded = np.pad(picture, ((0, 0), (crop, crop), (crop, crop)), mode="reflect")
    moves = range(2 * crop + 1)
    return [padded[:, down : down + 7, right : right + 9] for down in moves for right in moves]


def test_every_move_is_drawn(pictures: Tensor) -> None:
    """Of nine moves, each at about one picture in nine."""
    augment, drawn = Augment(SHAPE, crop=1), np.zeros(9, int)
    for key in range(50):
        for before, after in zip(pictures.numpy(), augment(pictures, (key,)).numpy(), strict=True):
            drawn[[np.array_equal(after, each) for each in candidates(before, 1)]] += 1
    assert drawn.sum() == 50 * COUNT
    assert (abs(drawn - 50 * COUNT / 9) < 6 * (50 * COUNT / 9) ** 0.5).all()


def test_half_are_mirrored(pictures: Tensor) -> None:
    flipped = sum(
        int((Augment(SHAPE, flip=True)(pictures, (key,)) == pictures.flip(3)).all((1, 2, 3)).sum()) for key in range(50)
    )
    assert abs(flipped - 25 * COUNT) < 6 * (50 * COUNT / 4) ** 0.5


def test_squares_are_all_over(pictures: Tensor) -> None:
    """A square of one pixel: every pixel is some picture's, and each picture loses exactly one, in all channels."""
    augment = Augment(SHAPE, cutout=1)
    lost = torch.stack([(augment(pictures, (key,)) == 0) for key in range(50)])
    assert (lost.sum((3, 4)) == 1).all()
    assert (lost == lost[:, :, :1]).all()
    assert lost.any(0).any(0).all()


def test_key_decides(pictures: Tensor) -> None:
    augment = Augment(SHAPE, flip=True, crop=2, cutout=3)
    first = augment(pictures, (0, 1, 2, 3))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(augment(pictures, (0, 1, 2, 3)), first)
    assert torch.equal(torch.get_rng_state(), before), "the model's random numbers are left alone"
    for place in range(4):
        other = [0, 1, 2, 3]
        other[place] += 10
        assert not torch.equal(augment(pictures, other), first)


def test_without_any_the_pictures_are_the_same(pictures: Tensor) -> None:
    assert torch.equal(Augment(SHAPE)(pictures, (0,)), pictures)


def loader(**settings: Any) -> Loader:
    values = torch.arange(23 * 16, dtype=torch.float32).reshape(23, 1, 4, 4)
    return Loader(InMemory(values, torch.arange(23)), 5, shuffle=True, seed=1, **settings)


def epochs(ours: Loader, count: int = 2) -> list[tuple[Tensor, Tensor]]:
    return [batch for _ in range(count) for batch in ours]


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return all(torch.equal(*pair) for batches in zip(one, other, strict=True) for pair in zip(*batches, strict=True))


def test_loader_augments_inputs_and_no_labels() -> None:
    augment = Augment((1, 4, 4), flip=True)
    plain, augmented = epochs(loader()), epochs(loader(augment=augment))
    for (inputs, labels), (changed, same_labels) in zip(plain, augmented, strict=True):
        assert torch.equal(labels, same_labels)
        unchanged = (changed == inputs).all(3).all(2).flatten()
        mirrored = (changed == inputs.flip(3)).all(3).all(2).flatten()
        assert (unchanged ^ mirrored).all()
    assert not same(plain, augmented)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [1, 3, 7])
def test_loader_goes_on_with_the_same_pictures(done: int, workers: int) -> None:
    augment = Augment((1, 4, 4), flip=True, crop=1, cutout=2)
    expected = epochs(loader(augment=augment), 3)
    stopped = loader(augment=augment)
    seen = 0
    while seen < done:
        for _ in stopped:
            seen += 1
            if seen == done:
                break
    resumed = loader(augment=augment, workers=workers)
    resumed.load_state_dict(stopped.state_dict())
    rest = epochs(resumed)
    assert same(rest, expected[done : done + len(rest)])


def test_ranks_and_epochs_differ() -> None:
    """All samples alike: only the random numbers can make a difference."""
    values = torch.arange(16.0).reshape(4, 4).expand(24, 1, 4, 4)
    alike = InMemory(values, torch.zeros(24, dtype=torch.int64))
    augment = Augment((1, 4, 4), flip=True, crop=2, cutout=2)
    found = []
    for rank in range(2):
        ours = Loader(alike, 6, augment=augment, rank=rank, world=2)
        found += [inputs for inputs, _ in epochs(ours)]
    assert len(found) == 8
    assert len({batch.numpy().tobytes() for batch in found}) == 8


@pytest.mark.parametrize("settings", [{"crop": 4}, {"crop": 9}, {"cutout": 5}])
def test_too_much(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="too much for 4 pixels"):
        Augment((3, 4, 8), **settings)


@pytest.mark.parametrize("shape", [(64,), (1, 40)])
def test_only_pictures(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pictures"):
        Augment(shape, flip=True)


def test_only_training_batches(train: Train) -> None:
    """A rate of next to nothing: what is measured on the untouched pictures stays the same to eight digits."""
    runs = [train(*SMALL, "lr=1e-20", "epochs=1", *more) for more in ((), ("augment={flip:true,crop:2,cutout:4}",))]
    plain, augmented = runs
    for name in ("val_loss", "test_loss"):
        assert augmented.summary["final"][name] == pytest.approx(plain.summary["final"][name], rel=1e-8)
    assert augmented.series("train_loss")[0] != plain.series("train_loss")[0]


def test_refused(command_line: CommandLine, tmp_path: Path) -> None:
    result = command_line("dataset=mnist1d", "augment.flip=true", "trainer=cpu")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert "augment is for pictures" in result.err
    assert list(tmp_path.iterdir()) == []


class Kept(nn.Module):
    """Keeps what it was given, and says that."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.given = inputs
        return inputs


def mixing(mixup: float) -> tuple[Supervised, Kept]:
    told, kept, nothing = objective("classification").make(Targets("classification", 4)), Kept(), MagicMock()
    return Supervised(kept, told, nothing, nothing, "val_loss", mixup), kept


def test_mixtures_and_their_losses() -> None:
    """Samples whose one place is 1 tell what each mixture is of; the loss is that of both, by their shares."""
    (module, kept), labels = mixing(2.0), torch.tensor([0, 2, 2, 3])
    torch.manual_seed(3)
    loss = float(module.training_step((torch.eye(4), labels), 0))
    given = kept.given.numpy()
    share = next(row[place] for place, row in enumerate(given) if 0 < row[place] < 1)
    others = [next((k for k in range(4) if k != place and row[k]), place) for place, row in enumerate(given)]
    assert sorted(others) == [0, 1, 2, 3] != others
    for place, other in enumerate(others):
        expected = np.eye(4)[place] * share + np.eye(4)[other] * (1 - share)
        assert given[place] == pytest.approx(expected, abs=1e-6)
    logs = given - np.log(np.exp(given).sum(axis=1, keepdims=True))
    each = [share * logs[k, labels[k]] + (1 - share) * logs[k, labels[others[k]]] for k in range(4)]
    assert loss == pytest.approx(-np.mean(each), rel=1e-6)


def test_shares_are_of_the_beta_distribution() -> None:
    """Mean 1/2, variance 1 / (4 (2 a + 1)); bounds are 5 standard errors."""
    (module, kept), shares = mixing(0.5), []
    torch.manual_seed(0)
    for _ in range(2000):
        module.training_step((torch.eye(4), torch.arange(4)), 0)
        [*own] = {round(float(value), 5) for value in kept.given.diagonal() if value < 1}
        shares += own[:1]
    spread = np.array(shares)
    assert abs(spread.mean() - 0.5) < 5 * 0.5 / 2**0.5 / len(shares) ** 0.5
    assert spread.var() == pytest.approx(1 / (4 * (2 * 0.5 + 1)), rel=0.1)


def test_tokens_are_not_mixed(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be " * 99)
    result = command_line("dataset=text", "dataset.file=text.txt", "model=gru", "augment.mixup=0.2", "trainer=cpu")
    assert result.code == 2
    assert "the inputs are tokens" in result.err
