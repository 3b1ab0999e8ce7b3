"""Finding the daemon, and starting one when the default socket has none.

Only the default address starts a daemon: an address somebody named is theirs to serve. The started daemon is a
session of its own, logs to /run/sampan/daemon.log, and is ready when its socket answers.
"""

import os
import sys
import time
from pathlib import Path

from sampan.cli.grammar import Call
from sampan.client.http import DEFAULT_HOST, Address, Client
from sampan.errors import EngineError, Unavailable

LOG = Path("/run/sampan/daemon.log")
PATIENCE = 20.0  # seconds a started daemon may take to answer


def client(call: Call) -> Client:
    """A client of the daemon that this command line means; starts one on the default socket if none runs."""
    address = Address.parse(call.host) if call.host else Address.from_environment()
    reachable = Client(address)
    if f"{address.scheme}://{address.rest}" == DEFAULT_HOST and not answers(reachable):
        start()
        wait_until_ready(reachable)
    return reachable


def answers(reachable: Client) -> bool:
    """Whether a daemon answers at the client's address."""
    try:
        reachable.request("GET", "/_ping").body()
    except Unavailable:
        return False
    return True


def start() -> None:
    """Start ``sampan daemon`` in a session of its own; raises EngineError when not root."""
    if os.geteuid() != 0:
        raise EngineError("no daemon is running and only root can start one: run `sudo sampan daemon`")
    import subprocess  # most commands find a daemon that runs

    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "sampan.daemon.main"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )


def wait_until_ready(reachable: Client) -> None:
    """Return when the daemon answers; raises Unavailable after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not answers(reachable):
        if time.monotonic() > deadline:
            raise Unavailable(f"the daemon did not start within {PATIENCE:.0f} seconds: see {LOG}")
        time.sleep(0.02)
