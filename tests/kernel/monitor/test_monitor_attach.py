"""Clients of a running process: framed and raw output, input, half-close, detach keys, slow readers, terminals."""

import asyncio
import struct
from typing import Any

import pytest

from sampan.runtime.launch import AtEnd, Ending

KEYS = b"\x10\x11"  # ctrl-p ctrl-q


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Docker's multiplexed stream, taken apart."""
    found = []
    while data:
        stream, size = struct.unpack(">BxxxI", data[:8])
        found.append((stream, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def joined(data: bytes, stream: int) -> bytes:
    return b"".join(body for number, body in frames(data) if number == stream)


async def ending(client: Any) -> Ending:
    return await asyncio.wait_for(client.stream.done, 10)


async def test_a_client_attached_before_the_start_misses_nothing(box: Any, start: Any) -> None:
    client = box.client()
    await start(box.launch("sh", "-c", "echo first; echo second >&2", attached=[client.stream]))
    data = await client.read_all()
    assert (joined(data, 1), joined(data, 2)) == (b"first\n", b"second\n")
    assert await ending(client) is Ending.FINISHED


async def test_a_client_may_want_one_stream_only(box: Any, start: Any) -> None:
    client = box.client(stdout=False)
    await start(box.launch("sh", "-c", "echo first; echo second >&2", attached=[client.stream]))
    assert frames(await client.read_all()) == [(2, b"second\n")]


async def test_a_client_may_ask_for_raw_output(box: Any, start: Any) -> None:
    client = box.client(framed=False)
    await start(box.launch("echo", "plain", attached=[client.stream]))
    assert await client.read_all() == b"plain\n"


async def test_input_and_its_end_reach_the_process(box: Any, start: Any) -> None:
    client = box.client(stdin=True)
    await start(box.launch("cat", open_stdin=True, stdin_once=True, attached=[client.stream]))
    await client.write(b"through ")
    await client.write(b"the cat")
    client.end_input()
    assert joined(await client.read_all(), 1) == b"through the cat"


async def test_early_bytes_come_before_the_rest_of_the_input(box: Any, start: Any) -> None:
    client = box.client(stdin=True, early=b"already ")
    await client.write(b"read")
    client.end_input()
    await start(box.launch("cat", open_stdin=True, stdin_once=True, attached=[client.stream]))
    assert joined(await client.read_all(), 1) == b"already read"


async def test_without_stdin_once_the_end_of_input_only_ends_the_client(box: Any, start: Any) -> None:
    first, second = box.client(stdin=True, framed=False), box.client(stdin=True, framed=False)
    monitor = await start(box.launch("cat", open_stdin=True, attached=[first.stream]))
    await first.write(b"one\n")
    await first.read_until(b"one\n")
    first.end_input()
    assert await ending(first) is Ending.CLOSED
    await monitor.attach(second.stream)
    await second.write(b"two\n")
    assert await second.read_until(b"two\n") == b"two\n"


async def test_a_client_without_input_may_close_its_writing_side(box: Any, start: Any) -> None:
    client = box.client(framed=False)
    client.end_input()
    await start(box.launch("sh", "-c", "sleep 0.2; echo late", attached=[client.stream]))
    assert await client.read_all() == b"late\n"


async def test_several_clients_see_the_same(box: Any, start: Any) -> None:
    clients = [box.client() for _ in range(4)]
    await start(box.launch("seq", "5000", attached=[client.stream for client in clients]))
    expected = "".join(f"{n}\n" for n in range(1, 5001)).encode()
    for data in await asyncio.gather(*(client.read_all() for client in clients)):
        assert joined(data, 1) == expected


async def test_two_clients_may_both_give_input(box: Any, start: Any) -> None:
    one, two = (box.client(stdin=True, framed=False, at_end=AtEnd.NOTHING) for _ in range(2))
    await start(box.launch("cat", open_stdin=True, attached=[one.stream, two.stream]))
    await one.write(b"from one\n")
    await two.read_until(b"from one\n")
    await two.write(b"from two\n")
    assert b"from two\n" in await one.read_until(b"from two\n")


async def test_no_byte_is_lost_to_a_slow_client(box: Any, start: Any) -> None:
    slow, fast = box.client(framed=False), box.client(framed=False)
    size = 8 << 20
    script = f"seq 9999999 | head -c {size}"
    await start(box.launch("sh", "-c", script, log=False, attached=[slow.stream, fast.stream]))
    reading = asyncio.create_task(fast.read_all())
    first = await slow.read(10)
    for _ in range(100):
        await asyncio.sleep(0)
    rest, other = await asyncio.gather(slow.read_all(), reading)
    assert len(first) + len(rest) == size == len(other)


async def test_a_client_that_goes_away_ends_only_itself(box: Any, start: Any) -> None:
    gone, stays = box.client(stdin=True), box.client(stdin=True, framed=False)
    await start(box.launch("cat", open_stdin=True, attached=[gone.stream, stays.stream]))
    gone.close()
    assert await ending(gone) is Ending.CLOSED
    await stays.write(b"still here\n")
    await stays.read_until(b"still here\n")


async def test_a_process_that_does_not_read_its_input_blocks_nobody(box: Any, start: Any) -> None:
    client = box.client(stdin=True, framed=False)
    monitor = await start(box.launch("sh", "-c", "sleep 0.3; echo done", open_stdin=True, attached=[client.stream]))
    writing = asyncio.create_task(client.write(bytes(4 << 20)))
    await client.read_until(b"done")
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 0
    writing.cancel()


async def test_a_terminal_is_one_of_the_containers_own(box: Any, start: Any) -> None:
    client = box.client(framed=False)
    script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; ls /dev/console"
    await start(box.launch("sh", "-c", script, terminal=True, open_stdin=True, attached=[client.stream]))
    assert await client.read_all() == b"/dev/pts/0\r\n24 80\r\nall\r\n/dev/console\r\n"


async def test_a_terminal_takes_keys_and_signals(box: Any, start: Any) -> None:
    client = box.client(stdin=True, framed=False)
    monitor = await start(
        box.launch("sh", "-c", "trap 'exit 5' INT; echo ready; while true; do sleep 0.05; done", terminal=True,
                   open_stdin=True, attached=[client.stream])
    )  # fmt: skip
    await client.read_until(b"ready")
    await client.write(b"\x03")
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 5


async def test_a_terminal_is_resized(box: Any, start: Any) -> None:
    client = box.client(stdin=True, framed=False)
    script = "echo ready; while true; do read x || true; stty size; done"
    monitor = await start(box.launch("sh", "-c", script, terminal=True, open_stdin=True, attached=[client.stream]))
    await client.read_until(b"ready")
    await monitor.resize(50, 132)
    await client.write(b"\n")
    await client.read_until(b"50 132")


@pytest.mark.parametrize("pieces", [[KEYS], [b"\x10", b"\x11"], [b"ls", KEYS]])
async def test_the_detach_keys_let_a_client_go(box: Any, start: Any, pieces: list[bytes]) -> None:
    client = box.client(stdin=True, detach_keys=KEYS)
    monitor = await start(box.launch("cat", terminal=True, open_stdin=True, attached=[client.stream]))
    for piece in pieces:
        await client.write(piece)
        await asyncio.sleep(0.02)
    assert await ending(client) is Ending.DETACHED
    assert await monitor.signal(0)


async def test_half_a_detach_sequence_is_input(box: Any, start: Any) -> None:
    client = box.client(stdin=True, framed=False, detach_keys=b"aab", at_end=AtEnd.NOTHING)
    plan = box.plan(["sh", "-c", "stty raw -echo; echo ready; head -c 4; echo; echo end"], terminal=True)
    await start(box.launch(plan=plan, terminal=True, open_stdin=True, attached=[client.stream]))
    await client.read_until(b"ready")
    for byte in (b"a", b"a", b"c", b"x"):
        await client.write(byte)
    assert b"aacx" in await client.read_until(b"end")
