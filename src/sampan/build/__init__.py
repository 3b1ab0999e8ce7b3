"""Dockerfile → image.

stages.py    Dockerfile + options → the stages that are needed, and what each needs of others
builder.py   makes the image of the last state
building.py  walks the stages, independent ones side by side; every step is keyed by what it depends on
stage.py     what one instruction does to a stage's state; run_step.py, copy_step.py, layer.py do the work
scope.py     what such a step knows of its stage and its build
commits.py   steps' states as images (the classic builder's promise); imported.py: --cache-from
kept.py      directories that outlive builds; usage.py, prune.py: what all of it takes, and how it goes
copying.py   COPY and ADD on directory fds
cache.py     key → layer, kept in the engine's database
executor.py  what the builder needs to run a command; the engine supplies it
classic.py   the words of ``docker build`` without BuildKit

``build`` and ``Recipe`` are the API for Python programs; they talk to a daemon as any client does.
"""

from typing import Any

CLIENT = frozenset({"build", "Built", "Options", "Recipe"})


def __getattr__(name: str) -> Any:
    """The client's part, imported only for those who use it."""
    if name in CLIENT:
        from sampan.client import build as api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
