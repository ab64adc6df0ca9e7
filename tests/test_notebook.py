"""What is returned shows itself in a notebook, and `scripts/first_steps.ipynb` runs from its top to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrtrain import Summary

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands below each cell of code, by its last line: all of its texts, HTML and the kinds of its pictures."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel, of the extra notebook")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel, of the extra notebook")
    import nbformat

    notebook = nbformat.read(ROOT / "scripts" / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without its outputs"
    place = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return {cell.source.splitlines()[-1]: "".join(map(text_of, cell.outputs)) for cell in cells}


def text_of(output: Any) -> str:
    data = output.get("data", {})
    said = [output.get("text", ""), data.get("text/html", data.get("text/plain", ""))]
    return "".join([*said, *(kind for kind in data if kind.startswith("image/"))])


def below(shown: dict[str, str], cell: str) -> str:
    return next(text for source, text in shown.items() if source.startswith(cell))


def test_curve(shown: dict[str, str]) -> None:
    assert "image/png" in below(shown, "lrtrain.preview(")


def test_rate(shown: dict[str, str]) -> None:
    found = below(shown, "lrtrain.find_lr(")
    assert "known to a factor of" in found
    assert "<img " in found


def test_run(shown: dict[str, str]) -> None:
    """1,257 samples make 40 batches of 32; the bar ends full, and stays one line."""
    found = below(shown, "run")
    assert found.count("<progress ") == 1
    assert "<progress value=120 max=120" in found
    assert "finished, cosine" in found
    assert "val_loss</th>" in found


def test_quiet_runs_show_nothing(shown: dict[str, str]) -> None:
    assert below(shown, "]") == ""


def test_comparison(shown: dict[str, str]) -> None:
    found = below(shown, "found")
    assert "has the best test_loss" in found
    assert "leader</td>" in found
    assert "<img " in found


def test_what_is_shown_is_text() -> None:
    """An error that looks like HTML is none."""
    html = Summary(status="failed", error="<script>")._repr_html_()
    assert "failed, &lt;script&gt;" in html
    assert "<table" not in html
