"""What turns a schedule into trained weights: module, data, optimizers, callbacks."""

__all__ = ["run", "session"]
