"""Arrows point one way: what each part of the package may import, as README says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lrtrain

PACKAGE = Path(lrtrain.__file__).parent
FLOORS = (
    ("errors", "configs", "notebook"),
    ("parameters", "process"),
    ("schedules", "models", "datasets", "objectives", "optimizers", "run_folder", "evidence", "loggers", "callbacks"),
    ("scheduler", "settings", "records", "report"),
    ("plan",),
    ("training",),
    ("tasks",),
    ("sweeps",),
    ("cli",),
    ("front", "__main__"),
)
"""From the ground up: a part imports itself, those beside it, and those below."""
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
WITHOUT_TORCH = {
    "errors",
    "configs",
    "notebook",
    "evidence",
    "parameters",
    "records",
    "schedules",
    "run_folder",
    "settings",
    "plan",
    "cli",
    "sweeps",
    "front",
}
"""Parts that can be read before torch is imported, which takes seconds."""


def imports(path: Path, *, lazy: bool) -> Iterator[str]:
    """The modules that a file imports, those in its functions too where `lazy`; not those for its types only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"lrtrain.{name.name}" for name in node.names] if node.module == "lrtrain" else [node.module])


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_no_arrow_points_up() -> None:
    up = []
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "__init__.py":  # which offers what is above it
            continue
        for module in imports(path, lazy=True):
            head, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if head == "lrtrain" and target in FLOOR and FLOOR[target] > FLOOR[part_of(path)]:
                up.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert up == []


def test_every_part_has_its_floor() -> None:
    found = {part_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert found == set(FLOOR)


def test_tasks_do_not_import_each_other() -> None:
    for path in (PACKAGE / "tasks").glob("*.py"):
        assert not [module for module in imports(path, lazy=True) if module.startswith("lrtrain.tasks.")]


def test_what_does_without_torch() -> None:
    heavy = ("torch", "lightning", "torchmetrics")
    found = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if part_of(path) in WITHOUT_TORCH and any(m.partition(".")[0] in heavy for m in imports(path, lazy=False))
    ]
    assert found == []


def test_the_scheduler_can_be_lifted_out() -> None:
    """What is imported at run time, by whatever road: the schedules alone, and the scheduler with torch."""
    heavy = "{'torch', 'lightning', 'pytorch_lightning', 'hydra', 'omegaconf', 'tensorboard', 'matplotlib'}"
    code = (
        f"import sys, lrtrain.schedules; found = [{heavy} & set(sys.modules)]; "
        f"from lrtrain import Scheduler; print([*found, {heavy} & set(sys.modules)])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[set(), {'torch'}]"
