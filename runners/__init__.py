"""Run a client's pipeline: on Flink, in this process, and on a local stack of real parts."""
