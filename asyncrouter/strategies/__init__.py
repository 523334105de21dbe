"""Floor 2: the built-in strategies, plugins like any other.

Every strategy is pure: time and randomness are handed in, nothing is awaited, logged or measured here.  Only types and
markers are imported, which is what a stranger's plugin may import too.  All are registered ``trylast``, so that any
other plugin goes before them; among themselves they run in the order in which they were registered.
"""
