"""Hold the transforms that come with tillstream, one file a client."""
