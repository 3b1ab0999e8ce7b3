"""``POST /build?version=2``: BuildKit without its protocol, told in lines of JSON.

    {"id": "moby.buildkit.trace", "aux": a StatusResponse in base64} …
    {"id": "moby.image.id", "aux": {"ID": …}}

The context is the request's body, a URL, or the directory of a client's session (``remote=client-session``).
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from grpclib.exceptions import GRPCError

from sampan.api.build import BuildOptions
from sampan.api.progress import ImageID, Message, Progress
from sampan.build.buildkit import messages as m
from sampan.build.buildkit import uploads
from sampan.build.buildkit.service import Service
from sampan.build.buildkit.session import NoSession
from sampan.build.buildkit.solves import Solve
from sampan.errors import EngineError, InvalidParameter
from sampan.oci.reference import Reference

TRACE, IMAGE_ID = "moby.buildkit.trace", "moby.image.id"
CLIENT_SESSION = "client-session"
NETWORKS = ("", "default", "none", "host")


class Output(msgspec.Struct, rename="pascal"):
    """One of the query's ``outputs``."""

    type: str = ""
    attrs: dict[str, str] = {}


async def build(service: Service, options: BuildOptions, body: AsyncIterator[bytes], progress: Progress) -> None:
    """Build and tell, or bring another request's build its context; raises EngineError."""
    if options.build_id.startswith(uploads.PREFIX):
        await service.uploads.bring(options.build_id.removeprefix(uploads.PREFIX), body)
    elif options.remote == uploads.REQUEST:
        async with service.uploads.take(options.build_id) as uploaded:
            await _build(service, msgspec.structs.replace(options, remote=""), uploaded, progress)
    else:
        await _build(service, options, body, progress)


async def _build(service: Service, options: BuildOptions, body: AsyncIterator[bytes], progress: Progress) -> None:
    ref = options.build_id or secrets.token_hex(16)
    context = f"sampan-body://{ref}"
    request = _request(ref, options, context)
    solve = await service.solves.begin(ref, request)
    if not options.session:
        solve.session = NoSession(options.auths)
    service.frontend.bodies[context] = body
    telling = asyncio.ensure_future(_tell(solve, progress))
    try:
        told = await service.run(solve)
        await telling
    except GRPCError as error:
        await telling
        raise EngineError(error.message or "the build failed") from error
    finally:
        telling.cancel()
        del service.frontend.bodies[context]
    if image := told.get("containerimage.config.digest") or told.get("containerimage.digest"):
        await progress.send(Message(id=IMAGE_ID, aux=ImageID(image)))


async def _tell(solve: Solve, progress: Progress) -> None:
    async for response in solve.log.follow():
        await progress.send(Message(id=TRACE, aux=base64.b64encode(response.SerializeToString()).decode()))


def _request(ref: str, options: BuildOptions, body: str) -> Any:
    """What a client of the protocol would ask for. Raises InvalidParameter."""
    if options.network_mode not in NETWORKS:
        raise EngineError(f'network mode "{options.network_mode}" not supported by buildkit')
    attributes = dict(_attributes(options))
    if options.remote != CLIENT_SESSION:
        attributes["context"] = options.remote or body
    sources = [m.CacheEntry(Type="registry", Attrs={"ref": name}) for name in options.cache_from]
    return m.ControlSolveRequest(
        Ref=ref,
        Session=options.session,
        Frontend="dockerfile.v0",
        FrontendAttrs=attributes,
        Exporters=_exporters(options),
        Cache=m.CacheOptions(Imports=sources),
        Entitlements=["network.host"],
    )


def _attributes(options: BuildOptions) -> Iterator[tuple[str, str]]:
    yield "filename", options.dockerfile
    yield "image-resolve-mode", "pull" if options.pull else "default"
    yield from ((f"build-arg:{name}", value) for name, value in options.build_args.items() if value is not None)
    yield from ((f"label:{name}", value) for name, value in options.labels.items())
    ulimits = ",".join(f"{one.name}={one.soft}:{one.hard}" for one in options.ulimits)
    said = {
        "target": options.target,
        "platform": options.platform,
        "force-network-mode": options.network_mode,
        "add-hosts": ",".join(host.replace(":", "=", 1) for host in options.extra_hosts),
        "shm-size": str(options.shm_size or ""),
        "ulimit": ulimits,
        "cgroup-parent": options.cgroup_parent,
    }
    yield from ((name, value) for name, value in said.items() if value)
    if options.no_cache:
        yield "no-cache", ""


def _exporters(options: BuildOptions) -> list[Any]:
    try:
        outputs = msgspec.json.decode(options.outputs or "[]", type=list[Output])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidParameter(f"invalid outputs specified: {error}") from error
    names = ",".join(str(Reference.parse(tag).tagged()) for tag in options.tags)
    wanted = outputs[:1] or [Output("moby")]
    return [
        m.Exporter(Type=one.type, Attrs={"name": names, **one.attrs} if names else one.attrs)
        for one in wanted
        if one.type != "cacheonly"
    ]
