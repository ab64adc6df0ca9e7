"""A small share of the faults that scripts/kill_and_resume.py injects."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import python

SCRIPT = Path(__file__).parent.parent / "scripts" / "kill_and_resume.py"


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_killed_runs_go_on_as_if_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    done = python(str(SCRIPT), "--kills", "1", "--terms", "0", cwd=tmp_path)
    assert done.code == 0, done.out
    assert "1 kills, 0 terminations: all resumed bit-equal; 0 corrupt" in done.out
