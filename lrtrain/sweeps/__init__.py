"""Many runs by one command: which jobs, who does them, and what came of them."""

__all__ = ["command", "coordinator", "dry_run", "grid", "hparams", "previews", "table", "view", "worker"]
