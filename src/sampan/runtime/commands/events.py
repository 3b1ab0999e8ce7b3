"""events: usage, once or every interval, and kills for want of memory, in runc's JSON (one object a line)."""

import json
import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from sampan.errors import Conflict, InvalidParameter
from sampan.linux.cgroup import BlkioEntry, Cgroup, Usage
from sampan.runtime.cli import one_id
from sampan.runtime.flags import Kind, Switch, Text, parse
from sampan.runtime.state import Containers

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_NO_LIMIT = (1 << 63) - 4096
FLAGS: dict[str, tuple[dict[str, Kind], dict[str, str]]] = {"events": ({"stats": Switch, "interval": Text}, {})}


def events(root: Path, words: list[str]) -> int:
    """``events [--stats] [--interval 5s] ID``: until the container ends."""
    arguments = parse(words, *FLAGS["events"], anywhere=True)
    container = Containers(root).find(one_id(arguments.words, "events"))
    interval = seconds(arguments.text("interval", "5s"))
    cgroup = container.cgroup
    if cgroup is None or container.status() == "stopped":
        raise Conflict(f"container with id {container.record.id} is not running")
    told = (_usage(cgroup),) if arguments.on("stats") else _watch(cgroup, container.record.pid, interval)
    for kind, data in told:
        event = {"type": kind, "id": container.record.id} | ({} if data is None else {"data": data})
        print(json.dumps(event, separators=(",", ":")), flush=True)
    return 0


_Event = tuple[str, "dict[str, Any] | None"]


def _usage(cgroup: Cgroup) -> _Event:
    return "stats", figures(cgroup.stats())


def _watch(cgroup: Cgroup, pid: int, interval: float) -> Iterator[_Event]:
    """Usage at every interval and want of memory as it comes, until the first process ends."""
    with ExitStack() as opened:
        ended = os.pidfd_open(pid)
        opened.callback(os.close, ended)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        with suppress(OSError, KeyError):
            poll.register(_oom(cgroup, opened), select.POLLIN)
        killed, due = cgroup.oom_kills(), time.monotonic() + interval
        while True:
            ready = [fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)]
            for fd in ready:
                if fd != ended:
                    os.read(fd, 4096)
            before, killed = killed, cgroup.oom_kills()
            yield from (("oom", None) for _ in range(killed - before))
            if ended in ready:
                return
            if time.monotonic() >= due:
                yield _usage(cgroup)
                due += interval


def _oom(cgroup: Cgroup, opened: ExitStack) -> int:
    fd = cgroup.oom_watch()
    opened.callback(os.close, fd)
    return fd


def seconds(text: str) -> float:
    """``5s``, ``100ms``, ``1m30s``; raises InvalidParameter."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.removeprefix("-"):
        raise InvalidParameter(f'invalid value "{text}" for flag -interval: parse error')
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if text.startswith("-") or total <= 0:
        raise InvalidParameter("duration interval must be greater than 0")
    return total


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
            "swap": {"limit": 0, "usage": memory.swap, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": dict(memory.stat),
        },
        "pids": {"current": pids.current, "limit": pids.limit or 0},
        "blkio": {
            "ioServiceBytesRecursive": _entries(usage.blkio.service_bytes),
            "ioServicedRecursive": _entries(usage.blkio.serviced),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _entries(entries: tuple[BlkioEntry, ...]) -> list[dict[str, Any]]:
    return [{"major": one.major, "minor": one.minor, "op": one.op, "value": one.value} for one in entries]
