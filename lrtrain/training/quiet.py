"""Silence where a library talks of itself."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Keep Lightning's advice on other settings out of the user's sight; what concerns the run, we say ourselves."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
