"""Connections taken over: the head, the bytes on both sides, what came early, what goes wrong."""

import asyncio
from typing import Any

import pytest

from sampan.api.stdcopy import Demultiplexer, Stream, frame

ATTACH = "/v1.55/containers/web/attach?stream=1&stdin=1&stdout=1"
UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def request(path: str, headers: str = UPGRADE, body: bytes = b"") -> bytes:
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"POST {path} HTTP/1.1\r\nHost: d\r\n{headers}{length}\r\n".encode() + body


async def read_head(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


def payloads(data: bytes) -> bytes:
    return b"".join(payload for _, payload in Demultiplexer().feed(data))


async def test_attach_upgrades_and_both_sides_talk(client: Any) -> None:
    reader, writer = await client.connect()
    writer.write(request(ATTACH))
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
    assert "Content-Type: application/vnd.docker.multiplexed-stream\r\n" in head
    assert "Upgrade: tcp\r\n" in head
    writer.write(b"hello")
    assert await reader.readexactly(13) == frame(Stream.STDOUT, b"hello")
    writer.write_eof()
    assert payloads(await reader.read()) == b"bye\n"
    writer.close()


async def test_bytes_sent_right_behind_the_request_are_not_lost(client: Any) -> None:
    reader, writer = await client.connect()
    writer.write(request(ATTACH) + b"early\n")
    writer.write_eof()
    await read_head(reader)
    assert payloads(await reader.read()) == b"early\nbye\n"
    writer.close()


@pytest.mark.parametrize("headers", [UPGRADE, ""])
async def test_bytes_behind_a_request_with_a_body_are_not_lost(client: Any, headers: str) -> None:
    reader, writer = await client.connect()
    writer.write(request("/exec/e1/start", headers, b'{"Tty":true}') + b"early\n")
    writer.write_eof()
    await read_head(reader)
    assert await reader.read() == b"early\nbye\n"
    writer.close()


async def test_a_request_that_comes_byte_by_byte_after_its_first_line_is_understood(client: Any) -> None:
    reader, writer = await client.connect()
    whole = request("/exec/e1/start", UPGRADE, b'{"Tty":true}') + b"early"
    first_line = whole.index(b"\r\n") + 2
    writer.write(whole[:first_line])
    for at in range(first_line, len(whole)):
        writer.write(whole[at : at + 1])
        await asyncio.sleep(0)
    writer.write_eof()
    assert (await read_head(reader)).startswith("HTTP/1.1 101")
    assert await reader.read() == b"earlybye\n"
    writer.close()


async def test_a_chunked_body_ends_where_its_last_chunk_does(client: Any) -> None:
    reader, writer = await client.connect()
    headers = UPGRADE + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    writer.write(request("/exec/e1/start", headers) + b'c\r\n{"Tty":true}\r\n0\r\n\r\nearly')
    writer.write_eof()
    await read_head(reader)
    assert await reader.read() == b"earlybye\n"
    writer.close()


async def test_a_request_that_ends_before_it_is_whole_ends_the_connection(client: Any) -> None:
    reader, writer = await client.connect()
    writer.write(request("/exec/e1/start", UPGRADE + "Content-Length: 99\r\n") + b"{")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_without_upgrade_the_answer_is_200_and_raw(client: Any) -> None:
    reader, writer = await client.connect()
    writer.write(request(ATTACH, ""))
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n")
    writer.close()


@pytest.mark.parametrize(("version", "kind"), [("1.41", "raw"), ("1.42", "multiplexed")])
async def test_content_type_follows_the_version(client: Any, version: str, kind: str) -> None:
    reader, writer = await client.connect()
    writer.write(request(ATTACH.replace("1.55", version)))
    assert f"application/vnd.docker.{kind}-stream" in await read_head(reader)
    writer.close()


async def test_a_terminal_is_raw(client: Any, engine: Any) -> None:
    engine.containers.terminal = True
    reader, writer = await client.connect()
    writer.write(request(ATTACH) + b"x")
    writer.write_eof()
    assert "application/vnd.docker.raw-stream" in await read_head(reader)
    assert await reader.read() == b"xbye\n"
    writer.close()


async def test_an_attach_that_is_refused_is_told_in_text_and_ends_the_connection(client: Any) -> None:
    reader, writer = await client.connect()
    writer.write(request("/containers/gone/attach?stream=1") + b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 404 Not Found\r\n")
    assert "Content-Type: application/vnd.docker.raw-stream\r\n" in head
    assert await reader.read() == b"No such container: gone\r\n"
    writer.close()


async def test_a_detached_exec_leaves_the_connection_to_http(client: Any, engine: Any) -> None:
    for _ in range(3):
        status, _, body = await client.call("POST", "/exec/e1/start", {"Detach": True})
        assert (status, body) == (200, b"")
    assert len(engine.execs.calls) == 3


async def test_an_error_after_accepting_is_written_to_the_connection(client: Any, engine: Any) -> None:
    engine.execs.fails = True
    reader, writer = await client.connect()
    writer.write(request("/exec/e1/start", UPGRADE, b"{}"))
    await read_head(reader)
    assert b'exec: "nope": executable file not found in $PATH' in payloads(await reader.read())
    writer.close()


async def test_a_websocket_carries_bytes_without_frames(client: Any) -> None:
    url = "http://docker/containers/web/attach/ws?stream=1&stdin=1&stdout=1"
    async with client.session.ws_connect(url) as websocket:
        await websocket.send_bytes(b"over websocket")
        assert (await websocket.receive_bytes()) == b"over websocket"
        await websocket.close()


async def test_old_clients_get_text_over_a_websocket(client: Any) -> None:
    url = "http://docker/v1.27/containers/web/attach/ws?stream=1"
    async with client.session.ws_connect(url) as websocket:
        await websocket.send_str("text")
        assert (await websocket.receive_str()) == "text"


async def test_a_websocket_to_a_missing_container_is_an_ordinary_404(client: Any) -> None:
    status, _, body = await client.call("GET", "/containers/gone/attach/ws")
    assert (status, body) == (404, b'{"message":"No such container: gone"}\n')


async def test_http2_with_prior_knowledge_goes_to_the_builder_whole(client: Any, engine: Any) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    reader, writer = await client.connect()
    writer.write(preface)
    writer.write_eof()
    assert await reader.read() == preface + b"bye\n"
    assert engine.builder.calls == [("serve_grpc", (preface,))]
    writer.close()


async def test_grpc_is_upgraded_to_http2(client: Any, engine: Any) -> None:
    reader, writer = await client.connect()
    writer.write(request("/grpc", "Connection: Upgrade\r\nUpgrade: h2c\r\n") + b"frames")
    writer.write_eof()
    assert await read_head(reader) == "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert await reader.read() == b"framesbye\n"
    writer.close()


async def test_a_session_keeps_its_headers(client: Any, engine: Any) -> None:
    headers = (
        "Connection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: u1\r\n"
        "X-Docker-Expose-Session-Grpc-Method: /a\r\nX-Docker-Expose-Session-Grpc-Method: /b\r\n"
    )
    reader, writer = await client.connect()
    writer.write(request("/session", headers))
    await read_head(reader)
    writer.write_eof()
    assert await reader.read() == b"bye\n"
    [(name, (kept,))] = engine.builder.calls
    assert (name, kept["x-docker-expose-session-uuid"]) == ("serve_session", "u1")
    assert kept["x-docker-expose-session-grpc-method"] == "/a,/b"
    writer.close()


async def test_a_session_must_ask_for_an_upgrade(client: Any) -> None:
    status, _, body = await client.call("POST", "/session")
    assert (status, body) == (400, b'{"message":"no upgrade proto in request"}\n')


async def test_much_data_goes_through_both_ways(client: Any, engine: Any) -> None:
    engine.containers.terminal = True
    reader, writer = await client.connect()
    writer.write(request(ATTACH))
    await read_head(reader)
    sent = bytes(range(256)) * 16384
    reading = asyncio.create_task(reader.read())
    writer.write(sent)
    await writer.drain()
    writer.write_eof()
    assert await reading == sent + b"bye\n"
    writer.close()
