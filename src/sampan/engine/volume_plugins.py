"""Volume plugins: Docker's plugin protocol, version 1, as its client.

A plugin is an HTTP server found by name in three kinds of files, in this order:

    /run/docker/plugins/<name>.sock           the server's socket itself (also <name>/<name>.sock)
    /etc/docker/plugins/<name>.spec           a URL, unix:// or tcp://      (also in /usr/lib/docker/plugins)
    /etc/docker/plugins/<name>.json           {"Name": …, "Addr": URL}

Every call is a POST of a JSON object; the answer is an object whose ``Err`` is empty for success.

Source: https://docs.docker.com/engine/extend/plugin_api/, …/plugins_volume/
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from sampan.errors import EngineError, NotFound

SOCKETS = Path("/run/docker/plugins")
SPECIFICATIONS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
TIMEOUT = aiohttp.ClientTimeout(total=30)
MAXIMUM_ANSWER = 1 << 20


class NoSuchPlugin(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f'error looking up volume plugin {name}: plugin "{name}" not found')


class Answer(msgspec.Struct, rename="pascal"):
    """What the calls answer; each fills in its own fields."""

    err: str = ""
    mountpoint: str = ""
    volume: dict[str, Any] = {}
    capabilities: dict[str, str] = {}
    implements: list[str] = []


class PluginDriver:
    """One activated plugin."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.scope = "local"
        self._address = address

    async def activate(self) -> None:
        """Shake hands; raises NoSuchPlugin for one that is no volume driver."""
        answer = await self._call("/Plugin.Activate", {})
        if "VolumeDriver" not in answer.implements:
            raise NoSuchPlugin(self.name)
        try:
            capabilities = (await self._call("/VolumeDriver.Capabilities", {})).capabilities
        except EngineError:  # older plugins have no such call
            capabilities = {}
        self.scope = "global" if capabilities.get("Scope", "").lower() == "global" else "local"

    async def create(self, name: str, options: Mapping[str, str]) -> None:
        await self._call("/VolumeDriver.Create", {"Name": name, "Opts": dict(options)})

    async def remove(self, name: str) -> None:
        await self._call("/VolumeDriver.Remove", {"Name": name})

    async def mount(self, name: str, user: str) -> Path:
        """The volume's path on the host, mounted for the container ``user``."""
        return Path((await self._call("/VolumeDriver.Mount", {"Name": name, "ID": user})).mountpoint)

    async def unmount(self, name: str, user: str) -> None:
        await self._call("/VolumeDriver.Unmount", {"Name": name, "ID": user})

    async def path(self, name: str) -> str:
        """Where the volume is mounted; empty while it is not."""
        return (await self._call("/VolumeDriver.Path", {"Name": name})).mountpoint

    async def status(self, name: str) -> dict[str, Any]:
        """What the plugin wants to be shown about the volume; NotFound if it has none such."""
        volume = (await self._call("/VolumeDriver.Get", {"Name": name})).volume
        if not volume:
            raise NotFound(f"get {name}: no such volume")
        return volume.get("Status") or {}

    async def _call(self, method: str, body: Mapping[str, Any]) -> Answer:
        """One exchange; raises EngineError with the plugin's own words."""
        url, connector = self._connection()
        headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
                session.post(url + method, data=msgspec.json.encode(body), headers=headers) as response,
            ):
                raw = await response.content.read(MAXIMUM_ANSWER)
                answer = msgspec.json.decode(raw or b"{}", type=Answer)
                failed = response.status >= 400
        except (TimeoutError, aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            raise EngineError(f"volume plugin {self.name}: {method}: {error or type(error).__name__}") from error
        if answer.err or failed:
            raise EngineError(f"{method.lstrip('/')}: {answer.err or 'the plugin failed'}")
        return answer

    def _connection(self) -> tuple[str, aiohttp.BaseConnector]:
        if self._address.startswith("unix://"):
            return "http://plugin", aiohttp.UnixConnector(self._address.removeprefix("unix://"))
        return self._address.replace("tcp://", "http://", 1).rstrip("/"), aiohttp.TCPConnector()


class Plugins:
    """All volume plugins of this host, found when they are first named."""

    def __init__(self, sockets: Path = SOCKETS, specifications: tuple[Path, ...] = SPECIFICATIONS) -> None:
        self._sockets = sockets
        self._specifications = specifications
        self._active: dict[str, PluginDriver] = {}

    async def find(self, name: str) -> PluginDriver:
        """The plugin of this name; raises NoSuchPlugin."""
        if name not in self._active:
            driver = PluginDriver(name, self._address(name))
            await driver.activate()
            self._active[name] = driver
        return self._active[name]

    def _address(self, name: str) -> str:
        if "/" in name or name.startswith("."):
            raise NoSuchPlugin(name)
        for socket in (self._sockets / f"{name}.sock", self._sockets / name / f"{name}.sock"):
            if socket.is_socket():
                return f"unix://{socket}"
        for directory in self._specifications:
            if address := specified(directory / f"{name}.spec") or described(directory / f"{name}.json"):
                return address
        raise NoSuchPlugin(name)


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
