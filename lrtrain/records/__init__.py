"""Runs as they are compared, wherever they were made: one file for each way in which they are kept."""

__all__ = ["csv_log", "elsewhere", "find", "folders", "record", "table", "tensorboard", "trainer_state"]
