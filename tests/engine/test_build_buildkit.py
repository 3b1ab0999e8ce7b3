"""BuildKit's protocol, spoken by hand: the calls that buildx makes, in its order, on upgraded connections."""

import asyncio
import base64
import io
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from buildkit_client import BRIDGE, CONTROL, Client, build, control
from grpclib.client import UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from sampan.build.buildkit import messages as m


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("content")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY a /a\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo said\nCMD cat /a\n"
    )
    return tmp_path


async def test_a_build_over_grpc_makes_a_named_image(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    answer, progress = await build(daemon.socket, Client(context, {"s": b"hidden"}), {}, "over/grpc")
    image = client.images.get("over/grpc:latest")
    assert answer.ExporterResponse["containerimage.config.digest"] == image.id
    assert client.containers.run("over/grpc", remove=True) == b"content"
    logs = b"".join(log.msg for response in progress for log in response.logs)
    assert b"hidden" in logs
    assert b"said" in logs
    completed = [v for response in progress for v in response.vertexes if v.HasField("completed")]
    shown = [v.name for v in completed]
    assert [name for name in shown if name.startswith("[internal]")] == [
        "[internal] load build definition from Dockerfile",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[internal] load metadata for docker.io/library/busybox:latest",
    ]
    assert [name.partition(" --")[0] for name in shown if name.startswith(("[1/", "[2/", "[3/"))] == [
        "[1/3] FROM docker.io/library/busybox:latest",
        "[2/3] COPY a /a",
        "[3/3] RUN",
    ]
    tasks = {status.ID for response in progress for status in response.statuses}
    assert {f"writing image {image.id}", "naming to docker.io/over/grpc:latest"} <= tasks
    assert client.containers.run("over/grpc", ["sh", "-c", "ls /run/secrets 2>/dev/null || true"], remove=True) == b""


async def test_only_changed_files_are_sent_again(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    await build(daemon.socket, Client(context), {}, "sync", "shared")
    (context / "a").write_text("changed!")
    again = Client(context)
    await build(daemon.socket, again, {}, "sync", "shared")
    assert again.sent == ["a"]
    assert client.containers.run("sync", remove=True) == b"changed!"


async def test_a_failure_reaches_both_calls(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN exit 5\n")
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "never")
    assert caught.value.message == 'process "/bin/sh -c exit 5" did not complete successfully: exit code: 5'


@pytest.mark.parametrize(
    ("dockerfile", "line", "words"),
    [
        ("FROM busybox\n\nRUN exit 5\n", 3, 'process "/bin/sh -c exit 5" did not complete successfully: exit code: 5'),
        (
            "FROM busybox\nCOPY nope /\n",
            2,
            'failed to compute cache key: failed to calculate checksum of ref: "/nope": not found',
        ),
        ("FORM x\n", 1, "dockerfile parse error on line 1: unknown instruction: FORM (did you mean FROM?)"),
        ("FROM busybox\nENV A=${B?c}\n", 2, 'dockerfile parse error on line 2: failed to process "${B?c}": B: c'),
    ],
)
async def test_an_error_says_where_in_the_dockerfile(
    daemon: Any, context: Path, dockerfile: str, line: int, words: str
) -> None:
    (context / "Dockerfile").write_text(dockerfile)
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "never")
    assert caught.value.message == words
    (detail,) = caught.value.details
    said = json.loads(detail.value)
    assert said["ranges"] == [{"start": {"line": line}, "end": {"line": line}}]
    assert base64.b64decode(said["info"]["data"]).decode() == dockerfile


async def test_a_base_that_cannot_be_had_is_named(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM 127.0.0.1:9/nope\n")
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "never")
    said = "127.0.0.1:9/nope: failed to resolve source metadata for 127.0.0.1:9/nope:latest: "
    assert (caught.value.message or "").startswith(said)


async def test_an_agent_that_the_client_lacks_is_no_error_unless_it_is_required(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=ssh echo without $SSH_AUTH_SOCK\n")
    await build(daemon.socket, Client(context), {}, "")
    (context / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=ssh,required true\n")
    with pytest.raises(GRPCError, match=r"^(?s:.*UNKNOWN.*unset ssh forward key default)"):
        await build(daemon.socket, Client(context), {}, "")


async def test_the_daemon_says_what_it_can_do(daemon: Any) -> None:
    async with control(daemon.socket) as channel:
        workers = UnaryUnaryMethod(channel, CONTROL + "ListWorkers", m.Empty, m.ListWorkersResponse)
        (worker,) = (await workers(m.Empty())).record
        assert worker.platforms[0].OS == "linux"
        ping = UnaryUnaryMethod(channel, BRIDGE + "Ping", m.Empty, m.PongResponse)
        assert "solve.base" in {cap.ID for cap in (await ping(m.Empty())).FrontendAPICaps}


PLAIN = "FROM scratch\nCOPY a /dir/a\n"


async def test_files_go_to_the_client_as_a_tree(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    taking, images = Client(context, takes_tree=True), len(client.images.list())
    await build(daemon.socket, taking, {}, "", exporter=m.Exporter(Type="local"))
    assert taking.tree == {"dir/a": b"content"}
    assert len(client.images.list()) == images


@pytest.mark.parametrize(("kind", "member"), [("tar", "dir/a"), ("oci", "oci-layout"), ("docker", "manifest.json")])
async def test_archives_go_to_the_client(daemon: Any, context: Path, kind: str, member: str) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    taking = Client(context)
    await build(daemon.socket, taking, {}, "", exporter=m.Exporter(Type=kind))
    with tarfile.open(fileobj=io.BytesIO(taking.received)) as archive:
        assert member in archive.getnames()


async def test_the_digest_of_an_image_that_stays_here_is_its_id(
    daemon: Any, client: docker.DockerClient, context: Path
) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    answer, _ = await build(daemon.socket, Client(context), {}, "staying")
    assert answer.ExporterResponse["containerimage.digest"] == client.images.get("staying").id


async def test_several_platforms_make_an_index(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    answer, _ = await build(daemon.socket, Client(context), {"platform": "linux/amd64,linux/arm64"}, "several")
    with tarfile.open(fileobj=io.BytesIO(b"".join(client.images.get("several").save(named=True)))) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == answer.ExporterResponse["containerimage.digest"]
    assert "index" in index["manifests"][0]["mediaType"]


async def test_a_named_context_takes_the_place_of_an_image(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM nowhere.invalid/base\nRUN ls /bin/busybox\n")
    options = {"context:nowhere.invalid/base": "docker-image://busybox"}
    _, progress = await build(daemon.socket, Client(context), options, "named")
    assert b"/bin/busybox" in b"".join(log.msg for response in progress for log in response.logs)


async def test_base_images_are_pulled_with_the_clients_credentials(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM 127.0.0.1:9/none\n")
    asked = Client(context)
    with pytest.raises(GRPCError):
        await build(daemon.socket, asked, {}, "never")
    assert asked.asked_for == ["127.0.0.1:9"]


async def test_what_checks_find_is_shown_as_warnings(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nMAINTAINER me\n")
    _, progress = await build(daemon.socket, Client(context), {}, "warned")
    (warning,) = [warning for response in progress for warning in response.warnings]
    assert warning.short.startswith(b"MaintainerDeprecated: ")
    assert warning.ranges[0].start.line == 2


async def test_variables_that_the_base_image_lacks_are_warned_of(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("ARG BASE=busybox\nFROM $BASE\nCOPY a $nowhere/\n")
    _, progress = await build(daemon.socket, Client(context), {}, "undefined")
    shown = [warning.short for response in progress for warning in response.warnings]
    assert shown == [b"UndefinedVar: Usage of undefined variable '$nowhere' (line 3)"]


async def test_what_cannot_be_exported_is_refused_before_the_build(daemon: Any, context: Path) -> None:
    exporter = m.Exporter(Type="oci", Attrs={"compression": "estargz"})
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "", exporter=exporter)
    assert caught.value.message == "exporter 'oci': compression=estargz is not supported"


async def test_a_prune_removes_what_its_filter_means(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /pruned\n")
    await build(daemon.socket, Client(context), {}, "pruned")
    async with control(daemon.socket) as channel:
        prune = UnaryStreamMethod(channel, CONTROL + "Prune", m.PruneRequest, m.UsageRecord)
        usage = UnaryUnaryMethod(channel, CONTROL + "DiskUsage", m.DiskUsageRequest, m.DiskUsageResponse)
        asked = m.DiskUsageRequest(filter=["type==regular"])
        known = {record.ID for record in (await usage(asked)).record if "/pruned" in record.Description}
        assert not (await usage(m.DiskUsageRequest(filter=["type==exec.cachemount", "shared"]))).record
        gone = await prune(m.PruneRequest(filter=[f"id~={next(iter(known))}"]))
        assert {record.ID for record in gone} == known
        assert not known & {record.ID for record in (await usage(m.DiskUsageRequest())).record}
        assert await prune(m.PruneRequest(filter=["size~=1"])) == []
        with pytest.raises(GRPCError) as caught:
            await prune(m.PruneRequest(filter=["type~=reg"]))
        assert caught.value.status == Status.UNIMPLEMENTED


@pytest.mark.parametrize("moment", ["at once", "context", "files", "command"])
async def test_a_client_that_goes_away_leaves_nothing_of_its_build(
    daemon: Any, context: Path, moment: str, eventually: Any
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nCOPY . /c\nRUN --mount=type=secret,id=s sleep 300\n")
    for number in range(200):
        (context / f"file{number}").write_text(str(number))
    caller, data, run = Client(context, {"s": b"hidden"}), daemon.root / "data", daemon.root / "run"
    came = {
        "at once": lambda: True,
        "context": lambda: bool(caller.sent),
        "files": lambda: len(caller.sent) > 150,
        "command": lambda: any((data / "containers").iterdir()),
    }[moment]
    building = asyncio.ensure_future(build(daemon.socket, caller, {}, "never", key=moment))
    await asyncio.to_thread(eventually, came)
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)

    def clean() -> bool:
        left = [*(data / "containers").iterdir(), *(data / "tmp").glob("build/*"), *(run / "build").rglob("*")]
        with closing(sqlite3.connect(f"file:{data}/engine.db?mode=ro", uri=True)) as database:
            (active,) = database.execute("SELECT count(*) FROM actives WHERE key LIKE 'build-%'").fetchone()
        return not left and not active

    await asyncio.to_thread(eventually, clean)
