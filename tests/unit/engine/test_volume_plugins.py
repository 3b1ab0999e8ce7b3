"""Volumes of a plugin: a real one, in this process, on a unix socket."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sampan.api.filters import Filters
from sampan.api.volumes import VolumeCreateRequest
from sampan.engine.volume_plugins import Plugins
from sampan.engine.volumes import Volumes
from sampan.errors import Conflict, EngineError, NotFound
from sampan.storage.database import Database

CONTAINER = "c" * 64


class SamplePlugin:
    """Directories under ``root`` as volumes; remembers what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_post("/{method:.*}", self.handle)
        return made

    async def handle(self, request: web.Request) -> web.Response:
        method, body = request.match_info["method"], json.loads(await request.read())
        self.calls.append((method, body))
        return web.json_response(self.answer(method.rpartition(".")[2], body))

    def answer(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        path = self.root / body.get("Name", "")
        match method:
            case "Activate":
                return {"Implements": ["VolumeDriver"]}
            case "Capabilities":
                return {"Capabilities": {"Scope": "global"}}
            case "Create" if body["Opts"].get("fail"):
                return {"Err": "no space on the array"}
            case "Create":
                path.mkdir()
            case "Remove":
                path.rmdir()
            case "Mount" | "Path":
                return {"Mountpoint": str(path)}
            case "Get" if not path.is_dir():
                return {"Err": "no such volume"}
            case "List":
                return {"Volumes": [{"Name": each.name, "Mountpoint": str(each)} for each in self.root.iterdir()]}
            case "Get":
                return {"Volume": {"Name": body["Name"], "Mountpoint": str(path), "Status": {"tier": "gold"}}}
        return {"Err": ""}


@pytest.fixture
async def plugin(tmp_path: Path) -> AsyncIterator[SamplePlugin]:
    (tmp_path / "array").mkdir()
    (tmp_path / "plugins").mkdir()
    sample = SamplePlugin(tmp_path / "array")
    runner = web.AppRunner(sample.application())
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "plugins" / "array.sock")).start()
    yield sample
    await runner.cleanup()


@pytest.fixture
async def volumes(tmp_path: Path, plugin: SamplePlugin) -> AsyncIterator[Volumes]:
    database = Database(tmp_path / "engine.db")
    yield Volumes(tmp_path, database, lambda *_: None, Plugins(tmp_path / "plugins", (tmp_path / "specs",)))
    database.close()


async def test_a_plugin_volume_lives_in_the_plugin(volumes: Volumes, plugin: SamplePlugin) -> None:
    made = await volumes.create(VolumeCreateRequest(name="data", driver="array", driver_opts={"tier": "gold"}))
    assert (made.driver, made.scope, made.mountpoint) == ("array", "global", str(plugin.root / "data"))
    assert (await volumes.inspect("data")).status == {"tier": "gold"}
    assert await volumes.acquire("data", CONTAINER) == plugin.root / "data"
    await volumes.release("data", CONTAINER)
    await volumes.release("data", CONTAINER)
    await volumes.remove("data", force=False)
    assert not (plugin.root / "data").exists()
    told = [(method.rpartition(".")[2], body.get("ID")) for method, body in plugin.calls]
    assert [call for call in told if call[0] in ("Mount", "Unmount")] == [("Mount", CONTAINER), ("Unmount", CONTAINER)]


async def test_the_plugins_own_words_reach_the_user(volumes: Volumes) -> None:
    with pytest.raises(EngineError, match=r"VolumeDriver\.Create: no space on the array"):
        await volumes.create(VolumeCreateRequest(name="data", driver="array", driver_opts={"fail": "1"}))
    assert (await volumes.list(Filters())).volumes == []


async def test_a_name_has_one_driver(volumes: Volumes) -> None:
    await volumes.create(VolumeCreateRequest(name="data", driver="array"))
    with pytest.raises(
        Conflict, match="create data: driver 'array' already has volume 'data': volume name must be unique"
    ):
        await volumes.create(VolumeCreateRequest(name="data", driver="local"))


async def test_a_plugin_may_be_named_by_a_file(tmp_path: Path, plugin: SamplePlugin) -> None:
    address = f"unix://{tmp_path / 'plugins' / 'array.sock'}"
    specifications = tmp_path / "specs"
    specifications.mkdir()
    (specifications / "one.spec").write_text(address + "\n")
    (specifications / "two.json").write_text(f'{{"Name": "two", "Addr": "{address}"}}')
    plugins = Plugins(tmp_path / "nowhere", (specifications,))
    assert (await plugins.find("one")).scope == "global"
    assert (await plugins.find("two")).scope == "global"
    for missing in ("three", "../one", ""):
        with pytest.raises(NotFound, match="not found"):
            await plugins.find(missing)


async def test_a_dead_plugin_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "gone.spec").write_text(f"unix://{tmp_path}/gone.sock")
    with pytest.raises(EngineError, match=r"volume plugin gone: /Plugin\.Activate"):
        await Plugins(tmp_path, (tmp_path,)).find("gone")


async def test_volumes_that_only_the_plugin_knows_are_listed_found_and_removed(
    volumes: Volumes, plugin: SamplePlugin
) -> None:
    (plugin.root / "old").mkdir()
    (listed,) = (await volumes.list(Filters())).volumes
    assert (listed.name, listed.driver, listed.mountpoint) == ("old", "array", str(plugin.root / "old"))
    assert (await volumes.create(VolumeCreateRequest(name="old"))).driver == "array"
    assert (await volumes.inspect("old")).driver == "array"
    assert not [method for method, _ in plugin.calls if method.endswith("Create")]
    await volumes.remove("old", force=False)
    assert not (plugin.root / "old").exists()


async def test_a_plugin_that_is_gone_is_a_warning_of_the_list(tmp_path: Path, plugin: SamplePlugin) -> None:
    database = Database(tmp_path / "engine.db")
    there = Volumes(tmp_path, database, lambda *_: None, Plugins(tmp_path / "plugins", ()))
    await there.create(VolumeCreateRequest(name="data", driver="array"))
    gone = Volumes(tmp_path, database, lambda *_: None, Plugins(tmp_path / "nowhere", ()))
    found = await gone.list(Filters())
    assert [(volume.name, volume.driver) for volume in found.volumes] == [("data", "array")]
    assert found.warnings == ['list array: error looking up volume plugin array: plugin "array" not found']
    assert (await gone.usage()).volumes == []
    database.close()
