"""The project's own answer: every strategy on small real data, compared by `task=compare`.

Run: python scripts/own_answer.py --mnist DIR --text FILE
A run of it that was stopped is gone on with; the seeds come first, so that what is there by then has whole seeds.
Writes the sweeps below outputs/answer, and the comparison of all of them into scripts/answer.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lrtrain.configs import config_dir
from lrtrain.sweeps.grid import read_grids

OUT = Path("outputs") / "answer"
RESULTS = Path("scripts") / "answer"
ALL = [name for name in read_grids("tournament", [config_dir()]) if name != "common"]
TEN = [
    "constant",
    "step",
    "exponential",
    "inverse_time",
    "plateau",
    "validation_drop",
    "linear",
    "cosine",
    "wsd",
    "rex",
]
FIVE = ["constant", "step", "inverse_time", "cosine", "wsd"]


TEXT = [
    *("dataset=text", "dataset.length=64", "dataset.stride=1", "model=transformer", "model.layers=2", "model.heads=2"),
    *("model.width=64", "model.dropout=0", "model.bias=false", "optimizer=adamw", "optimizer.betas=[0.9,0.99]"),
    *("optimizer.weight_decay=0.1", "no_decay=true", "batch_size=12", "trainer.limit_train_batches=200"),
    *("trainer.gradient_clip_val=1", "warmup=100st", "epochs=10"),
]
"""As experiment=shakespeare with half of its layers and width; its `end` is not for all of the strategies."""


def sweeps(mnist: str | None, text: str | None) -> dict[str, list[str]]:
    """The words of each sweep by its name."""
    signals = ["dataset=mnist1d", "optimizer=adam", "batch_size=100", "epochs=20"]
    found = {
        "digits": [_seeds(10), _swept("scheduler", ALL), "lr=0.02,0.05,0.1,0.2,0.5", "epochs=20"],
        "mnist1d": [_seeds(10), _swept("scheduler", ALL), *signals, "lr=0.001,0.003,0.01,0.03,0.1"],
    }
    if mnist:
        data = [
            "dataset=mnist",
            f"dataset.data_dir={mnist}",
            "batch_size=128",
            "epochs=5",
            "model.hidden=[128]",
            "every=2",
            "patience=1",
        ]
        found["mnist"] = [_seeds(6), _swept("scheduler", TEN), *data, "lr=0.003,0.01,0.03,0.1,0.3"]
    if text:
        found["shakespeare"] = [
            _seeds(2),
            _swept("scheduler", FIVE),
            *TEXT,
            f"dataset.file={text}",
            "lr=0.001,0.003,0.01,0.03",
        ]
    return {name: [*words, "keep=none"] for name, words in found.items()}


def _swept(key: str, values: Sequence[object]) -> str:
    return f"{key}={','.join(map(str, values))}"


def _seeds(count: int) -> str:
    return _swept("seed", range(count))


def lrtrain(*words: str) -> int:
    """Run a command of ours, and say which."""
    print(f"python -m lrtrain {' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "lrtrain", *words], check=False).returncode  # noqa: S603


def main() -> None:
    """Run what is left of the sweeps, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", help="the folder of MNIST's four files")
    parser.add_argument("--text", help="tinyshakespeare.txt")
    parser.add_argument("--only", help="one of the sweeps")
    parser.add_argument(
        "--try", dest="trial", action="store_true", help="one seed and an epoch each, to see that it works"
    )
    asked = parser.parse_args()
    out = OUT.with_name("answer_tried") if asked.trial else OUT
    wanted = sweeps(asked.mnist, asked.text)
    for name, words in wanted.items():
        if asked.only in (None, name):
            folder = out / name
            short = ["seed=0", "epochs=1"] if asked.trial else []
            kept = [word for word in words if word.partition("=")[0] not in {own.partition("=")[0] for own in short}]
            how = (
                [f"resume={folder}"]
                if (folder / "sweep.json").exists()
                else [*kept, *short, f"hydra.sweep.dir={folder}"]
            )
            lrtrain("-m", *how, "jobs=2" if name == "shakespeare" else "jobs=population")
    folders = [str(out / name) for name in wanted if (out / name / "sweep.json").exists()]
    shutil.rmtree(out / "comparison", ignore_errors=True)
    if lrtrain("task=compare", f"runs=[{','.join(folders)}]", f"hydra.run.dir={out / 'comparison'}"):
        sys.exit(1)
    if not asked.trial:
        RESULTS.mkdir(exist_ok=True)
        for name in ("comparison.md", "comparison.csv", "comparison.png"):
            shutil.copy(out / "comparison" / name, RESULTS / name)


if __name__ == "__main__":
    main()
