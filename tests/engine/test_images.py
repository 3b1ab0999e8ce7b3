"""Images through the real docker CLI and a registry of ours: pull, push, run --pull, login, search, import, events."""

import functools
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import docker
import pytest
from docker.errors import APIError, NotFound
from engine_daemon import IMAGE, Daemon
from registry_process import Process, ours_in


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a registry that takes everybody."""
    yield from served(ours_in(tmp_path_factory.mktemp("registry") / "root"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a registry that knows ann only."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "htpasswd").write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    (directory / "config.json").write_text(json.dumps({"auth": {"htpasswd": str(directory / "htpasswd")}}))
    yield from served(ours_in(directory / "root", "--config", str(directory / "config.json")))


def served(process: Process) -> Iterator[str]:
    process.start()
    yield process.address
    process.kill()


def lines(daemon: Daemon, *arguments: str, status: int = 0) -> list[str]:
    """What the CLI prints, on both streams."""
    done = daemon.cli(*arguments)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == status, said
    return said.splitlines()


def push(daemon: Daemon, name: str) -> None:
    """Push the busybox image by another name, which does not stay."""
    lines(daemon, "tag", IMAGE, name)
    lines(daemon, "push", name)
    lines(daemon, "rmi", name)


def test_run_pulls_as_it_is_told(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/box:run"
    push(daemon, name)
    command = ("--rm", "--network", "none", name, "echo", "ran")
    refused = lines(daemon, "run", "--pull", "never", *command, status=125)
    assert any(f"No such image: {name}" in line for line in refused)
    first = lines(daemon, "run", *command)
    assert f"Status: Downloaded newer image for {name}" in first
    assert "ran" in first
    assert lines(daemon, "run", *command) == ["ran"]
    again = lines(daemon, "run", "--pull", "always", *command)
    assert f"Status: Image is up to date for {name}" in again
    assert not any("Pull complete" in line for line in again)


def test_all_tags_go_and_come(daemon: Daemon, client: docker.DockerClient, registry: str) -> None:
    names = [f"{registry}/many:{tag}" for tag in ("a", "b", "c")]
    for name in names:
        lines(daemon, "tag", IMAGE, name)
    pushed = lines(daemon, "push", "-a", f"{registry}/many")
    assert [line for line in pushed if "refers to" in line] == [f"The push refers to repository [{registry}/many]"]
    lines(daemon, "rmi", *names)
    pulled = lines(daemon, "pull", "-a", f"{registry}/many")
    assert [line for line in pulled if line.startswith("Status:")] == [
        f"Status: Downloaded newer image for {registry}/many"
    ]
    assert set(names) <= set(client.images.get(IMAGE).tags)
    lines(daemon, "rmi", *names)


def test_a_digest_is_pulled_and_shown(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/box:digest"
    push(daemon, name)
    shown = json.loads("\n".join(lines(daemon, "manifest", "inspect", "--insecure", "-v", name)))
    digest = shown["Descriptor"]["digest"]
    by_digest = f"{registry}/box@{digest}"
    lines(daemon, "pull", by_digest)
    assert any(digest in line for line in lines(daemon, "images", "--digests"))
    lines(daemon, "rmi", by_digest)
    missing = lines(daemon, "pull", f"{registry}/box@sha256:{'a' * 64}", status=1)
    assert any("manifest unknown" in line for line in missing)


def test_a_list_of_platforms_is_made_pushed_and_taken_apart(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/plat"
    ids = {}
    for machine in ("amd64", "arm64"):
        [container] = lines(daemon, "create", "--network", "none", IMAGE, "true")
        lines(daemon, "export", "-o", str(tmp_path / "root.tar"), container)
        lines(daemon, "rm", container)
        platform = ("--platform", f"linux/{machine}", "-c", f"LABEL machine={machine}")
        [ids[machine]] = lines(daemon, "import", *platform, str(tmp_path / "root.tar"), f"{name}:{machine}")
        lines(daemon, "push", f"{name}:{machine}")
    lines(daemon, "manifest", "create", "--insecure", f"{name}:all", f"{name}:amd64", f"{name}:arm64")
    lines(daemon, "manifest", "annotate", "--variant", "v8", f"{name}:all", f"{name}:arm64")
    lines(daemon, "manifest", "push", "--insecure", f"{name}:all")
    shown = json.loads("\n".join(lines(daemon, "manifest", "inspect", "--insecure", f"{name}:all")))
    assert [one["platform"]["architecture"] for one in shown["manifests"]] == ["amd64", "arm64"]

    lines(daemon, "pull", "--platform", "linux/arm64", f"{name}:all")
    lines(daemon, "pull", f"{name}:all")
    for machine in ("amd64", "arm64"):
        chosen = ("--platform", f"linux/{machine}")
        told = lines(daemon, "image", "inspect", *chosen, "-f", "{{.Id}} {{.Config.Labels.machine}}", f"{name}:all")
        assert told == [f"{ids[machine]} {machine}"]
        lines(daemon, "save", *chosen, "-o", str(tmp_path / machine), f"{name}:all")
        lines(daemon, "push", *chosen, f"{name}:all-{machine}", status=1)  # no such tag here
    tree = lines(daemon, "image", "ls", "--tree")
    assert sum("linux/arm64" in line for line in tree) >= 1
    lines(daemon, "rmi", "-f", f"{name}:all", f"{name}:amd64", f"{name}:arm64")
    lines(daemon, "load", "--platform", "linux/arm64", "-i", str(tmp_path / "arm64"))
    assert lines(daemon, "image", "inspect", "-f", "{{.Architecture}}", f"{name}:all") == ["arm64"]
    refused = lines(daemon, "load", "--platform", "linux/s390x", "-i", str(tmp_path / "arm64"), status=1)
    assert any("linux/s390x" in line for line in refused)
    lines(daemon, "rmi", f"{name}:all")


def test_an_image_tells_which_repositories_have_it(daemon: Daemon, client: docker.DockerClient, registry: str) -> None:
    name = f"{registry}/box:identity"
    push(daemon, name)
    lines(daemon, "pull", name)

    def ask(path: str) -> Any:
        answer = client.api.get(f"http+docker://localhost{path}")
        answer.raise_for_status()
        return answer.json()

    assert {"Repository": f"{registry}/box"} in ask(f"/v1.53/images/{name}/json")["Identity"]["Pull"]
    assert "Identity" not in ask(f"/v1.52/images/{name}/json")
    found = [one for one in ask("/v1.54/images/json?manifests=1&identity=1") if name in one["RepoTags"]]
    assert {"Repository": f"{registry}/box"} in found[0]["Manifests"][0]["ImageData"]["Identity"]["Pull"]
    plain = [one for one in ask("/v1.54/images/json?manifests=1") if name in one["RepoTags"]]
    assert "Identity" not in plain[0]["Manifests"][0]["ImageData"]
    lines(daemon, "rmi", name)


def test_a_prune_takes_what_a_broken_pull_left(daemon: Daemon, client: docker.DockerClient) -> None:
    left = daemon.root / "data" / "content" / "ingest" / ("a" * 32)
    left.mkdir()
    (left / "ref").write_text(f"download-sha256:{'b' * 64}")
    (left / "data").write_bytes(bytes(3_000_000))
    assert client.images.prune()["SpaceReclaimed"] >= 3_000_000
    assert not left.exists()


def test_another_platform_is_refused_by_name(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/box:platform"
    push(daemon, name)
    lines(daemon, "pull", "--platform", "linux/amd64", name)
    said = lines(daemon, "pull", "--platform", "linux/s390x", name, status=1)
    assert any("does not match the specified platform (linux/s390x)" in line for line in said)
    lines(daemon, "rmi", name)


def test_a_login_opens_and_a_logout_closes(daemon: Daemon, guarded: str) -> None:
    name = f"{guarded}/box:1"
    lines(daemon, "tag", IMAGE, name)
    assert any("no basic auth credentials" in line for line in lines(daemon, "push", name, status=1))
    wrong = daemon.cli("login", "-u", "ann", "--password-stdin", guarded, input=b"wrong")
    assert wrong.returncode == 1
    assert f'Get "http://{guarded}/v2/": unauthorized: incorrect username or password' in wrong.stderr.decode()
    right = daemon.cli("login", "-u", "ann", "--password-stdin", guarded, input=b"secret")
    assert b"Login Succeeded" in right.stdout
    lines(daemon, "push", name)
    lines(daemon, "rmi", name)
    lines(daemon, "pull", name)
    lines(daemon, "rmi", name)
    assert f"Removing login credentials for {guarded}" in lines(daemon, "logout", guarded)
    denied = lines(daemon, "pull", name, status=1)
    assert any("pull access denied" in line or "no basic auth credentials" in line for line in denied)


def test_search_finds_and_filters(daemon: Daemon, client: docker.DockerClient, registry: str) -> None:
    for repository in ("needle/one", "needle/two"):
        push(daemon, f"{registry}/{repository}:1")
    found = lines(daemon, "search", "--format", "{{.Name}}", f"{registry}/needle")
    assert sorted(found) == [f"{registry}/needle/one", f"{registry}/needle/two"]
    assert len(lines(daemon, "search", "--limit", "1", "--format", "{{.Name}}", f"{registry}/needle")) == 1
    assert lines(daemon, "search", "-f", "is-official=true", "--format", "{{.Name}}", f"{registry}/needle") == []
    for query, sentence in (
        ("limit=101", "limit 101 is outside the range of [1, 100]"),
        ('filters={"nope":["1"]}', "invalid filter 'nope'"),
        ('filters={"stars":["x"]}', "invalid filter 'stars=x': strconv.Atoi: parsing \"x\": invalid syntax"),
        ('filters={"is-official":["x"]}', "invalid filter 'is-official=[x]'"),
    ):
        answer = client.api.get(f"{client.api.base_url}/v1.45/images/search?term={registry}/needle&{query}")
        assert (answer.status_code, answer.json()["message"]) == (400, sentence)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server's ``host:port``; it has a root file system at /root.tar."""
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_import_comes_from_a_url(client: docker.DockerClient, web: str) -> None:
    said = client.api.import_image_from_url(
        f"{web}/root.tar", repository="web", tag="1", changes=["ENV A=b\nLABEL x=y"]
    )
    first, *_, bar, last = [json.loads(line) for line in said.splitlines()]
    assert first["status"] == f"Downloading from http://{web}/root.tar"
    assert (bar["status"], bar["progressDetail"]["current"]) == ("Importing", 10240)
    image = client.images.get("web:1")
    assert (last["status"], image.labels, image.attrs["Config"]["Env"]) == (image.id, {"x": "y"}, ["A=b"])
    client.images.remove("web:1")


def test_what_cannot_be_imported_is_said_by_status(client: docker.DockerClient, web: str) -> None:
    with pytest.raises(NotFound, match=f"failed to GET http://{web}/nothing with status 404"):
        client.api.import_image_from_url(f"http://{web}/nothing", repository="web")
    with pytest.raises(APIError, match="connect: connection refused"):
        client.api.import_image_from_url("http://127.0.0.1:1/x", repository="web")


def test_reserved_and_malformed_names_are_refused(client: docker.DockerClient) -> None:
    for query, status, sentence in (
        ("fromImage=scratch", 403, "'scratch' is a reserved name"),
        ("fromImage=x&tag=-bad", 400, "invalid tag format"),
        ("fromImage=Upper", 400, "invalid reference format: repository name (library/Upper) must be lowercase"),
        ("fromSrc=-&repo=x&changes=FOO%20bar", 400, "FOO is not a valid change command"),
        ("fromSrc=-&repo=x@sha256:" + "a" * 64, 400, "cannot import digest reference"),
    ):
        answer = client.api.post(f"{client.api.base_url}/v1.45/images/create?{query}")
        assert (answer.status_code, answer.json()["message"]) == (status, sentence)


def test_each_action_is_an_event_with_the_labels(daemon: Daemon, client: docker.DockerClient, registry: str) -> None:
    built = daemon.cli("import", "--change", "LABEL k=v", "-", "labelled:1", input=empty_root())
    id, name = built.stdout.decode().strip(), f"{registry}/labelled:1"
    announced = client.events(decode=True, filters={"type": "image"})
    for arguments in (("tag", "labelled:1", name), ("push", name), ("rmi", name), ("pull", name), ("rmi", name)):
        lines(daemon, *arguments)
    archive = b"".join(client.images.get("labelled:1").save())
    client.images.load(archive)
    lines(daemon, "rmi", "labelled:1")
    seen = [next(announced) for _ in range(9)]
    announced.close()
    told = [(event["Action"], event["Actor"]["ID"], event["Actor"]["Attributes"]) for event in seen]
    labels = {"k": "v"}
    assert told == [
        ("tag", id, {**labels, "name": name}),
        ("push", name, {**labels, "name": name.removesuffix(":1")}),
        ("untag", id, {**labels, "name": id}),
        ("pull", name, {**labels, "name": name.removesuffix(":1")}),
        ("untag", id, {**labels, "name": id}),
        ("save", id, {**labels, "name": id}),
        ("load", id, {**labels, "name": id}),
        ("untag", id, {**labels, "name": id}),
        ("delete", id, {"name": id}),
    ]


def empty_root() -> bytes:
    """A root file system with one directory."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("etc")
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    return raw.getvalue()
