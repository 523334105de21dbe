"""Floor 1: one module a wire API.  aiohttp's client is imported here only, and only when a call is made."""
