"""Configuration: what may be written, how it is read and checked, and the catalogue that the router works from."""
