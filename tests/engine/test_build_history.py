"""Builds that were: kept over a restart, told to those that listen, forgotten on demand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import docker
import pytest
from buildkit_client import CONTENT, CONTROL, Client, build, control
from grpclib.client import UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from sampan.build.buildkit import messages as m
from sampan.build.buildkit.connection import SessionChannel

STARTED, COMPLETE, DELETED = range(3)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nARG A\nRUN echo told-$A\n")
    return tmp_path


async def listed(channel: SessionChannel, **request: Any) -> list[Any]:
    listen = UnaryStreamMethod(channel, CONTROL + "ListenBuildHistory", m.BuildHistoryRequest, m.BuildHistoryEvent)
    return list(await listen(m.BuildHistoryRequest(EarlyExit=True, **request)))


async def newest(channel: SessionChannel) -> Any:
    events = await listed(channel)
    return max(
        (event.record for event in events), key=lambda record: record.CreatedAt.seconds + record.CreatedAt.nanos / 1e9
    )


async def update(channel: SessionChannel, **request: Any) -> None:
    call = UnaryUnaryMethod(channel, CONTROL + "UpdateBuildHistory", m.UpdateBuildHistoryRequest, m.Empty)
    await call(m.UpdateBuildHistoryRequest(**request))


async def test_a_build_is_remembered_with_what_it_printed(
    daemon: Any, client: docker.DockerClient, context: Path
) -> None:
    answer, _ = await build(daemon.socket, Client(context), {"build-arg:A": "one"}, "remembered")
    daemon.stop()
    daemon.start()
    async with control(daemon.socket) as channel:
        record = await newest(channel)
        assert record.FrontendAttrs["build-arg:A"] == "one"
        assert record.ExporterResponse == answer.ExporterResponse
        assert record.numTotalSteps == record.numCompletedSteps > 0
        assert not record.HasField("error")
        status = UnaryStreamMethod(channel, CONTROL + "Status", m.StatusRequest, m.StatusResponse)
        progress = await status(m.StatusRequest(Ref=record.Ref))
        assert b"told-one\n" in [log.msg for response in progress for log in response.logs]
        (said,) = record.Result.Attestations
        read = UnaryStreamMethod(channel, CONTENT + "Read", m.ReadContentRequest, m.ReadContentResponse)
        data = b"".join(part.data for part in await read(m.ReadContentRequest(digest=said.digest)))
        assert json.loads(data)["buildDefinition"]["externalParameters"]["request"]["args"]["build-arg:A"] == "one"


async def test_a_failure_is_remembered(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN exit 3\n")
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "never")
    async with control(daemon.socket) as channel:
        record = await newest(channel)
        assert record.error.message == caught.value.message
        assert record.error.code == caught.value.status.value


async def test_those_that_listen_hear_of_a_build(daemon: Any, context: Path) -> None:
    async with control(daemon.socket) as channel:
        listen = UnaryStreamMethod(channel, CONTROL + "ListenBuildHistory", m.BuildHistoryRequest, m.BuildHistoryEvent)
        async with listen.open() as stream:
            await stream.send_message(m.BuildHistoryRequest(ActiveOnly=True), end=True)
            await stream.recv_initial_metadata()
            await build(daemon.socket, Client(context), {}, "heard")
            kinds = [(await asyncio.wait_for(stream.recv_message(), 10)).type for _ in range(2)]
            await stream.cancel()
    assert kinds == [STARTED, COMPLETE]


async def test_a_build_is_forgotten_on_demand(daemon: Any, context: Path) -> None:
    await build(daemon.socket, Client(context), {}, "forgotten")
    async with control(daemon.socket) as channel:
        ref = (await newest(channel)).Ref
        await update(channel, Ref=ref, Pinned=True)
        assert [event.record.pinned for event in await listed(channel, Ref=ref)] == [True]
        await update(channel, Ref=ref, Delete=True)
        assert await listed(channel, Ref=ref) == []
        with pytest.raises(GRPCError) as caught:
            await update(channel, Ref=ref, Delete=True)
        assert caught.value.status == Status.NOT_FOUND


async def test_a_session_may_come_through_the_control_connection(daemon: Any, context: Path) -> None:
    _, progress = await build(daemon.socket, Client(context), {"build-arg:A": "inside"}, "", tunnelled=True)
    assert b"told-inside\n" in [log.msg for response in progress for log in response.logs]
