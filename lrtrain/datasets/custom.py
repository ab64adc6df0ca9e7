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
        ValueError: It cannot be imported, fails, or does not make a LightningDataModule with a validation.
    """
    import lightning.pytorch as pl
    from lightning.pytorch.utilities.model_helpers import is_overridden

    data = call("dataset.function", str(function), parameters, **given)
    if not isinstance(data, pl.LightningDataModule):
        kind = f"{type(data).__module__}.{type(data).__name__}"
        raise ValueError(f"dataset.function={function} does not return a lightning.pytorch.LightningDataModule: {kind}")
    if not is_overridden("val_dataloader", data):
        raise ValueError(f"dataset.function={function} has no val_dataloader: no validation would run")
    return data
