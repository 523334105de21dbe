"""Route each LLM call to the cheapest model that will do, and never lose a call to a provider's bad day."""
