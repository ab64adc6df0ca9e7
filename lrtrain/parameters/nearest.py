"""What was meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(wrong: str, options: Sequence[str]) -> str:
    """The nearest option, by its whole path or its last part; of a few options all of them."""
    ends = {option.rpartition(".")[2]: option for option in reversed(options)} | {option: option for option in options}
    near = difflib.get_close_matches(wrong, ends, n=1) or difflib.get_close_matches(wrong.rpartition(".")[2], ends, n=1)
    if near:
        return f"did you mean {ends[near[0]]}?"
    return f"there are {', '.join(options)}" if len(options) < 40 else "--help lists them all"
