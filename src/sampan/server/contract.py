"""What the server asks of the engine: one protocol per service, one method per operation of the API.

Rules for every method:

- It raises the classes of ``sampan.errors``; the message is what the user reads, the class decides the status.
- A ``reference`` is what the user typed: for a container its name, identifier or an unambiguous beginning of it.
- Times are nanoseconds since 1970, sizes bytes, everything else as the wire types of ``sampan.api`` say.
- An async iterator is returned by a coroutine that has already checked what can be checked: after that the answer's
  headers are sent. The server closes the iterator (``aclose``) when the client goes away.
- The server cancels reads when the client goes away; what changes something is shielded and runs to its end.
- Responses are those of the newest API version; the server converts them for older clients.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Protocol

from sampan.api import containers as c
from sampan.api import images as i
from sampan.api import networks as n
from sampan.api import system as s
from sampan.api import volumes as v
from sampan.api.build import BuildOptions, BuildPruneOptions
from sampan.api.descriptor import AttestationStatement, DistributionInspect, OCIPlatform
from sampan.api.events import EventMessage, EventsOptions
from sampan.api.exec import ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecStartRequest
from sampan.api.filters import Filters
from sampan.api.hijack import Accept, Hijacked
from sampan.api.output import Archive, Bytes, Output
from sampan.api.progress import Progress
from sampan.api.stats import ContainerStats


class Containers(Protocol):
    """Containers. All raise NoSuchContainer, and Conflict when the state forbids the operation."""

    async def list(self, options: c.ListOptions) -> Sequence[c.ContainerSummary]:
        """Newest first. Unknown filters: InvalidParameter ``invalid filter 'x'``."""

    async def create(
        self, request: c.ContainerCreateRequest, *, name: str, platform: OCIPlatform | None
    ) -> c.ContainerCreateResponse:
        """``name`` is empty when none was given. NameInUse, NoSuchImage."""

    async def inspect(self, reference: str, *, size: bool = False) -> c.ContainerInspect:
        """Everything about a container; ``size`` measures the writable layer."""

    async def top(self, reference: str, ps_args: str) -> c.ContainerTop:
        """Processes as ``ps`` with ``ps_args`` (``-ef`` when none were given) shows them."""

    async def logs(self, reference: str, options: c.LogsOptions) -> Output:
        """Stored output, then with ``follow`` what comes until the container stops."""

    async def changes(self, reference: str) -> Sequence[c.FilesystemChange]:
        """Paths that differ from the image."""

    async def export(self, reference: str) -> Bytes:
        """The root file system as a tar stream."""

    async def stats(self, reference: str, *, stream: bool, one_shot: bool) -> AsyncIterator[ContainerStats]:
        """One value a second for ever, or a single one; ``one_shot`` does not wait for a second reading."""

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Size of the container's terminal."""

    async def start(self, reference: str) -> bool:
        """Whether anything changed: False for a running container (304)."""

    async def stop(self, reference: str, *, signal: str, timeout: int | None) -> bool:
        """Whether anything changed: False for a stopped container (304).

        ``signal`` empty and ``timeout`` (seconds, -1 for ever) ``None`` are the container's own.
        """

    async def restart(self, reference: str, *, signal: str, timeout: int | None) -> None:
        """Stop as ``stop`` does, then start."""

    async def kill(self, reference: str, *, signal: str) -> None:
        """``signal`` empty is KILL. NotRunning."""

    async def update(self, reference: str, request: c.ContainerUpdateRequest) -> c.ContainerUpdateResponse:
        """New limits and restart policy; what is zero stays as it is."""

    async def rename(self, reference: str, name: str) -> None:
        """Another name. NameInUse."""

    async def pause(self, reference: str) -> None:
        """Freeze all processes."""

    async def unpause(self, reference: str) -> None:
        """Thaw all processes."""

    async def attach(self, reference: str, options: c.AttachOptions, accept: Accept) -> None:
        """Join the container's stdio: check, ``await accept(terminal)``, then give the socket away.

        Returns when the connection is handed over or ended, whichever the engine prefers.
        """

    async def wait(self, reference: str, condition: c.WaitCondition) -> Awaitable[c.ContainerWaitResponse]:
        """Registers at once, so that nothing after the coroutine's return is missed; the awaitable gives the result."""

    async def remove(self, reference: str, options: c.RemoveOptions) -> None:
        """Remove a container, with ``volumes`` its anonymous volumes, with ``link`` only the link of that name."""

    async def stat_path(self, reference: str, path: str) -> c.PathStat:
        """What ``path`` in the container is. NotFound ``Could not find the file PATH in container X``."""

    async def get_archive(self, reference: str, path: str) -> Archive:
        """``path`` as a tar stream whose first entry is its base name."""

    async def put_archive(
        self,
        reference: str,
        path: str,
        body: Bytes,
        *,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
    ) -> None:
        """Unpack the tar stream ``body`` (plain, gzip, bzip2, xz or zstd) in the directory ``path``."""

    async def prune(self, filters: Filters) -> c.ContainersPruneReport:
        """Remove all stopped containers that ``filters`` (until, label, label!) let through."""


class Execs(Protocol):
    """Processes run in containers. All but ``create`` raise NoSuchExec."""

    async def create(self, reference: str, request: ExecCreateRequest) -> ExecCreateResponse:
        """NoSuchContainer, NotRunning, Conflict for a paused container."""

    async def start(self, exec_id: str, request: ExecStartRequest, accept: Accept | None) -> None:
        """``accept`` is ``None`` to detach. CommandNotFound and CommandNotExecutable may also come after accepting:

        the server then writes the sentence to the connection, as Docker does.
        """

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Size of the process's terminal."""

    async def inspect(self, exec_id: str) -> ExecInspect:
        """State and exit status."""


class Images(Protocol):
    """Images. Names are references as typed, or identifiers; all raise NoSuchImage."""

    async def list(self, options: i.ImageListOptions) -> Sequence[i.ImageSummary]:
        """Newest first; ``shared_size`` and ``container_count`` fill in what is otherwise -1."""

    async def inspect(
        self, name: str, *, manifests: bool = False, platform: OCIPlatform | None = None
    ) -> i.ImageInspect:
        """Everything about an image."""

    async def history(self, name: str, *, platform: OCIPlatform | None) -> Sequence[i.ImageHistoryItem]:
        """Steps, newest first."""

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """A further reference; ``tag`` empty is ``latest``."""

    async def remove(self, name: str, options: i.ImageRemoveOptions) -> Sequence[i.ImageDeleteItem]:
        """Untag, and delete what no reference is left of. Conflict for images in use."""

    async def prune(self, filters: Filters) -> i.ImagesPruneReport:
        """Remove dangling images, or with ``dangling=false`` all unused ones."""

    async def pull(self, options: i.PullOptions, progress: Progress) -> None:
        """Fetch from a registry."""

    async def push(self, options: i.PushOptions, progress: Progress) -> None:
        """Send to a registry; ends with an ``aux`` PushResult for each tag."""

    async def import_(self, options: i.ImportOptions, body: Bytes, progress: Progress) -> None:
        """Make an image of a root file system; ends with a status that is the new image's identifier."""

    async def load(self, body: Bytes, progress: Progress, *, quiet: bool, platforms: Sequence[OCIPlatform]) -> None:
        """Add the images of a docker-archive or OCI layout; one ``stream`` line for each (``Loaded image: …``)."""

    async def save(self, names: Sequence[str], *, platforms: Sequence[OCIPlatform]) -> Bytes:
        """The images as one tar stream."""

    async def commit(self, options: i.CommitOptions, config: c.ContainerConfig | None) -> str:
        """Make an image of a container; ``config`` overrides the container's. Returns the image's identifier."""

    async def search(
        self, term: str, *, limit: int, filters: Filters, auth: i.AuthConfig | None
    ) -> Sequence[i.ImageSearchResult]:
        """Ask the registry named in ``term`` (none: the default) for repositories."""

    async def distribution(self, name: str, auth: i.AuthConfig | None) -> DistributionInspect:
        """What the registry has under ``name``, without pulling it."""

    async def attestations(
        self, name: str, *, platforms: Sequence[OCIPlatform], types: Sequence[str], statement: bool
    ) -> Sequence[AttestationStatement]:
        """In-toto statements stored with the image."""


class Networks(Protocol):
    """Networks. All raise NoSuchNetwork; predefined networks Forbidden."""

    async def create(self, request: n.NetworkCreateRequest) -> n.NetworkCreateResponse:
        """Conflict for a name that exists."""

    async def inspect(self, reference: str, *, verbose: bool, scope: str) -> n.NetworkInspect:
        """One network with the containers on it."""

    async def list(self, filters: Filters) -> Sequence[n.NetworkSummary]:
        """All networks that ``filters`` let through."""

    async def remove(self, reference: str) -> None:
        """Conflict while containers are connected."""

    async def connect(self, reference: str, request: n.NetworkConnectRequest) -> None:
        """Give a container, running or not, an endpoint."""

    async def disconnect(self, reference: str, request: n.NetworkDisconnectRequest) -> None:
        """Take a container's endpoint away."""

    async def prune(self, filters: Filters) -> n.NetworksPruneReport:
        """Remove networks without containers."""


class Volumes(Protocol):
    """Volumes. All raise NoSuchVolume."""

    async def create(self, request: v.VolumeCreateRequest) -> v.Volume:
        """The volume of that name, made if there is none. Conflict for another driver."""

    async def inspect(self, name: str) -> v.Volume:
        """One volume."""

    async def list(self, filters: Filters) -> v.VolumeListResponse:
        """All volumes that ``filters`` (dangling, driver, label, name) let through."""

    async def remove(self, name: str, *, force: bool) -> None:
        """Conflict while a container uses it; ``force`` forgives a missing one."""

    async def prune(self, filters: Filters) -> v.VolumesPruneReport:
        """Remove unused anonymous volumes, with ``all=true`` the named ones too."""

    async def clone(self, name: str, to: str) -> v.Volume:
        """A new volume with the content of another. Conflict if it exists."""

    async def snapshot(self, name: str) -> v.Volume:
        """A clone named after the volume and the moment."""

    async def rename(self, name: str, to: str) -> v.Volume:
        """Another name for a volume. Conflict if that is taken, or a container uses the volume."""

    async def export(self, name: str) -> Bytes:
        """The content as a tar stream."""

    async def import_(self, name: str, body: Bytes) -> v.Volume:
        """A new volume with the content of a tar stream. Conflict if it exists."""


class Events(Protocol):
    """What happened."""

    async def subscribe(self, options: EventsOptions) -> AsyncIterator[EventMessage]:
        """Stored events from ``since`` on, then new ones until ``until``; without either, new ones for ever."""


class System(Protocol):
    """The engine itself."""

    async def info(self) -> s.SystemInfo:
        """Answer of ``GET /info``."""

    async def version(self) -> s.SystemVersion:
        """Answer of ``GET /version``."""

    async def disk_usage(self, types: frozenset[str]) -> s.DiskUsage:
        """Usage of ``types`` (container, image, volume, build-cache), items included."""

    async def authenticate(self, auth: i.AuthConfig) -> i.AuthResponse:
        """Check credentials with a registry. Unauthorized."""


class Builder(Protocol):
    """Builds: the classic endpoint, and BuildKit's protocol on connections given away."""

    async def build(self, options: BuildOptions, context: Bytes, progress: Progress) -> None:
        """Build; ends with an ``aux`` ImageID. Cancelled when the client goes away."""

    async def cancel(self, build_id: str) -> None:
        """End the build that was started with ``build_id``."""

    async def prune(self, options: BuildPruneOptions) -> s.BuildCachePruneReport:
        """Remove build cache."""

    async def serve_grpc(self, connection: Hijacked) -> None:
        """Serve HTTP/2 (BuildKit's control API) until the connection ends; takes the socket, ``early`` comes first."""

    async def serve_session(self, connection: Hijacked, headers: Mapping[str, str]) -> None:
        """Be the HTTP/2 *client* on a session connection until it ends.

        ``headers`` are the request's, by lower-case name: ``x-docker-expose-session-uuid``, ``…-name``,
        ``…-sharedkey``, and ``x-docker-expose-session-grpc-method`` (all its values, joined by a comma).
        """


class Engine(Protocol):
    """The engine: one attribute per service."""

    @property
    def containers(self) -> Containers: ...
    @property
    def execs(self) -> Execs: ...
    @property
    def images(self) -> Images: ...
    @property
    def networks(self) -> Networks: ...
    @property
    def volumes(self) -> Volumes: ...
    @property
    def events(self) -> Events: ...
    @property
    def system(self) -> System: ...
    @property
    def builder(self) -> Builder: ...
