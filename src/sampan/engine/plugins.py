"""Plugins: Docker's plugin protocol, version 1, as its client; what volume and authorization plugins share.

A plugin is an HTTP server found by name in three kinds of files, in this order:

    /run/docker/plugins/<name>.sock           the server's socket itself (also <name>/<name>.sock)
    /etc/docker/plugins/<name>.spec           a URL, unix:// or tcp://      (also in /usr/lib/docker/plugins)
    /etc/docker/plugins/<name>.json           {"Name": …, "Addr": URL}

Every call is a POST of a JSON object, answered by a JSON object; ``/Plugin.Activate`` comes first.

Source: https://docs.docker.com/engine/extend/plugin_api/
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from sampan.errors import EngineError, NotFound

SOCKETS = Path("/run/docker/plugins")
SPECIFICATIONS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
TIMEOUT = aiohttp.ClientTimeout(total=30)
MAXIMUM_ANSWER = 4 << 20

T = TypeVar("T", bound=msgspec.Struct)


class PluginNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f'plugin "{name}" not found')


class PluginFailed(EngineError):
    """A call came to no answer, or to an HTTP error; ``message`` is the reason alone."""


class Manifest(msgspec.Struct, rename="pascal"):
    """Answer of ``/Plugin.Activate``: the subsystems the plugin is made for."""

    implements: list[str] = []


@dataclass(frozen=True)
class Places:
    """Where plugins are looked for."""

    sockets: Path = SOCKETS
    specifications: tuple[Path, ...] = SPECIFICATIONS

    def address(self, name: str) -> str:
        """URL of the plugin called ``name``; raises PluginNotFound."""
        if not name or "/" in name or name.startswith("."):
            raise PluginNotFound(name)
        for socket in (self.sockets / f"{name}.sock", self.sockets / name / f"{name}.sock"):
            if socket.is_socket():
                return f"unix://{socket}"
        for directory in self.specifications:
            if address := specified(directory / f"{name}.spec") or described(directory / f"{name}.json"):
                return address
        raise PluginNotFound(name)

    def names(self) -> list[str]:
        """All plugins there are, by name."""
        sockets = [*self.sockets.glob("*.sock"), *self.sockets.glob("*/*.sock")]
        described = [
            path for place in self.specifications for suffix in ("spec", "json") for path in place.glob(f"*.{suffix}")
        ]
        return sorted({path.stem for path in [*sockets, *described]})


async def call(address: str, method: str, body: Any, answer: type[T]) -> T:
    """One exchange with the plugin at ``address``; raises PluginFailed.

    An HTTP error whose body is an ``answer`` all the same is returned: it says why in its own words.
    """
    url, connector = connection(address)
    headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
            session.post(url + method, data=msgspec.json.encode(body), headers=headers) as response,
        ):
            raw = await bounded(response)
            value = msgspec.json.decode(raw or b"{}", type=answer)
    except (TimeoutError, aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
        raise PluginFailed(str(error) or type(error).__name__) from error
    if response.status >= 400 and value == answer():
        raise PluginFailed(f"HTTP status {response.status}")
    return value


async def bounded(response: aiohttp.ClientResponse) -> bytes:
    """The answer's body; raises PluginFailed for one without measure."""
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > MAXIMUM_ANSWER:
            raise PluginFailed(f"its answer is larger than {MAXIMUM_ANSWER} bytes")
    return bytes(data)


def connection(address: str) -> tuple[str, aiohttp.BaseConnector]:
    """Base URL and connector for a plugin's address."""
    if address.startswith("unix://"):
        return "http://plugin", aiohttp.UnixConnector(address.removeprefix("unix://"))
    return address.replace("tcp://", "http://", 1).rstrip("/"), aiohttp.TCPConnector()


def specified(path: Path) -> str:
    """The URL of a ``.spec`` file; empty without one."""
    return path.read_text().strip() if path.is_file() else ""


def described(path: Path) -> str:
    """The URL of a ``.json`` file; empty without one."""
    if not path.is_file():
        return ""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise EngineError(f"{path} is no plugin description: {error}") from None
    return str(found.get("Addr", "")) if isinstance(found, dict) else ""
