"""The HTTP side of the engine: one file per group of the API reference.

A handler is decode, one engine call, encode. ``contract`` says what the engine is asked for.
"""
