"""What holds on one GPU: precisions, kernels, resume, synchronisations, costs, strategies. No network is needed.

Run: python scripts/device_check.py [--device cpu] [--only NAME ...]
Each check trains in a folder of its own and ends in one row of a table: what was found, or the error that it ran into;
the exit code is 1 where there was one. On one H100-class GPU it takes less than six minutes. With --device cpu the same
checks run on the CPU, smaller, to try the script itself.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning
import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import lrtrain
from lrtrain.datasets import Inputs, dataset
from lrtrain.models import model
from lrtrain.run_folder.summary import Summary
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.guard import DivergenceGuard
from lrtrain.training.interruption import Interruption
from lrtrain.training.ranks import RandomNumbers
from lrtrain.training.session import Session

SMALL = ("model=mlp", "model.hidden=[128]", "model.dropout=0")
LARGE = ("model=cnn", "model.channels=[64,128,128]", "model.dropout=0", "batch_size=128")


class Bench:
    """Runs on one device, each in a folder of its own.

    Args:
        device: ``gpu`` or ``cpu``.
        place: Where the folders are.
    """

    def __init__(self, device: str, place: Path) -> None:
        self.device, self.place = device, place
        self.count = 0

    @property
    def torch_device(self) -> torch.device:
        """The same for torch."""
        return torch.device("cuda" if self.device == "gpu" else "cpu")

    def words(self, *words: str, epochs: int = 3) -> list[str]:
        """The words of a run."""
        self.count += 1
        common = [f"trainer.accelerator={self.device}", f"epochs={epochs}", "trainer.enable_progress_bar=false"]
        return [*common, f"hydra.run.dir={self.place / f'run{self.count}'}", *words]

    def train(self, *words: str, epochs: int = 3) -> Summary:
        """Train; raises RuntimeError where the run did not finish."""
        summary = lrtrain.train(self.words(*words, epochs=epochs), quiet=True)
        if summary.status != "finished":
            raise RuntimeError(f"{summary.status}: {summary.error}")
        return summary

    def microseconds(self, *words: str, epochs: int = 6) -> float:
        """What an update takes, in the training itself, after a first epoch in which a device chooses its kernels."""
        epochs = epochs if self.device == "gpu" else 1
        self.train(*words, epochs=1)  # what a process does once
        with timed(self.torch_device) as took:
            first, steps = (self.train(*words, epochs=count).steps for count in (1, 1 + epochs))
        return (took[1] - took[0]) / (steps - first) * 1e6


@contextmanager
def timed(device: torch.device) -> Iterator[list[float]]:
    """The seconds of every `Trainer.fit` in here."""
    took: list[float] = []
    fit = pl.Trainer.fit

    def measured(*arguments: Any, **settings: Any) -> None:
        wait(device)
        began = time.perf_counter()
        fit(*arguments, **settings)
        wait(device)
        took.append(time.perf_counter() - began)

    with patch.object(pl.Trainer, "fit", measured):
        yield took


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def default_run(bench: Bench) -> str:
    """The run that a newcomer makes."""
    summary = bench.train("scheduler=inverse_time", "decay=0.01", epochs=20)
    return f"test accuracy {summary.final['test_acc']:.3f} in {summary.wall_s:.1f} s"


def precisions(bench: Bench) -> str:
    """Every precision that is offered."""
    names = ["32-true", "bf16-mixed", "bf16-true", "64-true"]
    names += ["16-mixed", "16-true"] if bench.device == "gpu" else []
    found = {name: bench.train(*SMALL, f"trainer.precision={name}", "lr=0.05").best["val_loss"] for name in names}
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def clipped(bench: Bench) -> str:
    """Clipping under the mixed precisions."""
    names = ["32-true", "bf16-mixed", *(["16-mixed"] if bench.device == "gpu" else [])]
    for name in names:
        bench.train(*SMALL, f"trainer.precision={name}", "trainer.gradient_clip_val=1")
    return f"{len(names)} precisions"


def compiled(bench: Bench) -> str:
    """torch.compile."""
    words = (*LARGE, "lr=0.01")
    plain, fast = (bench.train(*words, f"compile={value}", epochs=3).best["val_loss"] for value in ("false", "true"))
    return f"val_loss {plain:.4f} plain, {fast:.4f} compiled"


def fused(bench: Bench) -> str:
    """Fused optimizers and others."""
    found = []
    for name in ("sgd", "adamw"):
        words = (*LARGE, f"optimizer={name}", f"lr={0.1 if name == 'sgd' else 0.001}")
        took = [bench.microseconds(*words, f"optimizer.fused={value}") for value in ("true", "false")]
        found.append(f"{name} {took[0]:.0f} us fused, {took[1]:.0f} not")
    return "; ".join(found)


def channels_last(bench: Bench) -> str:
    """The memory format."""
    took = [bench.microseconds(*LARGE, f"channels_last={value}") for value in ("false", "true")]
    return f"{took[0]:.0f} us an update without, {took[1]:.0f} with"


def kill_and_resume(bench: Bench) -> str:
    """How far a run that was ended by a signal, and one that was killed, are from one left alone."""
    words = (*SMALL, "scheduler=cosine", "log_every=1", "checkpoint_every=5st")
    alone = weights(bench.train(*words, epochs=10).folder)
    found = []
    for number in (signal.SIGTERM, signal.SIGKILL):
        command = bench.words(*words, epochs=10)
        folder = Path(next(word for word in command if word.startswith("hydra.run.dir=")).partition("=")[2])
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "lrtrain", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (folder / "checkpoints" / "last.ckpt").exists():
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait()
        summary = lrtrain.train([f"resume={folder}"], quiet=True)
        gap = max(float((alone[name] - value).abs().max()) for name, value in weights(folder).items())
        found.append(f"{number.name} ({code}): {summary.status}, largest difference {gap:.2g}")
    return "; ".join(found)


def weights(folder: Path | None) -> dict[str, Tensor]:
    """The final weights of a run."""
    assert folder is not None
    saved = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    return {name: value for name, value in saved["state_dict"].items() if value.is_floating_point()}


def synchronisations(bench: Bench) -> str:
    """How often the host waits for the device: in an epoch of updates, and in the validation and saving after it."""
    if bench.device == "cpu":
        return "none to count on a CPU"
    words = (*SMALL, "log_every=1000", "checkpoint_every=1000ep")
    few, many = (waits(bench, *words, epochs=epochs) for epochs in (2, 6))
    rest = many.copy()
    rest.subtract(few)
    counts = ", ".join(f"{place} {count / 4:g}" for place, count in rest.most_common() if count)
    return f"an epoch of 40 updates and a validation: {sum(rest.values()) / 4:g} ({counts})"


def waits(bench: Bench, *words: str, epochs: int) -> Counter[str]:
    """Where the host waits for the device in a run, and how often."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            with patch("lrtrain.process.state._quiet", lambda: warnings.simplefilter("always")):
                bench.train(*words, epochs=epochs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{Path(each.filename).name}:{each.lineno}" for each in seen if "synchroniz" in str(each.message))


def safety(bench: Bench) -> str:
    """What guard, checkpoints and signals take of the training."""
    kinds = (DivergenceGuard, RandomNumbers, Interruption)
    every = Session._callbacks

    def fewer(session: Session, scale: float | None) -> list[pl.Callback]:
        return [callback for callback in every(session, scale) if not isinstance(callback, kinds)]

    found = []
    for name, words in (("small", SMALL), ("large", LARGE)):
        ratios, epochs = [], 10 if name == "small" else 5
        for _ in range(3 if bench.device == "gpu" else 1):
            whole = bench.microseconds(*words, epochs=epochs)
            with (
                patch.object(Session, "_callbacks", fewer),
                patch.object(LastAndBest, "_asked", lambda *_: (False, 0)),
                patch("os.fsync", lambda _: None),
            ):
                ratios.append(whole / bench.microseconds(*words, epochs=epochs))
        found.append(f"{name} {100 * (statistics.median(ratios) - 1):.1f} %")
    return ", ".join(found)


def beside_plain(bench: Bench) -> str:
    """An update of ours beside one of a plain loop over tensors on the device."""
    found = []
    for name, words, batch in (("small", SMALL, 32), ("large", LARGE, 128)):
        epochs = 10 if bench.device == "gpu" else 2
        ours = bench.microseconds(*words, "scheduler=step", epochs=epochs)
        plain = plain_loop(words, batch, epochs, bench.torch_device)
        found.append(f"{name} {ours:.0f} us, plain {plain:.0f}: {ours / plain:.2f}")
    return "; ".join(found)


def plain_loop(words: tuple[str, ...], batch: int, epochs: int, device: torch.device) -> float:
    """Microseconds an update of a loop without a framework."""
    splits = dataset("digits").make()
    inputs, labels = splits.train.gather(torch.arange(len(splits.train)))
    inputs, labels = inputs.to(device), labels.to(device)
    keys = {"hidden": [128]} if words is SMALL else {"channels": [64, 128, 128]}
    net: nn.Module = model("mlp" if words is SMALL else "cnn", dropout=0.0, **keys).make(Inputs((1, 8, 8)), 10)
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True)
    done = 0
    for epoch in range(epochs + 1):
        if epoch == 1:  # the first one warms up
            wait(device)
            began, done = time.perf_counter(), 0
        for chosen in torch.split(torch.randperm(len(inputs), device=device), batch):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(net(inputs[chosen]), labels[chosen]))
            optimizer.step()
            done += 1
    wait(device)
    return (time.perf_counter() - began) / done * 1e6


def strategies(bench: Bench) -> str:
    """DDP and FSDP on one device."""
    found = []
    for name in ("ddp", "fsdp"):
        if name == "fsdp" and bench.device == "cpu":
            continue
        words = bench.words(*SMALL, f"trainer.strategy={name}", "trainer.devices=1", epochs=2)
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "lrtrain", *words], capture_output=True, text=True, timeout=120, check=False
        )
        found.append(f"{name} exit {done.returncode}")
        if done.returncode:
            raise RuntimeError(f"{name}: {(done.stderr.strip().splitlines() or ['nothing said'])[-1]}")
    return ", ".join(found)


def divergence(bench: Bench) -> str:
    """A rate that is far too high ends as diverged, and nothing that is not finite is saved."""
    summary = lrtrain.train(bench.words(*SMALL, "lr=1e12", "scheduler=constant"), quiet=True)
    kept = [path for path in (summary.folder or Path()).glob("checkpoints/*.ckpt") if not path.is_symlink()]
    for path in kept:
        saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        if not all(torch.isfinite(value).all() for value in saved.values() if value.is_floating_point()):
            raise RuntimeError(f"{path.name} holds weights that are not finite")
    if summary.status != "diverged":
        raise RuntimeError(f"status {summary.status}")
    return str(summary.error)


CHECKS: tuple[Callable[[Bench], str], ...] = (
    *(default_run, precisions, clipped, fused, channels_last, kill_and_resume, divergence),
    *(synchronisations, safety, beside_plain, strategies, compiled),
)


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--only", nargs="*", choices=[check.__name__ for check in CHECKS])
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    name = torch.cuda.get_device_name() if given.device == "gpu" else "CPU"
    print(
        f"{name}; torch {torch.__version__}, lightning {lightning.__version__}, lrtrain {lrtrain.__version__}",
        flush=True,
    )
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(given.device, Path(place))
        for check in CHECKS:
            if given.only and check.__name__ not in given.only:
                continue
            began = time.perf_counter()
            try:
                said = check(bench)
            except Exception as error:  # whatever breaks is what this script is to find
                failed += 1
                said = f"FAILED: {type(error).__name__}: {error}"
            print(f"{check.__name__:18s}{time.perf_counter() - began:6.1f} s  {said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
