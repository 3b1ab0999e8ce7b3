"""Statistics are what the kernel's files say, and the docker CLI shows them in all its formats (cgroup v1)."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from engine_daemon import IMAGE, Daemon, wait_for

CGROUPS = Path("/sys/fs/cgroup")
TICK = 10_000_000
"""Nanoseconds that cpuacct.stat counts by (USER_HZ is 100)."""
WORK = "dd if=/dev/zero of=/written bs=1M count=9 conv=fsync; touch /done; exec sleep 600"
Run = Callable[..., Any]


@pytest.fixture
def busy(client: docker.DockerClient, run: Run) -> Any:
    """A container that has computed, written and spoken, and is frozen since: nothing moves any more."""
    container = run(["sh", "-c", WORK], network_mode="bridge", mem_limit="128m", pids_limit=50, stop_signal="SIGKILL")
    wait_for(lambda: container.exec_run("test -e /done").exit_code == 0, 20)
    gateway = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    container.exec_run(["ping", "-c", "2", gateway])
    container.pause()
    stat = directory(container, "memory") / "memory.stat"
    wait_for(lambda: pairs(stat.read_text())["total_cache"] > 8 << 20, 20)  # the kernel counts now and then
    yield container
    container.unpause()


def directory(container: Any, controller: str) -> Path:
    """The container's cgroup of a controller."""
    container.reload()
    lines = Path(f"/proc/{container.attrs['State']['Pid']}/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if controller in line.split(":")[1].split(","))
    return CGROUPS / controller / path.lstrip("/")


def number(container: Any, controller: str, file: str) -> int:
    return int((directory(container, controller) / file).read_text())


def pairs(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def read(client: docker.DockerClient, container: Any) -> dict[str, Any]:
    """One reading without waiting for another."""
    url = f"{client.api.base_url}/v1.55/containers/{container.id}/stats?stream=0&one-shot=1"
    found: dict[str, Any] = client.api.get(url).json()
    return found


def test_memory_is_that_of_the_control_files(client: docker.DockerClient, busy: Any) -> None:
    shown = read(client, busy)["memory_stats"]
    memory = directory(busy, "memory")
    assert shown["usage"] == number(busy, "memory", "memory.usage_in_bytes")
    assert shown["max_usage"] == number(busy, "memory", "memory.max_usage_in_bytes")
    assert shown["limit"] == 128 << 20
    assert shown["stats"] == pairs((memory / "memory.stat").read_text())
    assert shown["stats"]["total_cache"] > 8 << 20


def test_processor_time_is_that_of_the_control_files(client: docker.DockerClient, busy: Any) -> None:
    shown = read(client, busy)["cpu_stats"]
    assert shown["cpu_usage"]["total_usage"] == number(busy, "cpuacct", "cpuacct.usage")
    each = (directory(busy, "cpuacct") / "cpuacct.usage_percpu").read_text().split()
    assert shown["cpu_usage"]["percpu_usage"] == list(map(int, each))
    ticks = pairs((directory(busy, "cpuacct") / "cpuacct.stat").read_text())
    assert abs(shown["cpu_usage"]["usage_in_usermode"] - ticks["user"] * TICK) <= TICK
    assert abs(shown["cpu_usage"]["usage_in_kernelmode"] - ticks["system"] * TICK) <= TICK
    throttled = pairs((directory(busy, "cpu") / "cpu.stat").read_text())
    assert shown["throttling_data"]["periods"] == throttled["nr_periods"]
    assert shown["throttling_data"]["throttled_time"] == throttled["throttled_time"]
    assert shown["online_cpus"] == len(each)


def test_block_devices_are_those_of_the_control_files(client: docker.DockerClient, busy: Any) -> None:
    shown = read(client, busy)["blkio_stats"]
    blkio = directory(busy, "blkio")
    for key, file in (("io_service_bytes_recursive", "io_service_bytes"), ("io_serviced_recursive", "io_serviced")):
        told = {(each["major"], each["minor"], each["op"]): each["value"] for each in shown[key]}
        found = {}
        for scheduler in ("bfq", "throttle"):
            text = (blkio / f"blkio.{scheduler}.{file}_recursive").read_text()
            for line in text.splitlines():
                device, _, rest = line.partition(" ")
                if ":" in device:
                    operation, value = rest.split()
                    major, minor = map(int, device.split(":"))
                    found[major, minor, operation.lower()] = int(value)
            if found:
                break
        assert told == found


def test_processes_and_interfaces_are_counted(client: docker.DockerClient, busy: Any) -> None:
    shown = read(client, busy)
    assert shown["pids_stats"] == {"current": number(busy, "pids", "pids.current"), "limit": 50}
    counters = Path(f"/proc/{busy.attrs['State']['Pid']}/net/dev").read_text().splitlines()[2:]
    found = {line.split(":")[0].strip(): list(map(int, line.split(":")[1].split())) for line in counters}
    eth0, told = found["eth0"], shown["networks"]["eth0"]
    assert [told[key] for key in ("rx_packets", "rx_errors", "rx_dropped")] == eth0[1:4]
    assert [told["tx_bytes"], told["tx_packets"], told["tx_errors"], told["tx_dropped"]] == eth0[8:12]
    assert told["tx_packets"] > 0
    assert set(shown["networks"]) == set(found) - {"lo"}


def mebibytes(reading: dict[str, Any]) -> float:
    """Memory in use as the CLI counts it: without files that nobody reads."""
    memory = reading["memory_stats"]
    return float(memory["usage"] - memory["stats"]["total_inactive_file"]) / (1 << 20)


def test_the_cli_shows_them_in_every_format(daemon: Daemon, client: docker.DockerClient, busy: Any) -> None:
    fields = ("Container", "Name", "ID", "CPUPerc", "MemUsage", "NetIO", "BlockIO", "MemPerc", "PIDs")
    form = "\t".join(f"{{{{.{field}}}}}" for field in fields)
    lines: list[str] = []
    used = 0.0

    def unmoved() -> bool:
        nonlocal used
        used = mebibytes(read(client, busy))
        lines.append(daemon.cli("stats", "--no-stream", "--format", form, busy.name).stdout.decode().rstrip("\n"))
        return used == mebibytes(read(client, busy))

    wait_for(unmoved, 60)
    line = lines[-1]
    shown = dict(zip(fields, line.split("\t"), strict=True))
    assert (shown["Name"], shown["ID"], shown["Container"]) == (busy.name, busy.id[:12], busy.name)
    assert (shown["CPUPerc"], shown["PIDs"]) == ("0.00%", str(number(busy, "pids", "pids.current")))
    usage, limit = shown["MemUsage"].split(" / ")
    assert limit == "128MiB"
    assert abs(float(re.sub("[A-Za-z]", "", usage)) - (used if "MiB" in usage else used * 1024)) < 0.1
    assert shown["MemPerc"] == f"{used / 128 * 100:.2f}%"
    assert re.fullmatch(r"[\d.]+[kM]?B / [\d.]+[kM]?B", shown["NetIO"])
    assert re.fullmatch(r"[\d.]+[kM]?B / [\d.]+[kM]?B", shown["BlockIO"])
    table = daemon.cli("stats", "--no-stream", "--no-trunc").stdout.decode().splitlines()
    assert table[0].split()[:3] == ["CONTAINER", "ID", "NAME"]
    assert [row.split()[:2] for row in table[1:]] == [[busy.id, busy.name]]
    (object_,) = map(json.loads, daemon.cli("stats", "--no-stream", "--format", "{{json .}}").stdout.splitlines())
    still = ("Name", "CPUPerc", "PIDs")
    assert [object_[field] for field in still] == [shown[field] for field in still]
    assert set(fields) <= set(object_)


def test_several_containers_and_those_that_do_not_run(daemon: Daemon, client: docker.DockerClient, run: Run) -> None:
    runs, other = run("sleep 600", stop_signal="SIGKILL"), run("sleep 600", stop_signal="SIGKILL")
    client.containers.create(IMAGE, "true", name="waits", network_mode="none")

    def names(*words: str) -> set[str]:
        return set(daemon.cli("stats", "--no-stream", "--format", "{{.Name}}", *words).stdout.decode().split())

    assert names() == {runs.name, other.name}
    assert names("--all") == {runs.name, other.name, "waits"}
    assert names("waits", other.name) == {"waits", other.name}
    assert daemon.cli("stats", "--no-stream", "nope").returncode == 1


def test_a_stream_goes_on_with_readings_that_follow_one_another_and_ends_with_the_container(
    client: docker.DockerClient, run: Run
) -> None:
    container = run("sleep 600", stop_signal="SIGKILL")
    readings = client.api.stats(container.id, decode=True, stream=True)
    first, second = next(readings), next(readings)
    assert second["preread"] == first["read"]
    assert second["precpu_stats"] == first["cpu_stats"]
    container.remove(force=True)
    began = time.monotonic()
    for _ in readings:
        assert time.monotonic() - began < 60
