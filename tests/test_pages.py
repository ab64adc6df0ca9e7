"""Every command of README and of the pages beside the code is one that lrtrain takes; the links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SMALL, run_line
from test_evaluate import one_line

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.cli.words import prepare
from lrtrain.configs import choices
from lrtrain.errors import RequestError
from lrtrain.schedules import Feedback, Schedule, registered

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "conf" / "scheduler" / "README.md"
PAGES = [ROOT / name for name in ("README.md", "scripts/README.md")]
PAGES += sorted(page for part in ("conf", "lrtrain") for page in (ROOT / part).rglob("*.md"))
OTHERS = ("pip install ", "pytest", "tensorboard --logdir ", "eval ", "lrtrain --shell-completion ", "autoload ")
"""How the commands begin that are not ours to take."""

MODULES = {
    "nets": "import torch\nclass Net(torch.nn.Sequential):\n    def __init__(self, width): ...",
    "lit": "import lightning\nclass LitNet(lightning.LightningModule): ...",
    "data": "import lightning\nclass MyData(lightning.LightningDataModule):\n"
    "    def train_dataloader(self): return range(9)\n    def val_dataloader(self): return range(9)",
}
"""What the pages call my_pkg."""


def commands(page: Path) -> Iterator[str]:
    """The lines in blocks of the shell, and what stands in the text as a whole command."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    yield from (line for block in blocks for line in block.splitlines() if line.strip())
    yield from (found for found in re.findall(r"`(python -m lrtrain [^`]*=[^`]*)`", text))


def words_of(command: str) -> list[str]:
    return shlex.split(command.rpartition("python -m lrtrain")[2], comments=True)


def named(command: str) -> str:
    return " ".join(words_of(command))


ALL = list(dict.fromkeys(command for page in PAGES if page != GALLERY for command in commands(page)))
OURS = [command for command in ALL if "python -m lrtrain" in command]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files that the pages name, and a run and a sweep where they say."""
    folder = tmp_path_factory.mktemp("pages")
    rows = [f"{number},{number % 7},{number % 2},{number % 3 % 2}" for number in range(60)]
    for name, header in (("houses", "price,rooms,a,b"), ("topics", "words,length,sports,politics"), ("new", "a,b,c,d")):
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]))
    (folder / "tinyshakespeare.txt").write_text("To be, or not to be. " * 200)
    (folder / "my_pkg").mkdir()
    for name, text in MODULES.items():
        (folder / "my_pkg" / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for words in (("hydra.run.dir=outputs/DAY/RUN",), ("-m", "seed=0,1", "hydra.sweep.dir=outputs/houses")):
            made = run_line(folder, *words, *SMALL, "epochs=1")
            assert made.code == 0, made.err
        shutil.copytree(folder / "outputs" / "houses", folder / "outputs" / "DAY" / "SWEEP")
        patch.chdir(folder)
        yield folder


def test_nothing_else_is_in_the_blocks() -> None:
    others = [command for command in ALL if command not in OURS and not command.startswith(OTHERS)]
    assert [line for line in others if not (ROOT / line.split()[1]).is_file()] == []
    assert len(OURS) > 50


def test_commands(place: Path) -> None:
    """Each is composed and checked, down to the keys of its task, as if it were to be run."""
    refused = {}
    with Composer() as composer:
        for command in OURS:
            words = [word.replace("=FOLDER", "=outputs/DAY/RUN") for word in words_of(command)]
            try:
                assert "-m" in words or "--help" in words or read_request(composer, prepare(words))
            except RequestError as error:
                refused[command] = str(error)
    assert refused == {}


@pytest.mark.parametrize("command", [command for command in OURS if "-m" in words_of(command)], ids=named)
def test_sweep(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs are planned and checked, and none is run; one strategy, rate and seed stand for all."""
    words = [re.sub(r"^((?:lr|seed)=[\d.]+),.*", r"\1", word) for word in words_of(command)]
    monkeypatch.setattr("lrtrain.cli.sweep.check_workers", lambda *_: None)  # whether there is a cluster here
    if any(word.startswith(("resume=", "join=")) for word in words):
        monkeypatch.setattr("lrtrain.cli.sweep._go_on", lambda *_: 0)
        monkeypatch.setattr("lrtrain.cli.sweep._join", lambda *_: 0)
    else:
        words = [*dict.fromkeys([*words, "--dry-run"])]
    one = ["scheduler=step"] * any(word.startswith("sweep=") for word in words)
    result = run_line(place, *words, *one)
    assert result.code == 0, result.err


def test_commands_of_the_gallery() -> None:
    """Each strategy takes the keys and values of its command, which is previewed by the same words."""
    strategies = {**registered(Schedule), **registered(Feedback)}
    lines = [shlex.split(line) for line in GALLERY.read_text().splitlines() if line.startswith("python -m lrtrain ")]
    assert len(lines) == 2 * len(choices("scheduler"))
    for run, preview in zip(lines[::2], lines[1::2], strict=True):
        assert preview == [*run[:3], "task=preview", *run[3:]]
        with Composer() as composer:
            values = composer.values_of(run[3:])
        if (name := values.pop("scheduler")) != "custom":  # which is code that is not here
            assert strategies[name](**values)


def test_links() -> None:
    """Each leads to a file, and to a heading of it."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]*(?:#[^)]*)?)\)", page.read_text()):
            name, _, heading = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.exists(), f"{page}: {target}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
                assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_dry_run_of_a_sweep_that_is_there(place: Path) -> None:
    """It is refused: nothing is to be trained by it."""
    one_line(run_line(place, "-m", "resume=outputs/DAY/SWEEP", "--dry-run"), "task=status")
