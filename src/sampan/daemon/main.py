"""The daemon's process: read settings, own the roots, open the engine, serve, and end in order.

    parse flags → load configuration → lock roots → open engine (adopts running containers)
        → listen → READY=1 … SIGHUP reloads … SIGTERM/SIGINT
        → stop containers (live-restore=false) → stop listening → close engine → unlock

Killing the process at any point is as good as stopping it: containers go on under their monitors and the
next start adopts them.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from sampan import __version__, config
from sampan.api.versions import NEWEST, OLDEST, parse
from sampan.daemon import flags, logs
from sampan.daemon.notify import keep_watchdog, notify, watchdog_interval
from sampan.daemon.ownership import owned
from sampan.daemon.reloading import Reloading
from sampan.daemon.stacks import dump_stacks
from sampan.engine.engine import Engine
from sampan.engine.log_drivers.forward import check_driver
from sampan.errors import EngineError, InvalidParameter
from sampan.server.authorization import Authorization
from sampan.server.listen import serve

log = logging.getLogger("sampan.daemon")


def main(arguments: Sequence[str] | None = None, program: str = "sampand") -> int:
    """Run the daemon until it is told to stop; returns the exit status."""
    command_line = flags.parse(sys.argv[1:] if arguments is None else arguments, program)
    try:
        settings = load(command_line)
        if command_line.validate:
            print("configuration OK", file=sys.stderr)
            return 0
        require_root()
        logs.configure(settings)
        for sentence in config.without_effect(settings):
            log.warning("%s", sentence)
        set_oom_score(settings.oom_score_adjust)
        with owned(settings):
            asyncio.run(run(settings, command_line))
    except EngineError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full or read-only, a file that is not where it must be
        log.debug("ended by", exc_info=error)
        print(f"{program}: {error.filename or 'system'}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def load(command_line: flags.CommandLine) -> config.Config:
    """The settings of file, flags and environment; raises InvalidParameter."""
    given = dict(command_line.settings)
    if version := os.environ.get("DOCKER_MIN_API_VERSION"):
        given["min-api-version"] = checked_version(version)
    return with_log_options(config.load(command_line.config_file, given))


def with_log_options(settings: config.Config) -> config.Config:
    """``settings`` if containers can log by them; raises InvalidParameter."""
    if settings.log_opts:
        try:
            check_driver(settings.log_driver, settings.log_opts)
        except InvalidParameter as error:
            raise InvalidParameter(f"failed to set log opts: {error}") from None
    return settings


def checked_version(text: str) -> str:
    """A lowest API version from the environment, in dockerd's bounds and words."""
    failed = "invalid DOCKER_MIN_API_VERSION"
    if text[:1] in ("v", "V"):
        raise InvalidParameter(f'{failed}: API version must be provided without "v" prefix')
    version = parse(text)
    if version < OLDEST:
        raise InvalidParameter(f"{failed}: minimum supported API version is {OLDEST}: {text}")
    if version > NEWEST:
        raise InvalidParameter(f"{failed}: maximum supported API version is {NEWEST}: {text}")
    return text


def require_root() -> None:
    """Raise InvalidParameter unless the process may make mounts and namespaces."""
    if os.geteuid() != 0:
        raise InvalidParameter("the daemon must run as root: try sudo, or `sampan --host` for a remote one")


def set_oom_score(value: int) -> None:
    """How readily the kernel ends this process when memory runs out (proc(5)); raises InvalidParameter if refused."""
    if not value:
        return
    try:
        Path("/proc/self/oom_score_adj").write_text(str(value))
    except OSError as error:
        raise InvalidParameter(f"invalid oom-score-adjust: {value}: {error.strerror}") from None


async def run(settings: config.Config, command_line: flags.CommandLine) -> None:
    """Open the engine, serve its API, and close everything when a signal asks."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    engine = await Engine.open(settings)
    authorization = Authorization(settings.authorization_plugins)
    reloading = Reloading(engine, authorization, partial(load, command_line))
    loop.add_signal_handler(signal.SIGHUP, reloading.begin)
    loop.add_signal_handler(signal.SIGUSR1, tell_stacks, engine)
    try:
        async with serving(engine, settings, authorization):
            log.info("sampan %s is ready, listening on %s", __version__, ", ".join(settings.listen_hosts))
            notify("READY=1", f"MAINPID={os.getpid()}")
            if interval := watchdog_interval():
                engine.context.supervisor.spawn(keep_watchdog(interval), "watchdog")
            await stopping.wait()
            notify("STOPPING=1")
            if not engine.context.config.live_restore:
                await engine.containers.stop_all(engine.context.config.shutdown_timeout)
    finally:
        await engine.close()


@asynccontextmanager
async def serving(engine: Engine, settings: config.Config, authorization: Authorization) -> AsyncIterator[None]:
    """The API, and metrics where they are wanted, which costs the others no memory."""
    async with AsyncExitStack() as stack:
        metrics = None
        if settings.metrics_addr:
            from sampan.server.metrics import Metrics, serve_metrics

            metrics = Metrics([engine.metrics])
            await stack.enter_async_context(serve_metrics(metrics, settings.metrics_addr))
        await stack.enter_async_context(serve(engine, settings, authorization, metrics))
        yield


def tell_stacks(engine: Engine) -> None:
    """Write where everything stands, and say where that is."""
    try:
        log.info("stacks written to %s", dump_stacks(Path(engine.context.config.exec_root)))
    except OSError as error:
        log.error("stacks cannot be written: %s", error)


if __name__ == "__main__":
    sys.exit(main())
