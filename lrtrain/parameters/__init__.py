"""What a parameter may be, and how a function's annotations check its arguments: the one home of every rule."""
