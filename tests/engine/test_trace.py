"""At debug the daemon tells where the time of a start goes."""

import re
from collections.abc import Callable
from typing import Any

import pytest

STEPS = ["mounts", "beginning", "root", "namespace", "spec", "process", "record", "total"]


@pytest.fixture(scope="module")
def daemon_arguments() -> tuple[str, ...]:
    return ("--debug",)


def test_a_start_is_told_step_by_step(daemon: Any, run: Callable[..., Any], eventually: Callable[..., None]) -> None:
    container = run("true")
    container.wait()
    eventually(lambda: f"start {container.id[:12]}:" in daemon.log)
    line = next(line for line in daemon.log.splitlines() if f"start {container.id[:12]}:" in line)
    steps = re.findall(r"(\w+) ([0-9.]+) ms", line)
    assert [name for name, _ in steps] == STEPS
    *parts, (_, total) = steps
    assert abs(sum(float(spent) for _, spent in parts) - float(total)) < 0.1
