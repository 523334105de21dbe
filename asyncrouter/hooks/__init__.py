"""Floor 1: markers, specifications, the plugin manager and the compiled pipeline.  pluggy lives here only."""
