"""Floor 1: what changes while the router runs.  Nothing here waits; every method that needs the time is given it."""
