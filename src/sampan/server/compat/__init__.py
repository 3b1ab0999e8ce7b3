"""What older clients are told, and what they meant: one file per noun, each a table of changes.

The engine speaks the newest version only. ``change`` says how a table is applied.
"""
