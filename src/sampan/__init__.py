"""sampan: a container engine with the Docker Engine API."""

__version__ = "0.1.0"
