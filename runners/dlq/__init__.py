"""Look at a client's dead letters, and give them back to its job."""
