"""Floor 2: everything that waits.  The engine knows hooks, state and providers; it never imports a strategy."""
