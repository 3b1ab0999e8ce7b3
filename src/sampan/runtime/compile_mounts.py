"""The mounts of a spec as operations, everything made and attached in the spec's order.

    sources()    before the host's tree is cut off: a detached copy of each bind source that must be taken early
    targets()    other bind sources taken, new file systems made, and all attached beneath the new root

A mount is listed in mountinfo where it was made, so each is made at its turn. Early are taken: a bind that stays a
peer of the host's mount, which after the cut it could not be (``rshared`` works without sharing the container's root);
and in a new user namespace every bind, outside of it, with the runtime's rights. Never early is a bind of what lies
within the container's root, where mounts before it in the list may have put it.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from posixpath import normpath

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux import mount as kernel
from sampan.linux.cgroup import hierarchies
from sampan.oci.runtime_spec import IDMapping, Mount
from sampan.runtime import plan
from sampan.runtime.mount_options import Options, parse
from sampan.runtime.plan import Kind, Operation, Slots


class Source(msgspec.Struct, frozen=True):
    """A mount read: its options, and for a bind how its source comes.

    ``slot`` holds what is attached; a source is a file or a directory, ``given`` as an fd, ``inside`` the container's
    root, or taken ``early``.
    ``propagation`` it gets in this order, and ``userns`` is the slot of a user namespace it is mapped by.
    """

    mount: Mount
    options: Options
    slot: int
    kind: Kind = Kind.DIRECTORY
    given: bool = False
    inside: bool = False
    early: bool = False
    propagation: tuple[tuple[int, bool], ...] = ()
    userns: int = plan.NO_SLOT

    @property
    def bind(self) -> bool:
        """Whether it shows an existing tree."""
        return self.options.bind or self.mount.type == "bind"


class Binds(msgspec.Struct, frozen=True, kw_only=True):
    """What a container's binds have in common.

    ``trees`` are fds of detached mounts, by destination, that stand for sources; ``userns`` the slots of the user
    namespaces binds are mapped by, by destination; ``propagation`` what those get that name none; ``early`` takes all;
    ``root`` is the directory that becomes the container's root, without links ("" where it comes as an fd).
    """

    bundle: Path
    trees: Mapping[str, int]
    userns: Mapping[str, int]
    propagation: int
    early: bool
    root: str = ""


def read(mounts: Sequence[Mount], slots: Slots, binds: Binds) -> list[Source]:
    """Read all mounts; raises InvalidParameter where a bind's source does not exist."""
    given = {destination: slots.give(fd) for destination, fd in binds.trees.items()}
    found = []
    for mount in mounts:
        source = Source(mount, parse(mount.options), slots.take())
        if mount.destination in given:
            kind = _kind(f"/proc/self/fd/{binds.trees[mount.destination]}")
            source = _bind(source, binds, slot=given[mount.destination], kind=kind, given=True)
        elif source.bind:
            path = os.path.join(binds.bundle, mount.source)  # noqa: PTH118  an absolute source stands for itself
            named = Source(_with_source(mount, path), source.options, source.slot)
            kind = Kind.AS_SOURCE if _is_inside(path, binds.root) else _kind(path)
            source = _bind(named, binds, slot=source.slot, kind=kind)
        found.append(source)
    return found


def _bind(source: Source, binds: Binds, *, slot: int, kind: Kind, given: bool = False) -> Source:
    propagation = source.options.propagation or ((binds.propagation, True),)
    inside = kind is Kind.AS_SOURCE
    return Source(
        source.mount,
        source.options,
        slot,
        kind,
        given,
        inside,
        given or (not inside and (binds.early or propagation[0][0] in _PEERS)),
        propagation,
        binds.userns.get(source.mount.destination, plan.NO_SLOT),
    )


_PEERS = (0, kernel.MS_SHARED)
"""A bind that gets one of these first is to be a peer of its source."""


def _with_source(mount: Mount, path: str) -> Mount:
    return Mount(mount.destination, mount.type, path, mount.options, mount.uid_mappings, mount.gid_mappings)


def _is_inside(path: str, root: str) -> bool:
    """Whether a source lies in the container's root; what is not there yet is where its directory is."""
    return bool(root) and f"{os.path.realpath(path)}/".startswith(f"{root}/")


def _kind(path: str) -> Kind:
    try:
        return Kind.DIRECTORY if stat.S_ISDIR(os.stat(path).st_mode) else Kind.FILE  # noqa: PTH116  at each start
    except OSError as error:
        raise InvalidParameter(f"error mounting: stat {path}: {(error.strerror or '').lower()}") from None


def sources(found: list[Source]) -> Iterator[Operation]:
    """Take the binds' sources that cannot wait for their turn."""
    for source in found:
        if source.early:
            yield from _take(source)


def _take(source: Source) -> Iterator[Operation]:
    """A detached copy of a bind's source, with all that it is to have."""
    options = source.options
    recursive = options.recursive or "bind" not in source.mount.options
    if not source.given:
        yield plan.OpenTree(source.slot, source.mount.source, int(recursive))
    if source.userns != plan.NO_SLOT:
        yield _idmap(source.slot, source.userns, options.idmap_below)
    yield from _attributes(source.slot, options)
    for propagation, below in source.propagation:
        if propagation:
            yield plan.SetMount(source.slot, 0, 0, propagation, plan.NO_SLOT, int(below))


def _idmap(slot: int, userns: int, below: bool) -> Operation:
    return plan.SetMount(slot, kernel.MOUNT_ATTR_IDMAP, 0, 0, userns, int(below))


def _attributes(slot: int, options: Options) -> Iterator[Operation]:
    if options.set_below or options.clear_below:
        yield plan.SetMount(slot, options.set_below, options.clear_below, 0, plan.NO_SLOT, 1)
    if options.set or options.clear:
        yield plan.SetMount(slot, options.set, options.clear)


def targets(found: list[Source], slots: Slots, *, cgroup: str, private_cgroups: bool) -> Iterator[Operation]:
    """Attach everything in order; file systems are made here, inside the container's namespaces.

    Raises InvalidParameter for what would be at /proc and is no procfs.
    """
    for source in found:
        if _place(source) == "/proc" and not _is_procfs(source):
            raise InvalidParameter(f'mount {source.mount.destination}: "{source.mount.source}" is not of type proc')
        if source.bind:
            if not source.early:
                yield from _take(source)
            yield plan.Attach(source.slot, source.mount.destination, source.kind, int(_may_cover_proc(source)))
        elif source.mount.type in {"cgroup", "cgroup2"}:
            yield from _cgroup(source, slots, cgroup, private_cgroups)
        else:
            yield from _file_system(source)


def seal(found: list[Source], *, console: bool) -> Iterator[Operation]:
    """Make a new /dev read-only that is to be so, when all that belongs in it is there; a ``console`` comes later."""
    for source in found:
        if _is_devices(source):
            if console:
                yield plan.MakeNode("/dev/console", stat.S_IFREG | 0o620, 0)
            yield plan.SetMount(source.slot, _read_only(source.options))


def _is_devices(source: Source) -> bool:
    return _place(source) == "/dev" and not source.bind


def _may_cover_proc(source: Source) -> bool:
    """Whether a bind may lie over procfs: a procfs over the whole, or files that only tell, as lxcfs has them."""
    return _place(source) in _TELLING or (_place(source) == "/proc" and _is_procfs(source))


def _place(source: Source) -> str:
    return _clean(source.mount.destination)


@lru_cache(1024)
def _clean(destination: str) -> str:
    """Most are the same for every container, and each is asked for several times."""
    return normpath(f"/{destination}").replace("//", "/")


def _is_procfs(source: Source) -> bool:
    """A new one, or the host's own shown."""
    if not source.bind:
        return source.mount.type == "proc"
    return (
        not source.given
        and not source.inside
        and Path(source.mount.source).stat().st_dev == Path("/proc").stat().st_dev
    )


_TELLING = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo", "/proc/stat", "/proc/swaps",
    "/proc/uptime", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}  # fmt: skip


def _file_system(source: Source) -> Iterator[Operation]:
    mount, options, slot = source.mount, source.options, source.slot
    yield made(source)
    if options.copy_up:
        yield plan.CopyUp(slot, mount.destination)
    elif mount.type == "tmpfs" and not any(word.startswith("mode=") for word in options.data):
        yield plan.CopyMode(slot, mount.destination)
    plain = int(mount.type in {"proc", "sysfs"})
    yield plan.Attach(slot, mount.destination, over_proc=int(mount.type == "proc"), plain=plain)
    if _read_only(options) and not _is_devices(source):
        yield plan.SetMount(slot, kernel.MOUNT_ATTR_RDONLY)
    for propagation, below in options.propagation:
        yield plan.SetMount(slot, 0, 0, propagation, plan.NO_SLOT, int(below))


def made(source: Source) -> plan.MakeMount:
    """A new file system, which is in no place yet."""
    mount, options = source.mount, source.options
    name = mount.source if mount.source != "none" else ""
    return plan.MakeMount(source.slot, mount.type, name, options.set & ~_read_only(options), options.data)


def _read_only(options: Options) -> int:
    """Set last: what is copied up, and mount points made in it, must be written first."""
    return options.set & kernel.MOUNT_ATTR_RDONLY


def _cgroup(source: Source, slots: Slots, path: str, private: bool) -> Iterator[Operation]:
    """``cgroup`` means the version the host has; a private namespace shows the container's own cgroup as the root."""
    mounted = hierarchies()
    destination, attributes = source.mount.destination, source.options.set
    if mounted.version == 2 or source.mount.type == "cgroup2":
        yield from _hierarchy(slots, destination, attributes, "cgroup2", (), f"{mounted.unified}{path}", private)
        return
    top = slots.take()
    yield plan.MakeMount(top, "tmpfs", "tmpfs", attributes & ~kernel.MOUNT_ATTR_RDONLY, ("mode=755",))
    yield plan.Attach(top, destination)
    together: dict[str, list[str]] = {}
    for controller, root in mounted.controllers.items():
        together.setdefault(root, []).append(controller)
    for root, controllers in together.items():
        name = ",".join(one.removeprefix("name=") for one in controllers)
        target = f"{destination}/{name}"
        yield from _hierarchy(slots, target, attributes, "cgroup", tuple(controllers), root + path, private)
        if len(controllers) > 1:
            for one in controllers:
                yield plan.MakeSymlink(name, f"{destination}/{one}")
    yield plan.SetMount(top, attributes & kernel.MOUNT_ATTR_RDONLY)


def _hierarchy(
    slots: Slots, target: str, attributes: int, kind: str, options: tuple[str, ...], host: str, private: bool
) -> Iterator[Operation]:
    slot = slots.take()
    if private:
        yield plan.MakeMount(slot, kind, "cgroup", attributes, options)
    else:
        yield plan.OpenTree(slot, host)
        yield plan.SetMount(slot, attributes)
    yield plan.Attach(slot, target)


def map_text(mappings: Sequence[IDMapping]) -> str:
    """The lines of a uid_map."""
    return "".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings)
