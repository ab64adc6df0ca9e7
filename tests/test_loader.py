"""Batches: every sample once an epoch, in an order that depends on the seed and can be continued."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from conftest import settings_of
from torch import Tensor

from lrtrain.datasets.sources import InMemory
from lrtrain.training.data import build_data
from lrtrain.training.loader import Batch, Loader

SAMPLES = 23


def loader(batch_size: int = 5, samples: int = SAMPLES, **order: bool | int) -> Loader:
    """Inputs are ten times the labels, and the labels the places of the samples."""
    labels = torch.arange(samples)
    return Loader(InMemory(labels[:, None] * 10.0, labels), batch_size, **order)  # type: ignore[arg-type]


def places(batches: Iterator[Batch] | Loader) -> list[list[int]]:
    found = []
    for inputs, labels in batches:
        assert torch.equal(inputs, labels[:, None] * 10.0), "a batch has the same samples of each"
        found.append(labels.tolist())
    return found


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_every_sample_once_an_epoch(batch_size: int) -> None:
    ours = loader(batch_size, shuffle=True)
    for _ in range(4):
        batches = places(ours)
        assert sorted(flat(batches)) == list(range(SAMPLES))
        assert len(batches) == len(ours) == -(-SAMPLES // batch_size)
        assert all(len(batch) == batch_size for batch in batches[:-1])


def test_balanced_classes_come_equally_often() -> None:
    """Of 900, 90 and 9 samples; the others of a class as often as each other. Bounds are 5 standard deviations."""
    labels = torch.arange(3).repeat_interleave(torch.tensor([900, 90, 9]))[torch.randperm(999)]
    ours = Loader(InMemory(torch.arange(999)[:, None], labels), 100, shuffle=True, balanced=True)
    seen, drawn = torch.zeros(3), torch.zeros(999)
    for _ in range(20):
        for inputs, classes in ours:
            seen += classes.bincount(minlength=3)
            drawn += inputs[:, 0].long().bincount(minlength=999)
    total = 20 * 999
    assert int(seen.sum()) == total
    assert (seen - total / 3).abs().max() < 5 * (total * 2 / 9) ** 0.5
    rare = drawn[labels == 2]
    assert (rare - total / 27).abs().max() < 5 * (total / 27) ** 0.5


def test_balanced_order_goes_on() -> None:
    ours, stopped, resumed = (loader(shuffle=True, balanced=True, seed=2) for _ in range(3))
    places(ours), places(stopped)
    expected, epoch = places(ours), iter(stopped)
    begun = [next(epoch)[1].tolist() for _ in range(2)]
    resumed.load_state_dict(stopped.state_dict())
    assert begun + places(resumed) == expected


def test_balance_is_of_classes(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("size,price\n" + "".join(f"{row},{row / 7}\n" for row in range(50)))
    words = ("dataset=csv", f"dataset.file={tmp_path}/table.csv", "dataset.target=price", "sampler=balanced")
    with pytest.raises(ValueError, match="samples of one class each"):
        build_data(settings_of(*words))


def test_order_of_its_own_every_epoch() -> None:
    ours = loader(shuffle=True)
    epochs = [tuple(flat(places(ours))) for _ in range(5)]
    assert len(set(epochs)) == 5
    assert list(range(SAMPLES)) not in [list(epoch) for epoch in epochs]


def test_no_two_seeds_share_an_order() -> None:
    """Not even the second epoch of one and the first of the next: runs under several seeds would not be independent."""
    orders = [
        tuple(flat(places(ours))) for ours in (loader(shuffle=True, seed=seed) for seed in range(4)) for _ in "ab"
    ]
    assert len(set(orders)) == 8


def test_seed_decides() -> None:
    first, again, other = (loader(shuffle=True, seed=seed) for seed in (3, 3, 4))
    for _ in range(3):
        order = places(first)
        torch.rand(7)  # nor does what others draw matter
        assert places(again) == order
        assert places(other) != order


def test_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    places(loader(shuffle=True))
    places(loader(shuffle=True, workers=1))
    assert torch.equal(torch.rand(3), expected)


def test_fixed_order() -> None:
    ours = loader()
    assert places(ours) == places(ours) == [list(range(SAMPLES))[start : start + 5] for start in range(0, SAMPLES, 5)]


@pytest.mark.parametrize(("samples", "batches"), [(23, 4), (25, 5), (4, 0)])
def test_drop_last(samples: int, batches: int) -> None:
    ours = loader(samples=samples, shuffle=True, drop_last=True)
    assert len(ours) == batches
    assert [len(batch) for batch in places(ours)] == [5] * batches


@pytest.mark.parametrize(("workers", "stops"), [(0, (1, 3, 4, 5, 6, 9, 10)), (1, (1, 4, 5))])
def test_goes_on_where_it_stopped(workers: int, stops: tuple[int, ...]) -> None:
    for done, drop_last in itertools.product(stops, (False, True)):
        order = {"shuffle": True, "seed": 1, "drop_last": drop_last}
        whole = loader(**order)
        expected = flat([flat(places(whole)) for _ in range(4)])
        stopped = loader(**order)
        handed_out: list[int] = []
        batches: Iterator[Batch] = iter(())
        for _ in range(done):
            if (batch := next(batches, None)) is None:
                batches = iter(stopped)
                batch = next(batches)
            handed_out += batch[1].tolist()
        resumed = loader(**order, workers=workers)
        resumed.load_state_dict(stopped.state_dict())
        rest = flat([flat(places(resumed)) for _ in range(2)])
        assert handed_out + rest == expected[: len(handed_out + rest)], (done, drop_last)
        assert len(rest) > SAMPLES - 5, (done, drop_last)


def test_state_is_plain_and_small() -> None:
    ours = loader(shuffle=True)
    batches = iter(ours)
    next(batches)
    next(batches)
    assert ours.state_dict() == {"epoch": 0, "batch": 2}
    places(batches)
    places(ours)
    assert ours.state_dict() == {"epoch": 1, "batch": 5}


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("samples", [22, 23, 24])
def test_shuffled_shares(world: int, samples: int) -> None:
    ranks = [loader(samples=samples, shuffle=True, rank=rank, world=world) for rank in range(world)]
    for _ in range(2):
        shares = [places(ours) for ours in ranks]
        assert len({len(share) for share in shares}) == 1
        assert len({len(flat(share)) for share in shares}) == 1
        assert all(len(share) == len(ours) for share, ours in zip(shares, ranks, strict=True))
        seen = flat([flat(share) for share in shares])
        assert set(seen) == set(range(samples))
        assert len(seen) - samples == -samples % world, "only as many twice as make the shares equal"
        assert all(len(set(flat(share))) == len(flat(share)) for share in shares)


@pytest.mark.parametrize("samples", [22, 23])
def test_shares_in_fixed_order(samples: int) -> None:
    ranks = [loader(samples=samples, rank=rank, world=2) for rank in range(2)]
    shares = [places(ours) for ours in ranks]
    assert sorted(flat([flat(share) for share in shares])) == list(range(samples)), "each sample is measured once"
    assert [len(share) for share in shares] == [len(ours) for ours in ranks]


def test_workers_make_no_difference() -> None:
    here, there = loader(shuffle=True, seed=2), loader(shuffle=True, seed=2, workers=2)
    for _ in range(2):
        ours: list[Tensor] = [part for batch in here for part in batch]
        theirs: list[Tensor] = [part for batch in there for part in batch]
        assert len(ours) == len(theirs)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        assert [part.dtype for part in ours] == [part.dtype for part in theirs]


class Starved(InMemory):
    """Leaves this process room for so many more open files whenever it gathers samples."""

    room = 0

    def gather(self, indices: Tensor) -> Batch:
        import resource

        taken = {int(path.name) for path in Path("/dev/fd").iterdir()}
        free = [number for number in range(len(taken) + self.room + 3) if number not in taken]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[self.room], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return super().gather(indices)


def too_late(*_: object) -> None:
    raise TimeoutError


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_workers_without_files_to_hand_batches_over_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that a worker cannot hand over, which another thread of it finds too late, is waited for for ever."""
    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(100)
    try:
        for room in (0, 3, 4, 5, 6, 8, 11):
            monkeypatch.setattr(Starved, "room", room)
            with pytest.raises(OSError, match="Too many open files"):
                places(Loader(Starved(torch.arange(SAMPLES)[:, None] * 10.0, torch.arange(SAMPLES)), 5, workers=1))
            assert not active_children(), "they end with what they were for"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_follows_another() -> None:
    """In the middle of an epoch or at its end, just read from a checkpoint or not, it is the same batches next."""
    for done in (0, 2, 5, 7, 10):
        other, expected = loader(shuffle=True, seed=1), loader(shuffle=True, seed=1)
        other.load_state_dict({"epoch": done // 5, "batch": done % 5})
        expected.load_state_dict({"epoch": done // 5, "batch": done % 5})
        ours = loader(shuffle=True, seed=1)
        ours.follow(other)
        assert [places(ours) for _ in range(2)] == [places(expected) for _ in range(2)], done
        ours.follow(expected)
        assert places(ours) == places(expected), "the epoch after those that were iterated over"
