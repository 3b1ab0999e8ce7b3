"""The distribution operation: ask a registry about an image without pulling it."""

from aiohttp import web

from sampan.server.answers import answer
from sampan.server.call import Call
from sampan.server.routes import reads


async def distribution_inspect(call: Call) -> web.StreamResponse:
    return answer(await call.engine.images.distribution(call.reference, call.auth()))


ROUTES = (reads("GET", "/distribution/{name}/json", distribution_inspect),)
