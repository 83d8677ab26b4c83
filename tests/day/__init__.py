"""Play a day of operations on two clients: what people do to jobs, while traffic goes on and parts die."""
