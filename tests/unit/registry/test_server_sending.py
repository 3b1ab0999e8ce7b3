"""Large blobs on their way out: whole, in part, to clients that are slow or leave."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

SIZE = 40 << 20


@pytest.fixture
def large() -> bytes:
    """More than one turn, and not a multiple of anything."""
    return os.urandom(1 << 20) * (SIZE >> 20) + b"end"


async def connect(client: Any, path: str, buffer: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for ``path`` on a socket that takes ``buffer`` bytes ahead; the headers are read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.setblocking(False)
    host, port = client.root.removeprefix("http://").split(":")
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=buffer)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_large_blob_comes_back_whole_and_in_part(client: Any, large: bytes) -> None:
    path = f"/v2/a/b/blobs/{await client.push_blob('a/b', large)}"
    assert (await client("GET", path)).body == large
    part = await client("GET", path, headers={"Range": f"bytes=12345-{SIZE - 1}"})
    assert (part.status, part.body == large[12345:SIZE]) == (206, True)


async def test_a_slow_client_gets_all_of_it_and_delays_nobody(client: Any, large: bytes) -> None:
    path = f"/v2/a/b/blobs/{await client.push_blob('a/b', large)}"
    slow = [await connect(client, path, 1 << 16) for _ in range(8)]
    assert (await client("GET", path)).body == large
    bodies = await asyncio.gather(*(reader.readexactly(len(large)) for reader, _ in slow))
    assert set(bodies) == {large}
    for _, writer in slow:
        writer.close()


async def test_a_client_that_leaves_leaves_no_descriptor(client: Any, large: bytes) -> None:
    path = f"/v2/a/b/blobs/{await client.push_blob('a/b', large)}"
    assert (await client("GET", path)).status == 200
    before = open_files()
    _, writer = await connect(client, path, 1 << 16)
    writer.transport.abort()
    async with asyncio.timeout(10):
        while open_files() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await client("GET", path)).body == large
