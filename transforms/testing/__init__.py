"""Hold what `tillstream.testing` offers; import it from there."""
