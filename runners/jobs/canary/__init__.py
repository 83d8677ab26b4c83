"""Try a new version beside the running one: same input, no sink touched, outputs compared."""
