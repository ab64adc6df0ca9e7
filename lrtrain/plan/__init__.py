"""What decides the learning rate of a run: its curve, its length, and how both may change. No torch."""
