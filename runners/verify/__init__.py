"""Prove on the real stack that nothing is lost and nothing doubled, whatever is killed."""
