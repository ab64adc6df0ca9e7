"""Whatever is asked for is checked or refused, never run into: no other error, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CommandLine
from fuzzing import Outcomes, fuzzing
from hypothesis import given
from hypothesis import strategies as st

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.cli.words import prepare
from lrtrain.configs import choices
from lrtrain.errors import RequestError
from lrtrain.settings import strategy_keys

ROOT = [
    *[
        "lr",
        "epochs",
        "batch_size",
        "drop_last",
        "workers",
        "checkpoint_every",
        "resume",
        "resume_plan",
        "early_stop",
        "seed",
        "monitor",
        "feedback",
    ],
    *[
        "log_every",
        "warmup",
        "warmup_shape",
        "warmup_start",
        "min_lr",
        "hold",
        "final_cooldown",
        "final_cooldown_shape",
        "stretch",
    ],
    "horizon",
    "groups",
    "no_decay",
    "layer_decay",
    "hyperparameters",
    "task",
    "steps_per_epoch",
    "overlay",
    "run",
]
NESTED = [
    *[
        "trainer.devices",
        "trainer.max_epochs",
        "trainer.accumulate_grad_batches",
        "trainer.precision",
        "trainer.limit_train_batches",
    ],
    *[
        "optimizer.momentum",
        "optimizer.betas",
        "model.hidden",
        "model.dropout",
        "model.name",
        "dataset.name",
        "optimizer.name",
    ],
    *[
        "logger.wandb",
        "logger.mlflow.tracking_uri",
        "trainer",
        "trainer.x.y",
        "model",
        "optimizer",
        "dataset",
        "scheduler.gamma",
        "a.b.c",
        "0",
        ".",
        "..",
        "lr.",
        ".lr",
        "lr.x",
    ],
]
OWN = sorted({key for strategy in choices("scheduler") for key in strategy_keys(strategy)})
CHOICES = {
    group: list(choices(group))
    for group in ("scheduler", "feedback", "model", "optimizer", "dataset", "trainer", "logger", "task")
}

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(["1e309", "-1e309", "nan", "-inf", "1e-400", "0x10", "1_000", "9" * 400, "-0", "007", "1e5000"]),
).map(str)
lengths = st.builds(
    lambda number, unit: f"{number}{unit}", numbers, st.sampled_from(["ep", "st", "%", "min", "EP", "e", " st", "%%"])
)
words = st.one_of(
    st.sampled_from(
        [
            *[
                "null",
                "true",
                "false",
                "yes",
                "~",
                "''",
                "[]",
                "{}",
                "[[]]",
                "[null]",
                "[[[[1]]]]",
                "{a:{b:[1,{c:2}]}}",
                "{1:2}",
                "[1,2",
                "{a:",
                "a]}",
                "'",
                '"',
                "'\"",
                "\\\\",
                "${",
            ],
            *[
                "${lr}",
                "${nowhere}",
                "${oc.env:HOME}",
                "${now:%Y}",
                "${hydra:job.num}",
                "${lr",
                "${${lr}}",
                "???",
                ".",
                "..",
                "/",
                "\\\\",
                "$",
                "=",
                "==",
                ",",
                ";",
                "#",
            ],
            *[
                "{scheduler:cosine}",
                "[{scheduler:linear}]",
                "{scheduler:{scheduler:x}}",
                "{scheduler:custom,function:x}",
                "range(1,3)",
            ],
            *[
                "choice(1,2)",
                "interval(0,1)",
                "glob(*)",
                "int(3)",
                "float(x)",
                "str(1)",
                "sort(3,1)",
                "{_target_:os.system}",
                "{*:{lr_mult:nan}}",
            ],
            *[
                "[[50%,0.1],[75%]]",
                "[2ep,1ep]",
                "5ep,3ep",
                "os:system",
                "json:nothing",
                ":",
                "a:b:c",
                "plateau",
                "val_loss",
                "2026-01-01",
                "1:30",
            ],
        ]
    ),
    st.text(max_size=12),
    st.text(alphabet="[]{}(),:=${}'\"\\\\ 1ae.%", max_size=14),
)
values = st.one_of(
    numbers, lengths, words, st.lists(st.one_of(numbers, lengths, words), max_size=3).map(lambda v: f"[{','.join(v)}]")
)
keys = st.one_of(st.sampled_from(ROOT), st.sampled_from(OWN), st.sampled_from(NESTED), st.text(max_size=6))
settings_of_keys = st.builds(
    lambda prefix, key, value: f"{prefix}{key}={value}", st.sampled_from(["", "", "", "+", "++", "~"]), keys, values
)
chosen = st.sampled_from(sorted(CHOICES)).flatmap(
    lambda group: st.builds(
        lambda prefix, choice: f"{prefix}{group}={choice}",
        st.sampled_from(["", "", "+", "~"]),
        st.one_of(st.sampled_from(CHOICES[group]), st.text(max_size=6), st.just("null")),
    )
)
overrides = st.one_of(
    st.lists(st.one_of(settings_of_keys, chosen), min_size=1, max_size=4),
    st.lists(st.one_of(settings_of_keys, chosen, st.text(max_size=10)), min_size=1, max_size=3),
)


def fits_strategy(strategy: str) -> st.SearchStrategy[list[str]]:
    """A strategy with its own keys, so that the values get as far as the schedule."""
    own = st.sampled_from(list(strategy_keys(strategy)) or ["lr"])
    return st.lists(st.builds(lambda key, value: f"{key}={value}", own, values), min_size=1, max_size=3).map(
        lambda settings: [f"scheduler={strategy}", *settings]
    )


own_keys = st.sampled_from([name for name in CHOICES["scheduler"] if name != "custom"]).flatmap(fits_strategy)


@pytest.fixture(autouse=True)
def nobody_elses_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left in the folder is left by the request."""
    monkeypatch.chdir(tmp_path)


def check(words: list[str], multirun: bool) -> None:
    """Read the request, or that of every job, as the command line does before it runs anything."""
    with Composer() as composer:
        asked = prepare(words, multirun=multirun)
        refusals, jobs = [], composer.expand(asked) if multirun else [asked]
        for job in jobs:
            try:
                read_request(composer, job)
            except RequestError as error:
                refusals.append(error)
        if refusals and len(refusals) == len(jobs):
            raise refusals[0]


def test_checked_or_refused(tmp_path: Path) -> None:
    outcomes = Outcomes()

    @fuzzing
    @given(st.one_of(overrides, own_keys), st.booleans())
    def try_it(asked: list[str], multirun: bool) -> None:
        outcomes.unless_refused(lambda: check(asked, multirun))
        assert list(tmp_path.iterdir()) == []

    try_it()
    outcomes.are_both()


NO_VALUES = [
    "lr=${nowhere}",
    "lr=[[[",
    "lr=${oc.env:NOT_THERE}",
    "warmup=9e999ep",
    "epochs=" + "9" * 400,
    "lr=\x00",
    "trainer=null",
    "\N{ZERO WIDTH SPACE}lr=1",
    "scheduler={scheduler:cosine}",
    "resume=\x00",
    "resume=" + "x" * 5000,
    "resume=[1,2]",
    "resume='",
]


def test_command_line(command_line: CommandLine, tmp_path: Path) -> None:
    for asked in NO_VALUES:
        result = command_line(asked, "epochs=1") if not asked.startswith("epochs") else command_line(asked)
        assert result.code == 2, (asked, result.err[-300:])
        assert "Traceback" not in result.err, asked
        assert len(result.err.splitlines()) == 1, asked
        assert list(tmp_path.iterdir()) == [], asked
