"""What a plan is compiled for besides its specification: descriptors, places, and what is made already."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from sampan.oci.runtime_spec import State
from sampan.runtime import plan
from sampan.runtime.plan import Operation

_What = tuple[str, str, int, tuple[str, ...]]


class Begun(msgspec.Struct, frozen=True):
    """What a beginning did. ``made`` are the slots of its file systems; the rest may fill slots from ``first``."""

    made: Mapping[_What, int]
    first: int

    def without(self, operations: Iterable[Operation]) -> Iterator[Operation]:
        """``operations``, but each file system that is made already is taken."""
        made = dict(self.made)
        for operation in operations:
            if isinstance(operation, plan.MakeMount) and what(operation) in made:
                yield plan.TakeSlot(operation.slot, made.pop(what(operation)))
            else:
                yield operation


def what(operation: plan.MakeMount) -> _What:
    return operation.filesystem, operation.source, operation.attributes, operation.options


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a spec is run in: all of a container that is not in its spec.

    ``rootfs`` is a detached mount fd (None: ``spec.root.path``); ``namespaces`` fds to join by type, in place of the
    spec's; ``cgroup_tasks`` fds of v1 ``tasks`` files; ``cgroup_directory`` fd of a v2 directory; ``userns`` fds of the
    user namespaces of idmapped mounts, by destination; ``trees`` detached mounts that binds show, by destination
    (in place of their sources); ``start_socket`` where the child waits for ``start``; ``ready`` an fd
    from which a byte comes once the program may run; ``begun`` what is made already; ``init`` puts the engine's init
    first; ``plain_console`` makes a terminal that adds no carriage returns; ``find_program`` looks for the program
    before the last step, so that what is missing and what cannot be executed are told apart; not ``privileged`` is a
    runtime that has rights in the new user namespace alone, and ``helped`` one whose ids others map (at ``MAP_IDS``);
    without ``pivot`` the mounts ``away`` of the host are taken away; ``keep`` stay open as 3, 4, …; ``state`` is what
    hooks in the container read, and ``environment`` what those before the pivot inherit.
    """

    container_id: str
    bundle: Path = Path("/")
    rootfs: int | None = None
    namespaces: Mapping[str, int] = msgspec.field(default_factory=dict)
    cgroup_tasks: Sequence[int] = ()
    cgroup_directory: int | None = None
    cgroup_path: str = "/"
    userns: Mapping[str, int] = msgspec.field(default_factory=dict)
    trees: Mapping[str, int] = msgspec.field(default_factory=dict)
    start_socket: int | None = None
    ready: int | None = None
    begun: Begun | None = None
    init: bool = False
    keyring: bool = True
    pivot: bool = True
    away: Sequence[str] = ()
    plain_console: bool = False
    find_program: bool = False
    privileged: bool = True
    helped: bool = False
    keep: Sequence[int] = ()
    die_with_parent: bool = False
    state: State | None = None
    environment: Sequence[str] = ()
    owned: Sequence[int] = ()
