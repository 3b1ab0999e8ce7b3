"""Containers run by another OCI runtime's binary (runc, crun, kata…), under our monitor.

    <bundle>/config.json      the spec
    <bundle>/rootfs/          where the root is mounted, in a mount namespace of the runtime's own
    <bundle>/pid              written by the runtime
    <bundle>/console.sock     where it sends the terminal
    <bundle>/exec-<id>.json   the process of an exec
    <bundle>/log.json         what the runtime says of failures, one JSON object a line

The plan's program is the binary: the root's detached mount is put at ``rootfs`` in a private mount namespace, so the
host's mount table does not grow. The runtime makes the container's cgroup itself, at ``linux.cgroupsPath``.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.errors import EngineError
from sampan.linux import mount as kernel
from sampan.linux.cgroup import Cgroup
from sampan.linux.namespaces import CLONE_NEWNS
from sampan.oci.runtime_spec import Linux, Process, Root, Spec, encode
from sampan.runtime import plan
from sampan.runtime.container import inherit, oom_events
from sampan.runtime.launch import AttachedStream, ExecLaunch, External, Launch
from sampan.runtime.plan import Operation, Plan, Slots
from sampan.runtime.validate import check, check_process

_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
_OLDEST = "1.0.2"
"""The version bundles claim: older runtimes refuse newer ones, newer ones take it."""


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
    ) -> Launch:
        """As ``container.launch_from``; the bundle is written to ``run_dir/bundle``."""
        check(spec, root_given=rootfs is not None)
        process = spec.process or Process()
        bundle = launch.run_dir / "bundle"
        (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
        for left in ("pid", "log.json", "console.sock"):
            (bundle / left).unlink(missing_ok=True)
        (bundle / "config.json").write_bytes(encode(bundled(spec, rootfs, netns)))
        external = self._external(bundle, "pid", "console.sock", terminal=process.terminal)
        command = ("run", "--detach", *_flags(external), "--bundle", str(bundle), launch.container_id)
        plan_ = self._plan(command, rootfs, bundle)
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
        file.write_bytes(encode(inherit(process, spec)))
        external = self._external(bundle, f"exec-{exec_id}.pid", f"exec-{exec_id}.sock", terminal=process.terminal)
        command = ("exec", "--detach", *_flags(external), "--process", str(file), container_id)
        size = process.console_size
        return ExecLaunch(
            exec_id=exec_id,
            plan=self._plan(command, None, bundle),
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
        if done.returncode and "does not exist" not in done.stderr:
            raise EngineError(f"{self.path} delete {container_id}: {done.stderr.strip()}")

    def _common(self) -> tuple[str, ...]:
        return (*self.arguments, "--root", str(self.root))

    @staticmethod
    def _external(bundle: Path, pid: str, socket: str, *, terminal: bool) -> External:
        return External(bundle / pid, bundle / socket if terminal else None)

    def _plan(self, command: tuple[str, ...], rootfs: int | None, bundle: Path) -> Plan:
        slots = Slots()
        log = ("--log", str(bundle / "log.json"), "--log-format", "json")
        arguments = (self.path, *self._common(), *log, *command)
        operations = (
            *_mounts(slots, rootfs, bundle),
            plan.NewSession(),
            plan.SetStdio(0),
            plan.ChangeDirectory(str(bundle)),
            plan.Execute(self.path, arguments, _ENVIRONMENT),
        )
        return Plan(operations, tuple(slots.fds))


def last_words(run_dir: Path) -> str:
    """The runtime's last message, for the error of a start that failed; "" where it said nothing."""
    try:
        lines = (run_dir / "bundle" / "log.json").read_bytes().splitlines()
        return str(msgspec.json.decode(lines[-1])["msg"]) if lines else ""
    except (FileNotFoundError, msgspec.DecodeError, KeyError):
        return ""


def bundled(spec: Spec, rootfs: int | None, netns: int | None) -> Spec:
    """The spec as a bundle says it: the root by its place there, the network namespace by this process's fd."""
    spec = msgspec.structs.replace(spec, oci_version=_OLDEST)
    if rootfs is not None:
        readonly = spec.root.readonly if spec.root else False
        spec = msgspec.structs.replace(spec, root=Root("rootfs", readonly))
    if netns is None or spec.linux is None:
        return spec
    path = f"/proc/{os.getpid()}/fd/{netns}"
    namespaces = [
        msgspec.structs.replace(one, path=path) if one.type == "network" else one for one in spec.linux.namespaces
    ]
    linux: Linux = msgspec.structs.replace(spec.linux, namespaces=namespaces)
    return msgspec.structs.replace(spec, linux=linux)


def _mounts(slots: Slots, rootfs: int | None, bundle: Path) -> Iterator[Operation]:
    """The clone, and the root put in its place where there is one to put."""
    if rootfs is None:
        yield plan.Clone(0)
        return
    slot = slots.give(rootfs)
    yield plan.Clone(CLONE_NEWNS)
    yield plan.SetPropagation("/", kernel.MS_SLAVE)
    yield plan.AttachRoot(slot, str(bundle / "rootfs"))


def _flags(external: External) -> tuple[str, ...]:
    """The runtime works in the bundle's directory: a socket's whole path may be longer than its address can be."""
    console = ("--console-socket", external.console_socket.name) if external.console_socket else ()
    return ("--pid-file", str(external.pid_file), *console)
