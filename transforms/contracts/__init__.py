"""Say what rows look like, check them, and compare one contract with another."""
