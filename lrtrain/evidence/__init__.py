"""What runs say of the strategies that they were trained under: pure numbers in, findings out."""

__all__ = ["paired", "verdict", "words"]
