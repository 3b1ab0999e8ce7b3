"""A small client of the Engine API: what the command line needs and nothing more."""
