"""The containers service: one method per operation of the API, each a look-up and a call of the part that does it.

create     Creation              attach           Attach        top      top
start …    Lifecycle             logs             Logs          stats    stats
list       Listing               cp, export, diff Files         update   update
inspect    inspect               prune            prune
"""

import asyncio
import signal as signals
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

from sampan.api import containers as c
from sampan.api.descriptor import OCIPlatform
from sampan.api.filters import Filters
from sampan.api.hijack import Accept
from sampan.api.identifiers import check_container_name
from sampan.api.output import Archive, Bytes, Output
from sampan.api.signals import parse_signal
from sampan.api.stats import ContainerStats
from sampan.engine import prune, stats, top
from sampan.engine.archive import Files
from sampan.engine.attach import Attach
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.create import Creation
from sampan.engine.execs import Execs
from sampan.engine.image_users import CommitSource, ImageUser
from sampan.engine.inspect import inspect
from sampan.engine.lifecycle import Lifecycle
from sampan.engine.listing import Listing, summary
from sampan.engine.logs import Logs
from sampan.engine.membership import member_of, record_endpoints, refresh_files
from sampan.engine.restore import Restore
from sampan.engine.update import update
from sampan.errors import Conflict, EngineError, InvalidParameter, NameInUse, NoSuchContainer, NotFound, NotRunning


class Containers:
    """``engine.containers``."""

    def __init__(self, context: Context, catalog: Catalog, execs: Execs) -> None:
        self._context = context
        self.catalog = catalog
        self.lifecycle = Lifecycle(context, catalog, execs)
        self._execs = execs
        self._creation = Creation(context, catalog)
        self._listing = Listing(context, catalog)
        self._logs = Logs(context)
        self._attach = Attach(context, self._logs)
        self._files = Files(context)

    async def restore(self) -> None:
        """Load all containers and adopt those that run; once, before the first request."""
        await Restore(self._context, self.catalog, self.lifecycle, self._execs).run()

    async def stop_all(self, seconds: int) -> None:
        """Stop everything that runs before the daemon goes; after ``seconds`` (-1: never) what is left is killed.

        Nothing counts as stopped by hand: restart policies hold when the daemon is back.
        """
        self.lifecycle.closing = True
        await asyncio.gather(*(self.lifecycle.shut_down(each, seconds) for each in self.catalog if each.live))

    async def close(self) -> None:
        """Let go of the monitors; the containers go on."""
        self.lifecycle.closing = True
        for container in self.catalog:
            if container.monitor is not None:
                await container.monitor.close()

    async def list(self, options: c.ListOptions) -> Sequence[c.ContainerSummary]:
        """Containers that the options let through, newest first."""
        summaries = []
        listed = self._listing.list(options)
        images = self._listing.image_names(listed)
        for container in listed:
            line = summary(container, images[container.id])
            if options.size:
                with suppress(NotFound):  # removed since
                    line.size_rw, line.size_root_fs = await self._sizes(container)
            summaries.append(line)
        return summaries

    async def create(
        self, request: c.ContainerCreateRequest, *, name: str, platform: OCIPlatform | None
    ) -> c.ContainerCreateResponse:
        """Make a container."""
        return await self._creation.create(request, name, platform)

    async def inspect(self, reference: str, *, size: bool = False) -> c.ContainerInspect:
        """Everything about a container; with ``size`` how large its layers are.

        One that is being restarted is shown once it runs again: who hears of its end looks whether it stays away.
        """
        container = self.catalog.find(reference)
        if container.returning is not None and not container.live:
            await container.returning.wait()
        shown = inspect(container, self._context)
        if size:
            shown.size_rw, shown.size_root_fs = await self._sizes(container)
        return shown

    async def _sizes(self, container: Container) -> tuple[int, int]:
        """Bytes of the writable layer, and of all layers."""
        snapshots = self._context.storage.snapshots

        def measure() -> tuple[int, int]:
            own = snapshots.usage(container.id).size
            return own, own + sum(layer.size for layer in snapshots.chain(snapshots.active(container.id).parent))

        return await asyncio.get_running_loop().run_in_executor(self._context.threads, measure)

    async def top(self, reference: str, ps_args: str) -> c.ContainerTop:
        """Processes as ``ps`` shows them."""
        container = self.catalog.find(reference)
        shown = await top.top(container, ps_args)
        self._announce(container, "top")
        return shown

    async def logs(self, reference: str, options: c.LogsOptions) -> Output:
        """Stored output, then what comes."""
        return await self._logs.read(self.catalog.find(reference), options)

    async def changes(self, reference: str) -> Sequence[c.FilesystemChange]:
        """Paths that differ from the image."""
        return await self._files.changes(self.catalog.find(reference))

    async def export(self, reference: str) -> Bytes:
        """The root file system as a tar stream."""
        return await self._files.export(self.catalog.find(reference))

    async def stats(self, reference: str, *, stream: bool, one_shot: bool) -> AsyncIterator[ContainerStats]:
        """Readings, one a second, or a single one."""
        container = self.catalog.find(reference)
        if stream and one_shot:
            raise InvalidParameter("cannot have stream=true and one-shot=true")
        return stats.stream(container, self.catalog, follow=stream, one_shot=one_shot)

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Size of the terminal."""
        container = self.catalog.find(reference)
        container.allow("resize")
        if container.monitor is None:
            raise NotRunning(container.id)
        await container.monitor.resize(rows, columns)
        self._announce(container, "resize", height=str(rows), width=str(columns))

    async def start(self, reference: str) -> bool:
        """Start; False when it runs already."""
        return await self.lifecycle.start(self.catalog.find(reference))

    async def stop(self, reference: str, *, signal: str, timeout: int | None) -> bool:
        """Stop; False when it does not run."""
        container = self.catalog.find(reference)
        try:
            return await self.lifecycle.stop(container, signal, timeout)
        except EngineError as error:
            raise error.within(f"cannot stop container: {reference}") from error

    async def restart(self, reference: str, *, signal: str, timeout: int | None) -> None:
        """Stop and start."""
        container = self.catalog.find(reference)
        try:
            await self.lifecycle.restart(container, signal, timeout)
        except EngineError as error:
            raise error.within(f"Cannot restart container {reference}") from error

    async def kill(self, reference: str, *, signal: str) -> None:
        """Send a signal."""
        number = parse_signal(signal) if signal else int(signals.SIGKILL)
        await self.lifecycle.kill(self.catalog.find(reference), number)

    async def update(self, reference: str, request: c.ContainerUpdateRequest) -> c.ContainerUpdateResponse:
        """Other limits, another restart policy."""
        return await update(self._context, self.catalog, self.catalog.find(reference), request)

    async def rename(self, reference: str, name: str) -> None:
        """Another name."""
        name = name.strip()
        if not name.removeprefix("/"):
            raise InvalidParameter("Neither old nor new names may be empty")
        container = self.catalog.find(reference)
        try:
            new = check_container_name("/" + name.removeprefix("/"))
        except InvalidParameter as error:
            raise error.within("Error when allocating new name") from error
        old = container.name
        if new == old:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        try:
            self.catalog.rename(container, new)
        except NameInUse as error:
            raise error.within("Error when allocating new name") from error
        self._context.networks.rename(member_of(container.record))
        if container.sandbox is not None:
            record_endpoints(container, container.sandbox)
            self.catalog.save(container)
        refresh_files(container)
        self._announce(container, "rename", oldName="/" + old)

    async def pause(self, reference: str) -> None:
        """Freeze all processes."""
        await self.lifecycle.pause(self.catalog.find(reference))

    async def unpause(self, reference: str) -> None:
        """Thaw all processes."""
        await self.lifecycle.unpause(self.catalog.find(reference))

    async def attach(self, reference: str, options: c.AttachOptions, accept: Accept) -> None:
        """Join a client to the container's stdio."""
        await self._attach.attach(self.catalog.find(reference), options, accept, reference)

    async def wait(self, reference: str, condition: c.WaitCondition) -> Awaitable[c.ContainerWaitResponse]:
        """Register at once; the awaitable gives how the container ended."""
        ended = self.catalog.find(reference).wait(condition)

        async def result() -> c.ContainerWaitResponse:
            code, error = await ended
            return c.ContainerWaitResponse(status_code=code, error=c.WaitExitError(message=error) if error else None)

        return result()

    async def remove(self, reference: str, options: c.RemoveOptions) -> None:
        """Remove a container, or with ``options.link`` the link ``holder/alias``."""
        if options.link:
            self._remove_link(reference)
        else:
            await self.lifecycle.remove(self.catalog.find(reference), options, reference)

    def _remove_link(self, reference: str) -> None:
        """Take a legacy link out of its holder's configuration; what runs keeps it until the next start."""
        holder, slash, alias = reference.strip("/").rpartition("/")
        if not slash:
            self.catalog.find(reference)
            raise Conflict("Conflict, cannot remove the default link name of the container")
        try:
            container = self.catalog.find(holder)
        except NoSuchContainer:
            raise NoSuchContainer(reference.strip("/")) from None
        links = container.record.host_config.links or []
        kept = [link for link in links if link.rpartition(":")[2] != alias]
        if len(kept) == len(links):
            raise NotFound(f"Could not get container for {reference}")
        container.record.host_config.links = kept
        self.catalog.save(container)

    async def stat_path(self, reference: str, path: str) -> c.PathStat:
        """What ``path`` is."""
        return await self._files.stat(self.catalog.find(reference), reference, path)

    async def get_archive(self, reference: str, path: str) -> Archive:
        """``path`` as a tar stream."""
        return await self._files.get(self.catalog.find(reference), reference, path)

    async def put_archive(
        self, reference: str, path: str, body: Bytes, *, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool
    ) -> None:
        """Unpack a tar stream in ``path``; with ``copy_uid_gid`` everything becomes the container's user's."""
        container = self.catalog.find(reference)
        await self._files.put(
            container, reference, path, body, no_overwrite_dir_non_dir=no_overwrite_dir_non_dir, as_user=copy_uid_gid
        )

    def image_users(self) -> Iterator[ImageUser]:
        """All uses of images by containers, for the image service."""
        for container in self.catalog:
            record = container.record
            mounted = [mount.point.source for mount in record.mounts if mount.point.type == "image"]
            for image in filter(None, [record.image, *mounted]):
                yield ImageUser(record.id, image, container.live, record.config.image)

    @asynccontextmanager
    async def commit_source(self, reference: str, *, pause: bool) -> AsyncIterator[CommitSource]:
        """The container for a commit, frozen meanwhile if it runs and ``pause``."""
        container = self.catalog.find(reference)
        container.allow("commit")
        async with self.lifecycle.frozen(container, wanted=pause):
            record = container.record
            yield CommitSource(record.id, record.id, record.image, record.config, container.attributes())

    async def prune(self, filters: Filters) -> c.ContainersPruneReport:
        """Remove stopped containers."""
        return await prune.prune(self._context, self.catalog, self.lifecycle, filters)

    def _announce(self, container: Container, action: str, **attributes: str) -> None:
        self._context.events.publish("container", action, container.id, container.attributes(**attributes))
