"""create, start, run: a bundle becomes a container.

create   directory, cgroup, plan; hooks prestart and createRuntime while the child waits; then it waits for start
start    the child goes on; hooks poststart
run      both at once; in the foreground it waits, gives the exit status and deletes
"""

import errno
import os
import pwd
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from sampan.errors import Conflict, EngineError, InvalidParameter
from sampan.linux.mountinfo import places_of_whole
from sampan.linux.pidfd import start_time
from sampan.linux.unix_socket import listen_beneath
from sampan.oci.runtime_spec import Hooks, Linux, Memory, Process, Resources, Spec, Versioned, decode
from sampan.runtime import hooks, kept, rootless
from sampan.runtime.cgroups import cgroup_of, open_cgroup, prepare_cgroup
from sampan.runtime.cli import one_id
from sampan.runtime.commands.kill import destroy
from sampan.runtime.compile import MAP_IDS, NET_DEVICES, compile_launch
from sampan.runtime.compile_process import not_inherited, ungrantable
from sampan.runtime.console import Foreground, send_console, send_pidfd
from sampan.runtime.container import surroundings
from sampan.runtime.error_log import KERNEL_MEMORY, warn, warn_of_ambient, warn_of_capabilities
from sampan.runtime.flags import Arguments, Kind, Switch, Text, parse
from sampan.runtime.launch import StartFailed
from sampan.runtime.plan import Plan
from sampan.runtime.seccomp_listener import deliver_to
from sampan.runtime.spawn import Spawned, spawn, start_created
from sampan.runtime.state import START_SOCKET, Container, Containers, Record, locked, mount_id
from sampan.runtime.users import with_home
from sampan.runtime.validate import check

_CREATE: dict[str, Kind] = {
    "bundle": Text,
    "console-socket": Text,
    "pid-file": Text,
    "pidfd-socket": Text,
    "no-pivot": Switch,
    "no-new-keyring": Switch,
    "preserve-fds": Text,
}
_RUN: dict[str, Kind] = _CREATE | {"detach": Switch, "keep": Switch, "no-subreaper": Switch}
FLAGS = {"create": (_CREATE, {"b": "bundle"}), "run": (_RUN, {"b": "bundle", "d": "detach"})}
_REVEALING = ("proc", "sysfs")
"""Types of which a whole mount left in the namespace allows a user who is root there to mount another, unmasked."""
_OUT_OF_MEMORY = "unable to start container process: container init was OOM-killed (memory limit too low?)"
_NOT_STARTED = {
    "stopped": "cannot start a container that has stopped",
    "running": "cannot start an already running container",
}


def create(root: Path, words: list[str]) -> int:
    """``create [flags] ID``."""
    arguments = parse(words, *FLAGS["create"], anywhere=True)
    spawned = _make(root, arguments, one_id(arguments.words, "create"), waiting=True, wait=False)[1]
    _give_console(arguments, spawned)
    return 0


def start(root: Path, words: list[str]) -> int:
    """``start ID``. A failing poststart hook fails it, and ends and deletes the container."""
    containers = Containers(root)
    container = containers.find(one_id(words, "start"))
    with locked(container.directory):
        container = containers.find(container.record.id)
        status = container.status()
        if status != "created":
            raise Conflict(_NOT_STARTED.get(status, f"cannot start a container in the {status} state"))
        if container.spec.process is None:
            raise InvalidParameter("process: a program to run must be given")
        _go_on(container)
        (container.directory / START_SOCKET).unlink(missing_ok=True)
        try:
            _poststart(container)
        except EngineError:
            destroy(container)
            raise
    return 0


def run(root: Path, words: list[str]) -> int:
    """``run [flags] ID``."""
    arguments = parse(words, *FLAGS["run"], anywhere=True)
    detach = arguments.on("detach")
    container_id = one_id(arguments.words, "run")
    container, spawned = _make(root, arguments, container_id, waiting=False, wait=not detach)
    if arguments.text("console-socket"):
        _give_console(arguments, spawned)
    try:
        _poststart(container)
    except EngineError:
        destroy(Containers(root).find(container_id))
        raise
    if detach:
        return 0
    status = Foreground(spawned).wait()
    if not arguments.on("keep"):
        destroy(Containers(root).find(container_id))
    return status


def _go_on(container: Container) -> None:
    """Let a created container run its program. A failing hook on the way ends and deletes it (runtime.md, step 7)."""
    record = container.record
    deliver = deliver_to((container.spec.linux or Linux()).seccomp, container.state("created"))
    try:
        start_created(container.directory, START_SOCKET, deliver and (lambda fd: deliver(fd, record.pid)))
    except StartFailed as failure:
        if failure.step == "run_hook":
            destroy(container)
        raise


def _poststart(container: Container) -> None:
    """The hooks of a program that runs; the first that fails raises EngineError (runtime.md "Lifecycle", step 9)."""
    wanted = (container.spec.hooks or Hooks()).poststart
    hooks.run("poststart", wanted, container.state("running"))


def _make(
    root: Path, arguments: Arguments, container_id: str, *, waiting: bool, wait: bool
) -> tuple[Container, Spawned]:
    """Make the container up to its process; if anything fails nothing of it stays."""
    keep = kept.descriptors(kept.listening(), arguments.number("preserve-fds") or 0)
    bundle = Path(arguments.text("bundle", ".")).absolute()
    spec = load(bundle)
    check(spec)
    rootless.check(spec)
    warn_of_capabilities(ungrantable(spec.process or Process()))
    warn_of_ambient(not_inherited(spec.process or Process()))
    _warn_of_kernel_memory((spec.linux or Linux()).resources)
    _check_console(spec, arguments, wait=wait)
    rootfs = _rootfs(bundle, spec)
    record = Record(container_id, str(bundle), rootfs, _now(), owner=_owner(), mount=mount_id(rootfs))
    container = Containers(root).new(record, spec)
    with ExitStack() as undo, locked(container.directory):
        undo.callback(lambda: destroy(Containers(root).find(container_id)))
        cgroup = "" if rootless.goes_without_cgroup(spec, container_id) else cgroup_of(spec, container_id)
        found = bool(cgroup) and _is_there(cgroup)
        container = container.write(msgspec.structs.replace(record, cgroup=cgroup, cgroup_found=found))
        container, spawned = _spawn(container, spec, arguments, keep, waiting=waiting, wait=wait)
        if pid_file := arguments.text("pid-file"):
            write_pid(Path(pid_file), spawned.pid)
        send_pidfd(arguments.text("pidfd-socket"), b"standard", spawned.pid)
        undo.pop_all()
    return container, spawned


def _warn_of_kernel_memory(resources: Resources | None) -> None:
    memory = (resources or Resources()).memory or Memory()
    if memory.kernel or (memory.kernel_tcp and open_cgroup("/").version == _NO_TCP_LIMIT):
        warn(KERNEL_MEMORY)


_NO_TCP_LIMIT = 2


def _is_there(cgroup: str) -> bool:
    """Whether a cgroup is somebody's already; one frozen in advance may be in the freezer's hierarchy alone."""
    there = open_cgroup(cgroup)
    return there.exists() or there.frozen()


def _spawn(
    container: Container, spec: Spec, arguments: Arguments, keep: Sequence[int], *, waiting: bool, wait: bool
) -> tuple[Container, Spawned]:
    """Compile and perform; ``spawn`` closes what the plan owns, this the socket the child listens on."""
    with ExitStack() as opened:
        listener = None
        if waiting:
            listener = opened.enter_context(listen_beneath(container.directory, START_SOCKET))
        plan = _plan(container, spec, arguments, keep, None if listener is None else listener.fileno(), plain=wait)
        deliver = deliver_to((spec.linux or Linux()).seccomp, container.state("creating", 0))
        try:
            spawned = spawn(plan, lambda name, pid: _paused(container, spec, name, pid), deliver=deliver, wait=wait)
        except StartFailed as error:
            if error.errno == errno.ECHILD and container.cgroup and container.cgroup.oom_kills():
                raise EngineError(_OUT_OF_MEMORY) from error
            raise
    record = msgspec.structs.replace(container.record, pid=spawned.pid, started=start_time(spawned.pid))
    return container.write(record), spawned


def _plan(
    container: Container,
    spec: Spec,
    arguments: Arguments,
    keep: Sequence[int],
    start_socket: int | None,
    *,
    plain: bool,
) -> Plan:
    """The cgroup made and the spec compiled; a ``plain`` terminal is one that is shown here."""
    record = container.record
    cgroup = prepare_cgroup(record.cgroup, (spec.linux or Linux()).resources) if record.cgroup else None
    with ExitStack() as opened:
        around = msgspec.structs.replace(
            surroundings(spec, record.id, cgroup, opened, bundle=Path(record.bundle)),
            keyring=not arguments.on("no-new-keyring"),
            pivot=not arguments.on("no-pivot"),
            away=places_of_whole(*_REVEALING) if arguments.on("no-pivot") else (),
            keep=keep,
            environment=[f"{name}={value}" for name, value in os.environ.items()],
            state=container.state("creating", 1),
            plain_console=plain,
            find_program=True,
            privileged=os.geteuid() == 0,
            helped=rootless.needs_help(spec),
            start_socket=start_socket,
        )
        process = spec.process and with_home(spec.process, record.rootfs)
        process = process and msgspec.structs.replace(process, env=[*process.env, *kept.environment(kept.listening())])
        plan = compile_launch(msgspec.structs.replace(spec, process=process), around)
        opened.pop_all()
    return plan


def _paused(container: Container, spec: Spec, name: str, pid: int) -> None:
    """The child waits: with its namespaces alone for network devices, with its mounts too for hooks."""
    if name == MAP_IDS:
        rootless.map_ids(spec, pid)
        return
    if name == NET_DEVICES:
        from sampan.runtime.net_devices import move  # seldom needed

        move((spec.linux or Linux()).net_devices, pid)
        return
    known, state = spec.hooks or Hooks(), container.state("creating", pid)
    hooks.run("prestart", known.prestart, state)
    hooks.run("createRuntime", known.create_runtime, state)


def load(bundle: Path) -> Spec:
    """The spec of a bundle. Raises InvalidParameter."""
    try:
        data = (bundle / "config.json").read_bytes()
    except FileNotFoundError:
        raise InvalidParameter(f"JSON specification file {bundle / 'config.json'} not found") from None
    except NotADirectoryError:
        raise InvalidParameter(f"bundle {bundle} is not a directory") from None
    decode(data, Versioned)
    return decode(data, Spec)


def write_pid(path: Path, pid: int) -> None:
    """A pid file appears whole: who waits for it never reads an empty one."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(str(pid))
    temporary.replace(path)


def _check_console(spec: Spec, arguments: Arguments, *, wait: bool) -> None:
    """A terminal needs a receiver when nobody stays, and only a terminal does (runc's rules)."""
    terminal = (spec.process or Process()).terminal
    socket = arguments.text("console-socket")
    if terminal and not socket and not wait:
        raise InvalidParameter("cannot allocate tty if runc will detach without setting console socket")
    if socket and not terminal:
        raise InvalidParameter("cannot use console socket if runc will not detach or allocate tty")


def _give_console(arguments: Arguments, spawned: Spawned) -> None:
    if spawned.console is not None:
        send_console(Path(arguments.text("console-socket")), spawned.console)
        os.close(spawned.console)
        spawned.console = None


def _rootfs(bundle: Path, spec: Spec) -> str:
    if spec.root is None:
        raise EngineError("root: a root file system must be given")
    path = bundle / spec.root.path
    if not path.is_dir():
        raise InvalidParameter(f"invalid rootfs: {path} is not a directory")
    return str(path.resolve())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}Z"


def _owner() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
