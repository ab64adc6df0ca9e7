"""What was meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(wrong: str, options: Sequence[str]) -> str:
    """The nearest option, by its whole path or its last part; of a few options all of them."""
    ends = {option.rpartition(".")[2]: option for option in reversed(options)} | {option: option for option in options}
    words = wrong, wrong.rpartition(".")[2], wrong.lower()
    near = next(filter(None, (difflib.get_close_matches(word, ends, n=1) for word in words)), None)
    if near:
        return f"did you mean {ends[near[0]]}?"
    return f"there are {', '.join(options)}" if len(options) < 40 else "--help lists them all"
