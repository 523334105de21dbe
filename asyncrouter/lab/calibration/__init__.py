"""Thresholds for what is wanted: a share of strong calls, a spend, a quality kept with a stated confidence."""
