"""The folder of a run: what its files are called, who may write, and what they hold."""
