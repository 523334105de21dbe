"""Filters: which candidates may serve a request."""
