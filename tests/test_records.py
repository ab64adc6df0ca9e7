"""Runs that other programs have logged: how they are found, read and compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from conftest import CommandLine
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from lrtrain.errors import RequestError
from lrtrain.records.comparisons import Question
from lrtrain.records.elsewhere import Conventions
from lrtrain.records.find import find_records
from lrtrain.tasks.compare import compare_runs

RUNS = {(name, seed): own + 0.01 * seed for name, own in (("cosine", 1.0), ("step", 1.5)) for seed in range(3)}
"""The last of three losses of each run, by strategy and seed; the first two are 4 and 2 times as large."""


def losses(last: float) -> list[float]:
    return [4 * last, 2 * last, last]


def write_tensorboard(place: Path, name: str, last: float, seed: int) -> None:
    """As torch's SummaryWriter does, which Lightning uses."""
    write_events(
        place / name,
        [
            Event(step=10 * epoch + 10, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
            for epoch, loss in enumerate(losses(last))
            for tag, value in (("eval/loss", loss), ("epoch", epoch))
        ],
    )


def write_keras_events(place: Path, name: str, last: float, seed: int) -> None:
    """As keras.callbacks.TensorBoard does: tensors, in a folder for each part."""
    for part, factor in (("train", 0.5), ("validation", 1.0)):
        points = [factor * loss for loss in losses(last)]
        events = [Event(step=epoch, summary=scalar_pb("epoch_loss", loss)) for epoch, loss in enumerate(points)]
        write_events(place / name / part, events)


def write_events(folder: Path, events: Sequence[Event]) -> None:
    writer = EventFileWriter(str(folder))
    for event in events:
        writer.add_event(event)
    writer.close()


def write_lightning(place: Path, name: str, last: float, seed: int) -> None:
    """As lightning.pytorch.loggers.CSVLogger does."""
    folder = place / "lightning_logs" / f"version_{len(list(place.glob('**/*.csv')))}"
    folder.mkdir(parents=True)
    rows = [
        row
        for epoch, loss in enumerate(losses(last))
        for row in (f"{epoch},{10 * epoch + 4},{loss / 2},", f"{epoch},{10 * epoch + 9},,{loss}")
    ]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,train_loss,val_loss", *rows]) + "\n")
    (folder / "hparams.yaml").write_text("optim:\n  lr: 0.1\n" + name.replace("=", ": ").replace(",", "\n") + "\n")


def write_keras(place: Path, name: str, last: float, seed: int) -> None:
    """As documented at keras.io/api/callbacks/csv_logger."""
    rows = [f"{epoch},0.5,{loss / 2},0.4,{loss}" for epoch, loss in enumerate(losses(last))]
    place.mkdir(exist_ok=True)
    (place / f"{name}.csv").write_text("\n".join(["epoch,accuracy,loss,val_accuracy,val_loss", *rows]) + "\n")


def write_trainer_state(place: Path, name: str, last: float, seed: int) -> None:
    """As documented of transformers.TrainerState; of an older checkpoint, too."""
    history = [
        point
        for epoch, loss in enumerate(losses(last), 1)
        for point in (
            {"loss": loss / 2, "learning_rate": 0.1, "grad_norm": 1.0, "epoch": epoch - 0.5, "step": 10 * epoch - 5},
            {"eval_loss": loss, "eval_runtime": 0.1, "epoch": epoch, "step": 10 * epoch},
        )
    ]
    for checkpoint, part in (("checkpoint-9", history[:2]), ("checkpoint-30", history)):
        folder = place / name / checkpoint
        folder.mkdir(parents=True)
        state = {"epoch": part[-1]["epoch"], "global_step": part[-1]["step"], "log_history": part, "best_metric": None}
        (folder / "trainer_state.json").write_text(json.dumps(state))


Write = Callable[[Path, str, float, int], None]
KINDS: Mapping[str, tuple[Write, dict[str, str], int, float]] = {
    "tensorboard": (write_tensorboard, {"val_loss": "eval/loss"}, 30, 3),
    "keras_events": (write_keras_events, {}, 3, 0),
    "lightning": (write_lightning, {}, 30, 3),
    "keras": (write_keras, {}, 3, 3),
    "trainer_state": (write_trainer_state, {}, 30, 3),
}
"""Who writes them, how our metrics are called there, the updates as they count them, and the epochs."""


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_other_programs(kind: str, tmp_path: Path) -> None:
    write, tags, updates, epochs = KINDS[kind]
    for (name, seed), last in RUNS.items():
        write(tmp_path / "runs", f"scheduler={name},seed={seed}", last, seed)
    records, [(found, _)] = compare_runs([tmp_path / "runs"], Question(metric="val_loss"), Conventions(tags=tags))
    named = {f"scheduler={name},seed={seed}" for name, seed in RUNS}
    assert {each.name for each in records} == (
        named if kind != "lightning" else {f"lightning_logs/version_{number}" for number in range(len(RUNS))}
    )
    best = {(each.config["scheduler"], each.config["seed"]): each.metrics["val_loss"] for each in records}
    assert best == pytest.approx(RUNS)
    assert {(each.steps, each.epochs) for each in records} == {(updates, epochs)}
    for each in records:
        assert each.series["val_loss"].values == pytest.approx(losses(each.metrics["val_loss"]))
    assert [(each.name, each.n) for each in found.strategies] == [("cosine", 3), ("step", 3)]
    assert found.strategies[0].during["100%"] == pytest.approx(1.01)


def test_pattern_finds_keys_in_paths(tmp_path: Path, command_line: CommandLine) -> None:
    for (name, seed), last in RUNS.items():
        write_keras(tmp_path / "runs", f"{name}-s{seed}", last, seed)
    words = ("task=compare", "runs=runs", "metric=my_loss", "tags={my_loss:val_loss}", "hydra.run.dir=out")
    refused = command_line(*words)
    assert refused.code == 2
    assert "no run has a key scheduler" in refused.err
    assert "pattern= finds it in the paths of the runs, such as cosine-s0" in refused.err
    assert "not a regular expression" in command_line(*words, 'pattern="("').err
    assert "name what it finds" in command_line(*words, 'pattern="[a-z]+"').err
    done = command_line(*words, 'pattern="(?P<scheduler>[a-z]+)-s(?P<seed>[0-9]+)"')
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["strategies"][0]["mean"] == pytest.approx(
        1.01
    )


def test_best_moment_and_failures(tmp_path: Path) -> None:
    def log(name: str, *values: float) -> None:
        rows = [f"{epoch},{value},{epoch + 10}" for epoch, value in enumerate(values)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["epoch,val_loss,test_loss", *rows]) + "\n")

    log("best_in_the_middle", 3, 1, 2)
    log("diverged", 3, 1, math.nan)
    found = {record.name: record.metrics for record in find_records(tmp_path, Conventions())}
    assert found == {"best_in_the_middle": {"val_loss": 1, "test_loss": 11}, "diverged": {}}
    (tmp_path / "trainer_state.json").write_text("{}")
    with pytest.raises(RequestError, match=r"trainer_state.json cannot be read"):
        find_records(tmp_path, Conventions())
