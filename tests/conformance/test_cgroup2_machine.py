"""What this host's kernel may lack, run in a small virtual machine: cgroup v2 with every controller, disk quotas."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[1]
LIMITS = (
    "tests/kernel/runtime/test_cgroups.py",
    "tests/kernel/runtime/test_runtime_commands.py::test_limits_can_change_while_it_runs",
    "tests/kernel/runtime/test_runtime_isolation.py::test_an_idmapped_mount_shows_other_owners",
    "tests/vm/quota_checks.py",
    "tests/vm/limit_checks.py",
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
def test_limits_and_quotas_hold_on_a_kernel_that_has_them(machine: ModuleType) -> None:
    command = f"python3 -m pytest -p no:cacheprovider --color=no {' '.join(LIMITS)}"
    status, console = machine.run(f"grep -q memory /sys/fs/cgroup/cgroup.controllers && {command}", SECONDS)
    assert status == 0, console
    assert " passed" in console
