"""Projects as people have them, built through each door and asked what they answer.

Package indexes are those that this machine uses; builds reach them over the daemon's network.
"""

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from buildkit_client import Client, build
from debian_image import NAME, debian_tar
from engine_daemon import Daemon, wait_for

from sampan.build.buildkit import messages as m

PROJECTS = Path(__file__).with_name("projects")
PATIENCE = 60.0
pytestmark = pytest.mark.timeout(600)  # the base image may have to be made


def setting(*command: str) -> str:
    """What a program's configuration says, empty for nothing."""
    with suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def arguments() -> dict[str, str]:
    """The build arguments that say where this machine has its packages from."""
    index = os.environ.get("PIP_INDEX_URL") or setting(sys.executable, "-m", "pip", "config", "get", "global.index-url")
    registry = setting("npm", "config", "get", "registry").rstrip("/")
    found = {"PIP_INDEX_URL": index, "NPM_REGISTRY": registry}
    return {name: value for name, value in found.items() if value.startswith("http")}


@pytest.fixture(scope="module", autouse=True)
def base(daemon: Daemon) -> None:
    """The image that the projects stand on."""
    with debian_tar().open("rb") as tar:
        imported = subprocess.run(
            ["docker", "-H", daemon.url, "import", "-", NAME], stdin=tar, capture_output=True, check=False
        )
    assert imported.returncode == 0, imported.stderr


async def by_buildkit(daemon: Any, client: docker.DockerClient, project: str) -> None:
    options = {f"build-arg:{name}": value for name, value in arguments().items()}
    exporter = m.Exporter(Type="moby", Attrs={"name": project})
    await build(daemon.socket, Client(PROJECTS / project), options, project, exporter=exporter)


async def by_the_classic_cli(daemon: Any, client: docker.DockerClient, project: str) -> None:
    given = [word for name, value in arguments().items() for word in ("--build-arg", f"{name}={value}")]
    built = await asyncio.to_thread(
        subprocess.run,
        ["docker", "-H", daemon.url, "build", "-t", project, *given, str(PROJECTS / project)],
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr


async def by_docker_py(daemon: Any, client: docker.DockerClient, project: str) -> None:
    client.images.build(path=str(PROJECTS / project), tag=project, buildargs=arguments(), timeout=int(PATIENCE))


doors = pytest.mark.parametrize("door", [by_buildkit, by_the_classic_cli, by_docker_py])
Door = Callable[[Any, docker.DockerClient, str], Any]


@doors
@pytest.mark.parametrize(("project", "answer"), [("python", "hello from flask"), ("node", "a day has 86400000 ms")])
async def test_a_web_app_answers(
    daemon: Daemon, client: docker.DockerClient, door: Door, project: str, answer: str
) -> None:
    await door(daemon, client, project)
    container = client.containers.run(project, detach=True, ports={"8080/tcp": ("127.0.0.1", None)})
    container.reload()
    ((published,),) = (container.ports["8080/tcp"],)
    told: list[str] = []

    def asked() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{published['HostPort']}/") as response:
            told.append(response.read().decode())
        return bool(told)

    wait_for(asked, PATIENCE)
    assert told == [answer]
    container.remove(force=True)
    client.images.remove(project, force=True)


@doors
async def test_a_program_is_all_that_its_image_has(daemon: Daemon, client: docker.DockerClient, door: Door) -> None:
    await door(daemon, client, "c")
    assert client.containers.run("c", remove=True) == b"hello from C\n"
    (layer,) = client.images.get("c").attrs["RootFS"]["Layers"]
    assert layer.startswith("sha256:")
    client.images.remove("c", force=True)
