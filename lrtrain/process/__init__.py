"""This process: its signals, its rank among those of a run, what it imports."""

__all__ = ["commit", "imports", "parent", "ranks", "signals", "state"]
