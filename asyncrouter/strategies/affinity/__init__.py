"""Affinity: a conversation stays with the deployment that has its prompt cache, while that pays."""
