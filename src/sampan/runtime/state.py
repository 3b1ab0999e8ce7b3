"""The containers of one root directory of ``sampan-runtime``, as files.

    <root>/<id>/                 locked (flock) while a command works on the container
        record.json              what was made: bundle, pid and its start time, cgroup
        config.json              the spec it was made from
        start.sock               there while the container waits for ``start``

The status is never stored: it follows from the process, the socket and the freezer.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from sampan.errors import Conflict, InvalidParameter, NotFound
from sampan.linux.cgroup import Cgroup
from sampan.linux.pidfd import start_time
from sampan.oci.runtime_spec import VERSION, Spec, State, decode, encode
from sampan.runtime.cgroups import open_cgroup

START_SOCKET = "start.sock"
_IDENTIFIER = re.compile(r"[A-Za-z0-9_+.-]+")
_MOST_ID = 1024


class Record(msgspec.Struct, frozen=True, omit_defaults=False):
    """What is known of a container besides its spec; pid 0 while it is being made; ``started`` in clock ticks.

    ``cgroup_found``: the cgroup was there before, so it stays, and what else runs in it.
    ``mount`` is the mount that ``rootfs`` was on before: in the host's own mount namespace another covers it later.
    """

    id: str
    bundle: str
    rootfs: str
    created: str
    cgroup: str = ""
    cgroup_found: bool = False
    pid: int = 0
    started: int = 0
    owner: str = "root"
    mount: int = 0


class Container(msgspec.Struct, frozen=True):
    """One container: its directory, record and spec."""

    directory: Path
    record: Record

    @property
    def spec(self) -> Spec:
        """The spec it was made from."""
        return decode((self.directory / "config.json").read_bytes(), Spec)

    @property
    def cgroup(self) -> Cgroup | None:
        """Its cgroup."""
        return open_cgroup(self.record.cgroup) if self.record.cgroup else None

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if not self.record.pid:
            return "creating" if _is_locked(self.directory) else "stopped"
        started = start_time(self.record.pid)
        if not started or started != self.record.started:
            return "stopped"
        if (self.directory / START_SOCKET).exists():
            return "created"
        cgroup = self.cgroup
        return "paused" if cgroup and cgroup.frozen() else "running"

    def state(self, status: str = "", pid: int | None = None) -> State:
        """What ``state`` prints and hooks read."""
        status = status or self.status()
        shown = self.record.pid if pid is None else pid
        return State(
            oci_version=VERSION,
            id=self.record.id,
            status=status,
            pid=0 if status == "stopped" else shown,
            bundle=self.record.bundle,
            annotations=self.spec.annotations,
        )

    def write(self, record: Record) -> "Container":
        """Store a changed record; gives the container as it is then."""
        _replace(self.directory / "record.json", msgspec.json.encode(record))
        return Container(self.directory, record)

    def remove(self) -> None:
        """Remove the directory: the container is no more."""
        with suppress(FileNotFoundError):
            for file in self.directory.iterdir():
                file.unlink(missing_ok=True)
            self.directory.rmdir()


class Containers:
    """All containers below one root directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def new(self, record: Record, spec: Spec) -> Container:
        """Make the directory of a container that is being created. Raises InvalidParameter or Conflict for its id."""
        check_id(record.id)
        directory = self.root / record.id
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            directory.mkdir(mode=0o711)
        except FileExistsError:
            raise Conflict("container with given ID already exists") from None
        (directory / "config.json").write_bytes(encode(spec))
        return Container(directory, record).write(record)

    def find(self, container_id: str) -> Container:
        """The container of this id. Raises InvalidParameter or NotFound."""
        check_id(container_id)
        directory = self.root / container_id
        try:
            data = (directory / "record.json").read_bytes()
        except FileNotFoundError:
            raise NotFound(f"container does not exist: {container_id}") from None
        return Container(directory, msgspec.json.decode(data, type=Record))

    def __iter__(self) -> Iterator[Container]:
        """Every container, by id; one that goes meanwhile is left out."""
        if not self.root.is_dir():
            return
        for directory in sorted(self.root.iterdir()):
            if (directory / "record.json").exists():
                yield self.find(directory.name)


def check_id(container_id: str) -> None:
    """Raises InvalidParameter for an id that cannot name a directory."""
    if not container_id:
        raise InvalidParameter("container id cannot be empty")
    good = _IDENTIFIER.fullmatch(container_id) and len(container_id) <= _MOST_ID
    if not good or container_id in {".", ".."}:
        raise InvalidParameter(f'invalid container ID format: "{container_id}"')


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the container's lock; another command on it waits."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_locked(directory: Path) -> bool:
    """Whether a command works on the container now."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def mount_id(path: str) -> int:
    """The id of the mount that ``path`` is on, which no other mount has while it lasts. Source: proc(5), fdinfo."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("mnt_id:")))
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(path)
