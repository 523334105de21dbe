"""The command line: one module a family of commands, click for the options, rich for tables on a terminal."""
