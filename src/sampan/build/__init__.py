"""Dockerfile → image.

stages.py    Dockerfile + options → the stages that are needed, and what each needs of others
builder.py   walks them, independent ones side by side; every step is keyed by what it depends on
steps.py     what one instruction does to a stage's state
copying.py   COPY and ADD on directory fds
cache.py     key → layer, kept in the engine's database
executor.py  what the builder needs to run a command; the engine supplies it
classic.py   the words of ``docker build`` without BuildKit
"""
