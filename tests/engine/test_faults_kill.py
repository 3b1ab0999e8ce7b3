"""The daemon killed at every step of every operation: what was acknowledged is there, nothing half-made is.

For each operation the steps are counted in a run that is left alone; then it is done again and killed, at steps spread
evenly over it (``SAMPAN_FAULTS`` of them, 5 by default; ``SAMPAN_FAULTS=all`` takes each). After each kill the daemon
starts again, and what the host holds is compared with what the API says; once all is removed and pruned, the data root
holds what it held before and has no damage. The counts are printed at the end.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException
from engine_daemon import IMAGE, busybox_tar, drop_links, own_subnet
from fault_census import clear, stored, wait_for_clean
from fault_daemon import Mortal
from fault_operations import (
    LEAVE_NOTHING,
    OF_THE_API,
    OPERATIONS,
    Operation,
    committed_image,
    has_image,
    layered_image,
    nothing,
)
from registry_process import ours_in

from sampan.daemon.check import RECORDS
from sampan.server.app import ROUTES
from sampan.storage.check import check

pytestmark = pytest.mark.timeout(900)
WANTED = os.environ.get("SAMPAN_FAULTS", "5")
LOST_CONNECTION = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)


@dataclass
class Tally:
    """What the suite prints."""

    injected: dict[str, int] = field(default_factory=dict)
    survived: int = 0
    lost: int = 0


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts over all operations."""
    counts = Tally()
    yield counts
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(
            f"\nfaults injected: {sum(counts.injected.values())} {counts.injected}, "
            f"survived: {counts.survived}, lost: {counts.lost}"
        )


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """A daemon that dies often, with the busybox image."""
    root = tmp_path_factory.mktemp("faults")
    with own_subnet() as subnet:
        mortal = Mortal(root, subnet)
        mortal.start()
        try:
            assert mortal.cli("import", "-", IMAGE, input=busybox_tar()).returncode == 0
            yield mortal
        finally:
            with closing(mortal.client()) as client:
                clear(client)
            mortal.stop()
            for hierarchy in Path("/sys/fs/cgroup").glob("*" + mortal.cgroup_parent):
                hierarchy.rmdir()
            mortal.nursery.close()
            drop_links(f"{subnet}.1/24")
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_leaks() -> None:
    """Replaces the package's census: this file makes its own after each fault."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, daemon: Mortal) -> Iterator[str]:
    """A registry on the loopback that has busybox; its name for it."""
    process = ours_in(tmp_path_factory.mktemp("registry") / "root")
    process.start()
    name = f"{process.address}/faults"
    try:
        with closing(daemon.client()) as client:
            client.images.get(IMAGE).tag(name)
            assert "error" not in client.images.push(name)
            client.images.remove(name)
            layered_image(client, f"{name}-fresh")
        yield name
    finally:
        process.kill()


def test_every_operation_that_changes_what_lasts_is_among_them() -> None:
    changing = {route.operation for route in ROUTES if route.finishes}
    assert changing <= OF_THE_API.keys() | LEAVE_NOTHING
    assert set(OF_THE_API.values()) <= OPERATIONS.keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_any_step_loses_nothing_acknowledged(daemon: Mortal, tally: Tally, name: str) -> None:
    attack(daemon, tally, name, OPERATIONS[name])


def test_a_kill_at_any_step_of_a_pull_loses_nothing(daemon: Mortal, tally: Tally, registry: str) -> None:
    pull = Operation(nothing, lambda c, _: c.images.pull(registry, tag="latest"), has_image(registry))
    attack(daemon, tally, "pull", pull)


def test_a_kill_at_any_step_of_a_pull_of_new_layers_loses_nothing(daemon: Mortal, tally: Tally, registry: str) -> None:
    name = f"{registry}-fresh"
    pull = Operation(nothing, lambda c, _: c.images.pull(name, tag="latest"), has_image(name))
    attack(daemon, tally, "pull of new layers", pull)


def test_a_kill_at_any_step_of_a_push_loses_nothing(daemon: Mortal, tally: Tally, registry: str) -> None:
    name = f"{registry}-pushed"

    def tagged(client: docker.DockerClient) -> None:
        committed_image(client)
        client.images.get("spare").tag(name)

    def push(client: docker.DockerClient, _: object) -> None:
        assert "error" not in client.images.push(name, tag="latest")

    push_it = Operation(
        tagged, push, lambda c, _, __: c.images.get_registry_data(name), lambda c, _: c.images.get(name)
    )
    attack(daemon, tally, "push", push_it)


def attack(daemon: Mortal, tally: Tally, name: str, operation: Operation) -> None:
    """Do the operation once to count its steps, then once for each chosen one."""
    with closing(daemon.client()) as client:
        prepared = operation.prepare(client)
        daemon.steps.arm(0)
        done = operation.act(client, prepared)
        time.sleep(0.1)  # what follows the answer counts too
        total = daemon.steps.seen
        assert operation.check(client, prepared, done)
        clear(client)
        client.images.prune()
        wait_for_clean(daemon, client)
        at_rest = stored(daemon)
    failures = []
    for step in chosen(total):
        try:
            if inject(daemon, operation, step, at_rest):
                tally.injected[name] = tally.injected.get(name, 0) + 1
                tally.survived += 1
        except AssertionError as error:
            tally.injected[name] = tally.injected.get(name, 0) + 1
            tally.lost += 1
            failures.append(f"step {step} of {total}: {error}")
            if daemon.ended(0):
                daemon.stop()
                daemon.start()
            with closing(daemon.client()) as client:
                clear(client)
    assert not failures, "\n".join(failures)


def chosen(total: int) -> list[int]:
    """The steps to kill at."""
    wanted = total if WANTED == "all" else min(int(WANTED), total)
    return sorted({1 + at * (total - 1) // max(1, wanted - 1) for at in range(wanted)})


def inject(daemon: Mortal, operation: Operation, step: int, at_rest: set[str]) -> bool:
    """Kill at ``step``, start again, compare; False when the operation took fewer steps this time.

    When all is removed and pruned, what is stored is ``at_rest`` again, and has no damage.
    """
    acknowledged, done = False, None
    with closing(daemon.client()) as client:
        prepared = operation.prepare(client)
        daemon.steps.arm(step)
        try:
            done = operation.act(client, prepared)
            acknowledged = True
        except LOST_CONNECTION as error:
            assert not isinstance(error, APIError), error
    killed = daemon.ended(0.3 if acknowledged else 5)
    if killed:
        daemon.stop()
        daemon.start()
    daemon.steps.arm(0)
    with closing(daemon.client()) as client:
        if acknowledged:
            assert operation.check(client, prepared, done), "acknowledged and lost"
        assert operation.after(client, prepared), "not as it was told"
        wait_for_clean(daemon, client)
        clear(client)
        client.images.prune()
        wait_for_clean(daemon, client)
    assert stored(daemon) == at_rest, "something stays for ever"
    damage = [one.problem for one in check(daemon.root / "data", RECORDS) if one.damage]
    assert not damage, damage
    return killed
