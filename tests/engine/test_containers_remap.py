"""Containers whose users are other users of the host: ``userns-remap``."""

import grp
import io
import pwd
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon, wait_for

FIRST = 700_000
"""Where the ranges of these tests begin on the host."""


@pytest.fixture(scope="module")
def daemon_arguments() -> Iterator[tuple[str, ...]]:
    """The user ``games``, with ranges for as long as these tests last."""
    assert pwd.getpwnam("games")
    assert grp.getgrnam("games")
    files = [Path("/etc/subuid"), Path("/etc/subgid")]
    line = f"games:{FIRST}:65536\n"
    for file in files:
        with file.open("a") as open_file:
            open_file.write(line)
    yield ("--userns-remap", "games", "--add-runtime", "runc=runc")
    for file in files:
        file.write_text(file.read_text().replace(line, "", 1))


def pid_of(container: Container) -> int:
    container.reload()
    return int(container.attrs["State"]["Pid"])


def members(stream: object) -> dict[str, tuple[int, int]]:
    """uid and gid by name."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:  # type: ignore[call-overload]
        return {member.name: (member.uid, member.gid) for member in tar}


def test_root_is_another_user_of_the_host(
    client: docker.DockerClient, run: Callable[..., Container], shell: Callable[..., str]
) -> None:
    assert "name=userns" in client.info()["SecurityOptions"]
    container = run()
    assert shell(container, "id -u; stat -c %u:%g / /etc/hosts /data/seed") == "0\n0:0\n0:0\n0:0"
    assert Path(f"/proc/{pid_of(container)}").stat().st_uid == FIRST
    assert shell(container, "id -u; id -g", user="app") == "1000\n1000"


def test_a_network_belongs_to_the_container(run: Callable[..., Container], shell: Callable[..., str]) -> None:
    container = run(network_mode="bridge", cap_add=["NET_ADMIN"], sysctls={"net.ipv4.ip_forward": "0"})
    assert shell(container, "ip link set eth0 mtu 1400 && cat /sys/class/net/eth0/mtu") == "1400"
    assert shell(container, "cat /proc/sys/net/ipv4/ip_forward") == "0"


def test_what_is_written_has_the_containers_owners_on_disk_and_in_the_image(
    client: docker.DockerClient, run: Callable[..., Container], shell: Callable[..., str]
) -> None:
    container = run()
    shell(container, "touch /mine && chown 7:8 /mine && rm /data/seed")
    changes = {change["Path"]: change["Kind"] for change in container.diff()}
    assert changes == {"/mine": 1, "/data": 0, "/data/seed": 2}
    upper = Path(container.attrs["GraphDriver"]["Data"]["UpperDir"])
    assert ((upper / "mine").stat().st_uid, (upper / "mine").stat().st_gid) == (7, 8)
    container.commit("remapped")
    try:
        seen = client.containers.run("remapped", "stat -c %u:%g /mine /etc/passwd", remove=True, network_mode="none")
        plain = client.containers.run(
            "remapped", "stat -c %u:%g /mine", remove=True, network_mode="none", userns_mode="host"
        )
    finally:
        client.images.remove("remapped", force=True)
    assert (seen, plain) == (b"7:8\n0:0\n", b"7:8\n")


@pytest.mark.parametrize("running", [True, False])
def test_copies_have_the_containers_owners(
    running: bool, run: Callable[..., Container], shell: Callable[..., str]
) -> None:
    container = run()
    shell(container, "touch /tmp/out && chown 5:6 /tmp/out")
    if not running:
        container.kill()
        container.wait()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("in")
        member.uid, member.gid = 11, 12
        tar.addfile(member)
    assert container.put_archive("/tmp", raw.getvalue())
    assert members(container.get_archive("/tmp/out")[0]) == {"out": (5, 6)}
    exported = members(container.export())
    assert (exported["tmp/in"], exported["tmp/out"], exported["etc/passwd"]) == ((11, 12), (5, 6), (0, 0))


def test_a_copy_for_a_user_that_the_container_has_not_is_refused(run: Callable[..., Container]) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("in")
        member.uid = 70_000
        tar.addfile(member)
    with pytest.raises(APIError, match="Container ID 70000 cannot be mapped to a host ID"):
        run().put_archive("/tmp", raw.getvalue())


def test_a_volume_is_the_containers_and_a_bind_the_hosts(
    client: docker.DockerClient, run: Callable[..., Container], shell: Callable[..., str], tmp_path: Path
) -> None:
    container = run(volumes={"remap-data": {"bind": "/data"}, str(tmp_path): {"bind": "/host"}}, tmpfs={"/own": ""})
    try:
        shown = shell(container, "touch /data/new /own/new; stat -c %u /data /data/seed /data/new /own/new /host")
        assert shown.split() == ["0", "0", "0", "0", "65534"]
        directory = Path(client.volumes.get("remap-data").attrs["Mountpoint"])
        assert (directory / "new").stat().st_uid == 0
    finally:
        container.remove(force=True)
        client.volumes.get("remap-data").remove()


def test_one_that_joins_another_joins_its_user_namespace(
    run: Callable[..., Container], shell: Callable[..., str]
) -> None:
    donor = run(network_mode="bridge")
    guest = run(network_mode=f"container:{donor.id}", pid_mode=f"container:{donor.id}")
    namespaces = {Path(f"/proc/{pid_of(one)}/ns/user").readlink() for one in (donor, guest)}
    assert len(namespaces) == 1
    assert shell(guest, "ls /sys/class/net").split() == ["eth0", "lo"]
    with pytest.raises(APIError, match="must share a user namespace"):
        run(network_mode=f"container:{run(userns_mode='host').id}")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"privileged": True}, "privileged mode is incompatible with user namespaces.  You must run the container in"),
        ({"network_mode": "host"}, "cannot share the host's network namespace when user namespaces are enabled"),
        ({"pid_mode": "host"}, "cannot share the host PID namespace when user namespaces are enabled"),
    ],
)
def test_what_only_the_hosts_root_may_have_is_refused(
    run: Callable[..., Container], shell: Callable[..., str], options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(APIError, match=sentence):
        run(**options)
    container = run(userns_mode="host", **options)
    assert container.attrs["HostConfig"]["UsernsMode"] == "host"
    assert Path(f"/proc/{pid_of(container)}").stat().st_uid == 0


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_another_runtime_has_the_same_users(
    client: docker.DockerClient, run: Callable[..., Container], tmp_path: Path, network: str
) -> None:
    volumes = {"remap-data": {"bind": "/data"}, str(tmp_path): {"bind": "/host"}}
    container = run(runtime="runc", network_mode=network, volumes=volumes, mem_limit="64m")
    try:
        assert Path(f"/proc/{pid_of(container)}").stat().st_uid == FIRST
        script = "id -u; touch /mine /data/new && stat -c %u:%g / /etc/hosts /mine /data/seed /data/new /host"
        status, shown = container.exec_run(["sh", "-c", script])
        assert (status, shown.split()) == (0, [b"0", *[b"0:0"] * 5, b"65534:65534"]), shown
        assert container.exec_run("id -u", user="app").output == b"1000\n"
        directory = Path(client.volumes.get("remap-data").attrs["Mountpoint"])
        assert (directory / "new").stat().st_uid == 0
        namespaces = {Path(f"/proc/{pid_of(one)}/ns/user").readlink() for one in (container, run())}
        assert len(namespaces) == 2
    finally:
        container.remove(force=True)
        client.volumes.get("remap-data").remove()


@pytest.mark.parametrize("program", ["sleep 60", "nosuch"])
def test_nothing_of_another_runtime_s_places_stays(client: docker.DockerClient, program: str) -> None:
    container = client.containers.create("busybox", program, runtime="runc", network_mode="none")
    places = Path("/run/sampan-places", container.id)
    try:
        container.start()
    except APIError as error:
        assert "executable file not found" in str(error)
    assert places.exists() == (program != "nosuch")
    container.remove(force=True)
    assert not places.exists()


STEPS = f"""FROM {IMAGE} AS one
RUN mkdir -m 700 /held && echo kept > /held/file && chown 1000 /held
FROM {IMAGE}
RUN --mount=type=cache,target=/c --mount=type=bind,target=/ctx --mount=type=bind,from=one,target=/one \\
    --mount=type=tmpfs,target=/t \\
    touch /mine /c/x /t/x && cat /one/held/file /ctx/private > /all && stat -c %u /one/held /c/x >> /all && \\
    awk '{{print $2}}' /proc/self/uid_map >> /all
USER 1000
RUN touch /tmp/app && echo heard > /dev/stdout
"""


def test_a_builds_commands_are_other_users_and_own_what_they_make(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(STEPS)
    (tmp_path / "private").write_text("ours\n")
    (tmp_path / "private").chmod(0o600)
    client.images.build(path=str(tmp_path), tag="stepped", nocache=True)
    script = "cat /all; stat -c %u:%g /mine /tmp/app"
    shown = client.containers.run("stepped", ["sh", "-c", script], remove=True, network_mode="none", user="root")
    assert shown.decode().split() == ["kept", "ours", "1000", "0", str(FIRST), "0:0", "1000:1000"]


def test_output_can_be_opened_anew(client: docker.DockerClient, run: Callable[..., Container]) -> None:
    script = ["sh", "-c", "echo out > /dev/stdout; echo error > /dev/stderr"]
    for user in ("root", "app"):
        shown = client.containers.run(
            IMAGE, script, remove=True, stderr=True, stdout=True, user=user, network_mode="none"
        )
        assert set(shown.split()) == {b"out", b"error"}
        executed = run().exec_run(script, user=user)
        assert set(executed.output.split()) == {b"out", b"error"}


def test_containers_outlive_the_daemon(
    daemon: Daemon, client: docker.DockerClient, run: Callable[..., Container], shell: Callable[..., str]
) -> None:
    container = run(network_mode="bridge")
    pid = pid_of(container)
    daemon.stop(9)
    daemon.start()
    assert pid_of(container) == pid
    assert shell(container, "touch /after; stat -c %u /after") == "0"
    container.restart(timeout=0)
    wait_for(lambda: pid_of(container) not in (0, pid))
    assert shell(container, "stat -c %u /after") == "0"


def test_a_daemon_is_not_started_for_users_without_ranges(refusal_to_start: Callable[..., str]) -> None:
    assert 'no subuid ranges found for user "bin"' in refusal_to_start("--userns-remap", "bin")
    assert 'Error during uid lookup for "nobody-known"' in refusal_to_start("--userns-remap", "nobody-known")
