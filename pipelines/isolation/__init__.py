"""Keep what one record does to a client's code from stopping the client's job."""
