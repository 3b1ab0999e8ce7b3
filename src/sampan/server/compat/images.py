"""Images for older clients."""

from sampan.api.times import ZERO
from sampan.server.compat.change import Document, before, with_defaults, without

CONFIG_OF_1_51 = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
"""Members of an image's configuration that were sent when empty until API 1.51."""

CONFIG_OF_1_49 = {
    "AttachStderr": False,
    "AttachStdin": False,
    "AttachStdout": False,
    "Domainname": "",
    "Hostname": "",
    "Image": "",
    "OpenStdin": False,
    "StdinOnce": False,
    "Tty": False,
}
"""Members that only a container has, sent empty until API 1.49."""


def _nothing_by_name(document: Document) -> None:
    if not document["RepoTags"] and not document["RepoDigests"]:
        document["RepoTags"], document["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]


def _no_container_count(document: Document) -> None:
    document["Containers"] = -1


def virtual_size(document: Document) -> None:
    """The size once more, under the name it had."""
    document["VirtualSize"] = document["Size"]


SUMMARY = (
    before(51, _no_container_count),
    before(48, without("Descriptor")),
    before(44, virtual_size),
    before(43, _nothing_by_name),
)

INSPECTION = (
    before(53, without("Identity")),
    before(52, with_defaults({"Parent": "", "Comment": "", "DockerVersion": "", "Author": ""})),
    before(52, with_defaults(CONFIG_OF_1_51, "Config")),
    before(50, with_defaults(CONFIG_OF_1_49, "Config")),
    before(48, without("Descriptor")),
    before(45, with_defaults({"Container": "", "ContainerConfig": {**CONFIG_OF_1_49, **CONFIG_OF_1_51}})),
    before(44, virtual_size),
    before(44, with_defaults({"Created": ZERO})),
)
