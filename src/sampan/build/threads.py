"""Blocking work of builds, off the event loop, in threads of their own: when the disk keeps all of them waiting, what
others ask of the engine goes on.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = ThreadPoolExecutor(16, "build")


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run ``function`` in one of the threads. When cancelled, wait for its end first: what it writes to is ours."""
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(_THREADS, partial(function, *arguments, **named))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
