"""state, list, ps: what containers are."""

import json
from pathlib import Path
from typing import Any

from sampan.errors import Conflict, InvalidParameter, NotFound
from sampan.oci.runtime_spec import VERSION
from sampan.runtime.cli import default_root, no_more, one_id
from sampan.runtime.flags import Kind, Switch, Text, parse
from sampan.runtime.state import Container, Containers

FLAGS: dict[str, tuple[dict[str, Kind], dict[str, str]]] = {
    "list": ({"format": Text, "quiet": Switch}, {"f": "format", "q": "quiet"}),
    "ps": ({"format": Text}, {"f": "format"}),
}
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def state(root: Path, words: list[str]) -> int:
    """``state ID``."""
    container = Containers(root).find(one_id(words, "state"))
    annotations = dict(container.spec.annotations)
    print(json.dumps(_fields(container) | ({"annotations": annotations} if annotations else {}), indent=2))
    return 0


def list_(root: Path, words: list[str]) -> int:
    """``list [--format table|json] [--quiet]``."""
    arguments = parse(words, *FLAGS["list"])
    no_more(arguments.words, "list")
    if not root.is_dir() and str(root) != default_root():
        raise NotFound(f"open {root}: no such file or directory")
    rows = [_fields(container) for container in Containers(root)]
    if arguments.on("quiet"):
        print("".join(f"{row['id']}\n" for row in rows), end="")
    elif _format(arguments.text("format", "table")) == "json":
        print(json.dumps(rows, separators=(",", ":")))
    else:
        keys = [column.lower() for column in _COLUMNS]
        _table([_COLUMNS, *(tuple(str(row[key]) for key in keys) for row in rows)])
    return 0


def ps(root: Path, words: list[str]) -> int:
    """``ps [--format table|json] ID [arguments of ps(1)]``."""
    arguments = parse(words, *FLAGS["ps"])
    if not arguments.words:
        raise InvalidParameter('sampan-runtime: "ps" requires a minimum of 1 argument')
    container_id, *options = arguments.words
    container = Containers(root).find(container_id)
    cgroup = container.cgroup
    if cgroup is None:
        raise Conflict(f"container {container_id} has no cgroup")
    pids = cgroup.pids() if cgroup.exists() else []
    if _format(arguments.text("format", "table")) == "json":
        print(json.dumps(pids, separators=(",", ":")))
        return 0
    _show_processes(options or ["-ef"], set(pids))
    return 0


def _show_processes(options: list[str], pids: set[int]) -> None:
    """The lines of ps(1) whose PID column is one of ours."""
    import subprocess  # for this command's sake alone

    done = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InvalidParameter(f"ps: {done.stderr.strip()}")
    header, *lines = done.stdout.splitlines()
    if "PID" not in header.split():
        raise InvalidParameter("couldn't find PID field in ps output")
    column = header.split().index("PID")
    print(header)
    for line in lines:
        if int(line.split()[column]) in pids:
            print(line)


def _format(name: str) -> str:
    if name not in {"table", "json"}:
        raise InvalidParameter("invalid format option")
    return name


def _fields(container: Container) -> dict[str, Any]:
    """The members runc shows, in its order."""
    record, status = container.record, container.status()
    return {
        "ociVersion": VERSION,
        "id": record.id,
        "pid": 0 if status == "stopped" else record.pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": record.owner,
    }


def _table(rows: Any) -> None:
    """Columns of 12 and more, with three spaces behind their widest cell."""
    widths = [max(12, *(len(row[index]) + 3 for row in rows)) for index in range(len(_COLUMNS))]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
