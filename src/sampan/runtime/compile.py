"""An OCI spec as a plan: the order of everything between clone and exec.

    stage     what the child could not do itself: joining a pid or time namespace; with another user namespace also
              bind sources and every join, which need the runtime's own rights
    child     ids mapped → namespaces joined → cgroup → peers' sources → tree cut off → root → mounts, devices, links
              → sysctl → read-only and masked paths → hooks → pivot → console → wait for start → identity → hooks
              → program

Pure: nothing is made or changed here; descriptors are given by the caller.
"""

import os
from collections.abc import Iterator, Sequence

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux import mount as kernel
from sampan.linux.namespaces import CLONE_NEWTIME, FLAGS
from sampan.oci.runtime_spec import Hook, Hooks, Linux, Process, Root, Spec, State, encode
from sampan.runtime import compile_devices, compile_mounts, compile_process, plan
from sampan.runtime.compile_beginning import LATE, enter
from sampan.runtime.compile_mounts import map_text
from sampan.runtime.mount_options import PROPAGATION
from sampan.runtime.plan import Operation, Plan, Slots
from sampan.runtime.surroundings import Surroundings
from sampan.runtime.validate import check, check_process
from sampan.runtime.validate_linux import sysctl_path

CREATE_RUNTIME = "createRuntime"
"""Name of the pause at which ``prestart`` and ``createRuntime`` hooks run, in the runtime's namespaces."""

NET_DEVICES = "netDevices"
"""Name of the pause at which the runtime moves network devices into the child's namespace."""

MAP_IDS = "mapIds"
"""Name of the pause at which newuidmap and newgidmap give the child its ids."""


def compile_launch(spec: Spec, around: Surroundings) -> Plan:
    """The plan of a container's first process. Raises InvalidParameter or Unsupported for a spec that cannot run."""
    check(spec, root_given=around.rootfs is not None)
    if spec.process is None and around.start_socket is None:
        raise InvalidParameter("process: a program to run must be given")
    return _Launch(spec, spec.process or Process(cwd="/"), around).plan()


class _Launch:
    """One compilation: slots are handed out once, then the parts are written in order."""

    def __init__(self, spec: Spec, process: Process, around: Surroundings) -> None:
        self.spec, self.process, self.around = spec, process, around
        self.linux = spec.linux or Linux()
        self.hooks = spec.hooks or Hooks()
        self.slots = Slots(around.begun.first) if around.begun else Slots()
        self._give(around)
        self.new = {one.type for one in self.linux.namespaces if one.type not in around.namespaces}
        self.private = "mount" in self.new
        self.other_user = "user" in self.new or "user" in self.joined
        self.early = self.other_user and around.privileged
        bundled = around.rootfs is None
        self.root_slot = self.slots.take() if bundled else self.rootfs
        self.mounts = compile_mounts.read(spec.mounts, self.slots, self._binds)
        self.devices = compile_devices.wanted(spec, self.mounts)
        self.taken = compile_devices.bound(self.devices, self.slots) if self.other_user else []

    def _give(self, around: Surroundings) -> None:
        """Inherited descriptors: those kept for the program first, so that they become 3, 4, …."""
        give = self.slots.give
        for fd in around.keep:
            give(fd)
        self.rootfs = plan.NO_SLOT if around.rootfs is None else give(around.rootfs)
        self.joined = {kind: give(fd) for kind, fd in around.namespaces.items()}
        self.tasks = [give(fd) for fd in around.cgroup_tasks]
        self.cgroup = plan.NO_SLOT if around.cgroup_directory is None else give(around.cgroup_directory)
        self.start = plan.NO_SLOT if around.start_socket is None else give(around.start_socket)
        self.ready = plan.NO_SLOT if around.ready is None else give(around.ready)
        self.userns = {destination: give(fd) for destination, fd in around.userns.items()}

    def plan(self) -> Plan:
        """The whole list, or the rest of one."""
        given, owned = tuple(self.slots.fds), tuple(self.around.owned)
        if self.around.begun is not None:
            return Plan(tuple(self.around.begun.without(self._child())), given, owned)
        flags = sum(FLAGS[kind] for kind in self.new if kind not in LATE)
        operations = (*self._stage(), plan.Clone(flags, self.cgroup), *self._child())
        return Plan(operations, given, owned)

    def _stage(self) -> Iterator[Operation]:
        if self.early:
            yield from compile_process.own_stdio(self.process, self.linux.uid_mappings)
            yield from self._take()
        yield from self._join(in_stage=True)
        if "time" in self.new:
            yield plan.Unshare(CLONE_NEWTIME)
            offsets = self.linux.time_offsets.items()
            if text := "".join(f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in offsets):
                yield plan.SetTimeOffsets(text)

    def _join(self, *, in_stage: bool) -> Iterator[Operation]:
        """Join by type; the user namespace last: before it the runtime may join whatever it likes."""
        for kind in sorted(self.joined, key=lambda kind: (kind == "user", kind == "mount", kind)):
            if in_stage == (self.other_user or kind in {"pid", "time"}):
                yield plan.SetNamespace(self.joined[kind], FLAGS[kind])

    def _child(self) -> Iterator[Operation]:
        if "user" in self.new:
            maps = (self.linux.uid_mappings, self.linux.gid_mappings)
            if self.around.helped:
                yield plan.Pause(MAP_IDS)
            else:
                allow = "allow" if self.around.privileged else "deny"
                yield plan.MapIds(map_text(list(maps[0])), map_text(list(maps[1])), allow)
        if self.other_user:
            yield plan.SetIds(0, 0)  # the runtime's own ids mean nobody in there, and nobody owns no file
        yield from self._join(in_stage=False)
        if self.around.begun is None:
            joining = [plan.WriteSlot(slot, b"0") for slot in self.tasks]
            yield from enter(joining, "cgroup" in self.new, self.around.container_id if self.around.keyring else "")
        if "network" in self.new:
            yield plan.RaiseLoopback()
        if self.linux.net_devices:
            yield plan.Pause(NET_DEVICES)
        yield from self._names()
        yield from self._file_systems()
        yield from self._process()

    def _names(self) -> Iterator[Operation]:
        if self.spec.hostname:
            yield plan.SetHostname(self.spec.hostname)
        if self.spec.domainname:
            yield plan.SetDomainname(self.spec.domainname)

    def _take(self) -> Iterator[Operation]:
        """Detached copies of the root (where it is a directory), of bind sources taken early, and of device nodes."""
        if self.rootfs == plan.NO_SLOT:
            yield plan.OpenTree(self.root_slot, str(self.around.bundle / self._root.path), 1)
            yield plan.SetMount(self.root_slot, 0, 0, kernel.MS_SLAVE, plan.NO_SLOT, 1)
        yield from compile_mounts.sources(self.mounts)
        yield from compile_devices.take(self.taken)

    @property
    def _root(self) -> Root:
        return self.spec.root or Root()

    @property
    def _binds(self) -> compile_mounts.Binds:
        """A bind that names no propagation gets that of the container's root."""
        wanted = PROPAGATION.get(self.linux.rootfs_propagation, (kernel.MS_SLAVE, True))[0]
        return compile_mounts.Binds(
            bundle=self.around.bundle,
            root="" if self.rootfs != plan.NO_SLOT else os.path.realpath(self.around.bundle / self._root.path),
            trees=self.around.trees,
            userns=self.userns,
            propagation=0 if wanted == kernel.MS_SHARED else wanted,
            early=self.early,
        )

    def _file_systems(self) -> Iterator[Operation]:
        """The container's tree, up to the pivot into it.

        In a mount namespace that others are in too it is mounted at the root's path, as this process's root alone.
        """
        if not self.early:
            yield from self._take()
        if self.private:
            yield plan.SetPropagation("/", kernel.MS_SLAVE)  # of the host: what is bound below may stay so
        yield plan.AttachRoot(self.root_slot, self._place)
        private = "cgroup" in self.new
        yield from compile_mounts.targets(
            self.mounts, self.slots, cgroup=self.around.cgroup_path, private_cgroups=private
        )
        yield from compile_devices.make(self.devices, self.taken)
        yield from compile_mounts.seal(self.mounts, console=self.process.terminal)
        for key, value in self.linux.sysctl.items():
            yield plan.WriteSysctl(sysctl_path(key), value)
        for path in self.linux.readonly_paths:
            yield plan.MakeReadonly(path)
        for path in dict.fromkeys(self.linux.masked_paths):
            yield plan.Mask(path)
        if self.process.cwd != "/":
            yield plan.MakeDirectory(self.process.cwd)
        if self._root.readonly:
            yield plan.MakeReadonly("/")
        yield from self._hooks_before_pivot()
        yield self._enter_root()
        if self.linux.rootfs_propagation:
            yield plan.SetPropagation("/", *map(int, PROPAGATION[self.linux.rootfs_propagation]))

    def _enter_root(self) -> Operation:
        """Into the new root: by a pivot, or by chroot where nothing may be pivoted."""
        if not self.private:
            return plan.ChangeRoot()
        return plan.PivotRoot() if self.around.pivot else plan.ChangeRoot(tuple(self.around.away))

    @property
    def _place(self) -> str:
        """Where in the host's tree the root is mounted before the pivot.

        Hooks of that moment find it by the bundle's path, and so do binds of what is inside of it. Otherwise it lies
        over everything, where a user who is root in a user namespace only can reach it.
        """
        hooks = self.hooks.prestart or self.hooks.create_runtime or self.hooks.create_container
        sought = bool(hooks) or any(source.inside for source in self.mounts)
        bundled = self.rootfs == plan.NO_SLOT
        return str(self.around.bundle / self._root.path) if bundled and (sought or not self.private) else "/"

    def _hooks_before_pivot(self) -> Iterator[Operation]:
        if self.hooks.prestart or self.hooks.create_runtime:
            yield plan.Pause(CREATE_RUNTIME)
        if self.hooks.create_container:
            yield plan.ChangeDirectory(self._place)
            yield from self._hooks("createContainer", self.hooks.create_container, self.around.environment)

    def _hooks(self, name: str, hooks: Sequence[Hook], inherited: Sequence[str]) -> Iterator[Operation]:
        """Hooks in order; one without an environment of its own gets that of its surroundings, as with runc."""
        before, behind = _around_pid(self.around.state, "created" if name == "startContainer" else "creating")
        for index, hook in enumerate(hooks):
            environment = tuple(hook.env or inherited)
            arguments, timeout = tuple(hook.args or (hook.path,)), (hook.timeout or 0) * 1000
            called = f"{name} hook #{index}"
            yield plan.RunHook(hook.path, arguments, environment, before, behind, timeout, called)

    def _process(self) -> Iterator[Operation]:
        process, keep = self.process, len(self.around.keep)
        if self.spec.process is None:
            yield plan.WaitStart(self.start, keep)  # for ever: `start` refuses what has no program
            return
        late = process.no_new_privileges and not self.around.init and not self.hooks.start_container
        filtered = compile_process.Filter(self.linux.seccomp, late=late)
        execute = compile_process.program_of(process, filtered, keep=keep)
        yield from compile_process.affinity(None)
        yield from compile_process.personality(self.linux.personality)
        yield from compile_process.memory_policy(self.linux.memory_policy)
        yield from compile_process.console(process, bind=True, plain=self.around.plain_console)
        yield from compile_process.limits(process, new_user=self.other_user)
        if self.start != plan.NO_SLOT or self.around.find_program:
            yield plan.FindProgram(execute.file, execute.environment)
        if self.start != plan.NO_SLOT:
            yield plan.WaitStart(self.start, keep)
        if self.ready != plan.NO_SLOT:
            yield plan.WaitSlot(self.ready)
        yield from compile_process.identity(process, filtered)
        yield from self._hooks("startContainer", self.hooks.start_container, execute.environment)
        if self.around.die_with_parent:
            yield plan.DieWithParent()
        if self.around.init:
            yield plan.Reap()
        yield execute


def _around_pid(state: State | None, status: str) -> tuple[bytes, bytes]:
    """A state as JSON, cut where the pid stands: only the child knows how it is called in its own namespace."""
    if state is None:
        return b"", b""
    before, _, behind = encode(msgspec.structs.replace(state, status=status, pid=0)).partition(b'"pid":0')
    return before + b'"pid":', behind


def compile_exec(
    process: Process,
    linux: Linux,
    *,
    pidfd: int,
    flags: int,
    cgroup_tasks: Sequence[int] = (),
    cgroup_directory: int | None = None,
    keep: Sequence[int] = (),
    owned: Sequence[int] = (),
    plain_console: bool = False,
    find_program: bool = False,
) -> Plan:
    """The plan of another process in a container: ``pidfd`` of its first process, ``flags`` the namespaces to join.

    Raises InvalidParameter or Unsupported for a process that cannot run.
    """
    check_process(process)
    slots = Slots()
    for fd in keep:
        slots.give(fd)
    joined = slots.give(pidfd)
    tasks = [slots.give(fd) for fd in cgroup_tasks]
    cgroup = plan.NO_SLOT if cgroup_directory is None else slots.give(cgroup_directory)
    affinity = process.exec_cpu_affinity
    operations: list[Operation] = []
    if affinity and affinity.initial:
        operations.append(plan.SetAffinity(compile_process.cpu_mask(affinity.initial)))
    operations += [plan.WriteSlot(slot, b"0") for slot in tasks]
    if flags & FLAGS["user"]:
        operations += compile_process.own_stdio(process, linux.uid_mappings)
    operations += [plan.SetNamespace(joined, flags), plan.Clone(0, cgroup)]
    operations += compile_process.affinity(affinity)
    operations += compile_process.personality(linux.personality)
    operations += compile_process.memory_policy(linux.memory_policy)
    operations += compile_process.console(process, bind=False, plain=plain_console)
    operations += compile_process.limits(process, new_user=bool(flags & FLAGS["user"]))
    filtered = compile_process.Filter(linux.seccomp, late=process.no_new_privileges)
    operations += compile_process.identity(process, filtered)
    execute = compile_process.program_of(process, filtered, keep=len(keep))
    operations += [plan.FindProgram(execute.file, execute.environment)] if find_program else []
    operations.append(execute)
    return Plan(tuple(operations), tuple(slots.fds), tuple(owned))
