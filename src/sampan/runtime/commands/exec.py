"""exec: another process in a running container."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from sampan.errors import Conflict, InvalidParameter
from sampan.oci.runtime_spec import Box, Capabilities, Linux, Process, Spec, User, decode
from sampan.runtime import kept, sub_cgroups
from sampan.runtime.commands.create import write_pid
from sampan.runtime.compile import compile_exec
from sampan.runtime.compile_process import ungrantable
from sampan.runtime.console import Foreground, send_console, send_pidfd
from sampan.runtime.container import foreign_namespaces, inherit
from sampan.runtime.error_log import warn_of_capabilities
from sampan.runtime.flags import Arguments, Kind, Switch, Text, Texts, parse
from sampan.runtime.plan import Plan
from sampan.runtime.seccomp_listener import deliver_to
from sampan.runtime.spawn import spawn
from sampan.runtime.state import Container, Containers
from sampan.runtime.users import with_home

_EXEC: dict[str, Kind] = {
    "process": Text,
    "console-socket": Text,
    "pidfd-socket": Text,
    "cwd": Text,
    "env": Texts,
    "tty": Switch,
    "user": Text,
    "additional-gids": Texts,
    "detach": Switch,
    "pid-file": Text,
    "process-label": Text,
    "apparmor": Text,
    "no-new-privs": Switch,
    "cap": Texts,
    "preserve-fds": Text,
    "cgroup": Texts,
    "ignore-paused": Switch,
    "no-subreaper": Switch,
}
_SHORT = {"p": "process", "e": "env", "t": "tty", "u": "user", "g": "additional-gids", "d": "detach", "c": "cap"}
FLAGS = {"exec": (_EXEC, _SHORT)}


def exec_(root: Path, words: list[str]) -> int:
    """``exec [flags] ID COMMAND…`` or ``exec --process FILE ID``; the exit status is the process's."""
    arguments = parse(words, _EXEC, _SHORT)
    if not arguments.words:
        raise InvalidParameter('sampan-runtime: "exec" requires a minimum of 1 argument')
    keep = kept.descriptors(0, arguments.number("preserve-fds") or 0)
    container = Containers(root).find(arguments.words[0])
    _check_status(container, arguments)
    spec = container.spec
    process = with_home(inherit(_process(spec, arguments), spec), f"/proc/{container.record.pid}/root")
    warn_of_capabilities(ungrantable(process))
    _check_console(process, arguments)
    detach = arguments.on("detach")
    deliver = deliver_to((spec.linux or Linux()).seccomp, container.state())
    spawned = spawn(_plan(container, spec, process, arguments, keep), deliver=deliver, wait=not detach)
    if pid_file := arguments.text("pid-file"):
        write_pid(Path(pid_file), spawned.pid)
    send_pidfd(arguments.text("pidfd-socket"), b"setns", spawned.pid)
    if spawned.console is not None and (socket := arguments.text("console-socket")):
        send_console(Path(socket), spawned.console)
        os.close(spawned.console)
        spawned.console = None
    return 0 if detach else Foreground(spawned).wait()


def _check_status(container: Container, arguments: Arguments) -> None:
    status = container.status()
    if status == "stopped":
        raise Conflict("cannot exec in a stopped container")
    if status == "paused" and not arguments.on("ignore-paused"):
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")


def _check_console(process: Process, arguments: Arguments) -> None:
    if process.terminal and arguments.on("detach") and not arguments.text("console-socket"):
        raise InvalidParameter("cannot allocate tty if runc will detach without setting console socket")
    if arguments.text("console-socket") and not process.terminal:
        raise InvalidParameter("cannot use console socket if runc will not detach or allocate tty")


def _process(spec: Spec, arguments: Arguments) -> Process:
    """The process: a file's, or the container's own with what the flags change."""
    if path := arguments.text("process"):
        return decode(Path(path).read_bytes(), Process, path)
    words = arguments.words[1:]
    if not words:
        raise InvalidParameter("exec args cannot be empty")
    own = spec.process or Process(cwd="/")
    capabilities = own.capabilities or Capabilities()
    if more := [name.upper() for name in arguments.texts("cap")]:
        capabilities = _with(capabilities, more)
    return msgspec.structs.replace(
        own,
        args=words,
        terminal=arguments.on("tty"),
        cwd=arguments.text("cwd") or own.cwd,
        env=[*own.env, *arguments.texts("env")],
        user=_user(own.user, arguments),
        capabilities=capabilities,
        no_new_privileges=arguments.flag("no-new-privs", own.no_new_privileges),
        apparmor_profile=arguments.text("apparmor") or own.apparmor_profile,
        selinux_label=arguments.text("process-label") or own.selinux_label,
        console_size=_size() if arguments.on("tty") else None,
    )


def _with(had: Capabilities, more: list[str]) -> Capabilities:
    """Capabilities added to every set but the inheritable: to the ambient, what was inheritable before."""
    sets = {name: [*getattr(had, name), *more] for name in ("bounding", "effective", "permitted")}
    ambient = [*had.ambient, *(name for name in more if name in had.inheritable)]
    return msgspec.structs.replace(had, ambient=ambient, **sets)


def _user(own: User, arguments: Arguments) -> User:
    """``--user uid[:gid]`` and ``--additional-gids``."""
    text = arguments.text("user")
    uid, colon, gid = text.partition(":")
    if text and not (uid.isdecimal() and (gid.isdecimal() or not colon)):
        raise InvalidParameter(f'invalid user "{text}": expected uid[:gid]')
    more = arguments.texts("additional-gids")
    if wrong := [gid for gid in more if not gid.isdecimal()]:
        raise InvalidParameter(f"additional-gids must be a positive number {wrong[0]}")
    return msgspec.structs.replace(
        own,
        uid=int(uid) if text else own.uid,
        gid=int(gid) if colon else own.gid,
        additional_gids=[*own.additional_gids, *map(int, more)],
    )


def _size() -> Box | None:
    """The size of our own terminal."""
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return None
    return Box(size.lines, size.columns)


def _plan(container: Container, spec: Spec, process: Process, arguments: Arguments, keep: Sequence[int]) -> Plan:
    pid = container.record.pid
    with ExitStack() as opened:
        pidfd = os.pidfd_open(pid)
        opened.callback(os.close, pidfd)
        tasks, directory = sub_cgroups.open_to_join(
            container.cgroup, sub_cgroups.read(arguments.texts("cgroup")), pid, opened
        )
        plan = compile_exec(
            process,
            spec.linux or Linux(),
            pidfd=pidfd,
            flags=foreign_namespaces(pid),
            cgroup_tasks=tasks,
            cgroup_directory=directory,
            keep=keep,
            owned=[pidfd, *tasks, *([] if directory is None else [directory])],
            plain_console=not arguments.on("detach"),
            find_program=True,
        )
        opened.pop_all()
    return plan
