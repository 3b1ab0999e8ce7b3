"""What is done to a daemon that is killed meanwhile: how it is prepared, done, and looked at afterwards."""

import io
import os
import socket
import tarfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import docker
import requests
from engine_daemon import IMAGE, wait_for

SHORT = {"stop_signal": "SIGKILL", "network_mode": "none"}


class Operation(NamedTuple):
    """``prepare`` makes what ``act`` needs; ``check`` fails when what ``act`` was told is done is not.

    ``after`` fails when what is there after the restart contradicts itself, done or not.
    """

    prepare: Callable[[docker.DockerClient], Any]
    act: Callable[[docker.DockerClient, Any], Any]
    check: Callable[[docker.DockerClient, Any, Any], object]
    after: Callable[[docker.DockerClient, Any], object] = lambda client, prepared: True


def committed_image(client: docker.DockerClient) -> str:
    """The ID of an image of one layer more, named ``spare``."""
    container = made(client)
    container.put_archive("/", archive("seen", b"y" * 4096))
    image = container.commit("spare")
    container.remove()
    return str(image.id)


def untagged_image(client: docker.DockerClient) -> str:
    """The ID of an image that has no name."""
    container = made(client)
    container.put_archive("/", archive("seen", b"z" * 4096))
    image = container.commit()
    container.remove()
    return str(image.id)


def no_image(client: docker.DockerClient, id: str, _: object) -> bool:
    return id not in {image.id for image in client.images.list(all=True)}


def whole_or_gone(client: docker.DockerClient, id: str) -> bool:
    """What is listed can run."""
    return no_image(client, id, None) or bool(has_image(id)(client, None, None))


def nothing(client: docker.DockerClient) -> None:
    """No preparation."""


def made(client: docker.DockerClient, **options: Any) -> Any:
    return client.containers.create(IMAGE, "sleep 60", **{**SHORT, **options})


def running(client: docker.DockerClient, **options: Any) -> Any:
    container = made(client, **options)
    container.start()
    return container


def archive(name: str, content: bytes) -> Any:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    raw.seek(0)
    return raw


def state(client: docker.DockerClient, container: Any) -> str:
    return str(client.containers.get(container.id).status)


def gone(client: docker.DockerClient, container: Any) -> bool:
    return container.id not in {each["Id"] for each in client.api.containers(all=True)}


def saved_image(client: docker.DockerClient) -> bytes:
    """An image as an archive, no longer in the daemon under its name."""
    container = made(client)
    container.put_archive("/", archive("seen", b"x" * 4096))
    container.commit("carried")
    data = b"".join(client.images.get("carried").save(named=True))
    container.remove()
    client.images.remove("carried")
    return data


def has_image(name: str) -> Callable[..., object]:
    """A check: the image is there and a container can be made of it and started."""

    def check(client: docker.DockerClient, _: Any, __: Any) -> bool:
        container = client.containers.create(name, "true", network_mode="none")
        container.start()
        status = container.wait()["StatusCode"]
        container.remove()
        return bool(status == 0)

    return check


def executed(client: docker.DockerClient, container: Any) -> None:
    """Run a command in the background; it is acknowledged when its exit status is told."""
    made_exec = client.api.exec_create(container.id, "touch /made")["Id"]
    client.api.exec_start(made_exec, detach=True)
    wait_for(lambda: not client.api.exec_inspect(made_exec)["Running"])
    assert client.api.exec_inspect(made_exec)["ExitCode"] == 0


def attached_exec(client: docker.DockerClient) -> Any:
    """A running container, and where the exec's id is noted."""
    return running(client), []


def executed_attached(client: docker.DockerClient, prepared: Any) -> None:
    """Run a command and read its output to the end, as ``docker exec`` does: however the daemon dies, there is one."""
    container, made = prepared
    made.append(client.api.exec_create(container.id, ["sh", "-c", "echo made; exit 3"])["Id"])
    stream = client.api.exec_start(made[0], socket=True)
    stream._sock.settimeout(5)
    try:
        while stream._sock.recv(100):
            pass
    except TimeoutError:
        raise AssertionError("the client hangs") from None
    finally:
        stream.close()
    assert client.api.exec_inspect(made[0])["ExitCode"] == 3


def exec_ended(client: docker.DockerClient, prepared: Any) -> bool:
    """What was told of the exec is known: it can be started, or it ended with its status, or it never ran."""
    exec_id = prepared[1][0] if prepared[1] else None
    if exec_id is None:
        return True
    if client.api.exec_inspect(exec_id)["ExitCode"] is None and not client.api.exec_inspect(exec_id)["Running"]:
        client.api.exec_start(exec_id)
    wait_for(lambda: not client.api.exec_inspect(exec_id)["Running"])
    return client.api.exec_inspect(exec_id)["ExitCode"] in (3, 126)


def layered_image(client: docker.DockerClient, name: str) -> None:
    """Push an image with two layers that nobody else has, and forget it here."""
    for number in range(2):
        container = client.containers.create(name if number else IMAGE, "true", network_mode="none")
        container.put_archive("/", archive(f"layer{number}", os.urandom(65536)))
        container.commit(name)
        container.remove()
    assert "error" not in client.images.push(name)
    client.images.remove(name)


def built(client: docker.DockerClient, _: Any) -> None:
    dockerfile = io.BytesIO(f"FROM {IMAGE}\nRUN echo built > /built\nENV a=b\nRUN cat /built > /again\n".encode())
    client.images.build(fileobj=dockerfile, tag="built", rm=True)


def built_by_buildkit(client: docker.DockerClient, _: Any) -> None:
    """BuildKit without its protocol: stages side by side, a context, a cache mount, a script."""
    text = (
        f"FROM {IMAGE} AS one\nRUN --mount=type=cache,target=/c echo 1 > /one\n"
        f"FROM {IMAGE}\nWORKDIR /w\nCOPY file .\nCOPY --from=one /one .\nRUN <<EOF\ncat one file > both\nEOF\n"
    )
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in (("Dockerfile", text.encode()), ("file", b"2")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    query = {"version": "2", "t": "built", "networkmode": "none"}
    answer = client.api._post(client.api._url("/build"), data=data.getvalue(), params=query)
    if '"error"' in answer.text or "moby.image.id" not in answer.text:
        raise requests.ConnectionError(answer.text[-300:])


def with_volumes(client: docker.DockerClient) -> Any:
    container = made(client, volumes=["/data", "/more"])
    container.start()
    container.kill()
    return container


def removes_itself(client: docker.DockerClient) -> Any:
    return client.containers.create(IMAGE, "true", network_mode="none", volumes=["/data"], auto_remove=True)


def ran_out(client: docker.DockerClient, container: Any) -> None:
    container.start()
    wait_for(lambda: gone(client, container))


def gone_or_not_begun(client: docker.DockerClient, container: Any) -> bool:
    wait_for(
        lambda: (
            {each["Id"]: each["State"] for each in client.api.containers(all=True)}.get(container.id, "created")
            == "created"
        )
    )
    return True


def renamed(client: docker.DockerClient, container: Any) -> bool:
    return bool(client.containers.get("renamed").id == container.id)


def updated(client: docker.DockerClient, container: Any, _: Any) -> bool:
    limits = client.containers.get(container.id).attrs["HostConfig"]
    return bool(limits["Memory"] == 64 << 20 and limits["RestartPolicy"]["Name"] == "always")


def disconnecting(client: docker.DockerClient) -> Any:
    network, container = network_and_container(client)
    network.connect(container)
    return network, container


def disconnected(client: docker.DockerClient, prepared: Any, _: Any) -> bool:
    return "faulty" not in client.containers.get(prepared[1].id).attrs["NetworkSettings"]["Networks"]


def several_ended(client: docker.DockerClient) -> Any:
    return [made(client) for _ in range(3)]


def publish(client: docker.DockerClient) -> Any:
    return made(client, network_mode="bridge", ports={"80/tcp": None})


def ask(client: docker.DockerClient, path: str, body: Any = None) -> None:
    """A request that docker-py has no method for."""
    client.api._raise_for_status(client.api._post_json(client.api._url(path), data=body or {}))


def publish_live(client: docker.DockerClient, container: Any) -> None:
    ask(client, f"/containers/{container.id}/update", {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}})


def is_published(client: docker.DockerClient, container: Any, _: Any = None) -> bool:
    """Whether the port is shown, and held on the host."""
    bindings = client.containers.get(container.id).ports.get("80/tcp")
    if not bindings:
        return False
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", int(bindings[0]["HostPort"])))
        return False
    return True


def ports_as_told(client: docker.DockerClient, container: Any) -> bool:
    """Whether what the container is to publish and what it does publish are the same."""
    asked = client.containers.get(container.id).attrs["HostConfig"]["PortBindings"]
    return bool(asked) == is_published(client, container)


def kept(client: docker.DockerClient) -> Any:
    return client.volumes.create("kept")


def volume_names(client: docker.DockerClient) -> set[str]:
    return {each.name for each in client.volumes.list()}


def network_and_container(client: docker.DockerClient) -> Any:
    return client.networks.create("faulty", enable_ipv6=True), running(client, network_mode="bridge")


def connected(client: docker.DockerClient, prepared: Any, _: Any) -> bool:
    networks = client.containers.get(prepared[1].id).attrs["NetworkSettings"]["Networks"]
    return bool(networks["faulty"]["IPAddress"] and networks["faulty"]["GlobalIPv6Address"])


def paused(client: docker.DockerClient) -> Any:
    container = running(client)
    container.pause()
    return container


def becomes(wanted: str) -> Callable[..., object]:
    """A check: the container is in that state, or soon will be."""

    def check(client: docker.DockerClient, container: Any, _: Any) -> bool:
        wait_for(lambda: state(client, container) == wanted)
        return True

    return check


def is_one_of(*wanted: str) -> Callable[..., object]:
    """What a container's state may be, whether the operation was done or not."""
    return lambda client, container: state(client, container) in wanted


def holds(client: docker.DockerClient, container: Any, _: Any) -> bool:
    """Whether a copy into the container is whole."""
    chunks, _about = container.get_archive("/put")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        file = tar.extractfile("put")
        return file is not None and file.read() == b"p" * 100_000


def network_names(client: docker.DockerClient) -> set[str]:
    return {each.name for each in client.networks.list()}


def import_volume(client: docker.DockerClient, _: Any) -> None:
    data = archive("seen", b"v" * 4096).getvalue()
    client.api._raise_for_status(client.api._post(client.api._url("/volumes/kept/import"), data=data))


def build_once(client: docker.DockerClient) -> None:
    built_by_buildkit(client, None)
    client.images.remove("built")


OPERATIONS: dict[str, Operation] = {
    "create": Operation(
        nothing,
        lambda c, _: made(c, volumes=["/data"]),
        lambda c, _, container: state(c, container) == "created",
    ),
    "start": Operation(made, lambda c, x: x.start(), lambda c, x, _: state(c, x) == "running"),
    "publish": Operation(publish, lambda c, x: x.start(), lambda c, x, _: state(c, x) == "running"),
    "exec": Operation(
        running,
        executed,
        lambda c, x, _: x.exec_run("test -e /made").exit_code == 0,
    ),
    "attached exec": Operation(attached_exec, executed_attached, lambda c, x, _: exec_ended(c, x), exec_ended),
    "stop": Operation(running, lambda c, x: x.stop(timeout=0), lambda c, x, _: state(c, x) == "exited"),
    "remove": Operation(
        running,
        lambda c, x: x.remove(force=True, v=True),
        lambda c, x, _: gone(c, x),
    ),
    "rm -v": Operation(
        with_volumes, lambda c, x: x.remove(v=True), lambda c, x, _: gone(c, x) and not c.volumes.list()
    ),
    "run --rm": Operation(
        removes_itself,
        ran_out,
        lambda c, x, _: gone(c, x) and not c.volumes.list(),
        gone_or_not_begun,
    ),
    "rename": Operation(
        running, lambda c, x: x.rename("renamed"), lambda c, x, _: renamed(c, x), lambda c, x: state(c, x) == "running"
    ),
    "update": Operation(
        running,
        lambda c, x: x.update(mem_limit="64m", memswap_limit="64m", restart_policy={"Name": "always"}),
        updated,
        lambda c, x: state(c, x) == "running",
    ),
    "container prune": Operation(
        several_ended, lambda c, _: c.containers.prune(), lambda c, x, _: all(gone(c, each) for each in x)
    ),
    "build": Operation(nothing, built, has_image("built")),
    "build by BuildKit": Operation(nothing, built_by_buildkit, has_image("built")),
    "commit": Operation(running, lambda c, x: x.commit("committed"), has_image("committed")),
    "load": Operation(saved_image, lambda c, data: c.images.load(data), has_image("carried")),
    "import": Operation(
        lambda c: archive("seen", b"w" * 4096).getvalue(),
        lambda c, data: c.api.import_image_from_data(data, repository="imported"),
        lambda c, _, __: c.images.get("imported"),
    ),
    "rmi": Operation(committed_image, lambda c, _: c.images.remove("spare"), no_image, whole_or_gone),
    "image prune": Operation(untagged_image, lambda c, _: c.images.prune(), no_image, whole_or_gone),
    "network create": Operation(
        nothing, lambda c, _: c.networks.create("faulty"), lambda c, _, network: c.networks.get(network.id)
    ),
    "network connect": Operation(
        network_and_container, lambda c, prepared: prepared[0].connect(prepared[1]), connected
    ),
    "network disconnect": Operation(
        disconnecting, lambda c, prepared: prepared[0].disconnect(prepared[1]), disconnected
    ),
    "volume rm": Operation(
        lambda c: c.volumes.create("kept"), lambda c, x: x.remove(), lambda c, x, _: not c.volumes.list()
    ),
    "publish while it runs": Operation(
        lambda c: running(c, network_mode="bridge"), publish_live, is_published, ports_as_told
    ),
    "volume clone": Operation(
        kept,
        lambda c, _: ask(c, "/volumes/kept/clone?name=copy"),
        lambda c, _, __: volume_names(c) == {"kept", "copy"},
        lambda c, _: "kept" in volume_names(c),
    ),
    "volume rename": Operation(
        kept,
        lambda c, _: ask(c, "/volumes/kept/rename?name=moved"),
        lambda c, _, __: volume_names(c) == {"moved"},
        lambda c, _: len(volume_names(c)) == 1,
    ),
    "restart": Operation(
        running, lambda c, x: x.restart(timeout=0), becomes("running"), is_one_of("running", "exited")
    ),
    "kill": Operation(running, lambda c, x: x.kill(), becomes("exited"), is_one_of("running", "exited")),
    "pause": Operation(running, lambda c, x: x.pause(), becomes("paused"), is_one_of("running", "paused")),
    "unpause": Operation(paused, lambda c, x: x.unpause(), becomes("running"), is_one_of("running", "paused")),
    "exec create": Operation(
        running,
        lambda c, x: c.api.exec_create(x.id, "true")["Id"],
        lambda c, _, made: c.api.exec_inspect(made)["ExitCode"] is None,
        is_one_of("running"),
    ),
    "put archive": Operation(
        made, lambda c, x: x.put_archive("/", archive("put", b"p" * 100_000)), holds, is_one_of("created")
    ),
    "tag": Operation(
        committed_image,
        lambda c, _: c.images.get("spare").tag("tagged"),
        lambda c, id, _: c.images.get("tagged").id == id,
        lambda c, id: c.images.get("spare").id == id,
    ),
    "network rm": Operation(
        lambda c: c.networks.create("faulty"),
        lambda c, x: x.remove(),
        lambda c, _, __: "faulty" not in network_names(c),
    ),
    "network prune": Operation(
        lambda c: c.networks.create("faulty"),
        lambda c, _: c.networks.prune(),
        lambda c, _, __: "faulty" not in network_names(c),
        lambda c, _: {"bridge", "host", "none"} <= network_names(c),
    ),
    "volume prune": Operation(
        kept, lambda c, _: c.volumes.prune({"all": ["true"]}), lambda c, _, __: not volume_names(c)
    ),
    "volume snapshot": Operation(
        kept,
        lambda c, _: ask(c, "/volumes/kept/snapshot"),
        lambda c, _, __: len(volume_names(c)) == 2,
        lambda c, _: "kept" in volume_names(c),
    ),
    "volume import": Operation(nothing, import_volume, lambda c, _, __: volume_names(c) == {"kept"}),
    "build prune": Operation(
        build_once, lambda c, _: ask(c, "/build/prune?all=1"), lambda c, _, __: not c.df()["BuildCache"]
    ),
    "volume create": Operation(
        nothing, lambda c, _: c.volumes.create("kept"), lambda c, _, volume: c.volumes.get("kept")
    ),
}

OF_THE_API = {
    "build_prune": "build prune",
    "container_create": "create",
    "container_delete": "remove",
    "container_exec": "exec create",
    "container_kill": "kill",
    "container_pause": "pause",
    "container_prune": "container prune",
    "container_rename": "rename",
    "container_restart": "restart",
    "container_start": "start",
    "container_stop": "stop",
    "container_unpause": "unpause",
    "container_update": "update",
    "exec_start": "exec",
    "image_build": "build",
    "image_commit": "commit",
    "image_create": "import",
    "image_delete": "rmi",
    "image_load": "load",
    "image_prune": "image prune",
    "image_tag": "tag",
    "network_connect": "network connect",
    "network_create": "network create",
    "network_delete": "network rm",
    "network_disconnect": "network disconnect",
    "network_prune": "network prune",
    "put_container_archive": "put archive",
    "volume_clone": "volume clone",
    "volume_create": "volume create",
    "volume_delete": "volume rm",
    "volume_import": "volume import",
    "volume_prune": "volume prune",
    "volume_rename": "volume rename",
    "volume_snapshot": "volume snapshot",
}
"""Operations of the API that change what lasts, and the one above that does it."""

LEAVE_NOTHING = frozenset({
    "build_cancel", "container_attach", "container_attach_websocket", "container_resize", "exec_resize", "grpc",
    "session", "system_auth",
})  # fmt: skip
"""Those that change nothing which outlives the daemon."""
