"""A bundle's config.json as plain JSON, changed member by member: what the specification says, not what we make of it.

config({"process.cwd": "tmp", "linux.seccomp": None})      # None takes the member out
"""

import json
from collections.abc import Mapping
from typing import Any

from sampan.oci.runtime_spec import encode

from .conftest import Runtime, confined

Change = Mapping[str, Any]


def config(change: Change, script: str = "true") -> dict[str, Any]:
    """The example's config.json, running a shell script, with members replaced by their dotted path."""
    base: dict[str, Any] = json.loads(encode(confined(["sh", "-c", script])))
    for path, value in change.items():
        *parents, last = path.split(".")
        at = base
        for parent in parents:
            at = at.setdefault(parent, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return base


def write(runtime: Runtime, change: Change, script: str = "true") -> None:
    """Write the bundle's config.json."""
    (runtime.directory / "config.json").write_text(json.dumps(config(change, script)))


def with_mount(*mounts: Mapping[str, Any]) -> dict[str, Any]:
    """The change that adds mounts to the example's."""
    return {"mounts": [*config({})["mounts"], *mounts]}


def with_namespaces(*namespaces: Mapping[str, Any], without: str = "") -> dict[str, Any]:
    """The change that adds namespaces to the example's, and takes types away."""
    kept = [one for one in config({})["linux"]["namespaces"] if one["type"] not in without.split()]
    return {"linux.namespaces": [*kept, *namespaces]}
