"""The versions that the private names in lrtrain/training/private.py hold for, and the behaviour that is relied on."""

from __future__ import annotations

import ast
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import lrtrain
from lrtrain.cli.compose import Composer, parse_arguments
from lrtrain.training import private

BATCHES = 4


def check_version(package: str, *known: str) -> None:
    """Fail for a version in which nobody has looked whether a private name still means the same."""
    installed = ".".join(version(package).split(".")[:2])
    assert installed in known, (
        f"{package} {installed} is installed, but this was checked with {', '.join(known)} only: "
        "compare its source with lrtrain/training/private.py, then add it here"
    )


class Module(pl.LightningModule):
    """Logs one metric for each of two validation loaders, and another for both."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Tensor) -> Tensor:
        return self.layer(batch).mean()  # type: ignore[no-any-return]

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("size", self.layer(batch).norm())

    def on_validation_epoch_end(self) -> None:
        self.log("together", self.layer.weight.norm())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(BATCHES, 2))


def loader() -> DataLoader[Tensor]:
    return DataLoader(torch.ones(BATCHES, 2), batch_size=1)  # type: ignore[arg-type]


def make_trainer(*callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0}
    return pl.Trainer(callbacks=list(callbacks), **{"max_epochs": 2, **quiet, **settings})


def test_package_uses_no_other() -> None:
    """The names with an underscore that come from elsewhere, by import or as an attribute of an object."""
    own = {"_replace", "_asdict", "_exit"}  # which NamedTuple and os document
    for path in sorted((Path(lrtrain.__file__).parent / "training").rglob("*.py")):
        if path.name == "private.py":
            continue
        tree = ast.parse(path.read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        defined |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(("lrtrain", "__")):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Attribute) and not is_self(node.value):
                names = [node.attr]
            private_names = {name for name in names if name.startswith("_") and not name.endswith("__")}
            assert not private_names - own - defined, f"{path.name}:{getattr(node, 'lineno', 0)}"


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_training_loop_may_be_replaced() -> None:
    """A loop in the place of Lightning's own is run, and `count_update` counts the updates of the steps it takes."""
    check_version("lightning", "2.6")
    taken = []

    class Loop(private.TrainingLoop):
        def advance(self, data_fetcher: private.Fetcher) -> None:
            if self.batch_progress.current.ready == 0:  # one step without Lightning
                next(data_fetcher)
                self.batch_progress.increment_ready()
                self.count_update()
            taken.append(self.batch_progress.current.ready)
            super().advance(data_fetcher)

    def counted(**settings: Any) -> int:
        trainer = make_trainer(max_epochs=1, **settings)
        trainer.fit_loop.epoch_loop = Loop(trainer, max_steps=trainer.max_steps)
        trainer.fit(Module(), loader())
        return int(trainer.fit_loop.epoch_loop.state_dict()["state_dict"]["_batches_that_stepped"])

    assert counted() == BATCHES
    assert taken == [1, 2, 3]
    assert counted(accumulate_grad_batches=2) == BATCHES / 2


@pytest.mark.parametrize(("data", "expected"), [(loader(), True), (DataLoader(Endless()), False)])
def test_fetches_plainly(data: DataLoader[Tensor], expected: bool) -> None:
    check_version("lightning", "2.6")
    found = []

    class Loop(private.TrainingLoop):
        def on_run_start(self, data_fetcher: private.Fetcher) -> None:
            super().on_run_start(data_fetcher)
            found.append(private.fetches_plainly(data_fetcher))

    trainer = make_trainer(max_epochs=1)
    trainer.fit_loop.epoch_loop = Loop(trainer)
    trainer.fit(Module(), data)
    assert found == [expected]


def test_mark_unfinished() -> None:
    """Of an epoch that was stopped in the middle, Lightning goes on with the next batch; a whole one stays done."""
    check_version("lightning", "2.6")

    class Stops(pl.Callback):
        def __init__(self, after: int) -> None:
            self.after = after
            self.seen: list[int] = []
            self.saved: dict[str, Any] = {}

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            self.seen.append(private.count_batches(trainer))
            trainer.should_stop = trainer.global_step == self.after
            with private.mark_unfinished(trainer):
                assert trainer.fit_loop.epoch_progress.current.processed == trainer.current_epoch  # type: ignore[attr-defined]

        def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            with private.mark_unfinished(trainer):
                self.saved = trainer.fit_loop.state_dict()["epoch_progress"]["current"]

    for after, batches, processed in ((6, [1, 2, 3, 4, 1, 2], 1), (4, [1, 2, 3, 4], 1), (0, [1, 2, 3, 4] * 2, 2)):
        stops = Stops(after)
        trainer = make_trainer(stops)
        trainer.fit(Module(), loader())
        assert stops.seen == batches
        assert stops.saved["processed"] == processed
        assert trainer.current_epoch == math.ceil(len(batches) / BATCHES), "restored after saving"


def test_cluster_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same object as Lightning's own; on one device, the same kind."""
    check_version("lightning", "2.6")
    trainers = [make_trainer(strategy="ddp", devices=2), make_trainer()]
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "0")
    trainers.append(make_trainer())
    kinds = [LightningEnvironment, LightningEnvironment, TorchElasticEnvironment]
    assert [type(trainer._accelerator_connector.cluster_environment) for trainer in trainers] == kinds
    assert type(private.cluster_of(trainers[2])) is TorchElasticEnvironment
    monkeypatch.undo()
    assert private.cluster_of(trainers[0]) is trainers[0]._accelerator_connector.cluster_environment
    assert type(private.cluster_of(trainers[1])) is LightningEnvironment


def test_leave_signals_alone() -> None:
    check_version("lightning", "2.6")
    handlers = []

    class Looks(pl.Callback):
        def __init__(self, leaves: bool) -> None:
            self.leaves = leaves

        def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
            if self.leaves:
                private.leave_signals_alone(trainer)

        def on_train_start(self, *_: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    for leaves in (True, False):
        make_trainer(Looks(leaves), max_epochs=1).fit(Module(), loader())
        assert signal.getsignal(signal.SIGTERM) == before
    assert handlers[0] == before
    assert handlers[1] != before, "Lightning handles it where it is not asked to leave it"


def test_names_in_sanity_check() -> None:
    """They are what the validation will log."""
    check_version("lightning", "2.6")
    found: list[list[str]] = []

    class Looks(pl.Callback):
        def on_sanity_check_end(self, trainer: pl.Trainer, *_: Any) -> None:
            found.append(private.names_in_sanity_check(trainer))

    trainer = make_trainer(Looks(), max_epochs=1, num_sanity_val_steps=1)
    trainer.fit(Module(), loader(), [loader(), loader()])
    assert (
        sorted(found[0])
        == sorted(trainer.callback_metrics)
        == ["size/dataloader_idx_0", "size/dataloader_idx_1", "together"]
    )


@pytest.mark.parametrize("value", [1.0, math.inf, -math.inf, math.nan, 3e38])
def test_flag_non_finite(value: float) -> None:
    check_version("torch", "2.11", "2.13")
    tensors, found, one = [torch.ones(3), torch.tensor([[2.0, value]])], torch.zeros(1), torch.ones(1)
    private.flag_non_finite(tensors, found, one)
    assert bool(found.item()) == (not math.isfinite(value))
    assert torch.equal(tensors[0], torch.ones(3))
    assert tensors[1][0, 0] == 2, "it multiplies by one"
    private.flag_non_finite([], found := torch.zeros(1), one)
    assert not found.item()


def test_flags_and_jobs_of_hydra() -> None:
    """What lrtrain/cli/compose.py takes of it that is not public."""
    check_version("hydra-core", "1.3")
    flags = parse_arguments(["-m", "--cfg", "job", "lr=1,2", "seed=3"])
    assert (flags.multirun, flags.cfg, flags.overrides) == (True, "job", ["lr=1,2", "seed=3"])
    with Composer() as composer:
        assert composer.expand(["lr=1,2", "seed=3,4"]) == [
            ["lr=1", "seed=3"], ["lr=1", "seed=4"], ["lr=2", "seed=3"], ["lr=2", "seed=4"]
        ]  # fmt: skip
        assert composer.axes(["lr=1,2", "seed=3"]) == {"lr": ["lr=1", "lr=2"], "seed": ["seed=3"]}


def test_hydra_stays_where_it_composes() -> None:
    package = Path(lrtrain.__file__).parent
    named = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if "hydra._" in path.read_text()}
    assert named == {"cli/compose.py"}


def test_validation_of_the_end_is_off_schedule() -> None:
    """A trainer set up to validate every other epoch measures the third, its last, too."""
    check_version("lightning", "2.6")
    seen: list[tuple[int, bool]] = []

    class Watch(pl.Callback):
        def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append((trainer.current_epoch, private.is_on_schedule(trainer)))

    trainer = make_trainer(Watch(), max_epochs=3, check_val_every_n_epoch=2)
    trainer.fit_loop.epoch_loop = private.TrainingLoop(trainer, max_steps=trainer.max_steps)
    trainer.fit(Module(), loader(), [loader(), loader()])
    assert seen == [(1, True), (2, False)]
    assert not trainer.should_stop


def test_losses_are_weighed() -> None:
    check_version("lightning", "2.6")
    gradients: list[float] = []

    class Watch(pl.Callback):
        def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            gradients.append(float(pl_module.get_parameter("layer.bias").grad))  # type: ignore[arg-type]

    trainer = make_trainer(Watch(), max_epochs=1)
    own = private.WeighedOptimization(trainer, lambda _, batch_idx: [1.0, 0.5, 3.0, 1.0][batch_idx])
    trainer.fit_loop.epoch_loop.automatic_optimization = own
    trainer.fit(Module(), loader())
    assert gradients == [1.0, 0.5, 3.0, 1.0]


def test_updates_of_an_average_are_skipped() -> None:
    check_version("lightning", "2.6")
    averaging = private.AveragingCallback()
    trainer = make_trainer(averaging, max_epochs=1)
    averaging.skip_updates(3)
    trainer.fit(Module(), loader())
    assert averaging.average.n_averaged == BATCHES - 3


def test_a_training_imports_neither_plots_nor_a_compiler(tmp_path: Path) -> None:
    """Nor scikit-learn and scipy.signal, which would take longer than all else; who wants them has them."""
    code = """
import sys
from lrtrain.__main__ import main
sys.argv = ["lrtrain", "epochs=1", "logger=none"]
assert main() == 0
spared = {"matplotlib", "scipy.signal", "sklearn", "sympy", "torch._dynamo.config"} & set(sys.modules)
assert not spared, spared
import torch
from torchmetrics import MeanMetric
metric = MeanMetric()
metric.update(torch.ones(1))
figure, axes = metric.plot()
import matplotlib.figure
import scipy.signal
assert isinstance(figure, matplotlib.figure.Figure)
assert scipy.signal.windows.hann(3)[1] == 1
import torch._dynamo.exc
from lightning.fabric.wrappers import OptimizedModule
assert torch._dynamo.exc is sys.modules["torch._dynamo.exc"] is sys.modules["torch._dynamo"].exc
assert torch._dynamo.exc.Unsupported is torch._dynamo.convert_frame.Unsupported, "it is there once"
assert torch._dynamo.exc.__spec__.loader.get_filename() == torch._dynamo.exc.__file__
plain = torch.nn.Linear(1, 1)
assert isinstance(torch.compile(plain), OptimizedModule) and not isinstance(plain, OptimizedModule)
own = torch.optim.Optimizer.zero_grad.__wrapped__
torch.optim.SGD(plain.parameters()).zero_grad()
assert vars(own)["__dynamo_disable"] is not own
torch.use_deterministic_algorithms(True)
assert torch.are_deterministic_algorithms_enabled() and torch._inductor.config.deterministic
torch.use_deterministic_algorithms(False)
assert not torch.are_deterministic_algorithms_enabled() and not torch._inductor.config.deterministic
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
