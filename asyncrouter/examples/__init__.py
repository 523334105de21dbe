"""Programs that show the router at work, on real servers.  Nothing in the library imports them."""
