"""What another OCI runtime is given to run: a spec that older ones understand too, and the mounts it takes ready.

    <places>/mounts/<number>    a mount that is no plain bind: an image's tree, part of a volume, an ID-mapped source
    <places>/rootfs             the root

They are put there in the mount namespace of the runtime alone; its spec has plain binds of them. The places are in the
bundle; for a root that is another user of the host, where he may go: in /run/sampan-places/<container>. Older runtimes
(runc 1.1) ignore maps of mounts without a word, so none is left to them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from sampan.linux import capabilities
from sampan.linux import mount as kernel
from sampan.oci.runtime_spec import Capabilities, Linux, Mount, Process, Root, Spec
from sampan.runtime import plan
from sampan.runtime.mount_options import parse
from sampan.runtime.plan import Operation, Slots
from sampan.runtime.program import PROGRAM

_OLDEST = "1.0.2"
"""The version bundles claim: older runtimes refuse newer ones, newer ones take it."""

_INIT = "/sbin/docker-init"
_MAPPED = ("idmap", "ridmap")


def places_of(spec: Spec, bundle: Path, container_id: str) -> Path:
    """The directory of what the runtime takes ready, made here (blocks)."""
    other_user = any(one.type == "user" for one in (spec.linux or Linux()).namespaces)
    places = _FOR_OTHERS / container_id if other_user else bundle
    for directory in (_FOR_OTHERS, places, places / "mounts", places / "rootfs") if other_user else ():
        directory.mkdir(mode=0o711, exist_ok=True)
    for name in ("mounts", "rootfs"):
        (places / name).mkdir(parents=True, exist_ok=True)
    return places


def remove_places(container_id: str) -> None:
    """Remove the directory that was made for another user (blocks); none is no error."""
    places = _FOR_OTHERS / container_id
    if not places.is_dir():
        return
    for place in (*(places / "mounts").iterdir(), places / "mounts", places / "rootfs", places):
        place.rmdir() if place.is_dir() else place.unlink()


_FOR_OTHERS = Path("/run/sampan-places")


def bundled(spec: Spec, places: Path, rootfs: int | None, netns: int | None, *, init: bool = False) -> Spec:
    """The spec as a bundle says it: the root by its place there, namespaces that are descriptors by this process's.

    Capabilities that nobody can have here are left out, as our own runtime leaves them; ``init`` is the engine's.
    """
    spec = msgspec.structs.replace(spec, oci_version=_OLDEST, process=spec.process and granted(spec.process))
    if rootfs is not None:
        readonly = spec.root.readonly if spec.root else False
        spec = msgspec.structs.replace(spec, root=Root(str(places / "rootfs"), readonly))
    if init and spec.process is not None:
        process = msgspec.structs.replace(spec.process, args=(_INIT, "init", *spec.process.args))
        program = Mount(_INIT, "bind", str(PROGRAM), ("bind", "ro"))
        spec = msgspec.structs.replace(spec, process=process, mounts=(*spec.mounts, program))
    if netns is None or spec.linux is None:
        return spec
    path = f"/proc/{os.getpid()}/fd/{netns}"
    namespaces = [
        msgspec.structs.replace(one, path=path) if one.type == "network" else one for one in spec.linux.namespaces
    ]
    linux: Linux = msgspec.structs.replace(spec.linux, namespaces=namespaces)
    return msgspec.structs.replace(spec, linux=linux)


def granted(process: Process) -> Process:
    """``process`` with those of its capabilities that this process's own bounding set has."""
    if process.capabilities is None:
        return process
    held = capabilities.held()
    sets = msgspec.structs.asdict(process.capabilities)
    kept = {name: tuple(one for one in given if capabilities.mask([one]) & held) for name, given in sets.items()}
    return msgspec.structs.replace(process, capabilities=Capabilities(**kept))


class Ready(msgspec.Struct, frozen=True):
    """One mount that is made ready: in place of ``mount``, with its ``tree`` or by opening its source."""

    mount: Mount
    place: Path
    tree: int | None
    userns: int | None

    @property
    def bind(self) -> Mount:
        """What the runtime is asked for."""
        options = tuple(option for option in self.mount.options if option not in _MAPPED)
        bound = options if {"bind", "rbind"} & set(options) else ("rbind", *options)
        return Mount(self.mount.destination, "bind", str(self.place), bound)


def make_ready(ready: Sequence[Ready], slots: Slots) -> list[Operation]:
    """Make all of them; descriptors are given to ``slots`` before slots are taken."""
    given = [tuple(None if fd is None else slots.give(fd) for fd in (one.tree, one.userns)) for one in ready]
    return [
        step for one, (tree, mapped) in zip(ready, given, strict=True) for step in _make_one(one, tree, mapped, slots)
    ]


def _make_one(one: Ready, tree: int | None, mapped: int | None, slots: Slots) -> Iterator[Operation]:
    options = parse(one.mount.options)
    slot = slots.take() if tree is None else tree
    if tree is None:
        yield plan.OpenTree(slot, one.mount.source, int(options.recursive))
    if mapped is not None:
        yield plan.SetMount(slot, kernel.MOUNT_ATTR_IDMAP, 0, 0, mapped, int(options.idmap_below))
    yield plan.AttachRoot(slot, str(one.place))


def ready_mounts(
    mounts: Sequence[Mount], places: Path, trees: Mapping[str, int], userns: Mapping[str, int]
) -> list[Ready]:
    """The mounts that the runtime takes ready, each with a place made for it (blocks)."""
    found = []
    for number, mount in enumerate(mounts):
        tree, mapped = trees.get(mount.destination), userns.get(mount.destination)
        if tree is None and mapped is None:
            continue
        place = places / "mounts" / str(number)
        source = Path(mount.source if tree is None else f"/proc/self/fd/{tree}")
        _make(place, directory=source.is_dir())
        found.append(Ready(mount, place, tree, mapped))
    return found


def _make(place: Path, *, directory: bool) -> None:
    """A place to mount on, whatever an earlier start left there."""
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    if directory:
        place.mkdir()
    else:
        place.touch()


def with_ready(spec: Spec, ready: Sequence[Ready]) -> Spec:
    """The spec with the mounts that are ``ready`` bound from their places."""
    bound = {one.mount.destination: one.bind for one in ready}
    return msgspec.structs.replace(spec, mounts=tuple(bound.get(one.destination, one) for one in spec.mounts))
