"""The commit that a run records."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lrtrain.process.commit import commit_of


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    folder = tmp_path / "repository" / "below"
    folder.mkdir(parents=True)
    (folder / "code.py").write_text("old")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    git(folder, "tag", "v1")
    commit = git(folder, "rev-parse", "HEAD")
    assert commit_of(folder) == commit
    (folder / "code.py").write_text("newer")
    assert commit_of(folder) == commit, "this process goes on with what it has imported"
    commit_of.cache_clear()
    assert commit_of(folder) == f"{commit}-dirty"
