"""The beginning of a container's plan: what is done before its root and its network are there.

    clone → cgroup → keyring → file systems, in no place yet → wait for the rest

The engine makes root, namespace and specification ready meanwhile; ``compile`` then leaves out what is ``Begun``.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from sampan.linux.cgroup import Cgroup
from sampan.linux.cgroup1 import Cgroup1
from sampan.linux.cgroup2 import Cgroup2
from sampan.linux.namespaces import CLONE_NEWCGROUP, FLAGS
from sampan.oci.runtime_spec import Mount
from sampan.runtime import compile_mounts, plan
from sampan.runtime.plan import Operation, Plan, Slots
from sampan.runtime.surroundings import Begun, what

LATE = ("cgroup", "time")
"""Namespaces clone does not make: the one comes after joining the cgroup, the other before the clone."""


def compile_beginning(
    container_id: str, cgroup: Cgroup, new: tuple[str, ...], mounts: tuple[Mount, ...], rest: int
) -> tuple[Plan, Begun]:
    """The plan of a process in ``new`` namespaces that makes the file systems of ``mounts``, then reads from ``rest``.

    It must be able to do so in the runtime's namespaces and user namespace: none is joined, and sysfs shows the
    network namespace of whoever makes it. The plan owns ``rest``.
    """
    slots = Slots()
    socket = slots.give(rest)
    directory = slots.give(cgroup.open()) if isinstance(cgroup, Cgroup2) else plan.NO_SLOT
    flags = sum(FLAGS[kind] for kind in new if kind not in LATE)
    made, begun = _file_systems(mounts, slots.next, "cgroup" in new)
    entered = enter(_joining(cgroup), "cgroup" in new, container_id)
    operations = (plan.Clone(flags, directory), *entered, *made, plan.ReadPlan(socket, begun.first))
    return Plan(operations, tuple(slots.fds), tuple(slots.fds)), begun


def _joining(cgroup: Cgroup) -> Sequence[Operation]:
    """How to get into the cgroup, unless the process is made in it."""
    if not isinstance(cgroup, Cgroup1):
        return ()
    return [plan.JoinCgroup(tuple(f"{directory}/tasks" for directory in cgroup.directories()))]


@lru_cache(64)
def _file_systems(
    mounts: tuple[Mount, ...], first: int, private_cgroups: bool
) -> tuple[tuple[plan.MakeMount, ...], Begun]:
    """The new file systems among ``mounts``, into slots from ``first``; most containers have the same."""
    slots = Slots(first)
    none = compile_mounts.Binds(bundle=Path("/"), trees={}, userns={}, propagation=0, early=False)
    found = compile_mounts.read(mounts, slots, none)
    placed = compile_mounts.targets(found, slots, cgroup="/", private_cgroups=private_cgroups)
    made = tuple(operation for operation in placed if isinstance(operation, plan.MakeMount))
    return made, Begun({what(one): one.slot for one in made}, slots.next)


def enter(joining: Sequence[Operation], own_cgroups: bool, keyring: str) -> Iterator[Operation]:
    """Into the cgroup, which becomes the root of a new cgroup namespace, and into a keyring for the container's ID."""
    yield from joining
    if own_cgroups:
        yield plan.Unshare(CLONE_NEWCGROUP)
    if keyring:
        yield plan.JoinKeyring(f"_ses.{keyring}")
