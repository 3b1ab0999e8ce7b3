"""Images: list, inspect, history, delete, prune, search, and the options of create, build-free import and push."""

from typing import Any

from sampan.api.containers import GraphDriver, HealthConfig
from sampan.api.descriptor import ImageIdentity, ImageManifestSummary, OCIDescriptor, OCIPlatform
from sampan.api.filters import Filters
from sampan.api.wire import (
    LowerWire,
    Wire,
    named,
    omitted_list,
    omitted_map,
    present,
    present_list,
    present_map,
    present_named,
    present_struct,
)


class ImageConfig(Wire):
    """What containers of the image inherit (``Config`` of an image inspection)."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] = omitted_map()
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    labels: dict[str, str] = omitted_map()
    on_build: list[str] | None = None
    stop_signal: str = ""
    shell: list[str] = omitted_list()


class RootFS(Wire):
    """Diff IDs of the layers, lowest first."""

    type: str = present("layers")
    layers: list[str] = omitted_list()


class ImageMetadata(Wire):
    """What the store, not the image, knows: when it was last tagged (RFC 3339)."""

    last_tag_time: str = present("0001-01-01T00:00:00Z")


class ImageInspect(Wire):
    """Answer of ``GET /images/{name}/json``; sizes in bytes, times RFC 3339."""

    id: str = present("")
    repo_tags: list[str] | None = present_list()
    repo_digests: list[str] | None = present_list()
    parent: str = ""
    comment: str = ""
    created: str = ""
    author: str = ""
    config: ImageConfig | None = present(None)
    architecture: str = present("")
    variant: str = ""
    os: str = present_named("Os", "")
    os_version: str = named("OsVersion", "")
    size: int = present(0)
    graph_driver: GraphDriver | None = None
    root_fs: RootFS = present_struct(RootFS)
    metadata: ImageMetadata = present_struct(ImageMetadata)
    descriptor: OCIDescriptor | None = None
    manifests: list[ImageManifestSummary] | None = None
    identity: ImageIdentity | None = None


class ImageSummary(Wire):
    """One element of ``GET /images/json``: ``created`` in Unix seconds; -1 is "not asked for"."""

    id: str = present("")
    parent_id: str = present_named("ParentId", "")
    repo_tags: list[str] = present_list()
    repo_digests: list[str] = present_list()
    created: int = present(0)
    size: int = present(0)
    shared_size: int = present(-1)
    labels: dict[str, str] | None = present_map()
    containers: int = present(-1)
    manifests: list[ImageManifestSummary] | None = None
    descriptor: OCIDescriptor | None = None


class ImageHistoryItem(Wire):
    """One step of an image's history, newest first; ``created`` in Unix seconds."""

    comment: str = present("")
    created: int = present(0)
    created_by: str = present("")
    id: str = present("<missing>")
    size: int = present(0)
    tags: list[str] | None = present(None)


class ImageDeleteItem(Wire):
    """One thing that ``rmi`` did: a reference untagged or an image deleted."""

    untagged: str = ""
    deleted: str = ""


class ImagesPruneReport(Wire):
    """What ``image prune`` did and the bytes that gave back."""

    images_deleted: list[ImageDeleteItem] | None = present(None)
    space_reclaimed: int = present(0)


class ImageSearchResult(LowerWire):
    """One repository that a registry's search found."""

    star_count: int = present(0)
    is_official: bool = present(False)
    name: str = present("")
    is_automated: bool = present(False)
    description: str = present("")


class AuthConfig(LowerWire):
    """Credentials for one registry, as ``X-Registry-Auth`` and ``POST /auth`` carry them."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class AuthResponse(Wire):
    """Answer of ``POST /auth``."""

    status: str = present("Login Succeeded")
    identity_token: str = present("")


class ImageListOptions(Wire):
    """Query of ``GET /images/json``."""

    all: bool = False
    filters: Filters = present_struct(Filters)
    shared_size: bool = False
    manifests: bool = False
    identity: bool = False
    container_count: bool = False


class PullOptions(Wire):
    """Pull: ``reference`` as the user typed it with its tag or digest; ``platform`` ``None`` is the host's."""

    reference: str = ""
    platform: OCIPlatform | None = None
    all_tags: bool = False
    auth: AuthConfig | None = None


class ImportOptions(Wire):
    """Import of a root file system: ``source`` is "-" for the body or a URL; without ``repository`` it gets no name."""

    source: str = "-"
    repository: str = ""
    tag: str = ""
    message: str = ""
    changes: list[str] = omitted_list()
    platform: OCIPlatform | None = None


class PushOptions(Wire):
    """Push: ``name`` without tag; an empty ``tag`` with ``all_tags`` pushes every tag."""

    name: str = ""
    tag: str = ""
    all_tags: bool = False
    platform: OCIPlatform | None = None
    auth: AuthConfig | None = None


class ImageRemoveOptions(Wire):
    """Query of ``DELETE /images/{name}``; ``platforms`` empty is all."""

    force: bool = False
    no_prune: bool = False
    platforms: list[OCIPlatform] = omitted_list()


class CommitOptions(Wire):
    """Query of ``POST /commit``; ``repository`` empty leaves the new image untagged."""

    container: str = ""
    repository: str = ""
    tag: str = ""
    comment: str = ""
    author: str = ""
    pause: bool = True
    changes: list[str] = omitted_list()
