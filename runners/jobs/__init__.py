"""Plan, launch, watch, change and undo the jobs of clients."""
