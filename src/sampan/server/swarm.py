"""Swarm, nodes, services, tasks, secrets, configs: the answers of a node that is not part of a swarm.

Swarm is not re-made; what would make one says so, everything else answers as Docker does outside a swarm.
"""

from typing import NoReturn

from aiohttp import web

from sampan.api import json
from sampan.errors import InvalidParameter, Unavailable, Unsupported
from sampan.server.call import Call
from sampan.server.routes import Handler, Route, reads

NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)
NOT_IN_A_SWARM = "This node is not part of a swarm"
NO_SWARM = "swarm mode is not supported: run several machines with Kubernetes or Nomad on this engine"

MANAGER_ONLY = (
    ("GET", "/swarm", "swarm_inspect"),
    ("POST", "/swarm/update", "swarm_update"),
    ("GET", "/swarm/unlockkey", "swarm_unlockkey"),
    ("GET", "/nodes", "node_list"),
    ("GET", "/nodes/{id}", "node_inspect"),
    ("DELETE", "/nodes/{id}", "node_delete"),
    ("POST", "/nodes/{id}/update", "node_update"),
    ("GET", "/services", "service_list"),
    ("POST", "/services/create", "service_create"),
    ("GET", "/services/{id}", "service_inspect"),
    ("DELETE", "/services/{id}", "service_delete"),
    ("POST", "/services/{id}/update", "service_update"),
    ("GET", "/services/{id}/logs", "service_logs"),
    ("GET", "/tasks", "task_list"),
    ("GET", "/tasks/{id}", "task_inspect"),
    ("GET", "/tasks/{id}/logs", "task_logs"),
    ("GET", "/secrets", "secret_list"),
    ("POST", "/secrets/create", "secret_create"),
    ("GET", "/secrets/{id}", "secret_inspect"),
    ("DELETE", "/secrets/{id}", "secret_delete"),
    ("POST", "/secrets/{id}/update", "secret_update"),
    ("GET", "/configs", "config_list"),
    ("POST", "/configs/create", "config_create"),
    ("GET", "/configs/{id}", "config_inspect"),
    ("DELETE", "/configs/{id}", "config_delete"),
    ("POST", "/configs/{id}/update", "config_update"),
)

VERSIONED = {
    "swarm_update": "swarm",
    "node_update": "node",
    "service_update": "service",
    "secret_update": "secret",
    "config_update": "config",
}
"""Operations that name the version of the object they change, and what they call it."""

WITHOUT_REASON = frozenset({"secret", "config"})
"""Objects whose wrong version is refused without saying why."""

LISTS = frozenset({"node_list", "service_list", "task_list", "secret_list", "config_list"})

SERVICE_FILTERS = ("name", "id", "label", "mode", "runtime")

LOGS = frozenset({"service_logs", "task_logs"})


def _refusing(operation: str) -> Handler:
    async def handler(call: Call) -> NoReturn:
        _check(operation, call)
        raise Unavailable(NOT_A_MANAGER)

    handler.__name__ = operation
    return handler


def _check(operation: str, call: Call) -> None:
    """Raises InvalidParameter for a query that dockerd refuses before it looks for its swarm."""
    if operation in VERSIONED:
        _check_version(VERSIONED[operation], call.text("version"))
    if operation in LISTS:
        asked = call.filters()
        if operation == "service_list":
            asked.validate(SERVICE_FILTERS)
    if operation in LOGS and not call.flag("stdout") and not call.flag("stderr"):
        raise InvalidParameter("must specify at least one of 'stdout' or 'stderr'")


def _check_version(what: str, text: str) -> None:
    if text.isascii() and text.isdecimal():
        return
    if what in WITHOUT_REASON:
        raise InvalidParameter(f"invalid {what} version")
    why = f"strconv.ParseUint: parsing {json.quote(text)}: invalid syntax"
    raise InvalidParameter(f"invalid {what} version '{text}': {why}")


async def swarm_init(call: Call) -> web.StreamResponse:
    raise Unsupported(NO_SWARM)


async def swarm_join(call: Call) -> web.StreamResponse:
    raise Unsupported(NO_SWARM)


async def swarm_leave(call: Call) -> web.StreamResponse:
    raise Unavailable(NOT_IN_A_SWARM)


async def swarm_unlock(call: Call) -> web.StreamResponse:
    raise Unavailable(NOT_A_MANAGER)


ROUTES: tuple[Route, ...] = (
    *(reads(method, path, _refusing(operation)) for method, path, operation in MANAGER_ONLY),
    reads("POST", "/swarm/init", swarm_init),
    reads("POST", "/swarm/join", swarm_join),
    reads("POST", "/swarm/leave", swarm_leave),
    reads("POST", "/swarm/unlock", swarm_unlock),
)
