"""The command line: one file per command family, Docker's grammar, no import of the engine."""
