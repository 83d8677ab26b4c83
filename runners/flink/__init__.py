"""Build a client's job and run it on a Flink cluster through its REST interface."""
