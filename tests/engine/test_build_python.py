"""Builds from Python programs and from ``sampan build``, and what they take out of an image."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest

from sampan.build import Recipe, build
from sampan.errors import EngineError


def test_a_recipe_becomes_an_image(daemon: Any, client: docker.DockerClient) -> None:
    said: list[str] = []
    recipe = Recipe("busybox").arg("WHO").run("echo hello $WHO > /hello").copy("given", "/given").cmd("cat", "/hello")
    files = {"given": "file", "extra": b"more"}
    built = build(
        recipe, files, host=daemon.url, tags=["python/built"], arguments={"WHO": "you"}, on_output=said.append
    )
    assert client.images.get("python/built").id == built.id
    assert client.containers.run(built.id, remove=True, network_mode="none") == b"hello you\n"
    assert "".join(said) == built.output
    client.images.remove("python/built")


def test_the_dockerfile_is_in_no_context(daemon: Any, client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A")
    built = build("FROM busybox\nCOPY . /c\n", tmp_path, host=daemon.url)
    assert client.containers.run(built.id, "ls -A /c", remove=True, network_mode="none") == b"a\n"


def test_a_failure_says_what_went_wrong(daemon: Any) -> None:
    with pytest.raises(EngineError, match=r"The command '/bin/sh -c exit 3' returned a non-zero code: 3"):
        build(Recipe("busybox").run("exit 3"), host=daemon.url, network="none")


def test_settings_of_the_base_image_are_taken_out(daemon: Any, client: docker.DockerClient) -> None:
    base = Recipe("busybox").env(A="1", B="2").label(x="1", y="2").volume("/v", "/w").expose(80, "53/udp")
    build(base, host=daemon.url, tags=["full"])
    taken = {"unset_env": ["A"], "unset_label": ["x", "none"], "unset_volume": ["/v", "/w"], "unset_expose": ["80"]}
    config = client.images.get(build(Recipe("full"), host=daemon.url, **taken).id).attrs["Config"]
    assert [entry for entry in config["Env"] if not entry.startswith("PATH=")] == ["B=2"]
    assert config["Labels"] == {"y": "2"}
    assert not config.get("Volumes")
    assert config["ExposedPorts"] == {"53/udp": {}}
    client.images.remove("full")


def test_the_command_line_builds_a_directory(daemon: Any, client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nENV A=1 B=2\nARG C\nLABEL c=$C\n")
    words = ["-H", daemon.url, "build", "-t", "cli/built", "--build-arg", "C=3", "--unset-env", "A", str(tmp_path)]
    answer = subprocess.run([sys.executable, "-m", "sampan.cli.main", *words], capture_output=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert b"Successfully tagged cli/built:latest" in answer.stdout
    config = client.images.get("cli/built").attrs["Config"]
    assert "B=2" in config["Env"]
    assert "A=1" not in config["Env"]
    assert config["Labels"]["c"] == "3"
    client.images.remove("cli/built")
