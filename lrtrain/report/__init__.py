"""What a person is shown: tables and pictures of numbers, with no knowledge of how they came about."""
