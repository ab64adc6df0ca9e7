"""What a person is shown: tables and pictures of numbers, with no knowledge of how they came about."""

__all__ = ["confusion", "curves", "pictures", "table", "text_plot"]
