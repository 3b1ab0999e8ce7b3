"""Images, archives and build contexts made to get out, or to bring the daemon down: each is refused or stays inside.

A marker file on the host tells whether something got there.
"""

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, BuildError
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon
from layer_tars import hard, link, member, tar

Run = Callable[..., Container]
Shell = Callable[..., str]
Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's with a secret; nothing may come into it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    yield outside
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_text() == "of the host"
    assert not (outside / "secret").stat().st_mode & 0o6000


def saved(layers: list[bytes], **config: Any) -> bytes:
    """A docker-archive of an image with these layers and members of its configuration."""
    content = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}" for layer in layers]},
    } | config
    raw = json.dumps(content).encode()
    names = [f"layer{number}.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["hostile:latest"], "Layers": names}]).encode()
    return tar(
        [
            member("config.json", raw),
            *(member(name, layer) for name, layer in zip(names, layers, strict=True)),
            member("manifest.json", manifest),
        ]
    )


def busybox() -> list[Member]:
    """What a shell needs."""
    return [
        member("bin/"),
        member("bin/busybox", Path("/usr/bin/busybox").read_bytes(), mode=0o755),
        link("bin/sh", "busybox"),
    ]


def climbing(host: Path) -> dict[str, list[list[Member]]]:
    """Layers that try to write outside of their tree."""
    up, out = "../" * 12, str(host).lstrip("/")
    return {
        "by dots": [[member(f"{up}{out}/planted", b"x")]],
        "by an absolute name": [[member(f"/{out}/planted", b"x")]],
        "through a link": [[link("door", f"{up}{out}"), member("door/planted", b"x")]],
        "through an absolute link": [[link("door", str(host)), member("door/planted", b"x")]],
        "through a link of the layer below": [[link("door", str(host))], [member("door/planted", b"x")]],
        "through two links": [[link("a", "b"), link("b", str(host)), member("a/planted", b"x")]],
        "by a hard link to the host's file": [[hard("mine", f"{up}{out}/secret"), member("mine", b"x")]],
        "by a hard link through a link": [[link("door", str(host)), hard("mine", "door/secret"), member("mine", b"x")]],
        "by a whiteout through a link": [[link("door", str(host)), member("door/.wh.secret")]],
        "by a whiteout that climbs": [[member(f"{up}{out}/.wh.secret")]],
        "by an opaque mark through a link": [[link("door", str(host)), member("door/.wh..wh..opq")]],
        "by a mode through a link": [[link("secret", f"{host}/secret"), member("secret", b"x", mode=0o6777)]],
        "by a whiteout of the tree": [[member(".wh..")], [member(".wh..wh..")], [member(".wh.")]],
    }


NAMES = list(climbing(Path("/x")))


@pytest.mark.parametrize("how", NAMES)
def test_a_layer_cannot_climb_out(client: docker.DockerClient, host: Path, how: str) -> None:
    layers = [tar([*busybox(), *members]) for members in climbing(host)[how]]
    try:
        (image,) = client.images.load(saved(layers))
    except (APIError, docker.errors.ImageLoadError) as error:
        assert "invalid" in str(error)
        return
    try:
        script = "/bin/busybox cat /mine /door/secret /secret"
        shown = client.containers.run(image, ["sh", "-c", f"{script}; true"], remove=True, network_mode="none")
        assert b"of the host" not in shown
    finally:
        client.images.remove("hostile", force=True)


@pytest.mark.parametrize("how", [name for name in NAMES if "whiteout" not in name and "opaque" not in name])
@pytest.mark.parametrize("running", [True, False])
def test_a_copied_archive_cannot_climb_out(
    client: docker.DockerClient, run: Run, host: Path, how: str, running: bool
) -> None:
    container = run() if running else client.containers.create(IMAGE, "true", network_mode="none")
    for members in climbing(host)[how]:
        try:
            container.put_archive("/data", tar(members))
        except APIError as error:
            assert error.status_code in (400, 403, 404, 500)


@pytest.mark.parametrize("how", [name for name in NAMES if "whiteout" not in name and "opaque" not in name])
def test_a_build_context_cannot_climb_out(client: docker.DockerClient, host: Path, how: str) -> None:
    dockerfile = f"FROM {IMAGE}\nCOPY . /ctx/\nCOPY mine* door* secret* /two/\nRUN cat /two/* /ctx/* || true\n".encode()
    for members in climbing(host)[how]:
        context = tar([*members, member("Dockerfile", dockerfile)])
        try:
            _, log = client.images.build(fileobj=io.BytesIO(context), custom_context=True, nocache=True)
        except (APIError, BuildError):
            continue
        assert "of the host" not in json.dumps(list(log))


@pytest.mark.parametrize("how", [name for name in NAMES if "opaque" not in name])
def test_an_added_archive_cannot_climb_out(client: docker.DockerClient, host: Path, how: str, tmp_path: Path) -> None:
    for members in climbing(host)[how]:
        (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nADD hostile.tar /data/\n")
        (tmp_path / "hostile.tar").write_bytes(tar(members))
        (tmp_path / ".dockerignore").write_text("outside\n")
        try:
            client.images.build(path=str(tmp_path), nocache=True)
        except (APIError, BuildError):
            continue


SOURCES = ["/door/secret", "/door", "/../../../../../../../../{host}/secret", "/loop", "/dev/zero"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_from_a_stage_stays_in_the_stage(client: docker.DockerClient, host: Path, source: str) -> None:
    place = source.format(host=host)
    first = f"FROM {IMAGE} AS one\nRUN ln -s {host} /door && ln -s loop /loop\n"
    steps = f"{first}FROM {IMAGE}\nCOPY --from=one {place} /got\nRUN cat /got /got/*; true\n"
    context = tar([member("Dockerfile", steps.encode())])
    try:
        _, log = client.images.build(fileobj=io.BytesIO(context), custom_context=True)
    except (APIError, BuildError):
        return
    assert "of the host" not in json.dumps(list(log))


def test_an_image_cannot_lead_mounts_out(client: docker.DockerClient, host: Path) -> None:  # CVE-2021-30465
    """Places of mounts are links to the host's."""
    places = {"/door/planted": {}, "/proc-door/sys": {}, "/dots": {}}
    members = [
        *busybox(),
        link("door", str(host)),
        link("proc-door", "/proc"),
        link("dots", "../../../../../../../../../../" + str(host)),
        link("etc", str(host)),
    ]
    for volumes in (places, {"/door/v": {}}, {"/dev": {}}):
        for more in ([], [link("dev", str(host)), link("sys", str(host))]):
            config = {"Cmd": ["/bin/sh", "-c", "true"], "Volumes": volumes}
            client.images.load(saved([tar([*members, *more])], config=config))
            try:
                client.containers.run("hostile", remove=True, tmpfs={"/door/deep": ""}, network_mode="none", tty=True)
            except APIError as error:
                assert re.search("procfs|/dev/|on ordinary directory", error.explanation), error.explanation
    client.images.remove("hostile", force=True)


PROC = {
    "a link": [link("proc", "/elsewhere")],
    "a tree of its own": [
        member("proc/"),
        member("proc/self/"),
        link("proc/self/oom_score_adj", "/proc/sysrq-trigger"),
    ],
    "a file": [member("proc", b"x")],
}


@pytest.mark.parametrize("what", PROC)
def test_an_image_with_a_proc_of_its_own(client: docker.DockerClient, what: str) -> None:  # CVE-2023-27561, -2025-52881
    """The masked and read-only paths hold, wherever the image would have procfs; or nothing runs."""
    client.images.load(saved([tar([*busybox(), *PROC[what], member("elsewhere/")])]))
    script = "for d in /proc /elsewhere; do echo 1 > $d/sys/kernel/panic && echo written; done 2>&1"
    try:
        shown = client.containers.run("hostile", ["/bin/sh", "-c", f"{script}; true"], remove=True, oom_score_adj=1)
    except APIError as error:
        assert error.status_code in (400, 500)
    else:
        assert b"written" not in shown
    finally:
        client.images.remove("hostile", force=True)


BUG = re.compile(r"^(Value|Type|Key|Attribute|Index|Recursion|Assertion|Unicode\w*)Error", re.MULTILINE)
"""What the log shows of an error that nobody foresaw."""

ODD: dict[str, dict[str, Any]] = {
    "many variables": {"Env": [f"V{number}=x" for number in range(20000)]},
    "a long variable": {"Env": ["A=" + "x" * 200_000]},
    "a variable without a name": {"Env": ["=x", "PLAIN"]},
    "a NUL in a variable": {"Env": ["A=a\0b"]},
    "a NUL in the command": {"Cmd": ["sh", "a\0b"]},
    "an empty command": {"Cmd": [""]},
    "no command": {"Cmd": [], "Entrypoint": []},
    "many words": {"Cmd": ["/bin/sh", "-c", "true", *["x" * 100] * 50_000]},
    "a user who is nobody": {"User": "no-such-user"},
    "a user out of range": {"User": "99999999999"},
    "a negative user": {"User": "-1"},
    "a user by a path": {"User": "../../etc/passwd:root"},
    "a directory that climbs": {"WorkingDir": "../../../../../../.."},
    "a directory of a descriptor": {"WorkingDir": "/proc/self/fd/5"},
    "a long directory": {"WorkingDir": "/" + "d" * 5000},
    "many directories": {"WorkingDir": "/" + "d/" * 1000},
    "a directory with a NUL": {"WorkingDir": "/a\0b"},
    "a volume at the root": {"Volumes": {"/": {}}},
    "a volume that climbs": {"Volumes": {"/../../../x": {}}},
    "a volume without a name": {"Volumes": {"": {}}},
    "a volume over procfs": {"Volumes": {"/proc": {}}},
    "a volume in procfs": {"Volumes": {"/proc/sys/kernel": {}}},
    "a volume over devices": {"Volumes": {"/dev": {}}},
    "many volumes": {"Volumes": {f"/v{number}": {} for number in range(400)}},
    "ports out of range": {"ExposedPorts": {"99999/tcp": {}, "x/udp": {}, "": {}}},
    "many ports": {"ExposedPorts": {f"{number}/tcp": {} for number in range(1, 30000)}},
    "a signal that is none": {"StopSignal": "SIGWHAT"},
    "a check without end": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": -5, "Timeout": 1 << 62}},
    "labels": {"Labels": {"x" * 10_000: "y" * 100_000}},
    "types that do not fit": {"Env": "A=b", "Cmd": {"a": 1}},
    "numbers that do not fit": {"User": 1 << 80},
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_configuration_is_run_or_refused(client: docker.DockerClient, daemon: Daemon, what: str) -> None:
    config = {"Cmd": ["/bin/sh", "-c", "true"]} | ODD[what]
    before, logged = len(client.volumes.list()), len(daemon.log)
    try:
        client.images.load(saved([tar(busybox())], config=config))
        client.containers.run("hostile", network_mode="none")
    except (APIError, docker.errors.ContainerError) as error:
        status = getattr(error, "status_code", None)
        assert status in (None, 400, 404, 409, 500)
        assert "Traceback" not in str(error)
        assert "unexpected" not in str(error).lower()
    except docker.errors.ImageLoadError:
        pass
    finally:
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)
        if client.images.list("hostile"):
            client.images.remove("hostile", force=True)
    assert client.ping()
    assert len(client.volumes.list()) == before
    assert not BUG.search(daemon.log[logged:])


BROKEN: dict[str, dict[str, Any]] = {
    "another root": {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}},
    "a digest that is none": {"rootfs": {"type": "layers", "diff_ids": ["sha256:../../../etc"]}},
    "fewer layers": {"rootfs": {"type": "layers", "diff_ids": []}},
    "no root": {"rootfs": None},
    "a root of another kind": {"rootfs": {"type": "magic", "diff_ids": []}},
    "a date that is none": {"created": "yesterday"},
    "history of other layers": {"history": [{"created_by": "x"}] * 5},
    "a configuration that is a list": {"config": []},
    "another system": {"os": "windows"},
    "another machine": {"architecture": "pdp11"},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_image_is_loaded_or_refused(client: docker.DockerClient, daemon: Daemon, what: str) -> None:
    logged = len(daemon.log)
    try:
        client.images.load(saved([tar(busybox())], **BROKEN[what]))
        client.containers.run("hostile", ["/bin/sh", "-c", "true"], remove=True, network_mode="none")
    except APIError as error:
        assert error.status_code in (400, 404, 500)
        assert "Traceback" not in str(error)
    except (docker.errors.ImageLoadError, docker.errors.ContainerError):
        pass
    finally:
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)
        if client.images.list("hostile"):
            client.images.remove("hostile", force=True)
    assert client.ping()
    assert not BUG.search(daemon.log[logged:])


def test_a_device_in_an_image_is_not_opened_by_those_who_look(client: docker.DockerClient, daemon: Daemon) -> None:
    """A watchdog that is opened reboots the host; the daemon looks for users in the image's files."""
    device = {"type": tarfile.CHRTYPE, "devmajor": 10, "devminor": 130}
    members = [*busybox(), member("etc/"), member("etc/passwd", **device), member("etc/group", **device)]
    client.images.load(saved([tar(members)]))
    with pytest.raises(APIError, match="unable to find user app"):
        client.containers.run("hostile", ["/bin/sh", "-c", "true"], remove=True, user="app", network_mode="none")
    client.containers.run("hostile", ["/bin/sh", "-c", "true"], remove=True, user="5:6", network_mode="none")
    client.images.remove("hostile", force=True)


def test_a_subpath_of_a_volume_that_is_a_link_leads_nowhere(
    client: docker.DockerClient, daemon: Daemon, run: Run, shell: Shell, host: Path
) -> None:
    shell(run(volumes={"held": {"bind": "/v"}}), f"ln -s {host} /v/door; ln -s ../../../../../../../../..{host} /v/up")
    for subpath in ("door", "up", "up/secret", "../held", "door/../.."):
        mount = f"type=volume,source=held,target=/m,volume-subpath={subpath}"
        done = daemon.cli("run", "--rm", "--network", "none", "--mount", mount, IMAGE, "ls", "-R", "/m")
        assert b"secret" not in done.stdout
        assert done.returncode != 0


def test_a_subpath_that_is_changed_meanwhile_leads_nowhere(
    client: docker.DockerClient, daemon: Daemon, run: Run, host: Path
) -> None:
    container = run("sleep 600", volumes={"held": {"bind": "/v"}})
    swap = f"mkdir -p /v/a; while true; do mv /v/a /v/b; ln -s {host} /v/a; rm /v/a; mv /v/b /v/a; done"
    racing = client.api.exec_create(container.id, ["sh", "-c", swap])["Id"]
    client.api.exec_start(racing, detach=True)
    mount = docker.types.Mount("/m", "held", type="volume")
    mount["VolumeOptions"] = {"Subpath": "a"}
    seen = b""
    for _ in range(25):
        try:
            seen += client.containers.run(IMAGE, "ls /m", remove=True, mounts=[mount], network_mode="none")
        except APIError:
            continue
    assert b"secret" not in seen
