"""Clients' directories when several builds want them at once, as bake has it."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import docker
from buildkit_client import Client, attached, build

WAITS = "RUN sleep 0.5\n"


def project(root: Path, name: str) -> Path:
    directory = root / name
    directory.mkdir()
    (directory / "Dockerfile").write_text(f"FROM busybox\nCOPY who /\n{WAITS}RUN cat /who > /{name}\n")
    (directory / "who").write_text(name)
    return directory


async def test_builds_of_one_client_at_once_have_each_their_own_files(
    daemon: Any, client: docker.DockerClient, tmp_path: Path
) -> None:
    names = ["one", "two", "three"]
    callers = [Client(project(tmp_path, name)) for name in names]
    await asyncio.gather(*(build(daemon.socket, caller, {}, name) for caller, name in zip(callers, names, strict=True)))
    for name in names:
        assert client.containers.run(name, f"cat /{name}", remove=True).decode() == name
        client.images.remove(name, force=True)


async def test_a_directory_may_be_another_sessions(daemon: Any, client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shared = uuid.uuid4().hex
    options = {f"local-sessionid:{name}": shared for name in ("context", "dockerfile")}
    async with attached(daemon.socket, Client(project(tmp_path, "other")), shared):
        caller = Client(tmp_path / "empty")
        await asyncio.gather(
            *(build(daemon.socket, caller, options | {"build-arg:N": name}, name) for name in ("first", "second"))
        )
    for name in ("first", "second"):
        assert client.containers.run(name, "cat /other", remove=True) == b"other"
        client.images.remove(name, force=True)
