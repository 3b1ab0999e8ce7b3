"""aiodocker: attach, exec, logs, events and builds over asyncio."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiodocker
import pytest

LISTENER = ["sh", "-c", "echo ready; read line; echo got $line; sleep 60"]


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker() as made:
        yield made


@asynccontextmanager
async def running(engine: aiodocker.Docker, **config: object) -> AsyncIterator[aiodocker.docker.DockerContainer]:
    container = await engine.containers.run({"Image": "busybox", "Cmd": ["sleep", "60"], **config})
    try:
        yield container
    finally:
        await container.delete(force=True, v=True)


async def test_what_is_typed_into_an_attached_container_arrives(engine: aiodocker.Docker) -> None:
    async with running(engine, Cmd=LISTENER, OpenStdin=True) as container:
        async with container.attach(stdin=True, stdout=True, logs=True) as stream:
            await stream.write_in(b"typed\n")
            output = b""
            while b"got typed\n" not in output:
                output += (await asyncio.wait_for(stream.read_out(), 10)).data
        assert output == b"ready\ngot typed\n"
        assert await container.log(stdout=True) == ["ready\n", "got typed\n"]


async def test_an_exec_has_input_output_and_a_status(engine: aiodocker.Docker) -> None:
    async with running(engine) as container:
        made = await container.exec(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=True)
        async with made.start(detach=False) as stream:
            await stream.write_in(b"typed\n")
            said = await stream.read_out()
        assert (said.stream, said.data) == (1, b"typed\n")
        made = await container.exec(["sh", "-c", "exit 4"])
        async with made.start(detach=False) as stream:
            assert await stream.read_out() is None
        assert (await made.inspect())["ExitCode"] == 4


async def test_events_tell_of_a_container_s_life(engine: aiodocker.Docker) -> None:
    events = engine.events.subscribe()
    await asyncio.wait_for(asyncio.gather(live(engine), died(events)), 20)


async def live(engine: aiodocker.Docker) -> None:
    async with running(engine, Cmd=["true"]) as container:
        assert (await container.wait())["StatusCode"] == 0


async def died(events: aiodocker.channel.ChannelSubscriber) -> None:
    while (event := await events.get())["Action"] != "die":
        assert event["Type"] in {"container", "network"}
    assert event["Actor"]["Attributes"]["exitCode"] == "0"


async def test_a_context_is_built_and_the_image_told(engine: aiodocker.Docker) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        text = b"FROM busybox\nLABEL a=b\nRUN echo built\n"
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    context.seek(0)
    lines = await engine.images.build(fileobj=context, encoding="identity", tag="aio:built")
    assert {"stream": "built\n"} in lines
    [told] = [line["aux"]["ID"] for line in lines if "aux" in line]
    inspected = await engine.images.inspect("aio:built")
    assert (inspected["Id"], inspected["Config"]["Labels"]) == (told, {"a": "b"})
    await engine.images.delete("aio:built")


async def test_refusals_are_its_errors(engine: aiodocker.Docker) -> None:
    with pytest.raises(aiodocker.DockerError) as refused:
        await engine.images.inspect("nosuch")
    assert (refused.value.status, refused.value.message) == (404, "No such image: nosuch:latest")
