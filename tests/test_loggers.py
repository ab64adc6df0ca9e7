"""Where a run is logged: what each package reads back, how a run goes on there, and what is refused.

`pip install "lrtrain[wandb,mlflow]"` brings the packages; everything is offline.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import struct
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, read_csv, requested, settings_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lrtrain import loggers
from lrtrain.errors import RequestError
from lrtrain.loggers import Subject
from lrtrain.loggers.csv_file import CSVFile
from lrtrain.loggers.event_file import EventFile
from lrtrain.loggers.event_records import RecordWriter, scalars
from lrtrain.loggers.run_logger import keep_id, known_id, refused_as
from lrtrain.parameters.bound import Bound
from lrtrain.plan.history import Segment, write_history
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import GOOD
from lrtrain.training.session import Session

SECRETS = {"WANDB_API_KEY": "5ecret" + "0" * 34, "MLFLOW_TRACKING_PASSWORD": "5ecret-too", "TOKEN": "5ecret-of-git"}

Points = Mapping[str, Mapping[int, float]]
"""Values by name and step."""


def is_here(kind: str) -> bool:
    return all(importlib.util.find_spec(name) for name in loggers.PACKAGES.get(kind, ()))


needs = {
    kind: pytest.param(kind, marks=pytest.mark.skipif(not is_here(kind), reason=f"the extra `{kind}` is not installed"))
    for kind in loggers.KINDS
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A job of a sweep that has paused and gone on, in all loggers whose packages are here."""
    here = RunFolder(tmp_path_factory.mktemp("evening") / "0_seed=3")
    (here.path.parent / "sweep.json").write_text("{}")
    kinds = ",".join(kind for kind in loggers.KINDS if is_here(kind))
    own = (
        "epochs=2",
        f"logger=[{kinds}]",
        "tags=[small,first]",
        "scheduler=cosine",
        "trainer.enable_progress_bar=false",
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_RUN_GROUP", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.chdir(in_repository(here.path.parent / "code"))
        session = Session.open(settings_of(*SMALL, *own), here, say=lambda _: None)
        assert session.fit(until="5st").status == "paused"
        assert session.conclude(session.fit()).status in GOOD
        assert "MLFLOW_TRACKING_URI" not in os.environ, "the next run would be logged there"
    return here


def in_repository(folder: Path) -> Path:
    """A folder in a repository whose remote has a token in its address."""
    folder.mkdir()
    own = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false", "commit", "--allow-empty", "-mx")
    for words in (("init",), own, ("remote", "add", "origin", f"https://{SECRETS['TOKEN']}@host/x.git")):
        subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True)
    return folder


def read_csv_log(folder: RunFolder) -> Points:
    return points_of(read_csv(folder.csv / "metrics.csv"))


def read_events(folder: RunFolder) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.path)).Reload()
    return {
        tag: {point.step: point.value for point in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
        if not tag.startswith("Overview/") and "/by_" not in tag
    }


def read_wandb(folder: RunFolder) -> Points:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            row = {item.nested_key[0] if item.nested_key else item.key: item.value_json for item in record.history.item}
            for name, text in row.items():
                if not name.startswith(("_", "trainer/")):
                    found[name][json.loads(row["trainer/global_step"])] = json.loads(text)
    return found


def wandb_records(folder: RunFolder) -> Iterator[Any]:
    """The records of all parts of a run: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(folder.wandb.glob("offline-run-*/*.wandb")):
        data, at, begun = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if (left := 32768 - at % 32768) < 7:
                at += left
                continue
            length, part = struct.unpack_from("<HB", data, at + 4)
            begun += data[at + 7 : at + 7 + length]
            at += 7 + length
            if part in (1, 4):  # a whole record, or the last part of one
                record = wandb_internal_pb2.Record()
                record.ParseFromString(begun)
                yield record
                begun = b""


def read_mlflow(folder: RunFolder) -> Points:
    client, run = mlflow_run(folder)
    names = run.data.metrics
    return {name: {x.step: x.value for x in client.get_metric_history(run.info.run_id, name)} for name in names}


def mlflow_run(folder: RunFolder) -> tuple[Any, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.mlflow}")
    [run] = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return client, run


READERS: Mapping[str, Callable[[RunFolder], Points]] = {
    "tensorboard": read_events,
    "csv": read_csv_log,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
}


def points_of(rows: list[dict[str, str]]) -> Points:
    names = [name for name in rows[0] if name != "step"]
    return {name: {int(row["step"]): float(row[name]) for row in rows if row[name]} for name in names}


@pytest.mark.parametrize("kind", needs.values())
def test_what_is_read_back_is_the_table(kind: str, folder: RunFolder) -> None:
    expected = points_of(read_csv(folder.metrics))
    assert list(expected["lr"]) == list(range(8))
    assert expected["val_loss"].keys() == {3, 7}
    if kind == "tensorboard":  # which keeps half the digits
        expected = {name: {step: float(np.float32(x)) for step, x in own.items()} for name, own in expected.items()}
    found = READERS[kind](folder)
    assert {name: dict(own) for name, own in found.items() if not name.startswith("best/")} == expected
    best = json.loads(folder.summary.read_text())["best"]
    assert found["best/val_loss"] == {7: pytest.approx(best["val_loss"])}


def test_no_secret_is_written(folder: RunFolder) -> None:
    for path in (path for path in folder.path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [name for name, secret in SECRETS.items() if secret.encode() in content], path


@pytest.mark.parametrize("kind", [needs["wandb"]])
def test_both_parts_are_one_run_in_wandb(kind: str, folder: RunFolder) -> None:
    records = list(wandb_records(folder))
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    identity = json.loads(folder.ids.read_text())[kind]
    assert {run.run_id for run in runs} == {identity}
    assert len(list(folder.wandb.glob("offline-run-*"))) == 2, "W&B keeps what is offline in a part for each session"
    assert {(run.display_name, run.run_group, run.project) for run in runs} == {
        (folder.path.name, folder.path.parent.name, "lrtrain")
    }
    assert {tag for run in runs for tag in run.tags} == {"small", "first"}
    ends = [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"]
    assert ends == [0, 0]


@pytest.mark.parametrize("kind", [needs["mlflow"]])
def test_both_parts_are_one_run_in_mlflow(kind: str, folder: RunFolder) -> None:
    _, run = mlflow_run(folder)
    assert (run.info.run_id, run.info.run_name) == (json.loads(folder.ids.read_text())[kind], folder.path.name)
    assert run.info.status == "FINISHED"
    assert run.data.params["scheduler"] == "cosine"
    tags = {"sweep": folder.path.parent.name, "small": "true", "first": "true"}
    assert tags.items() <= run.data.tags.items()


def test_csv_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    subject = Subject(RunFolder(tmp_path), "mine", (), "", {"lr": 0.1})
    first = CSVFile(subject)
    for step in range(5):
        first.log_metrics({"lr": 0.1 / (step + 1)}, step)
    first.log_metrics({"val_loss": 0.5}, 2)
    first.log_metrics({"test_loss": 0.5, "best/val_loss": 0.25}, 2)
    again = CSVFile(subject)
    again.drop_from(3, lambda name, step: (name, step) == ("val_loss", 2))
    again.log_metrics({"train_loss": 7.0}, 3)
    expected = {"lr": {0: 0.1, 1: 0.1 / 2, 2: 0.1 / 3}, "train_loss": {3: 7.0}}
    assert read_csv_log(RunFolder(tmp_path)) == expected


@pytest.mark.parametrize("value", ["../../x", "", "x" * 65, "x\n", 7, None])
def test_what_is_no_id_in_another_place(value: Any, tmp_path: Path) -> None:
    """A folder may come from anybody, and an id becomes part of an address."""
    folder = RunFolder(tmp_path)
    keep_id(folder, "mlflow", "a1-B_2")
    keep_id(folder, "wandb", value)
    assert known_id(folder, "mlflow") == "a1-B_2"
    assert known_id(folder, "wandb") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("logger=[none,csv]", "logger=none logs nowhere: leave it out, or the others"),
        ("logger=[csv,wand]", "logger=wand: there is no such logger; did you mean wandb?"),
        ("model=[mlp,cnn]", "model=[mlp,cnn]: one at a time; -m model=mlp,cnn runs a job for each"),
        ("scheduler=[step]", "scheduler=[step]: one at a time"),
        ("logger=csv logger.wandb.project=x", "logger.wandb.project belongs to logger=wandb: add that"),
        ("logger=mlflow logger.mlflow.experiment=", "logger.mlflow.experiment must be a name, got ''"),
    ],
)
def test_refused(words: str, said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        requested(*words.split())
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize(
    "address", ["https://me:5ecret@host/x", "postgresql://me:5ecret@host/db", "http://host?token=5ecret"]
)
def test_a_password_is_not_repeated(address: str) -> None:
    with pytest.raises(RequestError, match="must be an address without a password in it") as refusal:
        requested("logger=mlflow", f"logger.mlflow.tracking_uri='{address}'")
    assert "5ecret" not in str(refusal.value)


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(RequestError, match=r'logger=wandb needs wandb: pip install "lrtrain\[wandb\]"'):
        Session.open(settings_of("logger=[csv,wandb]"), RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    def unreachable(_: Subject, /) -> None:
        with refused_as("other"):
            raise ConnectionError("no route to the host\nand more")

    both = (loggers.logger("csv"), Bound("other", unreachable, {}))
    session = Session.open(replace(settings_of(*SMALL), logger=both), RunFolder(tmp_path / "run"), say=lambda _: None)
    with pytest.raises(RequestError, match=r"^logger=other cannot be opened: ConnectionError: no route to the host$"):
        session.fit()
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name == "csv_log"] == []


def test_a_run_that_goes_on_keeps_its_loggers(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    before = settings_of("logger=[csv,wandb]", "logger.wandb.project=mine")
    write_history(folder.history, [Segment(before, 10)])
    folder.checkpoints.mkdir()
    folder.last_checkpoint.touch()
    assert requested(f"resume={tmp_path}").job.settings.logger == before.logger
    for words, names, project in (
        (["logger=[wandb,tensorboard]"], ["wandb", "tensorboard"], "mine"),
        (["logger.wandb.project=other"], ["csv", "wandb"], "other"),
        (["logger=none"], [], None),
    ):
        found = requested(f"resume={tmp_path}", *words).job.settings.logger
        assert [each.name for each in found] == names, words
        assert [each.parameters.get("project") for each in found if each.name == "wandb"] == [project] * (
            "wandb" in names
        )


def test_event_files_are_read_in_the_order_in_which_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a run goes on within a second, in a process of a lower number."""
    monkeypatch.setattr("time.time", lambda: 1.7e9)
    for step, process in enumerate((9, 5, 10)):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        part = EventFile(Subject(RunFolder(tmp_path), "run", [], "", {}, {}))
        part.log_metrics({"lr": 0.1}, step)
        part.end("finished")
    assert [event.step for event in EventAccumulator(str(tmp_path)).Reload().Scalars("lr")] == [0, 1, 2]


def test_scalars_are_those_of_protobuf() -> None:
    """Lengths and steps on both sides of seven bits; values that 32 bits do not hold, or that are no numbers."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = {"lr": 0.1, "grün/" * 40: 1e300, "a": -1e300, "b": math.nan, "c": -0.0, "d": 1e-50, "e": 3, "f": math.inf}
    for step in (0, 1, 127, 128, 1 << 40, -1):
        for metrics in ({}, {"lr": 1.0}, values):
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()])
            event = Event(wall_time=1.7e9 + 0.123, step=step, summary=summary)
            assert scalars(metrics, step, 1.7e9 + 0.123) == event.SerializeToString(), (step, metrics)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 511, 512, 513, 515, 516, 1300])
def test_records_are_those_of_tensorboard(length: int) -> None:
    """Below and above the lengths at which the checksum is put together from parts."""
    from tensorboard.summary.writer import record_writer

    data, ours, theirs = bytes(range(256)) * 6, io.BytesIO(), io.BytesIO()
    RecordWriter(ours).write(data[:length])
    record_writer.RecordWriter(theirs).write(data[:length])
    assert ours.getvalue() == theirs.getvalue()
