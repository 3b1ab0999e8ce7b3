"""Limits of containers by the API on cgroup v2: in the kernel's files, after an update, and in their effects.

Run in the virtual machine, whose cgroup v2 has every controller (machine.py), with the daemon and docker-py.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import docker
import pytest
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon, busybox_tar, wait_for

MEGABYTE = 1 << 20
CGROUP = "/sys/fs/cgroup"
METRICS = "127.0.0.1:9323"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    """A client of a daemon with the busybox image."""
    arguments = ("--iptables=false", "--metrics-addr", METRICS, "--metrics-containers")
    daemon = Daemon(tmp_path_factory.mktemp("limits"), "10.202.9", arguments, patience=200)
    try:
        daemon.start()
        with closing(docker.DockerClient(base_url=daemon.url, timeout=200)) as made:
            made.api.import_image_from_data(busybox_tar(), repository=IMAGE.partition(":")[0], tag="latest")
            yield made
            for container in made.containers.list(all=True):
                container.remove(force=True)
    finally:
        print(daemon.log[-3000:])
        daemon.stop()
        shutil.rmtree(daemon.root)


def start(client: docker.DockerClient, command: str | list[str] = "sleep 1000", **options: Any) -> Container:
    return client.containers.run(IMAGE, command, detach=True, network_mode="none", **options)


def said(container: Container, script: str) -> str:
    return str(container.exec_run(["sh", "-c", script]).output.decode().strip())


def files(container: Container, *names: str) -> list[str]:
    """Contents of control files as the container sees its own cgroup."""
    return [said(container, f"cat {CGROUP}/{name}") for name in names]


def disk() -> tuple[str, str]:
    """Path and number of the guest's first disk."""
    return "/dev/vda", Path("/sys/block/vda/dev").read_text().strip()


def test_every_limit_is_in_its_control_file(client: docker.DockerClient) -> None:
    path, number = disk()
    container = start(
        client,
        mem_limit="64m",
        memswap_limit="96m",
        mem_reservation="32m",
        cpu_shares=512,
        nano_cpus=500_000_000,
        cpuset_cpus="0",
        cpuset_mems="0",
        pids_limit=50,
        device_read_bps=[{"Path": path, "Rate": MEGABYTE}],
        device_write_bps=[{"Path": path, "Rate": 2 * MEGABYTE}],
        device_read_iops=[{"Path": path, "Rate": 100}],
        device_write_iops=[{"Path": path, "Rate": 200}],
    )
    wanted = {
        "memory.max": str(64 * MEGABYTE),
        "memory.swap.max": str(32 * MEGABYTE),
        "memory.low": str(32 * MEGABYTE),
        "cpu.weight": "59",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "50",
        "io.max": f"{number} rbps={MEGABYTE} wbps={2 * MEGABYTE} riops=100 wiops=200",
    }
    assert dict(zip(wanted, files(container, *wanted), strict=True)) == wanted


def test_what_is_not_limited_is_free(client: docker.DockerClient) -> None:
    names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpu.weight", "io.max")
    assert files(start(client), *names) == ["max", "max", "max 100000", "max", "100", ""]
    assert files(start(client, mem_limit="64m"), "memory.swap.max") == [str(64 * MEGABYTE)]
    assert files(start(client, mem_limit="64m", memswap_limit=-1), "memory.swap.max") == ["max"]
    assert files(start(client, mem_limit="64m", memswap_limit="64m"), "memory.swap.max") == ["0"]


def test_limits_change_while_it_runs(client: docker.DockerClient) -> None:
    container = start(client, mem_limit="64m")
    container.update(
        mem_limit="128m", memswap_limit="256m", mem_reservation="16m", cpu_shares=1024, cpu_quota=20000,
        cpu_period=50000, cpuset_cpus="1",
    )  # fmt: skip
    client.api._post_json(client.api._url("/containers/{0}/update", container.id), {"PidsLimit": 30})
    names = ("memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpuset.cpus", "pids.max")
    expected = [str(128 * MEGABYTE), str(128 * MEGABYTE), str(16 * MEGABYTE), "100", "20000 50000", "1", "30"]
    assert files(container, *names) == expected
    container.restart(timeout=0)
    assert files(container, *names) == expected


def test_a_weight_for_disks_is_a_weight(client: docker.DockerClient) -> None:
    shown = files(start(client, blkio_weight=500), "io.bfq.weight 2>/dev/null", "io.weight 2>/dev/null")
    assert "default 500" in shown or "default 4950" in shown, shown


def test_too_much_memory_kills_and_is_told(client: docker.DockerClient) -> None:
    container = start(
        client, ["sh", "-c", "head -c 100m /dev/zero | tail -c 100m > /dev/null"], mem_limit="24m", memswap_limit="24m"
    )
    container.wait(timeout=100)
    container.reload()
    assert container.attrs["State"]["OOMKilled"] is True
    assert container.attrs["State"]["ExitCode"] in (137, 1, 0)


def test_a_process_too_many_is_not_made(client: docker.DockerClient) -> None:
    assert "can't fork" in said(start(client, pids_limit=4), "for i in 1 2 3 4 5 6; do sleep 5 & done")


def test_too_much_processor_is_throttled(client: docker.DockerClient) -> None:
    container = start(client, ["sh", "-c", "while :; do :; done"], nano_cpus=100_000_000)

    def throttled() -> int:
        return int(said(container, f"awk '/nr_throttled/ {{print $2}}' {CGROUP}/cpu.stat") or 0)

    wait_for(lambda: throttled() > 3, 60)


def test_devices_are_only_those_allowed(client: docker.DockerClient) -> None:
    container = start(client, devices=["/dev/zero:/dev/mine:r"])
    assert "Operation not permitted" in said(container, "mknod /tmp/disk b 254 0; head -c 1 /tmp/disk")
    assert "Operation not permitted" in said(container, "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg")
    assert said(container, "head -c 3 /dev/mine | wc -c; echo x > /dev/null && echo fine") == "3\nfine"


def test_a_paused_container_stands_still(client: docker.DockerClient) -> None:
    container = start(client, ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; done"])
    wait_for(lambda: said(container, "cat /tmp/n"), 30)
    container.pause()
    container.reload()
    assert container.status == "paused"
    one = b"".join(container.get_archive("/tmp/n")[0])
    assert b"".join(container.get_archive("/tmp/n")[0]) == one
    container.unpause()
    wait_for(lambda: b"".join(container.get_archive("/tmp/n")[0]) != one, 30)


def test_usage_is_counted(client: docker.DockerClient) -> None:
    container = start(client, ["sh", "-c", "head -c 10m /dev/zero > /tmp/f; sleep 1000"], mem_limit="64m", pids_limit=9)
    wait_for(lambda: [row[-1] for row in container.top()["Processes"]] == ["sleep 1000"], 30)  # the file is written
    stats = container.stats(stream=False)
    assert 0 < stats["memory_stats"]["usage"] <= 64 * MEGABYTE
    assert stats["memory_stats"]["limit"] == 64 * MEGABYTE
    assert {"anon", "file", "inactive_file"} <= set(stats["memory_stats"]["stats"])
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert stats["pids_stats"]["limit"] == 9
    assert stats["pids_stats"]["current"] == 1


def test_pressure_of_a_container_is_told(client: docker.DockerClient) -> None:
    busy = start(client, ["sh", "-c", "while :; do :; done & while :; do :; done"], nano_cpus=10**8)

    def waited(kind: str) -> float:
        with urlopen(f"http://{METRICS}/metrics", timeout=200) as response:
            lines = response.read().decode().splitlines()
        wanted = ('resource="cpu"', f'kind="{kind}"', busy.id)
        (line,) = [
            line
            for line in lines
            if line.startswith("container_pressure_seconds_total") and all(w in line for w in wanted)
        ]
        return float(line.rpartition(" ")[2])

    wait_for(lambda: waited("some") > 0, 60)
    assert waited("full") <= waited("some")


def test_a_container_has_a_cgroup_of_its_own_and_leaves_none(client: docker.DockerClient) -> None:
    container = start(client)
    assert said(container, "cat /proc/self/cgroup") == "0::/"
    assert "Read-only" in said(container, f"mkdir {CGROUP}/below")
    own = start(client, privileged=True)
    assert said(own, f"mkdir {CGROUP}/below && rmdir {CGROUP}/below && echo made") == "made"
    for one in (container, own):
        one.remove(force=True)
        assert not list(Path(CGROUP).rglob(one.id))


def test_what_version_2_cannot_do_is_told(client: docker.DockerClient) -> None:
    made = client.api.create_container(IMAGE, "true", host_config=client.api.create_host_config(oom_kill_disable=True))
    assert made["Warnings"]
    info = client.info()
    assert (info["CgroupVersion"], info["CgroupDriver"]) == ("2", "cgroupfs")
    assert all(info[name] for name in ("MemoryLimit", "SwapLimit", "CpuCfsQuota", "CPUSet", "PidsLimit"))
