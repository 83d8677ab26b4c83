"""Show one client's changes travel from a retail database to a warehouse, and prove them complete."""
