"""What a run changes in the process that it is in, and puts back at its end."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARIES = ("lightning.pytorch", "lightning.fabric")


@contextmanager
def kept_as_it_is() -> Iterator[None]:
    """Leave random numbers, threads, determinism, environment, warnings and loggers at the end as they are now."""
    import numpy as np
    import torch

    environment = dict(os.environ)
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    handlers, raises = logging.getLogger().handlers[:], logging.raiseExceptions
    python, legacy, generator = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    try:
        with warnings.catch_warnings():
            _quiet()
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().handlers[:], logging.raiseExceptions = handlers, raises
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(generator)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark


def _quiet() -> None:
    """Keep Lightning's advice on other settings out of the user's sight; what concerns the run, we say ourselves."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torchmetrics)\..*")
