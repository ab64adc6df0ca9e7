"""The gallery beside the configurations says and draws what the schedules are now."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import settings_of
from PIL import Image

from lrtrain.cli.compose import Composer
from lrtrain.configs import choices, config_dir
from lrtrain.settings import strategy_keys

ROOT = Path(__file__).parent.parent
FOLDER = config_dir() / "scheduler"


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "scripts" / "gallery.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["gallery"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def entries(gallery: ModuleType) -> list[Any]:
    found: list[Any] = gallery.entries()
    return found


def test_the_page_and_its_pictures_are_those_of_today(gallery: ModuleType, entries: list[Any]) -> None:
    again = "run `python scripts/gallery.py`"
    assert gallery.page(entries) == (FOLDER / "README.md").read_text(), again
    wanted = {entry.name: entry.digest for entry in entries if entry.curve}
    wanted["strategies"] = gallery.overview_digest(entries)
    drawn = {path.stem: Image.open(path).info["Description"] for path in (FOLDER / "pictures").glob("*.png")}
    assert drawn == wanted, again


def test_every_strategy_has_a_section_with_its_keys_and_two_commands() -> None:
    sections = re.split(r"^## ", (FOLDER / "README.md").read_text(), flags=re.MULTILINE)[1:]
    found = {text.split("\n", 1)[0]: text for text in sections}
    assert set(found) == set(choices("scheduler"))
    for name, text in found.items():
        assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(strategy_keys(name))
        assert f"python -m lrtrain scheduler={name}" in text
        assert f"python -m lrtrain task=preview scheduler={name}" in text


@pytest.mark.usefixtures("rendered")
def test_a_picture_draws_the_strategy(gallery: ModuleType, entries: list[Any]) -> None:
    by_name = {entry.name: entry for entry in entries}
    rates = by_name["multistep"].curve.rates
    assert [rates[step] for step in (0, 399, 400, 600)] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    # The made-up loss improves on its best 5 times before it turns up.
    drops = sum(value < min(gallery.METRIC[:index]) for index, value in enumerate(gallery.METRIC) if index)
    assert by_name["validation_drop"].curve.rates[-1] == pytest.approx(0.1 * 0.9**drops)
    assert gallery.picture(by_name["cosine"])[:8] == b"\x89PNG\r\n\x1a\n"


def test_pictures_are_small() -> None:
    assert all(path.stat().st_size < 25_000 for path in (FOLDER / "pictures").glob("*.png"))


def test_hydra_sees_no_more_than_the_configurations() -> None:
    from hydra.core.global_hydra import GlobalHydra

    with Composer():
        loader = GlobalHydra.instance().config_loader()
        assert set(loader.get_group_options("scheduler")) == set(choices("scheduler"))
    assert settings_of("scheduler=cosine").scheduler == "cosine"
