"""A laboratory: a network namespace that plays the host, another that plays its neighbour, a daemon's networks.

    neighbour 192.0.2.1/24 ─── wan0 192.0.2.2/24  "host"  sampan…, br-… ─── containers

The test's own thread moves into the host namespace, and everything that it starts with it. Nothing of the real host is
touched; at the end the namespace must hold the links and tables that it held at the beginning.
"""

import asyncio
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.api import networks as n
from sampan.config import Config
from sampan.errors import NoSuchContainer
from sampan.linux import netns
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Rtnetlink
from sampan.network.member import Member, Sandbox
from sampan.network.networks import Networks
from sampan.storage.database import Database

T = TypeVar("T")
DEADLINE = 5.0
HOST, NEIGHBOUR = "192.0.2.2", "192.0.2.1"


def furnished() -> int:
    """The calling thread's new namespace with its loopback up; an fd that holds it."""
    with Rtnetlink() as rtnetlink:
        rtnetlink.link_set(1, up=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def fetch(host: str, port: int, timeout: float = 1.0) -> str:
    """What a TCP server says, or the name of the error."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            return connection.recv(200).decode() or "nothing"
    except OSError as error:
        return type(error).__name__


class Laboratory:
    """One host with one daemon's networks."""

    def __init__(self, root: Path, neighbour: int) -> None:
        self.root = root
        self.neighbour = neighbour
        self.visitor = Namespaces()
        self.members: dict[str, Member] = {}
        self.told: list[tuple[str, str | None]] = []
        self.events: list[str] = []
        self.config = Config(data_root=str(root), exec_root=str(root / "run"))
        self._count = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._listeners: list[socket.socket] = []

    async def open(self) -> Networks:
        """Start the daemon's networks; also after ``crash``."""
        self.database = Database(self.root / "engine.db")
        self.networks = Networks(
            self.config, self.database, self.root / "run", lambda _t, action, _i, _a: self.events.append(action)
        )
        self.networks.directory = self
        await self.networks.open()
        return self.networks

    async def crash(self) -> None:
        """Let go of everything as a killed process does: descriptors close, nothing is tidied up."""
        networks = self.networks
        await networks._pool.close()
        networks._sandboxes.close()
        networks._firewall.close()
        networks._rtnetlink.close()
        networks._namespaces.close()
        self.database.close()

    # what the engine would do

    def member(self, reference: str) -> Member:
        for member in self.members.values():
            if reference in (member.container_id, member.name.removeprefix("/")):
                return member
        raise NoSuchContainer(reference)

    async def set_endpoint(self, container_id: str, network: str, settings: n.EndpointSettings | None) -> None:
        self.told.append((network, settings.ip_address if settings else None))

    def wish(self, name: str, network: str = "default", **fields: object) -> Member:
        """A container that is not started."""
        self._count += 1
        container_id = hashlib.sha256(f"{self.root}{self._count}".encode()).hexdigest()
        member = Member(container_id, f"/{name}", name, network_mode=network, **fields)  # type: ignore[arg-type]
        self.members[member.container_id] = member
        return member

    async def start(self, name: str, network: str = "default", **fields: object) -> Sandbox:
        """A container whose process sleeps in the sandbox."""
        member = self.wish(name, network, **fields)
        sandbox = await self.networks.join(member)
        process = await self.do(sandbox, lambda: subprocess.Popen(["sleep", "600"]))
        self._processes.append(process)
        self.pids = {**getattr(self, "pids", {}), member.container_id: process.pid}
        return sandbox

    async def do(self, sandbox: Sandbox | None, work: Callable[[], T]) -> T:
        """The result of ``work`` in a container; None is the neighbour."""
        return await self.visitor.call(work, self.neighbour if sandbox is None else sandbox.netns)

    async def serve(self, sandbox: Sandbox | None, port: int = 80) -> None:
        """A TCP server in the container, or at the neighbour's, that tells its clients who they are."""
        listener = await self.do(sandbox, lambda: socket.create_server(("0.0.0.0", port)))
        self._listeners.append(listener)
        threading.Thread(target=tell_clients, args=(listener,), daemon=True).start()

    async def fetch(self, sandbox: Sandbox | None, host: str, port: int) -> str:
        """``fetch`` from a container or the neighbour."""
        return await self.do(sandbox, lambda: fetch(host, port))

    async def fetch_here(self, host: str, port: int) -> str:
        """``fetch`` from the host itself."""
        return await asyncio.to_thread(fetch, host, port)

    async def stop(self, sandbox: Sandbox) -> None:
        await self.networks.leave(sandbox.container_id)

    def close(self) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for process in self._processes:
            process.kill()
            process.wait()
        self.visitor.close()


def tell_clients(listener: socket.socket) -> None:
    """Until the listener is shut down, tell each client its address."""
    with suppress(OSError):
        while True:
            client, address = listener.accept()
            with client:
                client.sendall(address[0].encode())


def tables() -> str:
    return subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout


def link_names() -> set[str]:
    with Rtnetlink() as rtnetlink:
        return {link.name for link in rtnetlink.links()}


@pytest.fixture
def host() -> Iterator[int]:
    """Moves the test into a host of its own; gives an fd on its neighbour's namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    own = netns.unshare()
    try:
        os.close(furnished())
        neighbour = make_neighbour()
        yield neighbour
        os.close(neighbour)
    finally:
        netns.setns(home)
        os.close(own)
        os.close(home)


def make_neighbour() -> int:
    """A namespace joined to this one by wan0."""
    visitor = Namespaces()
    neighbour = visitor.run(furnished)
    with Rtnetlink() as rtnetlink:
        rtnetlink.veth_add("wan0", "lan0", neighbour)
        link = rtnetlink.link("wan0")
        assert link
        rtnetlink.address_add(link.ifindex, ip_interface(f"{HOST}/24"))
        rtnetlink.link_set(link.ifindex, up=True)
        rtnetlink.route_add(None, gateway=ip_address(NEIGHBOUR))
    visitor.run(raise_lan, neighbour)
    visitor.close()
    return neighbour


def raise_lan() -> None:
    with Rtnetlink() as rtnetlink:
        link = rtnetlink.link("lan0")
        assert link
        rtnetlink.address_add(link.ifindex, ip_interface(f"{NEIGHBOUR}/24"))
        rtnetlink.link_set(link.ifindex, up=True)


@pytest.fixture
async def lab(tmp_path: Path, host: int) -> AsyncIterator[Laboratory]:
    """A daemon's networks on the laboratory's host; afterwards nothing may be left of them."""
    before = link_names()
    laboratory = Laboratory(tmp_path, host)
    await laboratory.open()
    yield laboratory
    for container_id in list(laboratory.members):
        await laboratory.networks.leave(container_id)
    laboratory.close()
    await laboratory.networks.close()
    laboratory.database.close()
    deadline = time.monotonic() + DEADLINE
    while link_names() != before and time.monotonic() < deadline:  # noqa: ASYNC110 the kernel takes its time
        await asyncio.sleep(0.01)
    assert link_names() == before
    assert tables() == ""
    assert not list((tmp_path / "run" / "network").iterdir())
