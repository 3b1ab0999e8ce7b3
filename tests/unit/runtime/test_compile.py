"""Specs as plans: order and content of the operations."""

import msgspec
import pytest

from sampan.errors import InvalidParameter, Unsupported
from sampan.linux.namespaces import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from sampan.oci.runtime_spec import (
    Capabilities,
    CPUAffinity,
    Hook,
    Hooks,
    IDMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Seccomp,
    SeccompSyscall,
    Spec,
    User,
)
from sampan.runtime import plan
from sampan.runtime.compile import compile_exec, compile_launch
from sampan.runtime.compile_process import cpu_mask
from sampan.runtime.plan import Operation
from sampan.runtime.surroundings import Surroundings

AROUND = Surroundings(container_id="c")
PROCESS = Process(args=["true"], cwd="/", env=["PATH=/bin"])
NEW = (Namespace("pid"), Namespace("mount"), Namespace("uts"), Namespace("ipc"), Namespace("network"))


def spec(process: Process = PROCESS, linux: Linux | None = None, **members: object) -> Spec:
    return Spec(process=process, root=Root("/root"), linux=linux or Linux(namespaces=NEW), **members)  # type: ignore[arg-type]


def operations(of: Spec, around: Surroundings = AROUND) -> list[Operation]:
    return list(compile_launch(of, around).operations)


def position(found: list[Operation], kind: type[Operation]) -> int:
    return next(index for index, operation in enumerate(found) if isinstance(operation, kind))


def clone_of(found: list[Operation]) -> plan.Clone:
    operation = found[position(found, plan.Clone)]
    assert isinstance(operation, plan.Clone)
    return operation


def test_without_joins_or_user_namespace_nothing_comes_before_the_clone() -> None:
    found = operations(spec())
    assert isinstance(found[0], plan.Clone)
    assert found[0].flags & (CLONE_NEWPID | CLONE_NEWNS) == CLONE_NEWPID | CLONE_NEWNS
    assert isinstance(found[-1], plan.Execute)


def test_bind_sources_are_taken_before_the_tree_is_cut_off() -> None:
    found = operations(spec(mounts=[Mount("/data", "bind", "/", ["rbind", "ro"])]))
    assert position(found, plan.OpenTree) < position(found, plan.SetPropagation) < position(found, plan.AttachRoot)


def test_in_a_user_namespace_sources_are_taken_outside() -> None:
    maps = (IDMapping(0, 100000, 65536),)
    linux = Linux(namespaces=(*NEW, Namespace("user")), uid_mappings=maps, gid_mappings=maps)
    found = operations(spec(linux=linux))
    assert position(found, plan.OpenTree) < position(found, plan.Clone) < position(found, plan.MapIds)
    assert clone_of(found).flags & CLONE_NEWUSER
    assert not any(isinstance(operation, plan.MakeNode) for operation in found)


def test_a_given_network_namespace_is_joined_instead_of_made() -> None:
    found = operations(spec(), Surroundings(container_id="c", namespaces={"network": 7}))
    assert not clone_of(found).flags & CLONE_NEWNET
    assert plan.SetNamespace(plan.FIRST_SLOT, CLONE_NEWNET) in found
    assert not any(isinstance(operation, plan.RaiseLoopback) for operation in found)


def test_preserved_descriptors_are_the_first_slots() -> None:
    compiled = compile_launch(spec(), Surroundings(container_id="c", rootfs=50, keep=(3, 4)))
    assert compiled.fds[:3] == (3, 4, 50)
    assert compiled.operations[-1] == plan.Execute("true", ("true",), ("PATH=/bin",), 2)


def test_hooks_stand_at_their_moments() -> None:
    hooks = Hooks(create_runtime=[Hook("/a")], create_container=[Hook("/b")], start_container=[Hook("/c", timeout=2)])
    found = operations(spec(hooks=hooks), Surroundings(container_id="c", start_socket=9))
    runs = [operation for operation in found if isinstance(operation, plan.RunHook)]
    assert [run.path for run in runs] == ["/b", "/c"]
    assert runs[1].timeout == 2000
    order = [plan.AttachRoot, plan.Pause, plan.RunHook, plan.PivotRoot, plan.WaitStart, plan.SetIds]
    assert [position(found, kind) for kind in order] == sorted(position(found, kind) for kind in order)
    assert found.index(runs[1]) > position(found, plan.SetCapabilities)


def test_a_hook_in_the_container_runs_under_its_filter() -> None:
    linux = Linux(
        namespaces=NEW, seccomp=Seccomp("SCMP_ACT_ALLOW", syscalls=[SeccompSyscall(["mkdir"], "SCMP_ACT_ERRNO")])
    )
    process = msgspec.structs.replace(PROCESS, no_new_privileges=True)
    base = Spec(process=process, root=Root("/root"), linux=linux)
    assert not any(isinstance(operation, plan.Seccomp) for operation in operations(base))
    hooked = operations(msgspec.structs.replace(base, hooks=Hooks(start_container=[Hook("/c")])))
    order = [plan.NoNewPrivileges, plan.Seccomp, plan.RunHook, plan.Execute]
    assert [position(hooked, kind) for kind in order] == sorted(position(hooked, kind) for kind in order)


def test_the_root_becomes_read_only_after_everything_was_made_in_it() -> None:
    found = operations(Spec(process=PROCESS, root=Root("/root", True), linux=Linux(namespaces=NEW)))
    readonly = found.index(plan.MakeReadonly("/"))
    last = max(index for index, one in enumerate(found) if isinstance(one, plan.MakeSymlink | plan.MakeNode))
    assert last < readonly < position(found, plan.PivotRoot)


def test_effective_capabilities_never_exceed_the_permitted() -> None:
    held = Capabilities(("CAP_CHOWN",), ("CAP_CHOWN", "CAP_KILL"), (), ("CAP_CHOWN",), ("CAP_CHOWN",))
    found = operations(spec(Process(args=["a"], cwd="/", capabilities=held)))
    assert plan.SetCapabilities(1, 1, 0, 0) in found
    assert plan.DropBounding(1) in found


def test_a_process_without_capabilities_has_none() -> None:
    assert plan.SetCapabilities(0, 0, 0, 0) in operations(spec())


def test_masked_paths_come_after_read_only_ones() -> None:
    found = operations(spec(linux=Linux(namespaces=NEW, masked_paths=["/a"], readonly_paths=["/b"])))
    assert position(found, plan.MakeReadonly) < position(found, plan.Mask)


def test_an_exec_joins_by_the_pidfd_and_then_clones() -> None:
    affinity = CPUAffinity("0", "1")
    process = Process(args=["a"], cwd="/", user=User(5, 6, 0o77), exec_cpu_affinity=affinity)
    found = list(compile_exec(process, Linux(), pidfd=8, flags=CLONE_NEWPID).operations)
    assert isinstance(found[0], plan.SetAffinity)
    assert position(found, plan.SetNamespace) < position(found, plan.Clone)
    assert plan.SetUmask(0o77) in found


@pytest.mark.parametrize(("text", "bits"), [("0", 1), ("0-2,5", 0b100111), ("63", 1 << 63)])
def test_cpu_lists_are_masks(text: str, bits: int) -> None:
    assert int.from_bytes(cpu_mask(text), "little") == bits


BAD = [
    (Spec(oci_version="2.0.0", process=PROCESS, root=Root("/")), "ociVersion"),
    (Spec(process=PROCESS), "root"),
    (spec(Process(cwd="/")), "args must not be empty"),
    (spec(Process(args=["a"], cwd="x")), "absolute path"),
    (spec(Process(args=["a"], cwd="/", rlimits=[Rlimit("RLIMIT_X", 1, 1)])), "RLIMIT_X"),
    (spec(linux=Linux(namespaces=[Namespace("pid"), Namespace("pid")])), "duplicated"),
    (
        spec(linux=Linux(namespaces=[Namespace("mount")], uid_mappings=[IDMapping()], gid_mappings=[IDMapping()])),
        "user",
    ),
    (spec(linux=Linux(namespaces=[Namespace("mount")], sysctl={"net.ipv4.ip_forward": "1"})), "network"),
    (spec(linux=Linux(namespaces=NEW, sysctl={"vm.swappiness": "1"})), "not in a separate"),
    (spec(linux=Linux(namespaces=[Namespace("mount")]), hostname="x"), "UTS"),
    (spec(linux=Linux(namespaces=NEW, rootfs_propagation="odd")), "rootfsPropagation"),
    (spec(mounts=[Mount("/x", "bind", "/does/not/exist", ["bind"])]), "/does/not/exist"),
]


@pytest.mark.parametrize(("wrong", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_wrong_spec_is_refused_by_name(wrong: Spec, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        compile_launch(wrong, AROUND)


def test_what_is_not_done_is_refused() -> None:
    with pytest.raises(Unsupported, match="intelRdt"):
        compile_launch(spec(linux=Linux(intel_rdt={})), AROUND)
