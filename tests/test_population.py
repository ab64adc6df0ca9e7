"""Runs that are trained as one: each leaves what it leaves alone."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, read_csv, settings_of
from resuming import scalars
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lrtrain import models
from lrtrain.datasets import Inputs, LastRead
from lrtrain.datasets.sources import InMemory
from lrtrain.errors import DivergedError
from lrtrain.plan.start import FRESH, Start
from lrtrain.process import signals
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary, read_summary
from lrtrain.sweeps.coordinator import count_workers
from lrtrain.sweeps.hint import hint_of_population
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.end_of_run import EndOfRun
from lrtrain.training.loader import Loader
from lrtrain.training.population import crew, probe
from lrtrain.training.population.averages import Average
from lrtrain.training.population.fit import Ordered, Population
from lrtrain.training.population.kinds import why_alone
from lrtrain.training.population.probe import Speed, quickest
from lrtrain.training.population.recurrent import use_steps
from lrtrain.training.population.stack import Member, Program, Stack
from lrtrain.training.run import run_in

EXACT = (
    *SMALL,
    "model=mlp",
    "model.hidden=[16]",
    "trainer.precision=64-true",
    "model.dropout=0.2",
    "threads=1",
    "epochs=13",
    "batch_size=50",
)
"""Sums in another order differ by less than 1e-9 in such runs."""
RUNS = (
    ("scheduler=cosine", "warmup=2ep", "lr=0.2", "ema=0.9"),
    ("scheduler=plateau", "factor=0.5", "patience=0", "lr=0.9", "optimizer.weight_decay=0.01", "seed=1", "ema=0.5"),
    ("scheduler=step", "every=7st", "gamma=0.9", "optimizer.momentum=0.5", "seed=2", "log_every=3", "ema=0.8"),
    ("scheduler=inverse_time", "decay=0.1", "early_stop=1", "lr=1.5", "seed=3", "checkpoint_every=5st", "ema=0.1"),
)
TIMES = ("wall_s", "started", "ended")


def train(
    runs: Sequence[Sequence[str]], place: Path, start: Sequence[Start] = (), most: int | None = None
) -> list[Summary]:
    """Train runs together, whether that pays or not, each in a folder named by its number."""
    ended: dict[int, Any] = {}
    orders = [
        Ordered(settings_of(*words), ClaimedFolder(place / str(number)), start[number] if start else FRESH, {})
        for number, words in enumerate(runs)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "quickest", lambda *_: Speed(most or len(runs), 0.002, 0.001))
        Population(print, LastRead()).train(orders, ended.__setitem__)
    for order in orders:
        order.folder.leave()  # type: ignore[attr-defined]
    return [ended[number] for number in range(len(runs))]


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)  # type: ignore[no-any-return]


def assert_close(found: Any, wanted: Any, where: str) -> None:
    """Numbers may differ by what another order of sums makes of 64 bits, measured ones by that of 32 bits."""
    assert type(found) is type(wanted), where
    if isinstance(wanted, Mapping):
        assert list(found) == list(wanted), where
        for key in wanted:
            assert_close(found[key], wanted[key], f"{where}/{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for index, value in enumerate(wanted):
            assert_close(found[index], value, f"{where}/{index}")
    elif isinstance(wanted, Tensor):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9, msg=lambda said: f"{where}: {said}")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9), where
    else:
        assert found == wanted, where


def table(folder: Path) -> list[dict[str, Any]]:
    rows = read_csv(folder / "metrics.csv")
    return [{name: float(value) if value else None for name, value in row.items()} for row in rows]


def summary(folder: Path) -> dict[str, Any]:
    found = read_summary(folder / "summary.json").plain()
    return {name: value for name, value in found.items() if name not in ("wall_s", "started", "ended")}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("together")
    train([(*EXACT, *words) for words in RUNS], place, most=2)
    return place


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("alone")
    for number, words in enumerate(RUNS):
        run_in(settings_of(*EXACT, *words), place / str(number))
    return place


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_a_run_leaves_what_it_leaves_alone(together: Path, alone: Path, number: int) -> None:
    found, wanted = together / str(number), alone / str(number)
    for name in ("last", "best"):
        assert_close(checkpoint(found, name), checkpoint(wanted, name), name)
    assert_close(summary(found), summary(wanted), "summary")
    assert_close(table(found), table(wanted), "metrics")
    assert_close(scalars(found), scalars(wanted), "scalars")
    names = [{path.name for path in place.rglob("*") if "tfevents" not in path.name} for place in (found, wanted)]
    assert names[0] - {"previous.ckpt"} == names[1] - {"previous.ckpt"}


def test_groups_are_measured_and_updated_as_alone(tmp_path: Path) -> None:
    """With what looks at whole gradients and at each group's: clipping, weight decay, the sizes of updates."""
    own = ("groups={.*bias:0.1}", "optimizer=adamw", "optimizer.weight_decay=0.1", "trainer.gradient_clip_val=0.5")
    words = [(*EXACT, *own, "epochs=1", "lr=0.01", f"seed={seed}") for seed in (0, 1)]
    train(words, tmp_path / "together")
    run_in(settings_of(*words[1]), tmp_path / "alone")
    found, wanted = tmp_path / "together" / "1", tmp_path / "alone"
    assert_close(checkpoint(found), checkpoint(wanted), "last")
    assert_close(table(found), table(wanted), "metrics")


def test_weights_and_batches_begin_as_alone_to_the_bit(tmp_path: Path) -> None:
    words = [(*EXACT, "lr=1e-300", "epochs=1", f"seed={seed}") for seed in (0, 1)]
    train(words, tmp_path / "together")
    for number, own in enumerate(words):
        run_in(settings_of(*own), tmp_path / str(number))
        found, wanted = (checkpoint(tmp_path / place)["state_dict"] for place in (f"together/{number}", str(number)))
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    source = InMemory(torch.arange(23)[:, None], torch.arange(23))
    gathered, taken = (Loader(source, 5, shuffle=True, seed=3) for _ in range(2))
    for _ in range(2):
        wanted = [labels.tolist() for _, labels in gathered]
        first, rest = taken.take(2, begins=True), taken.take(3, begins=False)
        places = torch.cat([first[0], rest[0]])
        assert [part.tolist() for part in torch.split(places, first[1] + rest[1])] == wanted
    assert taken.state_dict() == gathered.state_dict()


def test_one_that_diverges_ends_alone(tmp_path: Path) -> None:
    """The others' bits do not depend on whether it does."""
    others = [(*SMALL, "threads=1", "epochs=2", f"seed={seed}") for seed in (0, 2)]
    for name, rate in (("with", "1e30"), ("without", "0.1")):
        middle = (*SMALL, "threads=1", "epochs=2", "seed=1", f"lr={rate}", "log_every=1")
        found = train([others[0], middle, others[1]], tmp_path / name)
        assert [each.status for each in found] == ["finished", "diverged" if name == "with" else "finished", "finished"]
    for number in (0, 2):
        ours, theirs = (checkpoint(tmp_path / name / str(number))["state_dict"] for name in ("with", "without"))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    run_in(settings_of(*SMALL, "threads=1", "epochs=2", "seed=1", "lr=1e30", "log_every=1"), tmp_path / "alone")
    assert_close(summary(tmp_path / "with" / "1"), summary(tmp_path / "alone"), "summary")
    [ours], [theirs] = table(tmp_path / "with" / "1"), table(tmp_path / "alone")
    assert list(ours) == list(theirs)
    assert [ours[name] for name in ours if theirs[name]] == pytest.approx([value for value in theirs.values() if value])


def test_runs_that_are_quicker_one_by_one_are_trained_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [(*SMALL, "threads=1", "epochs=1", f"seed={seed}") for seed in (0, 1)]
    train(words, tmp_path, most=1)
    assert (
        "trained one by one, as an update then takes 2,000 us, and of a population 1,000 us" in capsys.readouterr().out
    )
    run_in(settings_of(*words[1]), tmp_path / "alone")
    ours, theirs = (checkpoint(tmp_path / name)["state_dict"] for name in ("1", "alone"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_probe_leaves_the_runs_as_they_are() -> None:
    inputs = Inputs((1, 8, 8), None)
    made = models.model("mlp", hidden=(8,), dropout=0.5)
    pair = Pair(lambda: made.make(inputs, 10), inputs, lambda net, lr: SGD(net.parameters(), lr), (1.0, 1.0), False)

    def state() -> list[Any]:
        members = pair.stack.members
        kept = [[each.net.state_dict(), each.optimizer.state_dict(), each.generator.get_state()] for each in members]
        kept += [[mean.net.state_dict(), mean.updates] for mean in pair.means]
        return [copy.deepcopy(kept), torch.get_rng_state()]

    before = state()
    quickest(pair.program, pair.stack.members, 8)
    assert_close(state(), before, "state")


@pytest.mark.parametrize(("room", "runs"), [(16, 8), (4, 1)])
def test_a_group_is_no_larger_than_memory(room: int, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = NETS["linear"][1]
    made = models.model("linear")
    pair = Pair(lambda: made.make(inputs, 10), inputs, lambda net, lr: SGD(net.parameters(), lr), (1.0,) * 24, False)

    def stack(program: Program, members: Sequence[Member]) -> Stack:
        if len(members) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return Stack(program, members)

    monkeypatch.setattr(probe, "Stack", stack)
    monkeypatch.setattr(probe, "_time_alone", lambda *_: 1.0)
    assert quickest(pair.program, pair.stack.members, 8).runs == runs


def test_one_that_diverges_late_leaves_its_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are held in memory for a while where several runs share a process."""
    words = [(*EXACT, "epochs=3", f"seed={seed}") for seed in (0, 1)]

    def diverge(trainer: Any) -> None:
        if scheduler_of(trainer).last_epoch == 8:
            raise DivergedError("its second epoch was too much", 1.0)

    monkeypatch.setattr(EndOfRun, "on_train_batch_end", lambda self, trainer, *_: diverge(trainer))
    assert [each.status for each in train(words, tmp_path / "together")] == ["diverged"] * 2
    run_in(settings_of(*words[1]), tmp_path / "alone")
    assert_close(checkpoint(tmp_path / "together" / "1", "best"), checkpoint(tmp_path / "alone", "best"), "best")


def test_runs_save_at_the_same_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them there looks at the clock, so that they go on together after their process was killed."""
    saved = defaultdict[str, list[int]](list)
    save, clock = LastAndBest.save_last, itertools.count(step=7)

    def noted(self: LastAndBest, trainer: Any) -> None:
        saved[self.folder.path.name].append(scheduler_of(trainer).last_epoch)
        save(self, trainer)

    monkeypatch.setattr(LastAndBest, "save_last", noted)
    monkeypatch.setattr("lrtrain.training.checkpoints.time", SimpleNamespace(monotonic=lambda: next(clock)))
    train([(*EXACT, "checkpoint_every=1min", f"seed={seed}") for seed in range(3)], tmp_path)
    assert saved["0"] == saved["1"] == saved["2"]
    assert len(saved["0"]) > 2


@pytest.mark.parametrize(("again", "at"), [("together", 22), ("alone", 24)], ids=["in mid-epoch", "at its end"])
def test_what_a_signal_ends_goes_on_as_if_it_had_not(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str, at: int
) -> None:
    words = [(*EXACT, *own) for own in RUNS[:2]]
    with monkeypatch.context() as patched:
        patched.setattr(
            LastAndBest, "_asked", lambda _, trainer: (False, signal.SIGTERM * (scheduler_of(trainer).last_epoch >= at))
        )
        assert [each.status for each in train(words, tmp_path)] == ["interrupted"] * 2
    starts = [Start.resume(RunFolder(tmp_path / str(number))) for number in range(2)]
    if again == "together":
        train(words, tmp_path, starts)
    else:
        for number, own in enumerate(words):
            run_in(settings_of(*own), tmp_path / str(number), start=starts[number])
    for number in range(2):
        assert_close(summary(tmp_path / str(number)), summary(together / str(number)), "summary")
        assert_close(table(tmp_path / str(number)), table(together / str(number)), "metrics")
        assert_close(checkpoint(tmp_path / str(number)), checkpoint(together / str(number)), "last")


SGD_OPTIONS = (
    {"momentum": 0.0},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    {"momentum": 0.8, "dampening": 0.5, "weight_decay": 0.1},
)
ADAM_OPTIONS: Sequence[dict[str, Any]] = (
    {},
    {"weight_decay": 0.1},
    {"amsgrad": True, "betas": (0.8, 0.95), "eps": 1e-3},
)
OPTIMIZERS = [(SGD, own) for own in SGD_OPTIONS] + [(kind, own) for kind in (Adam, AdamW) for own in ADAM_OPTIONS]
NETS: Mapping[str, tuple[dict[str, Any], Inputs]] = {
    "linear": ({}, Inputs((1, 8, 8), None)),
    "mlp": ({"hidden": (8, 8), "dropout": 0.0, "batch_norm": True, "residual": True}, Inputs((1, 8, 8), None)),
    "cnn": ({"channels": (4, 8), "dropout": 0.0}, Inputs((1, 8, 8), None)),
    "resnet": ({"depth": 8, "width": 4}, Inputs((1, 8, 8), None)),
    "gru": ({"width": 5, "layers": 2, "bidirectional": True}, Inputs((3, 6), None)),
    "gru of tokens": ({"width": 5}, Inputs((6,), 10)),
    "transformer": ({"layers": 1, "width": 8, "heads": 2}, Inputs((6,), 10)),
}


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs.flatten(0, -2), targets.flatten())


class Pair:
    """Two nets that are trained as one, and copies of them that torch trains one by one; averages of both are kept."""

    def __init__(self, make: Any, inputs: Inputs, optimizer: Any, clips: Sequence[float], by_value: bool) -> None:
        torch.manual_seed(0)
        shape = (40, *inputs.shape)
        self.inputs = torch.randint(10, shape) if inputs.tokens else torch.rand(shape).double()
        self.targets = torch.randint(10, shape if inputs.tokens else (40,))
        self.nets = [make().double() for _ in clips]
        self.copies = copy.deepcopy(self.nets)
        self.optimizers = [optimizer(net, 0.02 * (1 + number)) for number, net in enumerate(self.nets)]
        self.others = [optimizer(net, 0.02 * (1 + number)) for number, net in enumerate(self.copies)]
        self.means, self.averages = [], []
        for number, net in enumerate(self.copies):
            decay = 0.9 / (1 + number)
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            self.averages.append(AveragedModel(net, multi_avg_fn=average, use_buffers=True))
            self.means.append(Average(copy.deepcopy(net), torch.tensor(0), decay))
        members = [
            Member(net, own, most, torch.Generator(), mean)
            for net, own, most, mean in zip(self.nets, self.optimizers, clips, self.means, strict=True)
        ]
        self.clips, self.by_value = clips, by_value
        self.program = Program(members[0], loss, lambda places: (self.inputs[places], self.targets[places]), by_value)
        self.stack = Stack(self.program, members)

    def train(self, updates: int) -> None:
        for done in range(updates):
            places = torch.stack([torch.randperm(40)[:8] for _ in self.nets])
            read = [[self.program.rule.read(group, done) for group in own.param_groups] for own in self.optimizers]
            values = torch.tensor(read, dtype=torch.float64).permute(2, 1, 0)
            self.stack.take([places], values[None])
            both = zip(self.copies, self.others, self.clips, self.averages, places, strict=True)
            for net, own, most, average, batch in both:
                own.zero_grad()
                torch.autograd.backward(loss(net(self.inputs[batch]), self.targets[batch]))
                if self.by_value:
                    nn.utils.clip_grad_value_(net.parameters(), most)
                elif math.isfinite(most):
                    nn.utils.clip_grad_norm_(net.parameters(), most)
                own.step()
                average.update_parameters(net)

    def assert_equal(self) -> None:
        for net, own in zip(self.nets, self.copies, strict=True):
            assert_close(dict(net.state_dict()), dict(own.state_dict()), "weights")
        for mine, theirs in zip(self.optimizers, self.others, strict=True):
            assert_close(mine.state_dict()["state"], theirs.state_dict()["state"], "state")
        for mean, average in zip(self.means, self.averages, strict=True):
            assert_close(dict(mean.net.state_dict()), dict(average.module.state_dict()), "average")
            assert torch.equal(mean.updates, average.n_averaged)


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_optimizers_are_torchs(kind: Callable[..., Optimizer], options: dict[str, Any]) -> None:
    pair = Pair(
        lambda: models.model("linear").make(NETS["linear"][1], 10),
        NETS["linear"][1],
        lambda net, lr: kind(net.parameters(), lr=lr, fused=True, **options),
        (math.inf, math.inf),
        by_value=False,
    )
    pair.train(50)
    pair.assert_equal()


@pytest.mark.parametrize(("clips", "by_value"), [((0.3, math.inf), False), ((0.01, 0.05), True)])
def test_clipping_is_torchs(clips: tuple[float, float], by_value: bool) -> None:
    inputs = NETS["linear"][1]
    made = models.model("linear")
    pair = Pair(lambda: made.make(inputs, 10), inputs, lambda net, lr: SGD(net.parameters(), lr), clips, by_value)
    pair.train(10)
    pair.assert_equal()


@pytest.mark.parametrize("name", NETS)
def test_nets_learn_and_validate_as_alone(name: str) -> None:
    options, inputs = NETS[name]
    made = models.model(name.partition(" ")[0], **options)
    optimizer = lambda net, lr: SGD(net.parameters(), lr, momentum=0.9)  # noqa: E731
    pair = Pair(lambda: made.make(inputs, 10), inputs, optimizer, (math.inf, math.inf), by_value=False)
    pair.train(5)
    pair.assert_equal()
    found = pair.stack.outputs(pair.inputs[:5])
    for net, outputs in zip(pair.copies, found, strict=True):
        torch.testing.assert_close(outputs, net.eval()(pair.inputs[:5]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3, "dropout": 0.4, "bidirectional": True, "batch_first": True}, {"bias": False}]
)
def test_a_gru_step_by_step_is_torchs(options: dict[str, Any]) -> None:
    """Its dropout draws the same, too."""
    theirs = nn.Sequential(nn.GRU(3, 5, **options))
    ours = copy.deepcopy(theirs)
    use_steps(ours)
    sequences, found = torch.rand(4, 6, 3), []
    for net in (ours, theirs):
        torch.manual_seed(0)
        found.append(net(sequences))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("optimizer=muon",), "optimizer=muon"),
        (("on_nonfinite=rollback",), "rollback"),
        (("groups={.*bias:{frozen:1ep}}",), "frozen"),
        (("trainer.accumulate_grad_batches=2",), "accumulate"),
        ((), None),
    ],
)
def test_what_is_trained_one_by_one_says_why(words: tuple[str, ...], reason: str | None) -> None:
    found = why_alone(settings_of(*SMALL, *words))
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("words", "left", "parameters", "told"),
    [
        ((), 47, 9_610, "will take about 94 s"),
        (("optimizer=muon",), 47, 9_610, None),
        (("model=gru",), 47, 9_610, None),
        (("model=gru",), 47, 7_322, "will take about 94 s"),
        ((), 47, 300_000, None),
        ((), 15, 9_610, None),
    ],
)
def test_a_sweep_that_could_be_a_population_is_told(
    words: tuple[str, ...], left: int, parameters: int, told: str | None
) -> None:
    config = settings_of(*SMALL, "model=mlp", *words).plain()
    done = Summary(status="finished", wall_s=2.0, parameters=parameters, config=config)
    found = hint_of_population(done, left, 1)
    assert found is None if told is None else told in str(found)
    assert hint_of_population(done, left, 20) is None  # so many at a time are quicker


def test_a_cluster_has_as_many_populations_as_pay() -> None:
    """A process of its own is worth 24 jobs; where it runs is for the cluster to say."""
    assert [count_workers("population", jobs, here=False) for jobs in (10, 240)] == [1, 10]
    assert count_workers("population", 40 * 10_000) < 10_000


def test_a_sweep_of_a_population(command_line: CommandLine, tmp_path: Path) -> None:
    """Jobs that diverge, and jobs of no population, end as in any sweep."""
    words = (*SMALL, "epochs=1", "jobs=population", "scheduler=cosine,step", "lr=0.1,1e30", "seed=0")
    result = command_line("-m", *words, "optimizer=sgd,rmsprop", f"hydra.sweep.dir={tmp_path}/sweep")
    assert result.code == 1
    assert "trained one by one: optimizer=rmsprop" in result.err
    command_line("-m", f"resume={tmp_path}/sweep", "seed=0,1")
    rows = read_csv(tmp_path / "sweep" / "summary.csv")
    assert sorted(row["status"] for row in rows) == ["diverged"] * 8 + ["finished"] * 8


def test_one_compilation_serves_stretches_of_any_length(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr(crew, "LEAST", 0.0)
    monkeypatch.setattr(crew, "COMPILING", 0.0)
    torch._dynamo.reset()
    counters.clear()
    train([(*EXACT, *words) for words in RUNS[2:]], tmp_path)
    assert counters["stats"]["unique_graphs"] == 1
    assert_close(checkpoint(tmp_path / "0"), checkpoint(alone / "2"), "last")


@pytest.mark.parametrize(("hidden", "products"), [((), 2), ((8,), 5)])
def test_what_compiling_does_not_save_is_measured(
    hidden: Sequence[int], products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product of matrices for the outputs of a layer, for its weights' gradient, and for that of its inputs."""
    ticks = itertools.count()
    monkeypatch.setattr("lrtrain.training.population.stack.clock_of", lambda _: lambda: float(next(ticks)))
    inputs = NETS["mlp"][1]
    made = models.model("mlp", hidden=hidden, dropout=0.0) if hidden else models.model("linear")
    pair = Pair(lambda: made.make(inputs, 10), inputs, lambda net, lr: SGD(net.parameters(), lr), (1.0, 1.0), False)
    values = torch.tensor([[0.1, 0.1], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])[:, None]
    traced = pair.stack.trace(torch.arange(16).view(2, 8), values)
    assert traced.library == products
    steps = [node for node in traced.graph.graph.nodes if node.target is torch.ops.aten.addcmul_.default]
    assert len(steps) == 1  # for all weights at once: one for each takes several times as long when it is compiled


def test_a_signal_is_answered_while_an_update_is_compiled(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = []

    def compile_slowly(graph: Any, **_: Any) -> Callable[..., Any]:
        def step(*_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            compiles.append("to the end")

        return step

    monkeypatch.setattr(torch, "compile", compile_slowly)
    monkeypatch.setattr(crew, "LEAST", 0.0)
    monkeypatch.setattr(crew, "COMPILING", 0.0)
    words = [(*EXACT, *own) for own in RUNS[:2]]
    with signals.taken_over([signal.SIGTERM]):
        assert [each.status for each in train(words, tmp_path)] == ["interrupted"] * 2
    assert not compiles
    run_in(settings_of(*words[0]), tmp_path / "0", start=Start.resume(RunFolder(tmp_path / "0")))
    assert_close(checkpoint(tmp_path / "0"), checkpoint(together / "0"), "last")


def test_compile_takes_the_whole_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph for all rates, and what the run leaves is what it leaves as it is."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    words = (*EXACT, "epochs=3", "scheduler=cosine", "ema=0.9")
    run_in(settings_of(*words, "compile=true"), tmp_path / "compiled")
    assert counters["stats"]["unique_graphs"] == 1
    run_in(settings_of(*words), tmp_path / "plain")
    assert_close(checkpoint(tmp_path / "compiled"), checkpoint(tmp_path / "plain"), "last")
    assert_close(table(tmp_path / "compiled"), table(tmp_path / "plain"), "metrics")


def test_of_a_recurrent_network_the_forward_pass_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its steps, one after the other, would be compiled for minutes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    small = ("model.width=4", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "epochs=1", "threads=1")
    ended = run_in(settings_of("dataset=mnist1d", "model=gru", *small, "compile=true", "logger=none"), tmp_path)
    assert ended.status == "finished"
    assert "only the forward pass is compiled: compiling each step" in capsys.readouterr().out
