"""Many runs by one command: which jobs, and what came of them."""

__all__ = ["jobs", "run", "table"]
