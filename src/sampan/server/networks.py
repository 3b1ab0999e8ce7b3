"""The network operations."""

from aiohttp import web

from sampan.api.addresses import check_endpoint, check_pool
from sampan.api.networks import (
    EndpointSettings,
    NetworkConnectRequest,
    NetworkCreateRequest,
    NetworkDisconnectRequest,
)
from sampan.errors import InvalidParameter
from sampan.server.answers import answer, done
from sampan.server.call import Call
from sampan.server.compat import networks as compat
from sampan.server.compat.change import for_client
from sampan.server.routes import changes, reads

BOOLEANS = frozenset({"", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"})


async def network_list(call: Call) -> web.StreamResponse:
    networks = call.engine.networks
    found = await networks.list(call.filters())
    if call.since(1, 28):
        return answer(found)
    inspected = [await networks.inspect(network.id, verbose=False, scope="") for network in found]
    return answer(for_client(compat.INSPECTION, inspected, call.version))


def verbose(call: Call) -> bool:
    """The parameter, which Docker reads more strictly than others; raises InvalidParameter."""
    text = call.text("verbose")
    if text not in BOOLEANS:
        raise InvalidParameter(
            f'invalid value for verbose: {text}: strconv.ParseBool: parsing "{text}": invalid syntax'
        )
    return call.flag("verbose")


async def network_inspect(call: Call) -> web.StreamResponse:
    inspection = await call.engine.networks.inspect(call.reference, verbose=verbose(call), scope=call.text("scope"))
    return answer(for_client(compat.INSPECTION, inspection, call.version))


async def network_delete(call: Call) -> web.StreamResponse:
    await call.engine.networks.remove(call.reference)
    return done()


async def network_create(call: Call) -> web.StreamResponse:
    request = await call.body(NetworkCreateRequest)
    for config in (request.ipam.config if request.ipam else None) or ():
        check_pool(config)
    if not call.since(1, 48):
        request.enable_ipv4 = None
    return answer(await call.engine.networks.create(request), 201)


async def network_connect(call: Call) -> web.StreamResponse:
    request = await call.body(NetworkConnectRequest)
    check_endpoint(request.endpoint_config or EndpointSettings())
    if request.endpoint_config and not call.since(1, 54):
        request.endpoint_config.mac_address = ""
    await call.engine.networks.connect(call.reference, request)
    return done(200)


async def network_disconnect(call: Call) -> web.StreamResponse:
    await call.engine.networks.disconnect(call.reference, await call.body(NetworkDisconnectRequest))
    return done(200)


async def network_prune(call: Call) -> web.StreamResponse:
    return answer(await call.engine.networks.prune(call.filters()))


ROUTES = (
    reads("GET", "/networks", network_list),
    reads("GET", "/networks/", network_list),
    changes("POST", "/networks/create", network_create),
    changes("POST", "/networks/prune", network_prune),
    reads("GET", "/networks/{id}", network_inspect),
    changes("DELETE", "/networks/{id}", network_delete),
    changes("POST", "/networks/{id}/connect", network_connect),
    changes("POST", "/networks/{id}/disconnect", network_disconnect),
)
