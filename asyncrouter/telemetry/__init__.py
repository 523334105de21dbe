"""Wing: what the router tells of itself.  structlog is imported here only, and only when the log is switched on."""
