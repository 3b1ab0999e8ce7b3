"""pause, resume, update: a running container's cgroup changed."""

import sys
from pathlib import Path

from sampan.errors import Conflict, EngineError, InvalidParameter, Unsupported
from sampan.linux.cgroup import Cgroup
from sampan.oci.runtime_spec import CPU, BlockIO, Memory, Pids, Resources, decode
from sampan.runtime.cgroups import update as apply
from sampan.runtime.cli import one_id
from sampan.runtime.error_log import KERNEL_MEMORY, warn
from sampan.runtime.flags import Arguments, Kind, Text, parse
from sampan.runtime.state import Container, Containers, locked

_UPDATE: dict[str, Kind] = dict.fromkeys(
    (
        "resources", "blkio-weight", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-idle",
        "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems", "memory", "memory-reservation",
        "memory-swap", "kernel-memory", "kernel-memory-tcp", "pids-limit", "l3-cache-schema", "mem-bw-schema",
    ),
    Text,
)  # fmt: skip
FLAGS = {"update": (_UPDATE, {"r": "resources", "cpu-shares": "cpu-share"})}


def pause(root: Path, words: list[str]) -> int:
    """``pause ID``."""
    _cgroup(root, one_id(words, "pause"), {"running", "created"}, "pause").freeze()
    return 0


def resume(root: Path, words: list[str]) -> int:
    """``resume ID``."""
    _cgroup(root, one_id(words, "resume"), {"paused"}, "resume").thaw()
    return 0


def update(root: Path, words: list[str]) -> int:
    """``update [--resources FILE] [flags] ID``."""
    arguments = parse(words, *FLAGS["update"], anywhere=True)
    _refuse_allocation(arguments)
    if arguments.text("kernel-memory") or arguments.text("kernel-memory-tcp"):
        warn(KERNEL_MEMORY)
    container_id = one_id(arguments.words, "update")
    container = Containers(root).find(container_id)
    with locked(container.directory):
        cgroup = _of(container, {"running", "created", "paused"}, "update")
        apply(cgroup, _resources(arguments))
    return 0


def _refuse_allocation(arguments: Arguments) -> None:
    if arguments.text("l3-cache-schema"):
        raise Unsupported("Intel RDT/CAT: l3 cache schema is not enabled")
    if arguments.text("mem-bw-schema"):
        raise Unsupported("Intel RDT/MBA: memory bandwidth schema is not enabled")


def _cgroup(root: Path, container_id: str, states: set[str], verb: str) -> Cgroup:
    return _of(Containers(root).find(container_id), states, verb)


def _of(container: Container, states: set[str], verb: str) -> Cgroup:
    """The cgroup of a container in one of ``states``; raises Conflict."""
    if container.status() not in states:
        raise Conflict("container not paused" if verb == "resume" else "container not running")
    cgroup = container.cgroup
    if cgroup is None:
        raise EngineError(f"container {container.record.id} has no cgroup")
    return cgroup


def _resources(arguments: Arguments) -> Resources:
    """A file replaces all flags, as with runc; ``-`` is stdin."""
    if source := arguments.text("resources"):
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return decode(data, Resources, "resources")

    def number(name: str) -> int | None:
        return arguments.number(name) if arguments.text(name) else None

    return Resources(
        memory=Memory(
            limit=_bytes(arguments, "memory"),
            reservation=_bytes(arguments, "memory-reservation"),
            swap=_bytes(arguments, "memory-swap"),
        ),
        cpu=CPU(
            shares=number("cpu-share"),
            quota=number("cpu-quota"),
            burst=number("cpu-burst"),
            period=number("cpu-period"),
            realtime_runtime=number("cpu-rt-runtime"),
            realtime_period=number("cpu-rt-period"),
            cpus=arguments.text("cpuset-cpus"),
            mems=arguments.text("cpuset-mems"),
            idle=number("cpu-idle"),
        ),
        pids=Pids(number("pids-limit")),
        block_io=BlockIO(weight=number("blkio-weight")),
    )


def _bytes(arguments: Arguments, name: str) -> int | None:
    """``64m`` → bytes; a plain number is bytes, -1 no limit."""
    text = arguments.text(name).lower().removesuffix("b")
    if not text:
        return None
    factor = 1 << 10 * ("kmgt".find(text[-1]) + 1)
    digits = text if factor == 1 else text[:-1]
    if not digits.lstrip("-").isdecimal():
        raise InvalidParameter(f"invalid value for {name}: {arguments.text(name)}")
    return int(digits) * factor
