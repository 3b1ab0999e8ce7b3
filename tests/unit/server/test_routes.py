"""Every operation of the Engine API reference, version 1.55, is in the route table under its own name."""

import re
from pathlib import Path

import pytest

from sampan.server.app import ROUTES
from sampan.server.routes import NEWER, Router

OPERATIONS = """
GET    /containers/json                      ContainerList
POST   /containers/create                    ContainerCreate
GET    /containers/{id}/json                 ContainerInspect
GET    /containers/{id}/top                  ContainerTop
GET    /containers/{id}/logs                 ContainerLogs
GET    /containers/{id}/changes              ContainerChanges
GET    /containers/{id}/export               ContainerExport
GET    /containers/{id}/stats                ContainerStats
POST   /containers/{id}/resize               ContainerResize
POST   /containers/{id}/start                ContainerStart
POST   /containers/{id}/stop                 ContainerStop
POST   /containers/{id}/restart              ContainerRestart
POST   /containers/{id}/kill                 ContainerKill
POST   /containers/{id}/update               ContainerUpdate
POST   /containers/{id}/rename               ContainerRename
POST   /containers/{id}/pause                ContainerPause
POST   /containers/{id}/unpause              ContainerUnpause
POST   /containers/{id}/attach               ContainerAttach
GET    /containers/{id}/attach/ws            ContainerAttachWebsocket
POST   /containers/{id}/wait                 ContainerWait
DELETE /containers/{id}                      ContainerDelete
HEAD   /containers/{id}/archive              ContainerArchiveInfo
GET    /containers/{id}/archive              ContainerArchive
PUT    /containers/{id}/archive              PutContainerArchive
POST   /containers/prune                     ContainerPrune
GET    /images/json                          ImageList
POST   /build                                ImageBuild
POST   /build/prune                          BuildPrune
POST   /images/create                        ImageCreate
GET    /images/{name}/json                   ImageInspect
GET    /images/{name}/attestations           ImageAttestations
GET    /images/{name}/history                ImageHistory
POST   /images/{name}/push                   ImagePush
POST   /images/{name}/tag                    ImageTag
DELETE /images/{name}                        ImageDelete
GET    /images/search                        ImageSearch
POST   /images/prune                         ImagePrune
POST   /auth                                 SystemAuth
GET    /info                                 SystemInfo
GET    /version                              SystemVersion
GET    /_ping                                SystemPing
HEAD   /_ping                                SystemPingHead
POST   /commit                               ImageCommit
GET    /events                               SystemEvents
GET    /system/df                            SystemDataUsage
GET    /images/{name}/get                    ImageGet
GET    /images/get                           ImageGetAll
POST   /images/load                          ImageLoad
POST   /containers/{id}/exec                 ContainerExec
POST   /exec/{id}/start                      ExecStart
POST   /exec/{id}/resize                     ExecResize
GET    /exec/{id}/json                       ExecInspect
GET    /volumes                              VolumeList
POST   /volumes/create                       VolumeCreate
GET    /volumes/{name}                       VolumeInspect
PUT    /volumes/{name}                       VolumeUpdate
DELETE /volumes/{name}                       VolumeDelete
POST   /volumes/prune                        VolumePrune
GET    /networks                             NetworkList
GET    /networks/{id}                        NetworkInspect
DELETE /networks/{id}                        NetworkDelete
POST   /networks/create                      NetworkCreate
POST   /networks/{id}/connect                NetworkConnect
POST   /networks/{id}/disconnect             NetworkDisconnect
POST   /networks/prune                       NetworkPrune
GET    /plugins                              PluginList
GET    /plugins/privileges                   GetPluginPrivileges
POST   /plugins/pull                         PluginPull
GET    /plugins/{name}/json                  PluginInspect
DELETE /plugins/{name}                       PluginDelete
POST   /plugins/{name}/enable                PluginEnable
POST   /plugins/{name}/disable               PluginDisable
POST   /plugins/{name}/upgrade               PluginUpgrade
POST   /plugins/create                       PluginCreate
POST   /plugins/{name}/push                  PluginPush
POST   /plugins/{name}/set                   PluginSet
GET    /nodes                                NodeList
GET    /nodes/{id}                           NodeInspect
DELETE /nodes/{id}                           NodeDelete
POST   /nodes/{id}/update                    NodeUpdate
GET    /swarm                                SwarmInspect
POST   /swarm/init                           SwarmInit
POST   /swarm/join                           SwarmJoin
POST   /swarm/leave                          SwarmLeave
POST   /swarm/update                         SwarmUpdate
GET    /swarm/unlockkey                      SwarmUnlockkey
POST   /swarm/unlock                         SwarmUnlock
GET    /services                             ServiceList
POST   /services/create                      ServiceCreate
GET    /services/{id}                        ServiceInspect
DELETE /services/{id}                        ServiceDelete
POST   /services/{id}/update                 ServiceUpdate
GET    /services/{id}/logs                   ServiceLogs
GET    /tasks                                TaskList
GET    /tasks/{id}                           TaskInspect
GET    /tasks/{id}/logs                      TaskLogs
GET    /secrets                              SecretList
POST   /secrets/create                       SecretCreate
GET    /secrets/{id}                         SecretInspect
DELETE /secrets/{id}                         SecretDelete
POST   /secrets/{id}/update                  SecretUpdate
GET    /configs                              ConfigList
POST   /configs/create                       ConfigCreate
GET    /configs/{id}                         ConfigInspect
DELETE /configs/{id}                         ConfigDelete
POST   /configs/{id}/update                  ConfigUpdate
GET    /distribution/{name}/json             DistributionInspect
POST   /session                              Session
"""

BESIDES = {
    ("POST", "/build/cancel"),
    ("POST", "/grpc"),
    ("GET", "/networks/"),
    ("GET", "/containers/{id}/checkpoints"),
    ("POST", "/containers/{id}/checkpoints"),
    ("DELETE", "/containers/{id}/checkpoints/{name}"),
    ("OPTIONS", "/{path}"),
}
"""What Docker serves although the reference does not list it."""

BEYOND = {
    ("POST", "/volumes/{name}/clone"),
    ("POST", "/volumes/{name}/snapshot"),
    ("POST", "/volumes/{name}/rename"),
    ("GET", "/volumes/{name}/export"),
    ("POST", "/volumes/{name}/import"),
}
"""What Docker does not serve: docs/volumes.md."""


def reference() -> list[tuple[str, str, str]]:
    return [tuple(line.split()) for line in OPERATIONS.strip().splitlines()]  # type: ignore[misc]


def shape(path: str) -> str:
    """``path`` without the names of its variables."""
    return re.sub(r"\{\w+\}", "{}", path)


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_the_reference_has_108_operations() -> None:
    assert len(reference()) == 108


@pytest.mark.parametrize(("method", "path", "operation"), reference())
def test_operation_is_served_under_its_name(method: str, path: str, operation: str) -> None:
    [route] = [route for route in ROUTES if (route.method, shape(route.path)) == (method, shape(path))]
    assert route.operation == snake(operation)


def test_nothing_else_is_served_than_what_docker_serves_and_our_own() -> None:
    listed = {(method, shape(path)) for method, path, _ in reference()}
    served = {(route.method, route.path) for route in ROUTES}
    assert {(method, path) for method, path in served if (method, shape(path)) not in listed} == BESIDES | BEYOND


def test_no_route_hides_another() -> None:
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("method", "path", "operation", "names"),
    [
        ("GET", "/containers/json", "container_list", {}),
        ("GET", "/containers/json/json", "container_inspect", {"id": "json"}),
        ("GET", "/images/a/b:c/json", "image_inspect", {"name": "a/b:c"}),
        ("GET", "/images/get", "image_get_all", {}),
        ("GET", "/images/x/get", "image_get", {"name": "x"}),
        ("POST", "/networks/prune", "network_prune", {}),
        ("DELETE", "/containers/web/alias", "container_delete", {"name": "web/alias"}),
        ("DELETE", "/containers/web/checkpoints/c", "container_checkpoint", {"id": "web", "name": "c"}),
        ("GET", "/volumes/a/b", "volume_inspect", {"name": "a/b"}),
        ("OPTIONS", "/x/y", "system_options", {"path": "x/y"}),
    ],
)
def test_a_path_finds_its_operation(method: str, path: str, operation: str, names: dict[str, str]) -> None:
    found = Router(ROUTES).find(method, path)
    assert found is not None
    route, given = found
    assert (route.operation, dict(given)) == (operation, names)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "nothing"), ("GET", "/containers//json"), ("PATCH", "/info"), ("GET", "/containers/json/")],
)
def test_other_paths_find_nothing(method: str, path: str) -> None:
    assert Router(ROUTES).find(method, path) is None


def test_the_coverage_document_lists_every_route() -> None:
    document = (Path(__file__).parents[3] / "docs" / "api-coverage.md").read_text()
    listed = re.findall(r"^\| \S+ \| `(\w+) (\S+)` \|", document, re.MULTILINE)
    assert sorted(listed) == sorted((route.method, route.path) for route in ROUTES)


def test_every_operation_that_is_newer_than_the_oldest_version_is_served() -> None:
    assert set(NEWER) <= {f"{route.method} {route.path}" for route in ROUTES}
