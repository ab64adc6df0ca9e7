"""A user's own LightningDataModule, by the place of its class or of a function that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from lrtrain.parameters.places import Place, call
from lrtrain.parameters.rules import Number, OptionalCount, OptionalTable, OrNull


def load(
    given: Mapping[str, Any],
    /,
    *,
    function: Annotated[str | None, Place()] = None,
    parameters: OptionalTable = None,
    classes: Annotated[int | None, OrNull(Number(low=2, integer=True))] = None,
    tokens: OptionalCount = None,
) -> Any:
    """Your own LightningDataModule.

    Args:
        given: What it may take of the run's own keys, by their names.
        function: module:class of a LightningDataModule, or a function that makes one; batch_size, seed, shuffle,
            workers and drop_last are passed to it where its signature has these names.
        parameters: its other arguments: {folder:data}.
        classes: number of classes; a model of ours needs it.
        tokens: number of tokens, where the inputs are tokens.

    Raises:
        ValueError: It cannot be imported, or fails.
    """
    return call("dataset.function", str(function), parameters, **given)
