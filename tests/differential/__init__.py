"""Change a source at random, and compare the warehouse with it: `make differential`."""
