"""Retries: whether and when the same deployment is asked again."""
