"""What a router is worth on outcomes: curves, measures, intervals, and what it is held against."""
