"""Plugins: there are none; what would add one says so."""

from typing import NoReturn

from aiohttp import web

from sampan.errors import NotFound, Unsupported
from sampan.server.answers import answer
from sampan.server.call import Call
from sampan.server.routes import Handler, Route, reads

NO_PLUGINS = "managed plugins are not supported: volume and network drivers are part of the engine"

ABOUT_ONE = (
    ("GET", "/plugins/{name}/json", "plugin_inspect"),
    ("DELETE", "/plugins/{name}", "plugin_delete"),
    ("POST", "/plugins/{name}/enable", "plugin_enable"),
    ("POST", "/plugins/{name}/disable", "plugin_disable"),
    ("POST", "/plugins/{name}/push", "plugin_push"),
    ("POST", "/plugins/{name}/set", "plugin_set"),
)
ADDING = (
    ("GET", "/plugins/privileges", "get_plugin_privileges"),
    ("POST", "/plugins/pull", "plugin_pull"),
    ("POST", "/plugins/create", "plugin_create"),
    ("POST", "/plugins/{name}/upgrade", "plugin_upgrade"),
)


def _missing(operation: str) -> Handler:
    async def handler(call: Call) -> NoReturn:
        raise NotFound(f'plugin "{call.reference}" not found')

    handler.__name__ = operation
    return handler


def _unsupported(operation: str) -> Handler:
    async def handler(call: Call) -> NoReturn:
        raise Unsupported(NO_PLUGINS)

    handler.__name__ = operation
    return handler


async def plugin_list(call: Call) -> web.StreamResponse:
    call.filters().validate(("capability", "enable", "enabled"))
    return answer([])


ROUTES: tuple[Route, ...] = (
    reads("GET", "/plugins", plugin_list),
    *(reads(method, path, _unsupported(operation)) for method, path, operation in ADDING),
    *(reads(method, path, _missing(operation)) for method, path, operation in ABOUT_ONE),
)
