"""Bodies of requests and responses, gathered into pieces worth a trip to a thread."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from sampan.errors import DataLoss, EngineError

BATCH = 1 << 20


async def awaited(content: aiohttp.StreamReader, patience: float) -> AsyncIterator[bytes]:
    """A body's pieces; raises TimeoutError when none comes for ``patience`` seconds."""
    loop, pieces = asyncio.get_running_loop(), content.iter_any()
    stalled = TimeoutError("the body stopped coming")
    while True:
        timer = loop.call_later(patience, content.set_exception, stalled)
        try:
            piece = await anext(pieces)
        except StopAsyncIteration:
            return
        finally:
            timer.cancel()
        yield piece


async def batches(body: AsyncIterator[bytes], limit: int | None = None) -> AsyncIterator[list[bytes]]:
    """Pieces of the body, about 1 MiB each time; when it breaks off, what arrived before the error.

    Raises DataLoss past ``limit`` bytes, and what the body raises.
    """
    batch: list[bytes] = []
    size = total = 0
    try:
        async for piece in body:
            total += len(piece)
            if limit is not None and total > limit:
                raise DataLoss(f"the body is longer than the {limit} bytes it announced")
            batch.append(piece)
            size += len(piece)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    except (EngineError, OSError, aiohttp.ClientError):
        if batch:
            yield batch
        raise
    if batch:
        yield batch
