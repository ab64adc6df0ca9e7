"""What a parameter may be, and how a function's annotations check its arguments: the one home of every rule."""

__all__ = ["bound", "places", "rules", "signatures", "spans"]
