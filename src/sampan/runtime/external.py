"""Containers run by another OCI runtime's binary (runc, crun, kata…), under our monitor.

    <bundle>/config.json      the spec
    <bundle>/rootfs/          where the root is mounted, in a mount namespace of the runtime's own
    <bundle>/mounts/          other mounts that it takes ready (external_bundle)
    <bundle>/pid              written by the runtime
    <bundle>/console.sock     where it sends the terminal
    <bundle>/exec-<id>.json   the process of an exec
    <bundle>/log.json         what the runtime says of failures, one JSON object a line

The plan's program is the binary: the root's detached mount is put at ``rootfs`` in a private mount namespace, so the
host's mount table does not grow. The runtime makes the container's cgroup itself, at ``linux.cgroupsPath``.
"""

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.errors import EngineError
from sampan.linux import mount as kernel
from sampan.linux.cgroup import Cgroup
from sampan.linux.namespaces import CLONE_NEWNS
from sampan.oci.runtime_spec import Process, Spec, encode
from sampan.runtime import plan
from sampan.runtime.container import inherit, mapped_mounts, oom_events
from sampan.runtime.external_bundle import (
    Ready,
    bundled,
    granted,
    make_ready,
    places_of,
    ready_mounts,
    remove_places,
    with_ready,
)
from sampan.runtime.launch import AttachedStream, ExecLaunch, External, Launch
from sampan.runtime.plan import Operation, Plan, Slots
from sampan.runtime.validate import check, check_process

_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)


@dataclass(frozen=True, slots=True)
class ExternalRuntime:
    """One configured runtime: its binary, arguments put before every command, and its state directory."""

    path: str
    arguments: Sequence[str]
    root: Path

    def launch_from(
        self,
        spec: Spec,
        launch: Launch,
        *,
        cgroup: Cgroup | None,
        rootfs: int | None,
        netns: int | None = None,
        init: bool = False,
        trees: Mapping[str, int] | None = None,
    ) -> Launch:
        """As ``container.launch_from``; the bundle is written to ``run_dir/bundle``."""
        check(spec, root_given=rootfs is not None)
        process = spec.process or Process()
        bundle = launch.run_dir / "bundle"
        bundle.mkdir(parents=True, exist_ok=True)
        places = places_of(spec, bundle, launch.container_id)
        for left in ("pid", "log.json", "console.sock"):
            (bundle / left).unlink(missing_ok=True)
        with ExitStack() as opened:
            owned: list[int] = []
            ready = ready_mounts(spec.mounts, places, trees or {}, mapped_mounts(spec, opened, owned))
            whole = with_ready(bundled(spec, places, rootfs, netns, init=init), ready)
            (bundle / "config.json").write_bytes(encode(whole))
            opened.pop_all()
        external = self._external(bundle, "pid", "console.sock", terminal=process.terminal)
        command = ("run", "--detach", *_flags(external), "--bundle", str(bundle), launch.container_id)
        slots = Slots()
        plan_ = self._plan(command, bundle, slots, _mounts(slots, rootfs, places, ready), owned)
        return msgspec.structs.replace(launch, plan=plan_, oom_events=oom_events(cgroup), external=external)

    def exec_from(
        self,
        process: Process,
        spec: Spec,
        *,
        container_id: str,
        run_dir: Path,
        exec_id: str,
        open_stdin: bool = False,
        attached: Sequence[AttachedStream] = (),
    ) -> ExecLaunch:
        """As ``container.exec_from``, by the runtime's own ``exec``."""
        check_process(process)
        bundle = run_dir / "bundle"
        file = bundle / f"exec-{exec_id}.json"
        file.write_bytes(encode(granted(inherit(process, spec))))
        external = self._external(bundle, f"exec-{exec_id}.pid", f"exec-{exec_id}.sock", terminal=process.terminal)
        command = ("exec", "--detach", *_flags(external), "--process", str(file), container_id)
        size = process.console_size
        return ExecLaunch(
            exec_id=exec_id,
            plan=self._plan(command, bundle, Slots(), [plan.Clone(0)]),
            terminal=process.terminal,
            console_size=(size.height, size.width) if size else (0, 0),
            open_stdin=open_stdin,
            attached=attached,
            external=external,
        )

    def delete(self, container_id: str) -> None:
        """Have the runtime give back what it holds (blocks; a container it does not know is no error).

        Raises EngineError with the runtime's words.
        """
        command = [self.path, *self._common(), "delete", "--force", container_id]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        remove_places(container_id)
        if done.returncode and "does not exist" not in done.stderr:
            raise EngineError(f"{self.path} delete {container_id}: {done.stderr.strip()}")

    def _common(self) -> tuple[str, ...]:
        return (*self.arguments, "--root", str(self.root))

    @staticmethod
    def _external(bundle: Path, pid: str, socket: str, *, terminal: bool) -> External:
        return External(bundle / pid, bundle / socket if terminal else None)

    def _plan(
        self,
        command: tuple[str, ...],
        bundle: Path,
        slots: Slots,
        before: Iterable[Operation],
        owned: Sequence[int] = (),
    ) -> Plan:
        log = ("--log", str(bundle / "log.json"), "--log-format", "json")
        arguments = (self.path, *self._common(), *log, *command)
        operations = (
            *before,
            plan.NewSession(),
            plan.SetStdio(0),
            plan.ChangeDirectory(str(bundle)),
            plan.Execute(self.path, arguments, _ENVIRONMENT),
        )
        return Plan(operations, tuple(slots.fds), tuple(owned))


def last_words(run_dir: Path) -> str:
    """The runtime's last message, for the error of a start that failed; "" where it said nothing."""
    try:
        lines = (run_dir / "bundle" / "log.json").read_bytes().splitlines()
        return str(msgspec.json.decode(lines[-1])["msg"]) if lines else ""
    except (FileNotFoundError, msgspec.DecodeError, KeyError):
        return ""


def _mounts(slots: Slots, rootfs: int | None, places: Path, ready: Sequence[Ready]) -> Iterator[Operation]:
    """The clone, and what the runtime takes ready put in its place where there is any: the root last."""
    if rootfs is None:
        yield plan.Clone(0)
        return
    slot = slots.give(rootfs)
    yield plan.Clone(CLONE_NEWNS)
    yield plan.SetPropagation("/", kernel.MS_SLAVE)
    yield from make_ready(ready, slots)
    yield plan.AttachRoot(slot, str(places / "rootfs"))


def _flags(external: External) -> tuple[str, ...]:
    """The runtime works in the bundle's directory: a socket's whole path may be longer than its address can be."""
    console = ("--console-socket", external.console_socket.name) if external.console_socket else ()
    return ("--pid-file", str(external.pid_file), *console)
