"""Fallbacks: where to go after a failure."""
