"""A configuration that is changed at one place, and a secret that must never stand in it."""

from __future__ import annotations

SECRET = "sk-live-0123456789abcdef"
SECRET_CURE = 'write the name of an environment variable in the provider\'s table: api_key_env = "NAME"'


def put(config, path, value):
    *tables, key = path.split(".")
    for table in tables:
        config = config.setdefault(table, {})
    config[key] = value
