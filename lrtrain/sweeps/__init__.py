"""Many runs by one command: which jobs, and what came of them."""
