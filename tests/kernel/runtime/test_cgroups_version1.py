"""What only cgroup v1 has: a freezer of its own, and a list of devices in the kernel."""

import os
from pathlib import Path

import pytest

from sampan.errors import EngineError, InvalidParameter
from sampan.linux.cgroup1 import Cgroup1
from sampan.oci.runtime_spec import DeviceCgroup, Resources
from sampan.runtime.cgroups import open_cgroup, prepare_cgroup

PARENT = f"/sampan-test-version1-{os.getpid()}"
DENY_ALL, NULL, FUSE = DeviceCgroup(False), DeviceCgroup(True, "c", 1, 3), DeviceCgroup(True, "c", 10, 229, "rw")


def test_one_frozen_in_advance_in_the_freezers_hierarchy_alone_is_refused_and_stays() -> None:
    directory = Path(Cgroup1(f"{PARENT}/cold").file("freezer.state")).parent
    directory.mkdir(parents=True)
    (directory / "freezer.state").write_text("FROZEN")
    for path in (f"{PARENT}/cold", f"{PARENT}/cold/below"):
        with pytest.raises(EngineError, match="unexpectedly frozen"):
            prepare_cgroup(path)
    assert (directory / "freezer.state").read_text() == "FROZEN\n"
    open_cgroup(PARENT).remove()


def test_the_device_list_of_a_cgroup_with_others_below_it_changes_by_its_difference() -> None:
    made = prepare_cgroup(f"{PARENT}/pod", Resources(devices=[DENY_ALL, FUSE]))
    below = prepare_cgroup(f"{PARENT}/pod/one", Resources(devices=[DENY_ALL]))
    assert "c 10:229 rw" in made.read("devices.list")
    prepare_cgroup(f"{PARENT}/pod", Resources(devices=[DENY_ALL, NULL]))
    assert "c 10:229" not in made.read("devices.list")
    assert "c 1:3 rwm" in made.read("devices.list")
    with pytest.raises(InvalidParameter, match="others below it, and a list of devices is allowed"):
        prepare_cgroup(f"{PARENT}/pod", Resources(devices=[DeviceCgroup(True)]))
    below.remove()
    made.remove()
    open_cgroup(PARENT).remove()
