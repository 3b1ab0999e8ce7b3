"""What steps of classic builds may ask for: images of steps, limits, mounts, links, git, dates, squash."""

import base64
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import BuildError

STEP = " ---> "


def context_of(files: Mapping[str, str]) -> io.BytesIO:
    """A tar of ``files``, all of one date."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 1_600_000_000
            tar.addfile(entry, io.BytesIO(content.encode()))
    buffer.seek(0)
    return buffer


def build(client: docker.DockerClient, dockerfile: str, files: Mapping[str, str] | None = None, **options: Any) -> Any:
    """The image and the text of the build."""
    context = context_of({"Dockerfile": dockerfile, **(files or {})})
    image, log = client.images.build(fileobj=context, custom_context=True, **options)
    return image, "".join(entry.get("stream", "") for entry in log)


def failure(client: docker.DockerClient, dockerfile: str, files: Mapping[str, str] | None = None) -> str:
    with pytest.raises(BuildError) as caught:
        build(client, dockerfile, files)
    return str(caught.value.msg)


def shown(client: docker.DockerClient, image: Any, script: str) -> str:
    return str(client.containers.run(image.id, ["sh", "-c", script], remove=True, network_mode="none").decode())


def ids_of(text: str) -> list[str]:
    return [line.removeprefix(STEP) for line in text.splitlines() if line.startswith(STEP) and " " not in line[6:]]


def test_each_step_leaves_an_image_that_is_the_parent_of_the_next(client: docker.DockerClient) -> None:
    image, text = build(
        client,
        "FROM busybox\nENV A=steps\nRUN echo one > /one\nRUN echo two > /two\n",
        labels={"b": "$A 'q'", "a": "1"},
    )
    base, *steps = ids_of(text)
    assert "Step 5/6 : LABEL a=1\n" in text
    assert image.labels == {"a": "1", "b": "$A 'q'"}
    assert image.id == client.images.get(steps[-1]).id
    assert f"Successfully built {steps[-1]}\n" in text
    parents = {entry["Id"]: entry["ParentId"] for entry in client.api.images(all=True)}
    for parent, child in zip([base, *steps], steps, strict=False):
        assert parents[client.images.get(child).id] == client.images.get(parent).id
    assert shown(client, client.images.get(steps[1]), "cd /; echo one* two*") == "one two*\n"
    assert [entry["Id"] for entry in image.history()][: len(steps)] == [
        client.images.get(step).id for step in reversed(steps)
    ]
    deleted = client.api.remove_image(image.id)
    assert len([item for item in deleted if item.get("Deleted", "").startswith("sha256:")]) >= len(steps)


def test_an_empty_result_is_no_image(client: docker.DockerClient) -> None:
    assert failure(client, "FROM scratch\n") == "No image was generated. Is your Dockerfile empty?"


def test_triggers_of_the_base_are_counted(client: docker.DockerClient) -> None:
    build(client, "FROM busybox\nONBUILD RUN echo t > /t\nONBUILD ENV X=y\n", tag="triggers")
    image, text = build(client, "FROM triggers\nLABEL a=b\n")
    assert "# Executing 2 build triggers\n" in text
    assert shown(client, image, "cat /t; echo $X") == "t\ny\n"


def test_steps_of_an_image_that_came_from_elsewhere_are_a_cache(client: docker.DockerClient) -> None:
    dockerfile = "FROM busybox\nRUN echo imported > /i\nCOPY a /a\nENV B=c\n"
    image, _ = build(client, dockerfile, {"a": "1"}, tag="elsewhere:1")
    saved = b"".join(image.save(named=True))
    client.api.remove_image(image.id, force=True)
    client.api.prune_builds()
    client.images.load(saved)
    again, text = build(client, dockerfile, {"a": "1"}, cache_from=["elsewhere:1", "never:seen"])
    assert text.count(" ---> Using cache\n") == 3
    assert again.id == image.id
    client.api.prune_builds()
    _, text = build(client, dockerfile, {"a": "2"}, cache_from=["elsewhere:1"])
    assert text.count(" ---> Using cache\n") == 1


def test_limits_of_the_request_hold_in_each_step(client: docker.DockerClient) -> None:
    context = context_of(
        {
            "Dockerfile": "FROM busybox\nRUN ulimit -n > /n; cat /sys/fs/cgroup/memory/memory.limit_in_bytes > /m; "
            "cat /sys/fs/cgroup/cpu/cpu.shares > /c; df -k /dev/shm | tail -1 > /s; cat /proc/self/cgroup > /g\n"
        }
    )
    params = {
        "memory": 64 << 20, "memswap": 64 << 20, "cpushares": 77, "cpusetcpus": "0", "shmsize": 2 << 20,
        "ulimits": json.dumps([{"Name": "nofile", "Soft": 111, "Hard": 222}]), "t": "limited", "nocache": "1",
    }  # fmt: skip
    answer = client.api._post(client.api._url("/build"), data=context, params=params, timeout=30)
    assert "Successfully built" in answer.text
    image = client.images.get("limited")
    lines = shown(client, image, "cat /n /m /c /s").splitlines()
    assert lines[:3] == ["111", str(64 << 20), "77"]
    assert lines[3].split()[1] == "2048"


@pytest.mark.parametrize(
    ("mode", "expected"), [("u=rwX,go=rX", "644 755"), ("+x", "755 755"), ("go=,u+x", "700 700"), ("0601", "601 601")]
)
def test_chmod_takes_words(client: docker.DockerClient, mode: str, expected: str) -> None:
    image, _ = build(client, f"FROM busybox\nCOPY --chmod={mode} d /d/\nCOPY --chmod={mode} d /e\n", {"d/s/f": "x"})
    assert shown(client, image, "echo $(stat -c %a /d/s/f /d/s)") == expected + "\n"


def test_a_wrong_mode_is_named(client: docker.DockerClient) -> None:
    assert "invalid chmod parameter: 'u*w'" in failure(client, "FROM busybox\nCOPY --chmod=u*w a /\n", {"a": ""})


def test_a_linked_copy_knows_nothing_of_the_base(client: docker.DockerClient) -> None:
    dockerfile = "FROM busybox\nRUN {} && mkdir /real && ln -s real /link\nCOPY --link a /link/\nCOPY a /real/\n"
    first, _ = build(client, dockerfile.format("true"), {"a": "linked"})
    second, text = build(client, dockerfile.format("echo other"), {"a": "linked"})
    assert shown(client, first, "ls -d /link/a; readlink /link || echo no link") == "/link/a\nno link\n"
    assert text.count("Using cache") == 1
    assert first.attrs["RootFS"]["Layers"][-2] == second.attrs["RootFS"]["Layers"][-2]


def test_writes_to_a_writable_bind_are_thrown_away(client: docker.DockerClient) -> None:
    image, _ = build(
        client,
        "FROM busybox\nRUN --mount=target=/c,rw echo more >> /c/d/a && cat /c/d/a > /seen\n"
        "RUN --mount=target=/c cat /c/d/a > /after\n",
        {"d/a": "one\n"},
    )
    assert shown(client, image, "cat /seen /after") == "one\nmore\none\n"


def test_a_cache_may_begin_as_a_copy(client: docker.DockerClient) -> None:
    image, _ = build(
        client,
        "FROM busybox AS s\nRUN mkdir /w && echo begun > /w/f\nFROM busybox\n"
        "RUN --mount=type=cache,target=/c,id=copied,from=s,source=/w cat /c/f > /seen\n",
    )
    assert shown(client, image, "cat /seen") == "begun\n"


def test_a_step_may_not_take_privileges(client: docker.DockerClient) -> None:
    assert failure(client, "FROM busybox\nRUN --security=insecure true\n") == "security.insecure is not allowed"


def test_a_required_agent_that_is_not_there_is_an_error(client: docker.DockerClient) -> None:
    build(client, "FROM busybox\nRUN --mount=type=ssh true\n")
    said = failure(client, "FROM busybox\nRUN --mount=type=ssh,required true\n")
    assert said == "no SSH key default was given to this build"


def test_a_step_has_the_default_network(client: docker.DockerClient) -> None:
    image, _ = build(client, "FROM busybox\nRUN ls /sys/class/net > /nets && ip route >> /nets\n")
    found = shown(client, image, "cat /nets")
    assert "eth0" in found
    assert "default via" in found


def test_a_step_in_the_hosts_network_sees_its_links(client: docker.DockerClient) -> None:
    image, _ = build(client, "FROM busybox\nRUN --network=host ls /sys/class/net > /nets\n")
    here = {path.name for path in Path("/sys/class/net").iterdir() if not path.name.startswith("veth")}
    assert here <= set(shown(client, image, "cat /nets").split())


def test_squashing_leaves_one_layer_upon_the_base(client: docker.DockerClient) -> None:
    base = client.images.get("busybox")
    image, _ = build(
        client,
        "FROM busybox\nRUN echo 1 > /gone && echo 2 > /kept && rm /bin/cat\nRUN rm /gone && mkdir /d && chown 7:8 /d "
        "&& rm -r /data && mkdir /data && echo n > /data/new\n",
        squash=True,
    )
    assert len(image.attrs["RootFS"]["Layers"]) == len(base.attrs["RootFS"]["Layers"]) + 1
    assert shown(client, image, "ls -d /gone /kept /bin/cat 2>/dev/null; stat -c '%u %g' /d; ls /data") == (
        "/kept\n7 8\nnew\n"
    )
    assert image.history()[0]["Comment"].startswith("merge sha256:")


def layers_of(image: Any) -> list[str]:
    return list(image.attrs["RootFS"]["Layers"])


def test_a_dated_build_gives_the_same_bytes_again(client: docker.DockerClient) -> None:
    dockerfile = "FROM busybox\nRUN mkdir /d && echo x > /d/f\nCOPY a /deep/er/a\nWORKDIR /w\n"
    options = {"buildargs": {"SOURCE_DATE_EPOCH": "1500000000"}, "nocache": True}
    first, _ = build(client, dockerfile, {"a": "1"}, **options)
    second, _ = build(client, dockerfile, {"a": "1"}, **options)
    assert first.id == second.id
    assert first.attrs["Created"].startswith("2017-07-14T02:40:00")
    assert set(shown(client, first, "stat -c %Y /d /d/f /deep /deep/er/a /w").split()) == {"1500000000"}
    undated, _ = build(client, dockerfile, {"a": "1"})
    assert layers_of(undated) != layers_of(first)


def test_checks_are_told_and_may_be_errors(client: docker.DockerClient) -> None:
    _, text = build(client, "FROM busybox AS Tools\nMAINTAINER me\n")
    assert "[Warning] StageNameCasing: Stage name 'Tools' should be lowercase (line 1)\n" in text
    assert "[Warning] MaintainerDeprecated" in text
    said = failure(client, "# check=error=true\nFROM busybox AS Tools\n")
    assert said == "lint violation found for rules: StageNameCasing"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server on loopback: a repository, a Dockerfile, a tar, a file; its address and the first commit."""
    root = tmp_path_factory.mktemp("web")
    work = root / "work"
    work.mkdir()

    def git(*words: str, cwd: Path = work) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
        return subprocess.run(
            ["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True, timeout=20
        ).stdout.strip()

    git("init", "-q")
    (work / "sub").mkdir()
    (work / "sub/Dockerfile").write_text("FROM busybox\nCOPY . /ctx\n")
    (work / "a").write_text("first")
    git("add", ".")
    git("commit", "-qm", "one")
    first = git("rev-parse", "HEAD")
    git("tag", "v1")
    (work / "a").write_text("second")
    git("commit", "-qam", "two")
    git("clone", "-q", "--bare", str(work), str(root / "repo.git"), cwd=root)
    git("update-server-info", cwd=root / "repo.git")
    (root / "only.Dockerfile").write_text("FROM busybox\nLABEL from=url\n")
    (root / "context.tar").write_bytes(
        context_of({"Dockerfile": "FROM busybox\nCOPY x /x\n", "x": "tarred"}).getvalue()
    )
    (root / "file.txt").write_text("hello")
    handler = partial(Quiet, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", first
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_file_is_fetched_and_must_be_the_one_that_was_meant(
    client: docker.DockerClient, web: tuple[str, str]
) -> None:
    digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    image, _ = build(client, f"FROM busybox\nADD --checksum={digest} {web[0]}/file.txt /f/\n")
    assert shown(client, image, "cat /f/file.txt; stat -c ' %a' /f/file.txt") == "hello 600\n"
    wrong = digest.replace("2cf2", "0000")
    said = failure(client, f"FROM busybox\nADD --checksum={wrong} {web[0]}/file.txt /f/\n")
    assert said == f"digest mismatch {digest}: {wrong}"


def test_what_is_fetched_is_taken_apart_only_if_that_is_asked_for(
    client: docker.DockerClient, web: tuple[str, str]
) -> None:
    image, _ = build(
        client,
        f"FROM busybox\nADD {web[0]}/context.tar /whole/\nADD --unpack=true {web[0]}/context.tar /apart/\n"
        f"ADD --unpack=true {web[0]}/file.txt /file/\n",
    )
    assert shown(client, image, "ls /whole /apart /file; cat /apart/x") == (
        "/apart:\nDockerfile\nx\n\n/file:\nfile.txt\n\n/whole:\ncontext.tar\ntarred"
    )


def test_add_takes_a_repository(client: docker.DockerClient, web: tuple[str, str]) -> None:
    address, first = web
    image, _ = build(
        client,
        f"FROM busybox\nADD {address}/repo.git /head\nADD {address}/repo.git#v1 /tag\n"
        f"ADD --keep-git-dir=true --checksum={first} {address}/repo.git#{first} /commit\n"
        f"ADD {address}/repo.git#main:sub /sub\n",
    )
    assert shown(client, image, "cat /head/a /tag/a /commit/a; ls /sub; ls -d /*/.git") == (
        "secondfirstfirstDockerfile\n/commit/.git\n"
    )
    said = failure(client, f"FROM busybox\nADD --checksum={first} {address}/repo.git /x\n")
    assert said.startswith(f"expected checksum to match {first}, got ")


@pytest.mark.parametrize(
    ("remote", "script", "expected"),
    [
        ("/repo.git#v1:sub", "ls /ctx", "Dockerfile\n"),
        ("/only.Dockerfile", "echo built", "built\n"),
        ("/context.tar", "cat /x", "tarred"),
    ],
)
def test_a_context_may_be_elsewhere(
    client: docker.DockerClient, web: tuple[str, str], remote: str, script: str, expected: str
) -> None:
    image, _ = client.images.build(path=web[0] + remote)
    assert shown(client, image, script) == expected


def test_credentials_of_the_request_are_read(client: docker.DockerClient) -> None:
    header = base64.urlsafe_b64encode(b'{"registry.invalid":{"username":"u","password":"p"}}').decode()
    answer = client.api._post(
        client.api._url("/build"),
        data=context_of({"Dockerfile": "FROM busybox\nLABEL x=1\n"}),
        headers={"X-Registry-Config": header},
    )
    assert "Successfully built" in answer.text


def cached(client: docker.DockerClient, kind: str) -> list[Any]:
    """Records of the build cache of one kind."""
    return [record for record in client.df()["BuildCache"] if record["Type"] == kind]


def test_what_builds_keep_is_counted_and_pruned(client: docker.DockerClient) -> None:
    build(client, "FROM busybox\nRUN --mount=type=cache,target=/counted head -c 5000 /dev/zero > /counted/f\n")
    (record,) = [entry for entry in cached(client, "exec.cachemount") if "counted" in entry["Description"]]
    assert record["Size"] >= 5000
    assert not record["InUse"]
    assert cached(client, "regular")
    report = client.api.prune_builds(filters={"type": "exec.cachemount"})
    assert record["ID"] in report["CachesDeleted"]
    assert report["SpaceReclaimed"] >= 5000
    assert cached(client, "exec.cachemount") == []
    assert cached(client, "regular")


def test_a_secret_lies_in_memory_and_goes_with_its_step(daemon: Any) -> None:
    private = daemon.root / "run" / "build"
    assert private.is_dir()
    assert list(private.iterdir()) == []
