"""What the engine asks of the runtime: a spec made runnable, and its cgroup watched and changed.

    cgroup = prepare_cgroup(cgroup_path(container_id, parent), resources)
    launch = launch_from(spec, Launch(container_id, run_dir=…, state_dir=…), cgroup=cgroup, rootfs=fd, netns=fd)
    monitor = await Monitor.start(launch, zygote)
    handle = await monitor.exec(exec_from(process, spec, pid=monitor.pid, cgroup=cgroup, exec_id=…))
    cgroup.stats(), cgroup.pids(), update(cgroup, resources), cgroup.freeze(), cgroup.thaw()
    cgroup.remove()

Nothing here waits; all of it may be called on the event loop (a cgroup is made in about a millisecond).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux.cgroup import Cgroup
from sampan.linux.cgroup1 import Cgroup1
from sampan.linux.cgroup2 import Cgroup2
from sampan.linux.namespaces import FILES, FLAGS
from sampan.oci.runtime_spec import Linux, Mount, Process, Spec
from sampan.runtime.cgroups import DEFAULT_PARENT, cgroup_path, open_cgroup, prepare_cgroup, update
from sampan.runtime.compile import compile_exec, compile_launch
from sampan.runtime.compile_beginning import compile_beginning
from sampan.runtime.compile_mounts import map_text
from sampan.runtime.launch import AttachedStream, ExecLaunch, Launch
from sampan.runtime.mount_options import parse
from sampan.runtime.plan import Plan
from sampan.runtime.surroundings import Begun, Surroundings

__all__ = [
    "DEFAULT_PARENT",
    "beginning_from",
    "cgroup_path",
    "exec_from",
    "launch_from",
    "open_cgroup",
    "prepare_cgroup",
    "rest_from",
    "surroundings",
    "update",
]


def launch_from(
    spec: Spec,
    launch: Launch,
    *,
    cgroup: Cgroup | None,
    rootfs: int | None,
    netns: int | None = None,
    init: bool = False,
    trees: Mapping[str, int] | None = None,
    ready: int | None = None,
) -> Launch:
    """``launch`` with all that ``Monitor.start`` needs to run ``spec``.

    ``rootfs`` is a detached mount fd (None: ``spec.root.path`` is a directory); ``netns`` an fd that replaces
    the path of the spec's network namespace. The caller keeps its fds and closes them after the start.
    ``init`` puts the engine's init before the program. ``trees`` are fds of detached mounts, by destination, that binds
    of the spec show in place of their sources. ``ready`` is an fd from which a byte comes once the program may run; one
    that closes without it ends the start with ECANCELED. Raises InvalidParameter or Unsupported for a spec that
    cannot run, before anything is made.
    """
    with ExitStack() as opened:
        around = surroundings(spec, launch.container_id, cgroup, opened, rootfs=rootfs, netns=netns, init=init)
        around = msgspec.structs.replace(around, die_with_parent=True, trees=trees or {}, ready=ready)
        plan = compile_launch(spec, around)
        opened.pop_all()
    return msgspec.structs.replace(launch, plan=plan, oom_events=oom_events(cgroup))


def rest_from(
    spec: Spec,
    container_id: str,
    begun: Begun,
    *,
    rootfs: int,
    netns: int | None = None,
    init: bool = False,
    trees: Mapping[str, int] | None = None,
    ready: int | None = None,
) -> Plan:
    """What is left to do for ``spec`` when it has ``begun``; as ``launch_from`` otherwise."""
    with ExitStack() as opened:
        around = surroundings(spec, container_id, None, opened, rootfs=rootfs, netns=netns, init=init)
        path = (spec.linux or Linux()).cgroups_path
        around = msgspec.structs.replace(
            around, begun=begun, cgroup_path=path, die_with_parent=True, trees=trees or {}, ready=ready
        )
        plan = compile_launch(spec, around)
        opened.pop_all()
    return plan


def beginning_from(
    launch: Launch, new: tuple[str, ...], mounts: tuple[Mount, ...], cgroup: Cgroup, rest: int
) -> tuple[Launch, Begun]:
    """``launch`` with the plan of a beginning, which waits at the socket ``rest``, and what it does."""
    plan, begun = compile_beginning(launch.container_id, cgroup, new, mounts, rest)
    return msgspec.structs.replace(launch, plan=plan, oom_events=oom_events(cgroup)), begun


def oom_events(cgroup: Cgroup | None) -> Path | None:
    """The control file that counts processes killed for want of memory."""
    name = "memory.oom_control" if cgroup and cgroup.version == 1 else "memory.events"
    return Path(cgroup.file(name)) if cgroup and cgroup.has(name) else None


def surroundings(
    spec: Spec,
    container_id: str,
    cgroup: Cgroup | None,
    opened: ExitStack,
    *,
    rootfs: int | None = None,
    netns: int | None = None,
    bundle: Path = Path("/"),
    init: bool = False,
) -> Surroundings:
    """Open what the plan needs: namespaces to join, the cgroup's files, user namespaces of idmapped mounts.

    ``opened`` closes them if the caller fails; after that they belong to the plan, which closes them at its start.
    """
    linux = spec.linux or Linux()
    owned: list[int] = []

    def own(fd: int) -> int:
        opened.callback(os.close, fd)
        owned.append(fd)
        return fd

    paths = {one.type: one.path for one in linux.namespaces if one.path and not (one.type == "network" and netns)}
    tasks = open_tasks(cgroup, opened)
    owned += tasks
    namespaces = {kind: own(_open_namespace(kind, path)) for kind, path in paths.items()}
    if netns is not None:
        namespaces["network"] = netns
    return Surroundings(
        container_id=container_id,
        bundle=bundle,
        rootfs=rootfs,
        namespaces=namespaces,
        cgroup_tasks=tasks,
        cgroup_directory=own(cgroup.open()) if isinstance(cgroup, Cgroup2) else None,
        cgroup_path=cgroup.path if cgroup else "/",
        userns=dict(_user_namespaces(spec, namespaces.get("user"), own)),
        init=init,
        owned=owned,
    )


def _open_namespace(kind: str, path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidParameter(f'namespace {kind}: cannot open "{path}": {error.strerror}') from error


def open_tasks(cgroup: Cgroup | None, opened: ExitStack) -> list[int]:
    """Open ``tasks`` of every v1 hierarchy for joining; ``opened`` closes them."""
    fds = []
    for directory in cgroup.directories() if isinstance(cgroup, Cgroup1) else ():
        fds.append(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC))
        opened.callback(os.close, fds[-1])
    return fds


def mapped_mounts(spec: Spec, opened: ExitStack, owned: list[int]) -> dict[str, int]:
    """The user namespaces that idmapped mounts are made with, by destination, opened as ``surroundings`` does."""

    def own(fd: int) -> int:
        opened.callback(os.close, fd)
        owned.append(fd)
        return fd

    namespaces = (spec.linux or Linux()).namespaces
    path = next((one.path for one in namespaces if one.type == "user" and one.path), "")
    return dict(_user_namespaces(spec, own(_open_namespace("user", path)) if path else None, own))


def _user_namespaces(spec: Spec, joined: int | None, own: Callable[[int], int]) -> Iterator[tuple[str, int]]:
    """A user namespace per idmapped mount, made and ``own``ed for it; one without maps takes the container's."""
    from sampan.linux import userns  # seldom needed: a start without it is quicker

    linux = spec.linux or Linux()
    for mount in spec.mounts:
        if not (mount.uid_mappings or parse(mount.options).idmap):
            continue
        if joined is not None and not mount.uid_mappings:
            yield mount.destination, joined
            continue
        uids, gids = mount.uid_mappings or linux.uid_mappings, mount.gid_mappings or linux.gid_mappings
        if not uids or not gids:
            raise InvalidParameter(f"mount {mount.destination}: idmap needs uidMappings and gidMappings")
        yield mount.destination, own(userns.make(map_text(list(uids)), map_text(list(gids))))


def exec_from(
    process: Process,
    spec: Spec,
    *,
    pid: int,
    cgroup: Cgroup | None,
    exec_id: str,
    privileged: bool = False,
    open_stdin: bool = False,
    attached: Sequence[AttachedStream] = (),
) -> ExecLaunch:
    """All that ``Monitor.exec`` needs to run ``process`` beside the container's init ``pid``.

    Capabilities that ``process`` leaves out are those of ``spec``; its filter holds unless ``privileged``.
    Raises InvalidParameter or Unsupported for a process that cannot run, OSError where ``pid`` is gone.
    """
    with ExitStack() as opened:
        pidfd = os.pidfd_open(pid)
        opened.callback(os.close, pidfd)
        tasks = open_tasks(cgroup, opened)
        owned = [pidfd, *tasks]
        directory = cgroup.open() if isinstance(cgroup, Cgroup2) else None
        if directory is not None:
            opened.callback(os.close, directory)
            owned.append(directory)
        linux = spec.linux or Linux()
        plan = compile_exec(
            inherit(process, spec),
            msgspec.structs.replace(linux, seccomp=None) if privileged else linux,
            pidfd=pidfd,
            flags=foreign_namespaces(pid),
            cgroup_tasks=tasks,
            cgroup_directory=directory,
            owned=owned,
        )
        opened.pop_all()
    size = process.console_size
    return ExecLaunch(
        exec_id=exec_id,
        plan=plan,
        terminal=process.terminal,
        console_size=(size.height, size.width) if size else (0, 0),
        open_stdin=open_stdin,
        attached=attached,
    )


def inherit(process: Process, spec: Spec) -> Process:
    """``process`` with what it leaves out taken from the container's own: capabilities, OOM score, limits."""
    own = spec.process
    if own is None:
        return process
    return msgspec.structs.replace(
        process,
        capabilities=process.capabilities or own.capabilities,
        rlimits=process.rlimits or own.rlimits,
        oom_score_adj=own.oom_score_adj if process.oom_score_adj is None else process.oom_score_adj,
    )


def foreign_namespaces(pid: int) -> int:
    """CLONE_NEW* flags of the namespaces ``pid`` is in and this process is not; the others need no joining."""
    flags = 0
    for kind, own in own_namespaces().items():
        try:
            theirs = os.stat(f"/proc/{pid}/ns/{FILES[kind]}")  # noqa: PTH116  at each exec
        except FileNotFoundError:
            continue  # the process ended: setns tells
        if theirs.st_ino != own:
            flags |= FLAGS[kind]
    return flags


@cache
def own_namespaces() -> dict[str, int]:
    """By kind the namespaces of this process, which it never changes; kinds that the kernel lacks are left out."""
    directory = Path("/proc/self/ns")
    return {kind: (directory / file).stat().st_ino for kind, file in FILES.items() if (directory / file).exists()}
