"""The wheel has everything in it: installed alone into a fresh environment, it trains."""

from __future__ import annotations

import json
import os
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import SMALL, python

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    built = python("-m", "pip", "wheel", str(ROOT), *flags, "-w", str(folder), cwd=folder)
    assert built.code == 0, built.err
    [file] = folder.glob("lrtrain-*.whl")
    return file


@pytest.fixture(scope="module")
def interpreter(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python in a fresh environment that has the wheel, and finds what it depends on where these tests find it."""
    folder = tmp_path_factory.mktemp("fresh")
    made = python("-m", "venv", "--without-pip", str(folder / "venv"), cwd=folder)
    assert made.code == 0, made.err
    executable = str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    installed = python(
        "-m", "pip", "--python", executable, "install", "--no-deps", "--no-index", str(wheel), cwd=folder
    )
    assert installed.code == 0, installed.err
    [packages] = (folder / "venv").rglob("site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return executable


def names(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


def test_wheel_has_the_code_and_the_configurations(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {f"lrtrain/{name}" for name in names(ROOT / "lrtrain", "*.*") if not name.endswith(".pyc")}
    kinds = ("*.yaml", "*.md", "*.png")
    configurations = {f"lrtrain/conf/{name}" for kind in kinds for name in names(ROOT / "conf", kind)}
    assert packed == code | configurations


def test_wheel_prints_its_configuration(interpreter: str, tmp_path: Path) -> None:
    words = ("--cfg", "job", "scheduler=inverse_time")
    code, out, err = python("-m", "lrtrain", *words, cwd=tmp_path, interpreter=interpreter)
    assert code == 0, err
    assert "decay: 0.01" in out


def test_wheel_trains_from_any_folder(interpreter: str, tmp_path: Path) -> None:
    code, _, err = python("-m", "lrtrain", "epochs=1", *SMALL, cwd=tmp_path, interpreter=interpreter)
    assert code == 0, err
    [summary] = tmp_path.glob("outputs/*/*/summary.json")
    assert json.loads(summary.read_text())["status"] == "finished"


def test_installed_schedules_need_no_torch(interpreter: str, tmp_path: Path) -> None:
    script = "import lrtrain.schedules, sys; print(lrtrain.__file__); print(*{'torch', 'numpy'} & sys.modules.keys())"
    found = python("-c", script, cwd=tmp_path, interpreter=interpreter)
    place, heavy = found.out.splitlines()
    assert Path(place).is_relative_to(Path(interpreter).parents[1]), found.err
    assert heavy == ""


def test_pins_are_exact_and_cover_every_dependency() -> None:
    lines = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(name and version and "+" not in version for name, _, version in (pin.partition("==") for pin in pins))
    assert pins == sorted(pins, key=str.lower)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {pin.partition("==")[0].lower() for pin in pins}
    assert {text.split(">")[0].lower() for text in wanted} <= pinned
