"""Callbacks of Lightning's and of a user's, beside those of a run itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import user_code
from conftest import SMALL, read_csv, requested, settings_of
from lightning.pytorch.callbacks import Timer

from lrtrain.errors import RequestError
from lrtrain.run_folder.folder import RunFolder
from lrtrain.training.run import run_in
from lrtrain.training.session import Session

SHORT = (*SMALL, "epochs=2", "trainer.enable_progress_bar=false", "logger=none")
NOTES = "callbacks=[{function:user_code:Notes,parameters:{every:3}},user_code:batches]"


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that has paused in mid-epoch and gone on, with callbacks of the user's."""
    folder = RunFolder(tmp_path_factory.mktemp("noted") / "run")
    user_code.BATCHES.clear()
    session = Session.open(settings_of(*SHORT, NOTES), folder, say=lambda _: None)
    assert session.fit(until="5st").status == "paused"
    assert session.conclude(session.fit()).status == "finished"
    return folder


def test_state_goes_on_and_every_batch_is_seen(noted: RunFolder) -> None:
    saved = torch.load(noted.last_checkpoint, weights_only=True)["callbacks"]
    [notes] = [state for name, state in saved.items() if "Notes" in name]
    assert notes == {"seen": [0, 3, 6]}
    assert len(user_code.BATCHES) == 8, "a hook of an instance is called too"


def test_the_rates_are_the_same(noted: RunFolder, tmp_path: Path) -> None:
    run_in(settings_of(*SHORT), tmp_path / "run", say=lambda _: None)
    assert read_csv(tmp_path / "run" / "metrics.csv") == read_csv(noted.metrics)


def test_a_folder_names_no_code(noted: RunFolder, tmp_path: Path) -> None:
    """What it names has to be said again, or can be left out; neither imports what it names."""
    folder = Path(shutil.copytree(noted.path, tmp_path / "run"))
    plan = folder / "plan.json"
    plan.write_text(plan.read_text().replace("user_code:", "evil.deep:"))
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(RequestError, match=r"started with evil.deep:Notes, evil.deep:batches, code to run: repeat"):
            requested(f"resume={folder}", "epochs=3", "resume_plan=keep")
        without = requested(f"resume={folder}", "callbacks=[]", "epochs=3", "resume_plan=keep")
        assert without.job.settings.callbacks == ()
        assert "evil" not in sys.modules
    finally:
        sys.path.remove(str(tmp_path))


def test_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The load of the device is logged, and the timer ends the run, in its second epoch."""
    user_code.BATCHES.clear()
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: 1e9 if len(user_code.BATCHES) > 4 else 0.0)
    own = "callbacks=[device_stats,{name:timer,duration:'00:00:00:09'},user_code:batches]"
    folder = RunFolder(tmp_path / "run")
    words = (*SHORT, "logger=csv", own, "+trainer.log_every_n_steps=2")
    summary = run_in(settings_of(*words), folder.path, say=lambda _: None)
    assert (summary.status, summary.ended_by, summary.steps) == ("stopped", "max_time", 5)
    assert any(name.startswith("DeviceStatsMonitor.") for name in read_csv(folder.csv / "metrics.csv")[0])


REFUSED = {
    "callbacks=[lightning.pytorch.callbacks:LearningRateFinder]": (
        "callback LearningRateFinder sets the learning rate: leave it out, and write lr=auto"
    ),
    "callbacks=[{function:lightning.pytorch.callbacks:StochasticWeightAveraging,parameters:{swa_lrs:0.1}}]": (
        "ema=0.999, with final_cooldown=20%"
    ),
    "callbacks=[{function:lightning.pytorch.callbacks:GradientAccumulationScheduler,parameters:{scheduling:{0:2}}}]": (
        "trainer.accumulate_grad_batches=N"
    ),
    "callbacks=[lightning.pytorch.callbacks:BatchSizeFinder]": "batch_size=N",
    "callbacks=[lightning.pytorch.callbacks:BackboneFinetuning]": "groups={PATTERN:{frozen:2ep}}",
    "callbacks=[lightning.pytorch.callbacks:ModelCheckpoint]": "checkpoint_every=1ep",
    "callbacks=[lightning.pytorch.callbacks:WeightAveraging]": "ema=0.999",
    "model=lightning model.function=user_code:WithFinder": "write lr=auto",
    "callbacks=[user_code:fixed_net]": "makes a Sequential, not a Lightning callback",
    "callbacks=[user_code:Nothing]": "callbacks names 'user_code:Nothing', which cannot be imported",
    "callbacks=[{function:user_code:Notes,parameters:{evry:1}}]": "unexpected keyword argument 'evry'",
    "callbacks=[{name:timer,duration:soon}]": "`Timer(duration='soon')` is not a valid duration",
}


@pytest.mark.parametrize(("words", "said"), REFUSED.items())
def test_refused_before_anything_is_written(words: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refusal:
        Session.open(settings_of(*SHORT, *words.split()), RunFolder(tmp_path))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[time]", "did you mean timer?"),
        ("[{name:timer,function:a:b}]", "callbacks must be device_stats, timer, a place such as"),
        ("[{name:timer,length:3}]", "callbacks has timer: length is not a setting; there are duration"),
        ("[{function:a:b,every:3}]", "callbacks has a:b: every is not a setting; there are function, parameters"),
        ("timer", "callbacks must be a list, each device_stats, timer, a place such as"),
    ],
)
def test_not_a_list_of_callbacks(value: str, said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        requested(f"callbacks={value}")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("rate:0.5", "was set to 0.5 by somebody else"),
        ("keeps:true", "callback Notes: its state_dict may hold plain values and tensors only"),
    ],
)
def test_what_shows_in_the_run(parameters: str, said: str, tmp_path: Path) -> None:
    words: Sequence[str] = (*SHORT, f"callbacks=[{{function:user_code:Notes,parameters:{{{parameters}}}}}]")
    summary: Any = run_in(settings_of(*words), tmp_path / "run", say=lambda _: None)
    assert summary.status == "failed"
    assert said in summary.error
