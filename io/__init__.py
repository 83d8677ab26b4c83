"""Meet the outside: sources, codecs and sinks, one file each."""
