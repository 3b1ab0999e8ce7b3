"""The clients that people use, unmodified, against the server with the fake engine."""

import asyncio
from typing import Any

import docker
import docker.errors
import pytest

from sampan.api.containers import ContainerWaitResponse


async def cli(client: Any, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the docker CLI."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        "-H",
        f"unix://{client.path}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"), "0.1 1.55\n"),
        (("info", "--format", "{{.Name}} {{.Swarm.LocalNodeState}}"), "host inactive\n"),
        (("ps", "--format", "{{.Names}} {{.Status}}"), "web Up 3 seconds\n"),
        (("inspect", "web", "--format", "{{.State.Status}}"), "running\n"),
        (("images", "--format", "{{.ID}} {{.Size}}"), "bbbbbbbbbbbb 10B\n"),
        (("network", "ls", "--format", "{{.Name}}"), "bridge\n"),
        (("volume", "ls", "-q"), "data\n"),
        (("volume", "create", "v"), "v\n"),
        (("top", "web"), "PID                 CMD\n1                   -ef\n"),
        (("diff", "web"), "A /new\n"),
        (("commit", "web", "r:t"), "sha256:" + "c" * 64 + "\n"),
        (("stop", "web"), "web\n"),
        (("rm", "-f", "web"), "web\n"),
        (("pull", "-q", "busybox"), "docker.io/library/busybox:latest\n"),
        (("plugin", "ls", "-q"), ""),
    ],
)
async def test_docker_command(client: Any, arguments: tuple[str, ...], expected: str) -> None:
    status, out, err = await cli(client, *arguments)
    assert (status, out, err) == (0, expected, "")


async def test_docker_exec_sends_stdin_and_reads_on_after_its_end(client: Any) -> None:
    assert await cli(client, "exec", "-i", "web", "cat", stdin=b"hello\n") == (0, "hello\nbye\n", "")


async def test_docker_attach_ends_with_the_status_of_the_container(client: Any, engine: Any) -> None:
    engine.containers.exited.set_result(ContainerWaitResponse(status_code=7))
    assert await cli(client, "attach", "web", stdin=b"hello\n") == (7, "hello\nbye\n", "")


async def test_docker_logs_separates_the_streams(client: Any) -> None:
    assert await cli(client, "logs", "web") == (0, "one\n", "two\n")


async def test_docker_says_what_is_missing(client: Any) -> None:
    status, _, err = await cli(client, "rm", "gone")
    assert (status, err) == (1, "Error response from daemon: No such container: gone\n")
    status, _, err = await cli(client, "node", "ls")
    assert (status, err.startswith("Error response from daemon: This node is not a swarm manager.")) == (1, True)


def use_docker_py(path: str) -> dict[str, Any]:
    api = docker.DockerClient(base_url=f"unix://{path}")
    try:
        [container] = api.containers.list()
        with pytest.raises(docker.errors.NotFound, match="No such container: gone"):
            api.containers.get("gone")
        exited, output = container.exec_run(["cat"])
        return {
            "ping": api.ping(),
            "version": api.api._version,
            "name": container.name,
            "logs": container.logs(),
            "exec": (exited, output),
            "address": container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"],
            "events": [event["Action"] for event in api.events(decode=True)],
            "volume": api.volumes.create("v").name,
        }
    finally:
        api.close()


async def test_docker_py(client: Any, engine: Any) -> None:
    seen = await asyncio.to_thread(use_docker_py, str(client.path))
    assert seen == {
        "ping": True,
        "version": "1.55",
        "name": "web",
        "logs": b"one\ntwo\n",
        "exec": (0, b"bye\n"),
        "address": "172.17.0.2",
        "events": ["create", "start"],
        "volume": "v",
    }
