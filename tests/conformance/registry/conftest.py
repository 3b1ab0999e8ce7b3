"""Registries in processes of their own (ours and Debian's), one that misbehaves, engines to pull and push with."""

import asyncio
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from registry_process import Process, free_port, ours_in

from sampan.api.images import PullOptions, PushOptions
from sampan.api.progress import Record
from sampan.config import Config
from sampan.engine.events import Events
from sampan.engine.registry import Registries
from sampan.oci.image_config import History, ImageConfig, RootFS, RunConfig
from sampan.oci.platform import host
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.layers import import_layer
from sampan.storage.store import Storage


@pytest.fixture
def serve_ours(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """``sampan registry serve`` with further arguments."""
    started: list[Process] = []

    def serve(*arguments: str) -> Process:
        process = ours_in(tmp_path / f"ours{len(started) or ''}", *arguments)
        started.append(process)
        process.start()
        return process

    yield serve
    for process in started:
        process.kill()


@pytest.fixture
def ours(serve_ours: Callable[..., Process]) -> Process:
    """``sampan registry serve``, nothing configured."""
    return serve_ours()


@pytest.fixture
def debians(tmp_path: Path) -> Iterator[Process]:
    """Debian's docker-registry."""
    port = free_port()
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "debians")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    path = tmp_path / "docker-registry.yml"
    path.write_text(json.dumps(settings))
    process = Process(["/usr/bin/docker-registry", "serve", str(path)], port, tmp_path / "debians.log")
    process.start()
    yield process
    process.kill()


@pytest.fixture(params=["ours", "debians"])
def registry(request: pytest.FixtureRequest) -> Process:
    """Either registry."""
    found: Process = request.getfixturevalue(request.param)
    return found


class Engine:
    """A storage with the engine's door to registries."""

    def __init__(self, storage: Storage, registries: Registries) -> None:
        self.storage = storage
        self.registries = registries

    async def pull(self, reference: str, **options: Any) -> list[str]:
        """Pull; returns the stream's lines, ``id: status``, without bars."""
        record = Record()
        await self.registries.pull(PullOptions(reference=reference, **options), record)
        return lines(record)

    async def push(self, name: str, **options: Any) -> list[str]:
        """Push; returns the stream's lines."""
        record = Record()
        await self.registries.push(PushOptions(name=name, **options), record)
        return lines(record)

    def make(self, name: str, *layers: bytes) -> Image:
        """An image of these layer tars, tagged ``name``."""
        with self.storage.leases.take() as lease:
            made = [import_layer(self.storage, lease, io.BytesIO(layer)) for layer in layers]
            config = ImageConfig(
                architecture=host().architecture,
                os="linux",
                config=RunConfig(cmd=["/bin/sh"]),
                rootfs=RootFS([diff_id for _, diff_id in made]),
                history=[History(created_by="test") for _ in made],
            )
            image = self.storage.images.create(config, [descriptor for descriptor, _ in made])
        self.storage.images.tag(Reference.parse(name).tagged(), image.descriptor)
        return image


def lines(record: Record) -> list[str]:
    """What a user sees, but for bars."""
    return [
        f"{message.id}: {message.status}" if message.id else message.status
        for message in record.messages
        if message.status and not message.progress
    ]


async def arrived(ingests: Path, size: int) -> None:
    """Until a partial download has ``size`` bytes: only its file can tell."""
    while not any(path.stat().st_size >= size for path in ingests.glob("*/data")):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.fixture
def until_arrived() -> Callable[[Path, int], Awaitable[None]]:
    """``await until_arrived(ingests, size)``."""
    return arrived


EngineMaker = Callable[..., Engine]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineMaker]:
    """Make engines, each on its own root unless it is named again."""
    async with AsyncExitStack() as stack:

        def make(name: str = "engine", **settings: Any) -> Engine:
            storage = stack.enter_context(Storage.open(tmp_path / name))
            registries = Registries(Config(**settings), storage, Events())
            stack.push_async_callback(registries.close)
            return Engine(storage, registries)

        yield make


def layer_of(**files: bytes) -> bytes:
    """A layer tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def layer() -> Callable[..., bytes]:
    """``layer(name=data, …)``: a layer tar."""
    return layer_of


@pytest.fixture
def noise() -> bytes:
    """8 MB that do not compress."""
    return os.urandom(8 << 20)


Fault = Callable[[web.BaseRequest, int, Any, bytes], Awaitable[web.StreamResponse]]


class Misbehaving:
    """A registry in front of another; ``faults`` are taken, one per blob request, in place of its answers."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.address = ""
        self.session = aiohttp.ClientSession(auto_decompress=False)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass the request on; let the next fault answer if it is for a blob."""
        asked = {name: request.headers[name] for name in ("Range", "Accept") if name in request.headers}
        url = f"http://{self.upstream}{request.raw_path}"
        async with self.session.get(url, headers=asked) as answer:
            body, status, headers = await answer.read(), answer.status, answer.headers
        if "/blobs/" in request.path:
            self.asked.append((request.path.rpartition("/")[2], request.headers.get("Range")))
            fault = self.faults.pop(0) if self.faults else self.always
            if fault is not None:
                return await fault(request, status, headers, body)
        return web.Response(body=body, status=status, headers=kept(headers))


def kept(headers: Any) -> dict[str, str]:
    names = ("Content-Type", "Docker-Content-Digest", "Content-Range")
    return {name: headers[name] for name in names if name in headers}


@pytest.fixture
async def misbehaving(ours: Process) -> AsyncIterator[Misbehaving]:
    """A misbehaving registry in front of ours."""
    made = Misbehaving(ours.address)
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address = "{}:{}".format(*runner.addresses[0][:2])
    yield made
    await asyncio.gather(runner.cleanup(), made.session.close())
