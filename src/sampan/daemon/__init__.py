"""The daemon as a process: flags, logging, signals, readiness. What it serves is in engine and server."""
