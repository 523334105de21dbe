"""The two-model facade, on a fake provider."""
