"""Floor 0: the data that travels, and nothing else.  Only the standard library and attrs are imported here."""
