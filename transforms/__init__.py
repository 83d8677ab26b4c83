"""Change what flows: contracts, the transform registry, clients' DoFns."""
