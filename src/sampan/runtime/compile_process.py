"""An OCI process as operations: from the namespaces entered to the program executed. Shared by launch and exec.

Order matters: limits and the console while all capabilities are held; the filter before they go, unless
``noNewPrivileges`` allows it at the very end, with the program itself, where it hampers nothing of ours.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux import capabilities, rlimit
from sampan.oci.runtime_spec import (
    Capabilities,
    CPUAffinity,
    IDMapping,
    MemoryPolicy,
    Personality,
    Process,
    Scheduler,
    Seccomp,
)
from sampan.runtime import plan
from sampan.runtime.plan import Operation
from sampan.runtime.seccomp import NO_FILTER, compile_filter

DEFAULT_UMASK = 0o022
_EVERY_CPU = b"\xff" * 1024  # 8192, the most a kernel is built for; it takes those there are

_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
_PERSONALITIES = {"LINUX": 0x0, "LINUX32": 0x8}


def limits(process: Process, *, new_user: bool) -> Iterator[Operation]:
    """What is set before the root changes: resource limits, OOM score, scheduling."""
    for limit in process.rlimits:
        yield plan.SetLimit(rlimit.NUMBERS[limit.type], rlimit.value(limit.soft), rlimit.value(limit.hard))
    if process.oom_score_adj is not None:
        yield plan.SetOomScore(process.oom_score_adj, int(new_user))
    if process.io_priority:
        yield plan.SetIoPriority(_io_priority(process.io_priority.class_, process.io_priority.priority))
    if process.scheduler:
        yield _scheduler(process.scheduler)


def console(process: Process, *, bind: bool, plain: bool = False) -> Iterator[Operation]:
    """Session and stdio; ``bind`` puts the terminal over /dev/console too (not for an exec).

    ``plain`` output has no carriage returns: whoever shows it adds them.
    """
    yield plan.NewSession()
    if process.terminal:
        size = process.console_size
        rows, columns = (size.height, size.width) if size else (0, 0)
        yield plan.OpenConsole(rows, columns, process.user.uid, "/dev/console" if bind else "", int(plain))
    else:
        yield plan.SetStdio(process.user.uid)


def own_stdio(process: Process, mappings: Sequence[IDMapping]) -> Iterator[Operation]:
    """Output pipes become those of a user that another user namespace knows, who may then open /dev/stdout anew."""
    uid = process.user.uid
    for one in mappings:
        if not process.terminal and one.container_id <= uid < one.container_id + one.size:
            yield plan.OwnStdio(one.host_id + uid - one.container_id)


class Filter:
    """A seccomp filter and when it is installed: ``late`` with the program, else while capabilities are held."""

    def __init__(self, section: Seccomp | None, *, late: bool) -> None:
        program = compile_filter(section) if section else NO_FILTER
        self.early, self.late = (NO_FILTER, program) if late else (program, NO_FILTER)


def affinity(wanted: CPUAffinity | None) -> Iterator[Operation]:
    """The CPUs of a process that is in its cgroup: not those its caller happened to be bound to, unless it asks so."""
    if wanted is None:
        yield plan.SetAffinity(_EVERY_CPU)
    elif wanted.final:
        yield plan.SetAffinity(cpu_mask(wanted.final))


def identity(process: Process, filtered: Filter, *, set_groups: bool = True) -> Iterator[Operation]:
    """Directory, ids, capabilities, early filter: the last things before the program."""
    user = process.user
    held = process.capabilities or Capabilities()
    early = [plan.Seccomp(filtered.early.flags, filtered.early.code)] if filtered.early.code else []
    if not process.no_new_privileges:
        yield from early
    yield plan.ChangeDirectory(process.cwd)
    yield plan.DropBounding(_mask(held.bounding))
    yield plan.SetIds(user.uid, user.gid, plan.group_bytes(user.additional_gids), int(set_groups))
    permitted, inheritable = _mask(held.permitted), _mask(held.inheritable)
    ambient = _mask(held.ambient) & permitted & inheritable
    yield plan.SetCapabilities(_mask(held.effective) & permitted, permitted, inheritable, ambient)
    yield plan.SetUmask(DEFAULT_UMASK if user.umask is None else user.umask)
    if process.no_new_privileges:
        yield plan.NoNewPrivileges()
        yield from early


def program_of(process: Process, filtered: Filter, *, keep: int = 0) -> plan.Execute:
    """The execve itself; ``keep`` descriptors from 3 on stay open."""
    program = filtered.late
    arguments, variables = tuple(process.args), environment(process.env)
    return plan.Execute(process.args[0], arguments, variables, keep, program.flags, program.code)


def environment(entries: Sequence[str]) -> tuple[str, ...]:
    """The environment; of two entries with one name the later counts. Raises InvalidParameter for one without "="."""
    named: dict[str, str] = {}
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if not equals or not name:
            raise InvalidParameter(f'process.env: "{entry}" is not of the form NAME=value')
        named[name] = entry
    return tuple(named.values())


def personality(wanted: Personality | None) -> Iterator[Operation]:
    """``linux.personality``; raises InvalidParameter for a domain that does not exist."""
    if wanted is None:
        return
    if wanted.domain not in _PERSONALITIES:
        raise InvalidParameter(f'linux.personality.domain "{wanted.domain}" is not LINUX or LINUX32')
    if wanted.flags:
        raise InvalidParameter("linux.personality.flags: no flags are defined")
    yield plan.SetPersonality(_PERSONALITIES[wanted.domain])


def memory_policy(wanted: MemoryPolicy | None) -> Iterator[Operation]:
    """``linux.memoryPolicy``; raises InvalidParameter for a mode or flag that does not exist."""
    if wanted is None:
        return
    if wanted.mode not in MEMORY_MODES:
        raise InvalidParameter(f'linux.memoryPolicy: invalid memory policy mode "{wanted.mode}"')
    mode = MEMORY_MODES[wanted.mode]
    for flag in wanted.flags:
        if flag not in MEMORY_FLAGS:
            raise InvalidParameter(f'linux.memoryPolicy: invalid memory policy flag "{flag}"')
        mode |= MEMORY_FLAGS[flag]
    nodes = cpu_mask(wanted.nodes, "linux.memoryPolicy.nodes: invalid memory policy node")
    if nodes and wanted.mode in _WITHOUT_NODES:
        given = int.from_bytes(nodes, "little").bit_count()
        raise InvalidParameter(f"linux.memoryPolicy.nodes: mode {wanted.mode} requires 0 nodes but got {given}")
    if not wanted.nodes and wanted.mode not in (*_WITHOUT_NODES, "MPOL_PREFERRED"):
        raise InvalidParameter(f"linux.memoryPolicy.nodes: mode {wanted.mode} requires at least one node but got 0")
    yield plan.SetMemoryPolicy(mode, nodes)


def cpu_mask(text: str, member: str = "process.execCPUAffinity") -> bytes:
    """``0-2,5`` as the bytes of a mask of CPUs or memory nodes; raises InvalidParameter, naming ``member``."""
    bits = 0
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or int(last or first) > 8191:
            raise InvalidParameter(f'{member}: "{text}" is not a list of numbers')
        for cpu in range(int(first), int(last or first) + 1):
            bits |= 1 << cpu
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")


def ungrantable(process: Process) -> list[str]:
    """The capabilities a process asks for and cannot have: unknown ones, or not in this runtime's own bounding set."""
    sets = msgspec.structs.asdict(process.capabilities or Capabilities()).values()
    names = dict.fromkeys(name for given in sets for name in given)
    return [name for name in names if not _mask([name])]


def not_inherited(process: Process) -> list[str]:
    """The ambient capabilities a process asks for and cannot have, not being permitted and inheritable too."""
    held = process.capabilities or Capabilities()
    able = _mask(held.permitted) & _mask(held.inheritable)
    return [name for name in dict.fromkeys(held.ambient) if (mask := _mask([name])) and not mask & able]


def _mask(names: Sequence[str]) -> int:
    return _grantable(tuple(names))


@lru_cache(256)
def _grantable(names: tuple[str, ...]) -> int:
    return capabilities.mask(names) & capabilities.held()


def _io_priority(class_: str, priority: int) -> int:
    if class_ not in _IO_CLASSES:
        raise InvalidParameter(f"ioPriority.class {class_} is not valid")
    if not 0 <= priority <= 7:
        raise InvalidParameter(f"ioPriority.priority {priority} is not between 0 and 7")
    return _IO_CLASSES[class_] << 13 | priority


def _check_scheduler(wanted: Scheduler) -> None:
    """The kernel ignores what is not of the policy; runc and the specification do not."""
    if wanted.policy in _NICE and not -20 <= wanted.nice <= 19:
        raise InvalidParameter(f"invalid scheduler.nice: {wanted.nice} when scheduler.policy is {wanted.policy}")
    if wanted.priority and wanted.policy not in _REAL_TIME:
        raise InvalidParameter("scheduler.priority can only be specified for SCHED_FIFO or SCHED_RR policy")
    if wanted.policy != _DEADLINE and (wanted.runtime or wanted.deadline or wanted.period):
        raise InvalidParameter("scheduler runtime/deadline/period can only be specified for SCHED_DEADLINE policy")


_NICE, _REAL_TIME, _DEADLINE = ("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_FIFO", "SCHED_RR"), "SCHED_DEADLINE"


def _scheduler(wanted: Scheduler) -> plan.SetScheduler:
    if wanted.policy not in _POLICIES:
        raise InvalidParameter(f"scheduler policy {wanted.policy} is not valid")
    _check_scheduler(wanted)
    flags = 0
    for flag in wanted.flags:
        if flag not in _SCHEDULER_FLAGS:
            raise InvalidParameter(f"scheduler flag {flag} is not valid")
        flags |= _SCHEDULER_FLAGS[flag]
    return plan.SetScheduler(
        _POLICIES[wanted.policy], flags, wanted.nice, wanted.priority, wanted.runtime, wanted.deadline, wanted.period
    )
