"""The exec operations."""

from aiohttp import web

from sampan.api.exec import ExecCreateRequest, ExecStartRequest
from sampan.errors import InvalidParameter
from sampan.server import hijack
from sampan.server.answers import answer, done
from sampan.server.call import Call
from sampan.server.containers import terminal_size
from sampan.server.routes import changes, reads


async def container_exec(call: Call) -> web.StreamResponse:
    request = await call.body(ExecCreateRequest)
    if not request.cmd:
        raise InvalidParameter("No exec command specified")
    if not call.since(1, 42):
        request.console_size = None
    return answer(await call.engine.execs.create(call.reference, request), 201)


async def exec_start(call: Call) -> web.StreamResponse:
    request = await call.body(ExecStartRequest)
    if not request.tty or not call.since(1, 42):
        request.console_size = None
    execs = call.engine.execs
    if request.detach:
        await execs.start(call.reference, request, None)
        return done(200)
    return await hijack.run(call, lambda accept: execs.start(call.reference, request, accept))


async def exec_resize(call: Call) -> web.StreamResponse:
    await call.engine.execs.resize(call.reference, *terminal_size(call))
    return done(200)


async def exec_inspect(call: Call) -> web.StreamResponse:
    return answer(await call.engine.execs.inspect(call.reference))


ROUTES = (
    changes("POST", "/containers/{id}/exec", container_exec),
    changes("POST", "/exec/{id}/start", exec_start),
    changes("POST", "/exec/{id}/resize", exec_resize),
    reads("GET", "/exec/{id}/json", exec_inspect),
)
