"""The dependency-injection container."""
