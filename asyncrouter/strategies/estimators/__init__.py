"""Estimators: how hard a request is."""
