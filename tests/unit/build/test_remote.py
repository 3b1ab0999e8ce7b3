"""Downloads: how large they may be, and what stays of those that are larger."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from sampan.build import remote
from sampan.errors import EngineError


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """A server whose every file is 1000 bytes long and does not say so."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 1000)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_get("/{name}", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_download_has_its_bytes(server: str, tmp_path: Path) -> None:
    (found,) = await remote.fetch_all([f"{server}/file"], tmp_path)
    assert (found.name, found.path.stat().st_size, found.mtime_ns) == ("file", 1000, 0)


async def test_a_download_that_is_too_large_leaves_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LIMIT", 999)
    with pytest.raises(EngineError, match="is larger than a download may be here"):
        await remote.fetch_all([f"{server}/file"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_leaves_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RESERVE", 1 << 60)
    assert remote.room(tmp_path) == 0


async def test_a_refused_connection_is_told_in_the_kernels_words(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"error downloading http://127\.0\.0\.1:1/x: Connect(ion refused| call failed)"
    ):
        await remote.fetch_all(["http://127.0.0.1:1/x"], tmp_path)
