"""Where a run starts from, and what a changed plan means from there on."""

from __future__ import annotations

from typing import NamedTuple

from lrtrain.run_folder.folder import RunFolder

POLICIES = {
    "keep": "the old curve, which holds its last rate where it has an end",
    "stretch": "what is left of the old curve, spread over what is left of the run",
    "append": "the new schedule from here on, over what is left of the run",
    "switch": "the new schedule at the same update, as if it had been the plan all along",
    "weights_only": "a new run, in a folder of its own, that begins with these weights",
}
"""What a changed plan may mean, from the checkpoint on."""


class Start(NamedTuple):
    """At its first update with new weights, or from a checkpoint.

    Attributes:
        folder: The run whose checkpoint it starts from; None for none.
        policy: What a changed plan means; None where it must be the same.
        resumes: It goes on with that run, in its folder and with all its state; else with the weights only.
    """

    folder: RunFolder | None = None
    policy: str | None = None
    resumes: bool = False

    @classmethod
    def resume(cls, folder: RunFolder, policy: str | None = None) -> Start:
        """Go on with a run in its own folder."""
        return cls(folder, policy, resumes=True)

    @classmethod
    def weights(cls, folder: RunFolder) -> Start:
        """At the first update, with the last weights of another run."""
        return cls(folder)


FRESH = Start()
"""At the first update, with new weights."""
