"""Volume plugins: Docker's volume driver calls, spoken to whatever ``plugins`` finds by name.

Every answer is an object whose ``Err`` is empty for success.

Source: https://docs.docker.com/engine/extend/plugins_volume/
"""

from collections.abc import AsyncIterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sampan.engine import plugins
from sampan.engine.plugins import Manifest, Places, PluginFailed, PluginNotFound
from sampan.errors import EngineError, NotFound


class NoSuchPlugin(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f'error looking up volume plugin {name}: plugin "{name}" not found')


class Answer(msgspec.Struct, rename="pascal"):
    """What the calls answer; each fills in its own fields."""

    err: str = ""
    mountpoint: str = ""
    volume: dict[str, Any] | None = None
    volumes: list[dict[str, Any]] | None = None
    capabilities: dict[str, str] = {}


class PluginDriver:
    """One activated plugin."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.scope = "local"
        self._address = address

    async def activate(self) -> None:
        """Shake hands; raises NoSuchPlugin for one that is no volume driver."""
        manifest = await self._exchange("/Plugin.Activate", {}, Manifest)
        if "VolumeDriver" not in manifest.implements:
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

    async def has(self, name: str) -> bool:
        """Whether the plugin has the volume; no, where it cannot be asked."""
        try:
            await self.status(name)
        except EngineError:
            return False
        return True

    async def mountpoints(self) -> dict[str, str]:
        """All volumes of the plugin, with the paths of those that are mounted."""
        volumes = (await self._call("/VolumeDriver.List", {})).volumes or ()
        return {str(volume.get("Name", "")): str(volume.get("Mountpoint", "")) for volume in volumes}

    async def _call(self, method: str, body: Mapping[str, Any]) -> Answer:
        """One exchange; raises EngineError with the plugin's own words."""
        answer = await self._exchange(method, body, Answer)
        if answer.err:
            raise EngineError(f"{method.lstrip('/')}: {answer.err}")
        return answer

    async def _exchange(self, method: str, body: Mapping[str, Any], answer: type[plugins.T]) -> plugins.T:
        try:
            return await plugins.call(self._address, method, body, answer)
        except PluginFailed as error:
            raise EngineError(f"volume plugin {self.name}: {method}: {error}") from error


@dataclass(frozen=True)
class Known:
    """A volume that a plugin knows of; ``mountpoint`` is empty while it is not mounted."""

    name: str
    driver: str
    scope: str
    mountpoint: str


@dataclass
class Survey:
    """What all plugins have, and which could not be asked."""

    volumes: list[Known] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Plugins:
    """All volume plugins of this host, found when they are first named."""

    def __init__(
        self, sockets: Path = plugins.SOCKETS, specifications: tuple[Path, ...] = plugins.SPECIFICATIONS
    ) -> None:
        self._places = Places(sockets, specifications)
        self._active: dict[str, PluginDriver] = {}

    async def all(self) -> AsyncIterator[PluginDriver]:
        """All plugins that are volume drivers and answer."""
        for name in self._places.names():
            with suppress(EngineError):
                yield await self.find(name)

    async def survey(self, drivers: Set[str]) -> "Survey":
        """The volumes of all plugins there are; ``drivers`` are those that must be."""
        plugins = {plugin.name: plugin async for plugin in self.all()}
        survey = Survey()
        for name in sorted(drivers | plugins.keys()):
            try:
                plugin = plugins.get(name) or await self.find(name)
                found = await plugin.mountpoints()
            except EngineError as error:
                survey.warnings.append(f"list {name}: {error}")
                continue
            survey.volumes += [Known(volume, name, plugin.scope, path) for volume, path in found.items()]
        return survey

    async def find(self, name: str) -> PluginDriver:
        """The plugin of this name; raises NoSuchPlugin."""
        if name not in self._active:
            try:
                driver = PluginDriver(name, self._places.address(name))
            except PluginNotFound:
                raise NoSuchPlugin(name) from None
            await driver.activate()
            self._active[name] = driver
        return self._active[name]
