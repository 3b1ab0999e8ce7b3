"""The volume operations."""

from aiohttp import web

from sampan.api.filters import Filters
from sampan.api.volumes import VolumeCreateRequest
from sampan.errors import InvalidParameter, Unavailable
from sampan.server import answers
from sampan.server.answers import TAR, answer, done
from sampan.server.call import Call
from sampan.server.routes import changes, reads
from sampan.server.swarm import NOT_A_MANAGER


async def volume_list(call: Call) -> web.StreamResponse:
    try:
        asked = call.filters()
    except InvalidParameter as error:
        raise error.within("error reading volume filters") from None
    return answer(await call.engine.volumes.list(asked))


async def volume_create(call: Call) -> web.StreamResponse:
    request = await call.body(VolumeCreateRequest)
    if request.cluster_volume_spec is not None and call.since(1, 42):
        raise Unavailable(NOT_A_MANAGER)
    return answer(await call.engine.volumes.create(request), 201)


async def volume_inspect(call: Call) -> web.StreamResponse:
    return answer(await call.engine.volumes.inspect(call.reference))


async def volume_update(call: Call) -> web.StreamResponse:
    """Only cluster volumes can be updated, and those live in a swarm."""
    raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")


async def volume_delete(call: Call) -> web.StreamResponse:
    await call.engine.volumes.remove(call.reference, force=call.flag("force"))
    return done()


async def volume_prune(call: Call) -> web.StreamResponse:
    asked = call.filters()
    if not call.since(1, 42):  # before, named volumes were pruned like anonymous ones
        asked = Filters({**asked.terms, "all": ["true"]})
    return answer(await call.engine.volumes.prune(asked))


# Beyond Docker: docs/volumes.md.


async def volume_clone(call: Call) -> web.StreamResponse:
    return answer(await call.engine.volumes.clone(call.reference, call.text("name")), 201)


async def volume_snapshot(call: Call) -> web.StreamResponse:
    return answer(await call.engine.volumes.snapshot(call.reference), 201)


async def volume_rename(call: Call) -> web.StreamResponse:
    return answer(await call.engine.volumes.rename(call.reference, call.text("name")))


async def volume_export(call: Call) -> web.StreamResponse:
    return await answers.stream(call, await call.engine.volumes.export(call.reference), TAR)


async def volume_import(call: Call) -> web.StreamResponse:
    return answer(await call.engine.volumes.import_(call.reference, call.stream()), 201)


ROUTES = (
    reads("GET", "/volumes", volume_list),
    changes("POST", "/volumes/create", volume_create),
    changes("POST", "/volumes/prune", volume_prune),
    reads("GET", "/volumes/{name}/export", volume_export),
    reads("GET", "/volumes/{name}", volume_inspect),
    reads("PUT", "/volumes/{name}", volume_update),
    changes("DELETE", "/volumes/{name}", volume_delete),
    changes("POST", "/volumes/{name}/clone", volume_clone),
    changes("POST", "/volumes/{name}/snapshot", volume_snapshot),
    changes("POST", "/volumes/{name}/rename", volume_rename),
    changes("POST", "/volumes/{name}/import", volume_import),
)
