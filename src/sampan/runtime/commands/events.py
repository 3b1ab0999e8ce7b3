"""events: usage, once or every interval, in runc's JSON (one object a line)."""

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

from sampan.errors import Conflict, InvalidParameter
from sampan.linux.cgroup import BlkioEntry, Usage
from sampan.runtime.cli import one_id
from sampan.runtime.flags import Switch, Text, parse
from sampan.runtime.state import Containers

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NO_LIMIT = (1 << 63) - 4096


def events(root: Path, words: list[str]) -> int:
    """``events [--stats] [--interval 5s] ID``: until the container ends."""
    arguments = parse(words, {"stats": Switch, "interval": Text}, {})
    container = Containers(root).find(one_id(arguments.words, "events"))
    interval = seconds(arguments.text("interval", "5s"))
    cgroup = container.cgroup
    if cgroup is None or container.status() == "stopped":
        raise Conflict(f"container with id {container.record.id} is not running")
    pidfd = os.pidfd_open(container.record.pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    while True:
        event = {"type": "stats", "id": container.record.id, "data": figures(cgroup.stats())}
        print(json.dumps(event))
        sys.stdout.flush()
        if arguments.on("stats") or poll.poll(interval * 1000):
            os.close(pidfd)
            return 0


def seconds(text: str) -> float:
    """``5s``, ``100ms``; raises InvalidParameter."""
    number = text.rstrip("hms")
    unit = text[len(number) :]
    if unit not in _UNITS or not number.replace(".", "", 1).isdecimal() or float(number) <= 0:
        raise InvalidParameter(f'duration interval must be greater than 0: "{text}"')
    return float(number) * _UNITS[unit]


def figures(usage: Usage) -> dict[str, Any]:
    """runc's names and nesting."""
    memory, pids = usage.memory, usage.pids
    return {
        "cpu": {
            "usage": {
                "total": usage.cpu.total,
                "percpu": list(usage.cpu.per_cpu),
                "kernel": usage.cpu.system,
                "user": usage.cpu.user,
            },
            "throttling": {
                "periods": usage.cpu.periods,
                "throttledPeriods": usage.cpu.throttled_periods,
                "throttledTime": usage.cpu.throttled_time,
            },
        },
        "memory": {
            "cache": memory.stat.get("cache", memory.stat.get("file", 0)),
            "usage": {
                "limit": _NO_LIMIT if memory.limit is None else memory.limit,
                "usage": memory.usage,
                "max": memory.max_usage,
                "failcnt": memory.failures,
            },
            "raw": dict(memory.stat),
        },
        "pids": {"current": pids.current, "limit": pids.limit or 0},
        "blkio": {
            "ioServiceBytesRecursive": _entries(usage.blkio.service_bytes),
            "ioServicedRecursive": _entries(usage.blkio.serviced),
        },
    }


def _entries(entries: tuple[BlkioEntry, ...]) -> list[dict[str, Any]]:
    return [{"major": one.major, "minor": one.minor, "op": one.op, "value": one.value} for one in entries]
