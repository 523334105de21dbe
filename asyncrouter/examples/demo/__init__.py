"""``python -m asyncrouter demo``: the main job on a real local model, through real HTTP, with a real outage."""
