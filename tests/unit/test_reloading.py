"""Reloads come one after the other."""

import asyncio
from types import SimpleNamespace
from typing import Any

from sampan.config import Config
from sampan.daemon.reloading import Reloading


class Authorization:
    """Plugins of which the first that are asked take their time."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answer = asyncio.Event()

    async def replace_plugins(self, names: list[str]) -> None:
        self.asked.append(names)
        if len(self.asked) == 1:
            await self.answer.wait()


async def test_what_was_read_last_holds_however_long_the_first_takes() -> None:
    taken: list[Config] = []
    engine: Any = SimpleNamespace(reconfigure=taken.append, context=SimpleNamespace(config=Config()))
    configured = iter([Config(labels=["phase=one"]), Config(labels=["phase=two"])])
    authorization: Any = Authorization()
    reloading = Reloading(engine, authorization, lambda: next(configured))
    both = asyncio.gather(reloading.reload(), reloading.reload())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(authorization.asked) == 1
    authorization.answer.set()
    await both
    assert [one.labels for one in taken] == [["phase=one"], ["phase=two"]]
