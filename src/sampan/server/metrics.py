"""The Prometheus endpoint: ``GET /metrics`` on an address of its own (``metrics-addr``), plain HTTP, nothing else.

engine_daemon_{container,image,network}_actions_seconds{action}     how long operations take (Docker's names)
process_*                                                          the daemon's memory, files, processor time
what the engine's collectors tell at each scrape
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from sampan.errors import EngineError
from sampan.server.sockets import open_sockets, parse_address

log = logging.getLogger(__name__)

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Operation → (histogram, action).
ACTIONS: dict[str, tuple[str, str]] = {
    "container_create": ("container", "create"),
    "container_start": ("container", "start"),
    "container_stop": ("container", "stop"),
    "container_restart": ("container", "restart"),
    "container_kill": ("container", "kill"),
    "container_delete": ("container", "delete"),
    "container_changes": ("container", "changes"),
    "container_exec": ("container", "exec"),
    "image_commit": ("container", "commit"),
    "image_create": ("image", "pull"),
    "image_push": ("image", "push"),
    "image_load": ("image", "load"),
    "image_build": ("image", "build"),
    "image_delete": ("image", "delete"),
    "network_create": ("network", "create"),
    "network_delete": ("network", "delete"),
    "network_connect": ("network", "connect"),
    "network_disconnect": ("network", "disconnect"),
}


class Metrics:
    """What is counted in one daemon."""

    def __init__(self, collectors: Iterable[Collector] = ()) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        for collector in collectors:
            self._registry.register(collector)
        self._seconds = {noun: self._histogram(noun) for noun in dict.fromkeys(noun for noun, _ in ACTIONS.values())}

    def _histogram(self, noun: str) -> Histogram:
        name, told = f"engine_daemon_{noun}_actions_seconds", f"Time that {noun} actions take."
        return Histogram(name, told, ("action",), buckets=BUCKETS, registry=self._registry)

    def observe(self, operation: str, seconds: float) -> None:
        """An operation took this long; those that are not in the table are not told."""
        if operation in ACTIONS:
            noun, action = ACTIONS[operation]
            self._seconds[noun].labels(action).observe(seconds)

    def page(self) -> bytes:
        """Everything, in Prometheus' text form; reads files, so call it in a thread."""
        return generate_latest(self._registry)


@asynccontextmanager
async def serve_metrics(metrics: Metrics, address: str) -> AsyncIterator[None]:
    """Serve ``GET /metrics`` on ``address`` (``host:port``) until the block ends.

    Raises EngineError when the address cannot be listened on.
    """
    place = parse_address(address)
    if place.scheme != "tcp":
        raise EngineError(f"invalid metrics-addr {address}: expected host:port")

    async def scrape(request: web.Request) -> web.Response:
        body = await asyncio.get_running_loop().run_in_executor(None, metrics.page)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", scrape)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        [listening] = open_sockets(place)
        await web.SockSite(runner, listening).start()
        log.info("metrics listen on %s", place)
        yield
    finally:
        await runner.cleanup()
