"""The Prometheus endpoint of a real daemon, read as a scraper reads it."""

import os
import socket
from typing import Any
from urllib.request import urlopen

import pytest
from docker.types import LogConfig
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture(scope="module")
def address() -> str:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def daemon_arguments(address: str) -> tuple[str, ...]:
    """The daemon tells metrics, containers' too."""
    return ("--metrics-addr", address, "--metrics-containers")


def scrape(address: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """All samples by name."""
    with urlopen(f"http://{address}/metrics", timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = response.read().decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def one(found: dict[str, list[tuple[dict[str, str], float]]], name: str, /, **labels: str) -> float:
    """The one sample that has these labels."""
    [value] = [value for have, value in found[name] if labels.items() <= have.items()]
    return value


def test_the_daemon_tells_of_itself_and_its_containers(daemon: Any, client: Any, run: Any, address: str) -> None:
    container = run("sleep 60", name="measured", mem_limit="64m")
    client.containers.create("busybox:latest", "true")
    found = scrape(address)
    assert one(found, "engine_daemon_container_states_containers", state="running") == 1
    assert one(found, "engine_daemon_container_states_containers", state="stopped") == 1
    assert one(found, "engine_daemon_container_actions_seconds_count", action="start") == 1
    assert one(found, "engine_daemon_container_actions_seconds_count", action="create") == 2
    assert one(found, "engine_daemon_events_total", type="container") >= 3
    assert one(found, "engine_daemon_engine_info", graphdriver="overlay2") == 1
    assert one(found, "process_resident_memory_bytes") > 1 << 20
    assert one(found, "process_open_fds") > 3
    assert one(found, "container_pids", name="measured") == 1
    assert one(found, "container_spec_memory_limit_bytes", id=container.id) == 64 << 20
    assert one(found, "container_cpu_usage_seconds_total", name="measured") > 0


def test_lines_that_a_log_had_no_room_for_are_counted(daemon: Any, client: Any, address: str, eventually: Any) -> None:
    """The log's file is a pipe that nobody reads."""
    options = LogConfig(type="json-file", config={"mode": "non-blocking", "max-buffer-size": "10k"})
    script = "seq 5000; sleep 60"
    container = client.containers.create(
        "busybox:latest", ["sh", "-c", script], name="chatty", network_mode="none", log_config=options
    )
    path = daemon.root / "data" / "containers" / container.id / f"{container.id}-json.log"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        container.start()
        eventually(lambda: one(scrape(address), "container_log_dropped_lines_total", name="chatty") > 1000)
        container.remove(force=True)
    finally:
        os.close(fd)


def test_a_containers_interfaces_are_counted(run: Any, shell: Any, address: str) -> None:
    container = run("sleep 60", name="talks", network_mode="bridge")
    shell(container, "ping -c 1 -W 1 198.51.100.1 || true")
    found = scrape(address)
    assert one(found, "container_network_transmit_bytes_total", name="talks", interface="eth0") > 0


def test_a_container_that_ended_has_no_series(run: Any, address: str) -> None:
    run("true", name="ended").wait()
    assert [labels["name"] for labels, _ in scrape(address).get("container_pids", [])] == []


def test_the_hosts_pressure_is_told_where_the_kernel_does(address: str) -> None:
    told = {
        (labels["resource"], labels["kind"]) for labels, _ in scrape(address).get("host_pressure_seconds_total", [])
    }
    assert told == expected_pressure()


def expected_pressure() -> set[tuple[str, str]]:
    """What this kernel tells."""
    found = set()
    for resource in ("cpu", "io", "memory"):
        try:
            with open(f"/proc/pressure/{resource}") as file:
                found |= {(resource, line.split()[0]) for line in file}
        except OSError:
            continue
    return found


def test_metrics_are_not_on_the_apis_socket(client: Any) -> None:
    response = client.api.get(f"{client.api.base_url}/metrics")
    assert response.status_code == 404
