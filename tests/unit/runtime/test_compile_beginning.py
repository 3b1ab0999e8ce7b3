"""The beginning of a plan and its rest make one whole."""

import pytest

from sampan.api.host_config import HostConfig
from sampan.engine.spec import Findings, early_mounts, mounts_of, own_namespaces
from sampan.oci.runtime_spec import Linux, Namespace, Process, Root, Spec
from sampan.runtime import plan
from sampan.runtime.compile import compile_launch
from sampan.runtime.compile_beginning import compile_beginning
from sampan.runtime.container import open_cgroup
from sampan.runtime.plan import Operation
from sampan.runtime.surroundings import Surroundings
from sampan.runtime.users import Identity

REST, ROOT, NETWORK = 90, 91, 92
PRIVATE = HostConfig(ipc_mode="private", cgroupns_mode="private", shm_size=1 << 26)
PRIVILEGED = HostConfig(ipc_mode="private", cgroupns_mode="private", privileged=True)


def both(host_config: HostConfig) -> tuple[plan.Plan, plan.Plan]:
    """The beginning, and what is left of a container so configured."""
    new = own_namespaces(host_config)
    beginning, begun = compile_beginning("c", open_cgroup("/c"), new, early_mounts(host_config), REST)
    spec = Spec(
        process=Process(args=["true"], cwd="/", env=["PATH=/bin"]),
        root=Root("/root"),
        mounts=mounts_of(host_config, Findings(Identity())),
        linux=Linux(namespaces=[*map(Namespace, new), Namespace("network")]),
    )
    around = Surroundings(container_id="c", rootfs=ROOT, namespaces={"network": NETWORK}, begun=begun)
    return beginning, compile_launch(spec, around)


def made(operations: tuple[Operation, ...]) -> list[str]:
    """The kinds of new file systems, in order."""
    return [one.filesystem for one in operations if isinstance(one, plan.MakeMount)]


@pytest.mark.parametrize(
    "host_config", [PRIVATE, HostConfig(ipc_mode="private", cgroupns_mode="private", privileged=True)]
)
def test_what_the_beginning_makes_the_rest_takes(host_config: HostConfig) -> None:
    beginning, rest = both(host_config)
    assert {"proc", "tmpfs", "devpts", "mqueue"} <= set(made(beginning.operations))
    assert made(rest.operations) == ["sysfs"]  # of the network namespace, which is joined in the rest
    slots = [one.slot for one in beginning.operations if isinstance(one, plan.MakeMount)]
    assert sorted(one.origin for one in rest.operations if isinstance(one, plan.TakeSlot)) == sorted(slots)


def test_the_rest_fills_no_slot_of_the_beginning() -> None:
    beginning, rest = both(PRIVATE)
    read = beginning.operations[-1]
    assert isinstance(read, plan.ReadPlan)
    filled = [one.slot for one in rest.operations if isinstance(one, plan.TakeSlot | plan.MakeMount | plan.OpenTree)]
    assert min(filled) >= read.first + len(rest.fds)
    assert rest.fds == (ROOT, NETWORK)
    assert REST in beginning.owned


def test_the_process_is_made_once_and_enters_its_cgroup_once() -> None:
    beginning, rest = both(PRIVATE)
    once = (plan.Clone, plan.JoinKeyring, plan.JoinCgroup, plan.Unshare)
    assert isinstance(beginning.operations[0], plan.Clone)
    assert not [one for one in rest.operations if isinstance(one, once)]
    assert isinstance(rest.operations[-1], plan.Execute)


def test_a_host_s_cgroup_namespace_has_its_mounts_made_in_the_rest() -> None:
    beginning, rest = both(HostConfig(ipc_mode="private", cgroupns_mode="host", shm_size=1 << 26))
    assert "cgroup" not in made(beginning.operations)
    assert "cgroup2" not in made(beginning.operations)
    assert [one for one in rest.operations if isinstance(one, plan.OpenTree)]
