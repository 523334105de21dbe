"""Answers before the traffic: what a configuration would do, tried where it costs nothing."""
