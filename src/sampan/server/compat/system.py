"""Information and disk usage for older clients."""

from typing import Any

import msgspec

from sampan.api.system import DiskUsage
from sampan.api.versions import Version
from sampan.server.compat.change import Document, before, with_defaults, without
from sampan.server.compat.images import virtual_size

COMMITS = ("ContainerdCommit", "RuncCommit", "InitCommit")

LEGACY_LISTS = {
    "ImageUsage": "Images",
    "ContainerUsage": "Containers",
    "VolumeUsage": "Volumes",
    "BuildCacheUsage": "BuildCache",
}
"""Where the items of each kind of usage stood before API 1.52."""


def _expected_commits(document: Document) -> None:
    for name in COMMITS:
        document[name]["Expected"] = document[name]["ID"]


def _runtimes_without_status(document: Document) -> None:
    for runtime in document["Runtimes"].values():
        runtime.pop("status", None)


INFO = (
    before(50, without("DiscoveredDevices")),
    before(50, with_defaults({"BridgeNfIptables": False, "BridgeNfIp6tables": False})),
    before(49, without("FirewallBackend")),
    before(49, _expected_commits),
    before(
        47,
        with_defaults(
            {"AllowNondistributableArtifactsCIDRs": None, "AllowNondistributableArtifactsHostnames": None},
            "RegistryConfig",
        ),
    ),
    before(44, _runtimes_without_status),
)


def disk_usage(usage: DiskUsage, version: Version, *, verbose: bool) -> Any:
    """The answer of ``/system/df``: lists before API 1.52, usage objects since.

    As Docker does, clients that do not ask for ``verbose`` get the lists beside the objects: many name no version.
    """
    document = msgspec.to_builtins(usage)
    lists = _lists(document)
    if version < (1, 44):
        for image in lists.get("Images", []):
            virtual_size(image)
    if version < (1, 52):
        return lists
    return document if verbose else {**lists, **document}


def _lists(document: Document) -> Document:
    lists = {old: document[new].get("Items", []) for new, old in LEGACY_LISTS.items() if new in document}
    if "ImageUsage" in document:
        lists = {"LayersSize": document["ImageUsage"].get("TotalSize", 0), **lists}
    return lists
