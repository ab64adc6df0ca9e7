"""The folder of a run: what its files are called, who may write, and what they hold."""

__all__ = ["claim", "claimed", "files", "find", "folder", "log", "summary", "sweep_folder"]
