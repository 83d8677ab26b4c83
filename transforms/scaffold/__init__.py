"""Make the first files of a client's own transforms."""
