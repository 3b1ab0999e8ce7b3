"""BuildKit's connections: ``POST /session`` and ``POST /grpc`` are upgraded to HTTP/2 and given to the builder.

A connection that begins with HTTP/2's preface, without any upgrade, is BuildKit's too; ``connection`` sees that.
"""

from aiohttp import web

from sampan.errors import InvalidParameter
from sampan.server import hijack
from sampan.server.call import Call
from sampan.server.routes import changes


def _expect_upgrade(call: Call) -> None:
    if call.request.headers.get("Upgrade", "").lower() != "h2c":
        raise InvalidParameter("no upgrade proto in request")


async def session(call: Call) -> web.StreamResponse:
    _expect_upgrade(call)
    headers: dict[str, str] = {}
    for name, value in call.request.headers.items():
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known},{value}"
    connection = await hijack.take_over(call, "h2c", content_type="")
    await call.engine.builder.serve_session(connection, headers)
    return hijack.taken()


async def grpc(call: Call) -> web.StreamResponse:
    _expect_upgrade(call)
    connection = await hijack.take_over(call, "h2c", content_type="")
    await call.engine.builder.serve_grpc(connection)
    return hijack.taken()


ROUTES = (
    changes("POST", "/session", session),
    changes("POST", "/grpc", grpc),
)
