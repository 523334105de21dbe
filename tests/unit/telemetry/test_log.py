"""The log: one line a request, and nothing secret in it."""
