"""A plan: the flat list of operations that the C program performs to make a container's (or an exec's) process.

Python decides all of it; C walks the list and stops at the first failure, naming the operation's index, the errno
and the object. One class below is one operation; its fields are its arguments, in order. ``native/operations.h``
holds the same table, and a unit test compares the two.

Who performs what, in order of the list:

    operations before ``Clone``      a *stage*: a short-lived process between monitor and child (set-up that must
                                     happen in the host's or the joined namespaces); left out when there are none
    ``Clone``                        makes the child, with new namespaces, as a child of the monitor
    operations after ``Clone``       the child, up to ``Execute``
    MapIds, Pause, SetOomScore(by_parent=1)   the monitor, when the child reaches them; the child waits

*Slots* are numbered descriptors: 0, 1, 2 are the child's stdin, stdout, stderr (made by the monitor: pipes or
/dev/null); ``Plan.fds`` fill 3, 4, …; operations fill any other below 256. All are closed at ``Execute``.

Every *path* after ``AttachRoot`` and before ``PivotRoot`` that names a place in the container is resolved beneath the
new root (openat2, RESOLVE_IN_ROOT, no magic links) at the moment of use; after PivotRoot, beneath "/". Missing parents
are created.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar

import msgspec

from sampan.errors import InvalidParameter

FIRST_SLOT = 3
SLOTS = 256
NO_SLOT = -1


class Kind(IntEnum):
    """What Attach creates where the target is missing."""

    DIRECTORY = 0
    FILE = 1
    AS_SOURCE = 2


class Operation(msgspec.Struct, frozen=True):
    """One operation; subclasses give ``CODE`` (never reused) and their arguments as fields."""

    CODE: ClassVar[int] = 0


class Clone(Operation, frozen=True):
    """clone3(2): make the child. ``flags``: CLONE_NEW*; ``cgroup``: slot of a v2 cgroup directory or NO_SLOT."""

    CODE: ClassVar[int] = 1
    flags: int
    cgroup: int = NO_SLOT


class SetNamespace(Operation, frozen=True):
    """setns(2): join by a namespace's fd (flags 0 or its type) or several at once by a pidfd (flags CLONE_NEW*)."""

    CODE: ClassVar[int] = 2
    slot: int
    flags: int = 0


class Unshare(Operation, frozen=True):
    """unshare(2). The cgroup namespace is unshared after joining, so that the cgroup is its root."""

    CODE: ClassVar[int] = 3
    flags: int


class MapIds(Operation, frozen=True):
    """The monitor writes uid_map, gid_map and first setgroups ("allow", "deny", "" for as it is) of the child."""

    CODE: ClassVar[int] = 4
    uid_map: str
    gid_map: str
    setgroups: str = ""


class WriteSlot(Operation, frozen=True):
    """write(2) to a slot: b"0" to a v1 cgroup's ``tasks`` moves the writer in, without the threadgroup lock."""

    CODE: ClassVar[int] = 5
    slot: int
    data: bytes


class WriteSysctl(Operation, frozen=True):
    """Write /proc/sys/``path`` of the container (refused where that is not procfs)."""

    CODE: ClassVar[int] = 6
    path: str
    value: str


class Pause(Operation, frozen=True):
    """The monitor reports ``name`` and the child's pid to Python and waits for its word (hooks, network)."""

    CODE: ClassVar[int] = 7
    name: str


class WaitStart(Operation, frozen=True):
    """Report "created", then accept a connection on the listening SOCK_SEQPACKET slot: that is ``start``.

    A failure after it is sent there, as on the control socket; the connection's end without a word is success.
    Every slot but the first ``keep`` is closed before.
    """

    CODE: ClassVar[int] = 8
    slot: int
    keep: int = 0


class RunHook(Operation, frozen=True):
    """Run a program of the place the child is in; not zero, or longer than ``timeout`` ms (0: no limit), fails.

    Its stdin is ``before``, the child's pid in its own namespace, ``behind``; ``name`` is what messages call it.
    """

    CODE: ClassVar[int] = 9
    path: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    before: bytes
    behind: bytes
    timeout: int = 0
    name: str = ""


class OpenTree(Operation, frozen=True):
    """A detached copy of the mount at the *host's* ``path`` into a slot; its submounts too if ``recursive``."""

    CODE: ClassVar[int] = 10
    slot: int
    path: str
    recursive: int = 0


class MakeMount(Operation, frozen=True):
    """A new file system as a detached mount into a slot; options are ``key=value`` or a bare ``key``.

    ``attributes``: MOUNT_ATTR_*. ``source`` may be empty.
    """

    CODE: ClassVar[int] = 11
    slot: int
    filesystem: str
    source: str
    attributes: int
    options: tuple[str, ...] = ()


class SetMount(Operation, frozen=True):
    """mount_setattr(2) on a slot's mount; ``userns`` is the slot for MOUNT_ATTR_IDMAP or NO_SLOT."""

    CODE: ClassVar[int] = 12
    slot: int
    set: int
    clear: int = 0
    propagation: int = 0
    userns: int = NO_SLOT
    recursive: int = 0


class Attach(Operation, frozen=True):
    """Put a slot's detached mount at ``target`` of the container, creating a directory or file there if missing.

    A target inside of procfs, wherever links led, is refused unless ``over_proc``; one that links led to, if ``plain``.
    """

    CODE: ClassVar[int] = 13
    slot: int
    target: str
    kind: int = Kind.DIRECTORY
    over_proc: int = 0
    plain: int = 0


class AttachRoot(Operation, frozen=True):
    """Put a slot's detached mount over the host directory ``path`` of this mount namespace: it is the new root."""

    CODE: ClassVar[int] = 14
    slot: int
    path: str


class SetPropagation(Operation, frozen=True):
    """mount_setattr(2) by path: "/" to MS_PRIVATE or MS_SLAVE recursively before anything is mounted."""

    CODE: ClassVar[int] = 15
    path: str
    propagation: int
    recursive: int = 1


class PivotRoot(Operation, frozen=True):
    """pivot_root(2) into the new root; the old one is detached."""

    CODE: ClassVar[int] = 16


class MakeDirectory(Operation, frozen=True):
    """Create a directory of the container and its parents; one that is there stays as it is."""

    CODE: ClassVar[int] = 17
    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class MakeNode(Operation, frozen=True):
    """mknod(2) with the type in ``mode``; ``device`` as os.makedev gives. One with that device already stays."""

    CODE: ClassVar[int] = 18
    path: str
    mode: int
    device: int
    uid: int = 0
    gid: int = 0


class MakeSymlink(Operation, frozen=True):
    """symlink(2); something already at ``path`` stays."""

    CODE: ClassVar[int] = 19
    target: str
    path: str


class CopyUp(Operation, frozen=True):
    """Copy the tree at ``path`` of the container into a slot's detached tmpfs (option tmpcopyup)."""

    CODE: ClassVar[int] = 20
    slot: int
    path: str


class Mask(Operation, frozen=True):
    """Hide ``path``: an empty read-only tmpfs over a directory, /dev/null over a file; missing is fine."""

    CODE: ClassVar[int] = 21
    path: str


class MakeReadonly(Operation, frozen=True):
    """Bind ``path`` onto itself, read-only with all below; missing is fine. "/" alone changes the root mount itself."""

    CODE: ClassVar[int] = 22
    path: str


class SetHostname(Operation, frozen=True):
    """sethostname(2)."""

    CODE: ClassVar[int] = 23
    name: str


class SetDomainname(Operation, frozen=True):
    """setdomainname(2)."""

    CODE: ClassVar[int] = 24
    name: str


class SetLimit(Operation, frozen=True):
    """setrlimit(2); RLIM_INFINITY is -1."""

    CODE: ClassVar[int] = 25
    resource: int
    soft: int
    hard: int


class SetOomScore(Operation, frozen=True):
    """Write oom_score_adj: of the performer itself, or by the monitor for the child (in a new user namespace)."""

    CODE: ClassVar[int] = 26
    value: int
    by_parent: int = 0


class SetScheduler(Operation, frozen=True):
    """sched_setattr(2); times in nanoseconds."""

    CODE: ClassVar[int] = 27
    policy: int
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class SetIoPriority(Operation, frozen=True):
    """ioprio_set(2): class << 13 | level."""

    CODE: ClassVar[int] = 28
    value: int


class SetAffinity(Operation, frozen=True):
    """sched_setaffinity(2): the CPU mask as bytes, bit 0 of byte 0 is CPU 0."""

    CODE: ClassVar[int] = 29
    mask: bytes


class SetPersonality(Operation, frozen=True):
    """personality(2)."""

    CODE: ClassVar[int] = 30
    persona: int


class SetUmask(Operation, frozen=True):
    """umask(2)."""

    CODE: ClassVar[int] = 31
    mask: int


class NewSession(Operation, frozen=True):
    """setsid(2)."""

    CODE: ClassVar[int] = 32


class JoinKeyring(Operation, frozen=True):
    """A new session keyring of this name; its absence in the kernel is fine."""

    CODE: ClassVar[int] = 33
    name: str


class OpenConsole(Operation, frozen=True):
    """A pty of the container's own devpts becomes controlling terminal and stdio; the monitor gets its master.

    Comes after NewSession. ``path`` ("/dev/console", or "" in an exec) gets the terminal bound over it.
    ``uid`` owns it; rows and columns of 0 leave the size unset; ``plain`` adds no carriage returns to its output.
    """

    CODE: ClassVar[int] = 34
    rows: int
    columns: int
    uid: int
    path: str = ""
    plain: int = 0


class SetStdio(Operation, frozen=True):
    """Slots 0–2 become descriptors 0–2; pipes are given to ``uid`` so that /dev/stdout can be opened again."""

    CODE: ClassVar[int] = 35
    uid: int


class ChangeDirectory(Operation, frozen=True):
    """chdir(2), after which the directory must lie beneath the root (CVE-2024-21626)."""

    CODE: ClassVar[int] = 36
    path: str


class DropBounding(Operation, frozen=True):
    """Take every capability not in ``keep`` (a bit mask) out of the bounding set; needs CAP_SETPCAP."""

    CODE: ClassVar[int] = 37
    keep: int


class SetIds(Operation, frozen=True):
    """setgroups, setresgid, setresuid; permitted capabilities are kept until SetCapabilities.

    ``groups`` are u32 each (``group_bytes``); ``set_groups`` 0 leaves them (user namespaces that deny setgroups).
    """

    CODE: ClassVar[int] = 38
    uid: int
    gid: int
    groups: bytes = b""
    set_groups: int = 1


class SetCapabilities(Operation, frozen=True):
    """capset(2), then the ambient set; bit masks."""

    CODE: ClassVar[int] = 39
    effective: int
    permitted: int
    inheritable: int
    ambient: int = 0


class NoNewPrivileges(Operation, frozen=True):
    """prctl(PR_SET_NO_NEW_PRIVS)."""

    CODE: ClassVar[int] = 40


class Seccomp(Operation, frozen=True):
    """seccomp(SECCOMP_SET_MODE_FILTER); with SECCOMP_FILTER_FLAG_NEW_LISTENER the listener goes to Python."""

    CODE: ClassVar[int] = 41
    flags: int
    program: bytes


class DieWithParent(Operation, frozen=True):
    """prctl(PR_SET_PDEATHSIG, SIGKILL): no init without its monitor. After SetIds, which clears it."""

    CODE: ClassVar[int] = 42


class FindProgram(Operation, frozen=True):
    """Fail now, as Execute would, if the program is missing or not executable ($PATH of ``environment``)."""

    CODE: ClassVar[int] = 43
    file: str
    environment: tuple[str, ...]


class Reap(Operation, frozen=True):
    """Fork; the original stays as the engine's init: forwards signals, reaps, exits as the fork exits."""

    CODE: ClassVar[int] = 44


class Execute(Operation, frozen=True):
    """execve(2) with a search of $PATH (that of ``environment``).

    Slots 3 to 2 + ``keep`` become those descriptors; every other is closed. ``filter`` is installed last of all, with
    ``filter_flags`` as for Seccomp: unlike there, it need not allow what comes between.
    """

    CODE: ClassVar[int] = 45
    file: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    keep: int = 0
    filter_flags: int = 0
    filter: bytes = b""


class ChangeRoot(Operation, frozen=True):
    """chroot(2) into the new root in place of PivotRoot (runc's --no-pivot, for a root on initramfs).

    The old root stays below. Of it the mounts ``away`` are taken away first, or covered where that is not allowed.
    """

    CODE: ClassVar[int] = 46
    away: tuple[str, ...] = ()


class SetTimeOffsets(Operation, frozen=True):
    """Write timens_offsets of this process: in the stage, after Unshare(CLONE_NEWTIME) and before Clone."""

    CODE: ClassVar[int] = 47
    offsets: str


class RaiseLoopback(Operation, frozen=True):
    """Set the loopback interface of this network namespace up."""

    CODE: ClassVar[int] = 48


class OwnStdio(Operation, frozen=True):
    """Give stdio that is pipes to a user by its number here, before another user namespace is entered."""

    CODE: ClassVar[int] = 49
    uid: int


class CopyMode(Operation, frozen=True):
    """Give a slot's detached file system the mode of the directory at ``path`` of the container, if there is one."""

    CODE: ClassVar[int] = 50
    slot: int
    path: str


class SetMemoryPolicy(Operation, frozen=True):
    """set_mempolicy(2): MPOL_* with MPOL_F_*, and the mask of memory nodes as bytes."""

    CODE: ClassVar[int] = 51
    mode: int
    nodes: bytes = b""


class WaitSlot(Operation, frozen=True):
    """Wait for a byte from a slot: what is made ready beside the child is there. ECANCELED if it closes without one."""

    CODE: ClassVar[int] = 52
    slot: int


class ReadPlan(Operation, frozen=True):
    """The rest of the plan comes over a slot's socket: a packet with the encoded plan in a file, and what fills the
    slots from ``first``. In it the parent performs nothing. ECANCELED if it closes without one.
    """

    CODE: ClassVar[int] = 53
    slot: int
    first: int


class TakeSlot(Operation, frozen=True):
    """Move what is in the slot ``origin`` to ``slot``."""

    CODE: ClassVar[int] = 54
    slot: int
    origin: int


class JoinCgroup(Operation, frozen=True):
    """Write "0" to each of ``files``, by their paths in the host: a v1 cgroup's ``tasks`` in every hierarchy."""

    CODE: ClassVar[int] = 55
    files: tuple[str, ...]


OPERATIONS: dict[int, type[Operation]] = {kind.CODE: kind for kind in Operation.__subclasses__()}
_LETTERS: dict[object, str] = {int: "n", str: "s", bytes: "b", tuple[str, ...]: "l"}


class Plan(msgspec.Struct, frozen=True):
    """Operations and the descriptors that fill slots 3, 4, ….

    ``fds`` are all sent with the plan; ``owned`` (any of them, or others) are closed by whoever starts it.
    """

    operations: tuple[Operation, ...]
    fds: tuple[int, ...] = ()
    owned: tuple[int, ...] = ()


EMPTY = Plan(())


class Slots:
    """Hands out slot numbers from ``first``: first ``give`` every inherited fd, then ``take`` fresh ones."""

    def __init__(self, first: int = FIRST_SLOT) -> None:
        self.fds: list[int] = []
        self._first, self._fresh = first, 0

    @property
    def next(self) -> int:
        """The slot after all that were handed out."""
        return self._first + len(self.fds) + self._fresh

    def give(self, fd: int) -> int:
        """The slot in which an inherited descriptor arrives."""
        if self._fresh:
            raise ValueError("inherited descriptors come before fresh slots")
        self.fds.append(fd)
        return self.next - 1

    def take(self) -> int:
        """A slot for an operation to fill."""
        slot = self.next
        self._fresh += 1
        if slot >= SLOTS:
            raise InvalidParameter(f"too many mounts: a container has at most {SLOTS} mounts, devices and descriptors")
        return slot


def signature(kind: type[Operation]) -> str:
    """Argument letters of an operation, as in native/operations.h: n int, s str, b bytes, l strings."""
    return "".join(_LETTERS[kind.__annotations__[name]] for name in kind.__struct_fields__)


def group_bytes(groups: Iterable[int]) -> bytes:
    """``SetIds.groups`` of these numbers."""
    numbers = tuple(groups)
    return struct.pack(f"<{len(numbers)}I", *numbers)


def step(operation: Operation) -> str:
    """The operation's name in messages and logs: the C table's, in lower case."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(operation).__name__).lstrip("_")
