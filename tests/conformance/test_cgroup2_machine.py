"""cgroup v2 with every controller: the kernel tests of limits, run in a small virtual machine."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[1]
LIMITS = (
    "tests/kernel/runtime/test_cgroups.py",
    "tests/kernel/runtime/test_runtime_commands.py::test_limits_can_change_while_it_runs",
    "tests/kernel/runtime/test_runtime_isolation.py::test_an_idmapped_mount_shows_other_owners",
)
SECONDS = 600  # the machine is emulated


@pytest.fixture
def machine() -> ModuleType:
    spec = importlib.util.spec_from_file_location("machine", TESTS / "vm" / "machine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(SECONDS + 120)
def test_limits_hold_under_cgroup_version_2(machine: ModuleType) -> None:
    command = f"python3 -m pytest -p no:cacheprovider --color=no {' '.join(LIMITS)}"
    status, console = machine.run(f"grep -q memory /sys/fs/cgroup/cgroup.controllers && {command}", SECONDS)
    assert status == 0, console
    assert " passed" in console
