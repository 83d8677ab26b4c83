"""Find what hurts in Beam in a client's code, by reading it: nothing is imported or run."""
