"""What runs say of the strategies that they were trained under: pure numbers in, findings out."""

__all__ = ["fairness", "paired", "ranks", "selection", "speed", "verdict", "words"]
