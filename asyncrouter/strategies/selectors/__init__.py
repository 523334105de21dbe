"""Selectors: the order in which the candidates are tried."""
