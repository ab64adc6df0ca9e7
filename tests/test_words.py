"""The words of a command: what is pasted is taken whole, what is not known explained, an own choice is as ours are."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, CommandLine, Train, requested
from hydra.core.override_parser.overrides_parser import OverridesParser

from lrtrain.cli.compose import Composer, parse_arguments
from lrtrain.cli.request import read_request
from lrtrain.cli.words import PATHS, as_word, prepare
from lrtrain.errors import RequestError
from lrtrain.parameters.spans import Span

REFUSED = 2
ODD = (
    "03_lr=0.1,seed=0",
    "a b",
    "[x]",
    "{y:1}",
    "a'b",
    'a"b',
    "'q'",
    "a#b",
    "(c)",
    "5",
    "1e3",
    "true",
    "e\\",
    "a,b",
    "é",
    "$x",
)
"""Names of folders and files."""


def composed(*words: str, folder: Path | None = None) -> dict[str, Any]:
    """The configuration of words as the shell passes them."""
    with Composer(str(folder) if folder else None) as composer:
        return composer.compose(prepare(words)).values


def refused(*words: str) -> str:
    with pytest.raises(RequestError) as caught:
        requested(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_pasted_path_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "'q'").mkdir()  # without it, these are the user's quotes
    parser = OverridesParser.create()
    for key in PATHS:
        for path in ODD:
            if (key, path[0]) == ("runs", "["):  # a list of folders
                continue
            [word] = prepare([f"{key}={path}"])
            assert parser.parse_override(word).value() == path, f"{key}={path}"
    path = ODD[0]
    settings = composed(
        "dataset=npy", f"dataset.inputs={path}", f"dataset.labels={path}", "task=preview", f"run={path}"
    )
    assert (settings["dataset"]["inputs"], settings["dataset"]["labels"], settings["run"]) == (path, path, path)
    assert requested(f"hydra.run.dir={path}").job.folder == tmp_path / path


def test_a_path_with_commas_is_one_value_of_a_sweep_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["dataset.file=a,b", "hydra.sweep.dir=c,d"]
    assert prepare(words, multirun=True) == ["dataset.file=a,b", "hydra.sweep.dir='c,d'"]
    (tmp_path / "a,b").touch()
    assert prepare(words, multirun=True)[0] == "dataset.file='a,b'"


def test_home_is_no_folder_of_the_name_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert requested("hydra.run.dir=~/run").job.folder == tmp_path / "run"


def test_values_come_back_from_their_words() -> None:
    values: list[Any] = [None, True, 0.1, "5ep", "a b", "it's", "", "x\\", [1, "a,b"], {"a": {"b": [None, "{"]}}]
    assert composed(f"groups={{x:{as_word(values)}}}")["groups"]["x"] == values


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("train", ["write task=train"]),
        ("cosine", ["write scheduler=cosine"]),
        ("lr 0.1", ["write lr=VALUE"]),
        ("frobnicate", ["write key=value"]),
        ("lr=0.1,", ["ends in a comma: write lr=0.1"]),
        ("model.hidden=a(b", ["is put in quotes"]),
        ("weight_decay=0.1", ["write optimizer.weight_decay="]),
        ("devices=2", ["write trainer.devices="]),
        ("max_steps=100", ["write epochs=300st"]),
        ("data_dir=x", ["write dataset.data_dir="]),
        ("file=x", ["write dataset.file=", "dataset=csv or text"]),
        ("betas=[0.9,0.9]", ["write optimizer.betas=", "adamw"]),
        ("LR=0.1", ["did you mean lr?"]),
        ("model.kernels=[3]", ["belongs to model=cnn", "model=mlp takes hidden, dropout"]),
        ("model.hiden=[3]", ["did you mean model.hidden?"]),
        ("model.zzzz=1", ["model=mlp takes hidden, dropout, batch_norm, residual"]),
        ("optimizer.optimizer={a:1}", ["there is no key optimizer.optimizer; "]),
        ("zzzz=1", ["there is no key zzzz; --help lists them all"]),
        ("scheduler=plateau feedback=greedy", ["leave out feedback=greedy"]),
        ("scheduler=greedy feedback=plateau", ["leave out feedback=plateau"]),
        ("scheduler=validation_drop feedback=plateau patience=3", ["leave out feedback=plateau"]),
        ("hydra.run.dir=null", ["hydra.run.dir=null names no folder"]),
    ],
)  # fmt: skip
def test_what_was_meant(words: str, parts: Sequence[str]) -> None:
    said = refused(*words.split())
    assert all(part in said for part in parts), said
    assert len(said) < 300, "all keys are not listed"


def test_an_experiment_with_another_choice() -> None:
    """What it sets for the choice that is replaced is left out, which is said; all else of it holds."""
    job = requested("experiment=mnist1d_mlp", "model=linear").job
    said = "not used of experiment=mnist1d_mlp, as other choices are made: model.hidden, model.dropout, model.residual"
    assert job.remarks == [said]
    settings = job.settings
    assert (settings.dataset.name, settings.model.name, settings.epochs) == ("mnist1d", "linear", Span(150, "ep"))


def test_an_experiment_with_a_key_of_no_choice(tmp_path: Path) -> None:
    """It is refused with any choices."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "odd.yaml").write_text("# @package _global_\nlrr: 0.2\n")
    for others in ([], ["model=linear"]):
        assert "experiment=odd sets lrr" in refused("experiment=odd", f"hydra.searchpath=[file://{tmp_path}]", *others)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--lr=0.1", "settings have no dashes, write lr=0.1"),
        ("--resume", "write resume=VALUE"),
        ("--versoin", "did you mean --version?"),
    ],
)
def test_a_flag_that_is_none(flag: str, said: str) -> None:
    with pytest.raises(RequestError, match=said.replace("?", r"\?")):
        parse_arguments([flag])


def test_the_last_of_a_choice_said_twice_counts() -> None:
    settings = requested(
        "model=mlp", "model=cnn", "scheduler=step", "scheduler=cosine", "lr=0.1", "lr=0.2"
    ).job.settings
    assert (settings.model.name, settings.scheduler, settings.lr) == ("cnn", "cosine", 0.2)


OWN = {
    "experiment/mine": (
        "# @package _global_\ndefaults:\n  - override /model: cnn\n  - override /scheduler: cosine\nlr: 0.3\n"
    ),
    "model/mine": "defaults: [mlp]\nhidden: [7]\n",
    "dataset/mine": "defaults: [mnist1d]\nvalidation: 0.2\n",
    "optimizer/mine": "# @package _global_\ndefaults: [adamw]\noptimizer: {weight_decay: 0.3}\n",
    "scheduler/mine": "# @package _global_\ndefaults: [cosine]\nend: 0.3\n",
    "feedback/mine": "# @package _global_\ndefaults: [plateau]\npatience: 7\n",
    "trainer/mine": "defaults: [cpu]\naccumulate_grad_batches: 2\n",
    "logger/mine": "defaults: [wandb]\nwandb: {project: ours}\n",
    "task/mine": "# @package _global_\ndefaults: [evaluate]\nsplit: validation\n",
}  # fmt: skip
EXPECTED: dict[str, dict[str, Any]] = {
    "experiment": {"model.name": "cnn", "scheduler": "cosine", "lr": 0.3},
    "model": {"model.name": "mlp", "model.hidden": [7], "model.dropout": 0.2},
    "dataset": {"dataset.name": "mnist1d", "dataset.validation": 0.2},
    "optimizer": {"optimizer.name": "adamw", "optimizer.weight_decay": 0.3, "lr": 0.001},
    "scheduler": {"scheduler": "cosine", "end": 0.3},
    "feedback": {"feedback": "plateau", "patience": 7, "factor": 0.5},
    "trainer": {"trainer.accelerator": "cpu", "trainer.accumulate_grad_batches": 2},
    "logger": {"logger.wandb.project": "ours", "logger.wandb.entity": None},
    "task": {"task": "evaluate", "split": "validation", "checkpoint": "best"},
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of own choices, one of each group."""
    for name, text in OWN.items():
        path = tmp_path / "own, mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own, mine"


def value_at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[part]
    return values


def test_own_choices_of_every_group(own: Path) -> None:
    for group, expected in EXPECTED.items():
        searched = f"hydra.searchpath=['file://{own}']"
        for values in (composed(f"{group}=mine", folder=own), composed(f"{group}=mine", searched)):
            assert {path: value_at(values, path) for path in expected} == expected, group


def test_own_choices_are_near_matches_and_none_of_ours(own: Path) -> None:
    for words in (["experiment=mine2"], ["experiment=mine2", "hydra.searchpath=[elsewhere]"]):
        with Composer(str(own)) as composer, pytest.raises(RequestError, match=r"did you mean mine\?"):
            read_request(composer, words)
    (own / "model" / "mlp.yaml").write_text("defaults: [cnn]\n")
    with Composer(str(own)) as composer, pytest.raises(RequestError, match="give yours another name"):
        read_request(composer, ["model=mlp"])


def test_a_run_of_own_choices_goes_on_and_is_measured(own: Path, train: Train, command_line: CommandLine) -> None:
    chosen = (f"--config-dir={own}", "model=mine", "optimizer=mine", "scheduler=mine", "trainer=mine")
    run = train(*chosen, "epochs=1", "log_every=1", "trainer.limit_train_batches=4")
    assert command_line(f"resume={run.folder}", "epochs=2", "resume_plan=keep").code == 0
    assert f"hydra.searchpath=['file://{own}']" in shlex.split(run.summary["command"])
    config = run.summary["config"]
    assert (config["model"]["hidden"], config["optimizer"]["weight_decay"], config["end"]) == ([7], 0.3, 0.3)
    measured = command_line(f"--config-dir={own}", "task=mine", f"checkpoint={run.folder}", "hydra.run.dir=measured")
    assert measured.code == 0, measured.err
    assert json.loads(Path("measured/summary.json").read_text())["split"] == "validation"
    again = (f"--config-dir={own}", f"resume={run.folder}", "epochs=3", "resume_plan=switch", "scheduler=mine")
    assert command_line(*again, "end=0.5").code == 0
    assert command_line(f"--config-dir={own}", f"resume={run.folder}", "epochs=4", *again[3:]).code == 0
    assert run.summary["config"]["end"] == 0.3, "what an own choice says counts, though the strategy is the same"


def test_a_name_is_that_of_the_folder() -> None:
    with Composer() as composer:
        for words, run, sweep in (
            (["scheduler=cosine"], "cosine", "sweep"),
            (["scheduler=cosine", "name=mine"], "mine", "mine"),
            (["task=find_lr"], "find_lr", "sweep"),
            (["task=find_lr", "name=7"], "7", "7"),
            (["scheduler=cosine", "lr=0.2"], "cosine", "sweep"),
        ):
            found = composer.compose(words)
            names = found.run_dir.name.partition("_")[2], found.sweep_dir.name.partition("_")[2]
            assert names == (run, sweep), words
        for word in ("name=a/b", "name=..\\x", "name=true", "name=''", f"name={'x' * 101}", "tags=mine", "tags=[[a]]"):
            with pytest.raises(RequestError, match=f"{word.partition('=')[0]} must be a "):
                read_request(composer, [word])


def test_tags_of_a_run_and_of_a_comparison_are_two_things() -> None:
    assert requested("name=mine", "tags=[a,1]").job.settings.tags == ("a", "1")
    other = requested("task=diagnose", "tags={lr:lr-SGD}")
    assert (other.job.settings.tags, other.task.parameters["tags"]) == ((), {"lr": "lr-SGD"})


def test_a_name_that_is_too_long(command_line: CommandLine, tmp_path: Path) -> None:
    long = "x" * 256
    for words in (
        [f"hydra.run.dir={long}", *SMALL, "epochs=1"],
        [f"resume={long}"],
        ["task=evaluate", f"checkpoint={long}"],
        ["task=preview", f"run={long}"],
        ["task=preview", f"hydra.run.dir={long}"],
        ["dataset=text", f"dataset.file={long}"],
        ["dataset=csv", f"dataset.file={long}", "dataset.target=a"],
        ["dataset=mnist", f"dataset.data_dir={long}"],
    ):
        result = command_line(*words)
        assert result.code == REFUSED, (words, result.err)
        assert len(result.err.splitlines()) == 1, (words, result.err)
        assert os.listdir(tmp_path) == [], words  # noqa: PTH208 - names
