"""``sampan registry serve``: a registry in the foreground until SIGTERM or SIGINT.

    sampan registry serve [--root DIR] [--listen HOST:PORT] [--config FILE]

Requests under way get ``_GRACE`` seconds to end at the first signal.
"""

import argparse
import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from sampan.errors import EngineError, InvalidParameter
from sampan.registry.server.config import TLS, Config, load
from sampan.registry.server.dispatch import Dispatcher
from sampan.registry.server.registry import Registry

_log = logging.getLogger(__name__)
_GRACE = 10.0
_READ_BUFFER = 1 << 20
_KEEPALIVE = 75.0


def main(argv: Sequence[str], program: str = "sampan registry") -> int:
    """Run the command line after ``sampan registry``; returns the exit status."""
    flags = vars(_parser(program).parse_args(argv))
    flags.pop("command")
    path = flags.pop("config")
    try:
        config = load(path, {name: value for name, value in flags.items() if value is not None})
        logging.basicConfig(
            level=config.log.level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        asyncio.run(serve(config))
    except (EngineError, OSError) as error:
        print(f"sampan registry: {error}", file=sys.stderr)
        return 1
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="A registry of images.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve_parser = commands.add_parser("serve", help="serve a registry in the foreground")
    serve_parser.add_argument("--root", help="directory of blobs and metadata (default /var/lib/sampan-registry)")
    serve_parser.add_argument("--listen", metavar="HOST:PORT", help="address (default 127.0.0.1:5000)")
    serve_parser.add_argument("--config", metavar="FILE", type=Path, help="YAML or JSON settings")
    return parser


async def serve(config: Config, started: "asyncio.Future[tuple[str, int]] | None" = None) -> None:
    """Serve until a signal; ``started`` is given the address once requests are accepted."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Registry(config) as registry:
        runner = web.ServerRunner(server(registry), shutdown_timeout=_GRACE, handle_signals=False)
        await runner.setup()
        try:
            host, port = config.address
            context = _tls(config.tls) if config.tls else None
            site = web.TCPSite(runner, host or None, port, ssl_context=context, backlog=1024)
            await site.start()
            address = runner.addresses[0][:2]
            _log.info("listening on %s:%d, root %s", *address, config.root)
            if started is not None:
                started.set_result(address)
            await stop.wait()
        finally:
            await runner.cleanup()


def server(registry: Registry) -> web.Server:
    """The HTTP server of a registry."""
    return web.Server(Dispatcher(registry), access_log=None, read_bufsize=_READ_BUFFER, keepalive_timeout=_KEEPALIVE)


def _tls(config: TLS) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidParameter(f"cannot use tls.certificate {config.certificate}: {error}") from None
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
