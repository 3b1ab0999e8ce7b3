"""What the engine asks of the runtime: a spec made runnable, and its cgroup watched and changed.

    cgroup = prepare_cgroup(cgroup_path(container_id, parent), resources)
    launch = launch_from(spec, container_id, cgroup=cgroup, rootfs=fd, netns=fd, run_dir=…, state_dir=…)
    monitor = await Monitor.start(launch)
    handle = await monitor.exec(exec_from(process, spec, pid=monitor.pid, cgroup=cgroup, exec_id=…))
    cgroup.stats(), cgroup.pids(), update(cgroup, resources), cgroup.freeze(), cgroup.thaw()
    cgroup.remove()

Nothing here waits; all of it may be called on the event loop (a cgroup is made in under a millisecond).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.linux.cgroup import Cgroup
from sampan.oci.runtime_spec import Process, Resources, Spec

if TYPE_CHECKING:
    from sampan.runtime.launch import AttachedStream, ExecLaunch, Launch, LogFile

DEFAULT_PARENT = "/sampan"


def cgroup_path(container_id: str, parent: str = "") -> str:
    """Path of a container's cgroup from the root of every hierarchy: ``/sampan/<id>`` or below ``parent``."""
    raise NotImplementedError


def prepare_cgroup(path: str, resources: Resources | None = None) -> Cgroup:
    """Make the cgroup ``path`` and apply ``resources``; on failure nothing of it stays.

    Raises InvalidParameter for a value the kernel refuses (naming file, value and reason) and for a limit
    whose controller this host lacks.
    """
    raise NotImplementedError


def open_cgroup(path: str) -> Cgroup:
    """The cgroup of a container that runs already (nothing is made)."""
    raise NotImplementedError


def update(cgroup: Cgroup, resources: Resources) -> None:
    """Change limits of a running container; members left out stay as they are."""
    raise NotImplementedError


def launch_from(
    spec: Spec,
    container_id: str,
    *,
    cgroup: Cgroup | None,
    rootfs: int | None,
    netns: int | None = None,
    run_dir: Path,
    state_dir: Path,
    open_stdin: bool = False,
    stdin_once: bool = False,
    log: "LogFile | None" = None,
    attached: "Sequence[AttachedStream]" = (),
    init: bool = False,
) -> "Launch":
    """All that ``Monitor.start`` needs to run ``spec``.

    ``rootfs`` is a detached mount fd (None: ``spec.root.path`` is a directory); ``netns`` an fd that replaces
    the path of the spec's network namespace. The caller keeps its fds and closes them after the start.
    ``init`` puts the engine's init before the program. Raises InvalidParameter or Unsupported for a spec that
    cannot run, before anything is made.
    """
    raise NotImplementedError


def exec_from(
    process: Process,
    spec: Spec,
    *,
    pid: int,
    cgroup: Cgroup | None,
    exec_id: str,
    privileged: bool = False,
    open_stdin: bool = False,
    attached: "Sequence[AttachedStream]" = (),
) -> "ExecLaunch":
    """All that ``Monitor.exec`` needs to run ``process`` beside the container's init ``pid``.

    Capabilities, seccomp and limits ``process`` leaves out are those of ``spec``.
    """
    raise NotImplementedError
