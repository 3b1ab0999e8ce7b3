"""The registry's end: the distribution specification over one storage driver and one database."""
