"""The image operations, commit among them."""

from aiohttp import web

from sampan.api.containers import ContainerConfig
from sampan.api.descriptor import OCIPlatform
from sampan.api.filters import Filters
from sampan.api.images import (
    CommitOptions,
    ImageListOptions,
    ImageRemoveOptions,
    ImportOptions,
    PullOptions,
    PushOptions,
)
from sampan.errors import Forbidden, InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.reference import Reference
from sampan.server import answers
from sampan.server.answers import TAR, answer, done
from sampan.server.call import Call, parse_platform
from sampan.server.compat import images as compat
from sampan.server.compat.change import for_client
from sampan.server.routes import changes, reads

_NO_IMAGE = "scratch"


async def image_list(call: Call) -> web.StreamResponse:
    identity = call.since(1, 54) and call.flag("identity")
    if identity and not call.flag("manifests"):
        raise InvalidParameter("conflicting options: identity requires manifests=1")
    options = ImageListOptions(
        all=call.flag("all"),
        filters=_list_filters(call),
        shared_size=call.since(1, 42) and call.flag("shared-size"),
        manifests=call.since(1, 47) and call.flag("manifests"),
        identity=identity,
        container_count=call.since(1, 51),
    )
    return answer(for_client(compat.SUMMARY, await call.engine.images.list(options), call.version))


def _list_filters(call: Call) -> Filters:
    """Clients of API 1.24 gave the ``reference`` filter as a parameter of its own."""
    asked = call.filters()
    if call.since(1, 25) or "reference" in asked or not call.text("filter"):
        return asked
    return Filters({**asked.terms, "reference": [call.text("filter")]})


async def image_inspect(call: Call) -> web.StreamResponse:
    manifests = call.since(1, 48) and call.flag("manifests")
    platform = call.platform() if call.since(1, 49) else None
    if manifests and platform:
        raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
    inspection = await call.engine.images.inspect(call.reference, manifests=manifests, platform=platform)
    return answer(for_client(compat.INSPECTION, inspection, call.version))


async def image_history(call: Call) -> web.StreamResponse:
    platform = call.platform() if call.since(1, 48) else None
    return answer(await call.engine.images.history(call.reference, platform=platform))


async def image_attestations(call: Call) -> web.StreamResponse:
    statements = await call.engine.images.attestations(
        call.reference,
        platforms=call.platforms("platform"),
        types=call.texts("type"),
        statement=call.flag("statement"),
    )
    return answer(statements)


async def image_tag(call: Call) -> web.StreamResponse:
    await call.engine.images.tag(call.reference, call.text("repo"), call.text("tag"))
    return done(201)


async def image_delete(call: Call) -> web.StreamResponse:
    if not call.reference.strip():
        raise InvalidParameter("image name cannot be blank")
    options = ImageRemoveOptions(
        force=call.flag("force"),
        no_prune=call.flag("noprune"),
        platforms=call.platforms("platforms") if call.since(1, 50) else [],
    )
    return answer(await call.engine.images.remove(call.reference, options))


async def image_prune(call: Call) -> web.StreamResponse:
    return answer(await call.engine.images.prune(call.filters()))


async def image_search(call: Call) -> web.StreamResponse:
    try:
        limit = call.integer("limit")
    except InvalidParameter as error:
        raise error.within("invalid limit specified") from None
    if limit < 0:
        raise InvalidParameter("invalid limit specified: expected a number from 0 on")
    found = await call.engine.images.search(call.text("term"), limit=limit, filters=call.filters(), auth=call.auth())
    return answer(found)


async def image_create(call: Call) -> web.StreamResponse:
    """Pull with ``fromImage``, import with ``fromSrc``."""
    platform = parse_platform(call.text("platform")) if call.since(1, 32) else None
    images = call.engine.images
    if call.text("fromImage"):
        pull = _pull_options(call, platform)
        return await answers.follow(call, lambda sink: images.pull(pull, sink))
    source = call.text("fromSrc")
    options = ImportOptions(
        source=source,
        repository=call.text("repo"),
        tag=call.text("tag"),
        message=call.text("message") or f"Imported from {source}",
        changes=call.texts("changes"),
        platform=platform,
    )
    return await answers.follow(call, lambda sink: images.import_(options, call.stream(), sink))


def _pull_options(call: Call, platform: OCIPlatform | None) -> PullOptions:
    """``fromImage`` without tag asks for all tags, unless it names a digest or a tag itself."""
    reference, tag = Reference.parse(call.text("fromImage").removesuffix(":")), call.text("tag")
    if tag:
        reference = reference.with_digest(digests.parse(tag)) if ":" in tag else reference.with_tag(tag)
    if reference.familiar_name == _NO_IMAGE:
        raise Forbidden(f"'{_NO_IMAGE}' is a reserved name")
    return PullOptions(
        reference=reference.familiar, platform=platform, all_tags=reference.is_name_only, auth=call.auth()
    )


async def image_push(call: Call) -> web.StreamResponse:
    tag = call.text("tag")
    options = PushOptions(
        name=call.reference,
        tag=tag,
        all_tags=not tag,
        platform=call.platform() if call.since(1, 46) else None,
        auth=call.auth(),
    )
    images = call.engine.images
    return await answers.follow(call, lambda sink: images.push(options, sink))


def _archive_platforms(call: Call) -> list[OCIPlatform]:
    if not call.since(1, 48):
        return []
    platforms = call.platforms("platform")
    if len(platforms) > 1 and not call.since(1, 52):
        raise InvalidParameter(
            "multiple platform parameters are not supported in this API version; use API version 1.52 or later"
        )
    return platforms


async def image_get(call: Call) -> web.StreamResponse:
    return await answers.stream(
        call, await call.engine.images.save([call.reference], platforms=_archive_platforms(call)), TAR
    )


async def image_get_all(call: Call) -> web.StreamResponse:
    return await answers.stream(
        call, await call.engine.images.save(call.texts("names"), platforms=_archive_platforms(call)), TAR
    )


async def image_load(call: Call) -> web.StreamResponse:
    platforms, quiet, images = _archive_platforms(call), call.flag("quiet", True), call.engine.images
    return await answers.follow(
        call,
        lambda sink: images.load(call.stream(), sink, quiet=quiet, platforms=platforms),
        failures_inside=True,
    )


async def image_commit(call: Call) -> web.StreamResponse:
    config = await call.optional_body(ContainerConfig)
    options = CommitOptions(
        container=call.text("container"),
        repository=call.text("repo"),
        tag=call.text("tag"),
        comment=call.text("comment"),
        author=call.text("author"),
        pause=call.flag("pause", True),
        changes=call.texts("changes"),
    )
    return answer({"Id": await call.engine.images.commit(options, config)}, 201)


ROUTES = (
    reads("GET", "/images/json", image_list),
    reads("GET", "/images/search", image_search),
    reads("GET", "/images/get", image_get_all),
    reads("POST", "/images/create", image_create),
    reads("POST", "/images/load", image_load),
    changes("POST", "/images/prune", image_prune),
    reads("GET", "/images/{name}/json", image_inspect),
    reads("GET", "/images/{name}/attestations", image_attestations),
    reads("GET", "/images/{name}/history", image_history),
    reads("GET", "/images/{name}/get", image_get),
    reads("POST", "/images/{name}/push", image_push),
    changes("POST", "/images/{name}/tag", image_tag),
    changes("DELETE", "/images/{name}", image_delete),
    changes("POST", "/commit", image_commit),
)
