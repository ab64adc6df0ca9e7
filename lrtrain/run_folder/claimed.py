"""A run's folder while this process may write into it."""

from __future__ import annotations

from pathlib import Path

from lrtrain.run_folder.claim import Claim
from lrtrain.run_folder.folder import RunFolder

held: list[ClaimedFolder] = []
"""Those of this process, the newest last."""


class ClaimedFolder(RunFolder):
    """The folder of a run from its claim to its end; where nothing came of the run, it is as it was before.

    Args:
        path: The folder.
        locks: False is the user's word that nobody else writes there.
        patience: Seconds to try again for while somebody holds it, who may only be looking.

    Raises:
        RequestError: Somebody else writes into it, or it cannot be written.
    """

    def __init__(self, path: str | Path, *, locks: bool = True, patience: float = 1.0) -> None:
        super().__init__(path)
        self._claim = Claim.take(self.path, patience, off=not locks)
        held.append(self)

    def leave(self) -> None:
        """Give the claim back; does nothing the second time."""
        if self not in held:
            return
        held.remove(self)
        self.withdraw()
        if self.begun:
            self._claim.ended()
        else:
            self._claim.abandon()

    def __enter__(self) -> ClaimedFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
