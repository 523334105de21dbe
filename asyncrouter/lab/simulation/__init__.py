"""The simulator: the real router and its policies in virtual time, over a fleet that only a scenario describes."""
