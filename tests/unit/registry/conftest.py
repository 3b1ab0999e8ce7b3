"""A registry in this process on a loopback port, and a client that speaks plain HTTP to it."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sampan.registry.server.config import Config, Log
from sampan.registry.server.main import server
from sampan.registry.server.registry import Registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest_of(config: bytes, *layers: bytes, **more: Any) -> bytes:
    """An image manifest that points to these blobs."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": sha256(one), "size": len(one)} for one in layers],
            **more,
        }
    ).encode()


@dataclass
class Answer:
    """A response that was read."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The first error's code."""
        return str(self.json["errors"][0]["code"])


class Client:
    """Requests to one registry."""

    digest_of = staticmethod(sha256)
    manifest_of = staticmethod(manifest_of)

    def __init__(self, session: aiohttp.ClientSession, root: str, registry: Registry) -> None:
        self.session = session
        self.root = root
        self.registry = registry

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.root + path, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def push_blob(self, name: str, data: bytes) -> str:
        digest = sha256(data)
        answer = await self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data=data)
        assert answer.status == 201, answer.body
        return digest

    async def push_manifest(self, name: str, reference: str, raw: bytes, kind: str = MANIFEST) -> Answer:
        headers = {"Content-Type": kind}
        return await self("PUT", f"/v2/{name}/manifests/{reference}", data=raw, headers=headers)

    async def push_image(self, name: str, tag: str, config: bytes = b"{}", *layers: bytes, **more: Any) -> str:
        """Push blobs and a manifest; returns the manifest's digest."""
        for blob in (config, *layers):
            await self.push_blob(name, blob)
        raw = manifest_of(config, *layers, **more)
        answer = await self.push_manifest(name, tag, raw)
        assert answer.status == 201, answer.body
        return sha256(raw)


Serve = Callable[..., Any]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a registry with these settings; returns a client of it."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Client:
            config = Config(**{"root": str(tmp_path / "registry"), "log": Log(access=False), **settings})
            registry = await stack.enter_async_context(Registry(config))
            runner = web.ServerRunner(server(registry), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
            return Client(session, f"http://{host}:{port}", registry)

        yield start


@pytest.fixture
async def client(serve: Serve) -> Client:
    """A client of a registry with the default settings."""
    made: Client = await serve()
    return made
