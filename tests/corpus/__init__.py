"""Hold events that the real connector wrote for a nasty schema: see `python -m tests.corpus.record`."""
