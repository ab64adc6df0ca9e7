"""What decides the learning rate of a run: its curve, its length, and how both may change. No torch."""

__all__ = ["changes", "curve", "history", "length", "plan", "progress", "start"]
