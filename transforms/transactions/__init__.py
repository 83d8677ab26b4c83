"""Hold rows back until the transactions of the source that made them are whole."""
