"""Legacy links (``--link``) on the default bridge: a line of /etc/hosts and variables about the other container.

--link db:store  →  STORE_NAME=/web/store  STORE_PORT=tcp://172.17.0.2:5432
                    STORE_PORT_5432_TCP[_ADDR|_PORT|_PROTO]  STORE_ENV_<variable of db>
"""

from collections.abc import Iterable, Sequence

from sampan.api.ports import Port, parse_port
from sampan.errors import EngineError, InvalidParameter
from sampan.linux.rtnetlink import Address
from sampan.network.endpoint import Endpoint
from sampan.network.live import Live
from sampan.network.names import SHORT, resolve_links

HIDDEN = frozenset({"HOME", "PATH", "HOSTNAME", "TERM"})


def linked(links: Iterable[str], running: Iterable[Live], network_id: str) -> dict[str, tuple[Live, Endpoint]]:
    """The running containers that ``links`` name, by alias, with their endpoints on the default bridge."""
    found = {alias: called(reference, running) for alias, reference in resolve_links(links).items()}
    return {
        alias: (other, other.plugged[network_id][1])
        for alias, other in found.items()
        if other and network_id in other.plugged
    }


def check(member_name: str, links: Iterable[str], running: Iterable[Live], network_id: str) -> None:
    """Raise for a link to what does not run, or is not on the default bridge: a container starts with all of them."""
    for alias, reference in resolve_links(links).items():
        other = called(reference, running)
        if other is None:
            raise InvalidParameter(f"Cannot link to a non running container: /{reference} AS {member_name}/{alias}")
        if network_id not in other.plugged:
            raise EngineError(f"container {other.member.container_id} not attached to default bridge network")


def called(reference: str, running: Iterable[Live]) -> Live | None:
    """The one of ``running`` that ``reference`` means."""
    return next((live for live in running if is_called(live, reference)), None)


def is_called(live: Live, reference: str) -> bool:
    """Whether ``reference`` is the container's name or the beginning of its ID."""
    name, container_id = live.member.name.removeprefix("/"), live.member.container_id
    return reference == name or (len(reference) >= SHORT and container_id.startswith(reference))


def host_line(alias: str, other: Live, endpoint: Endpoint) -> tuple[str, str] | None:
    """The line of /etc/hosts for a linked container; None where it has no IPv4 address."""
    address = endpoint.address(4)
    names = dict.fromkeys([alias, other.member.container_id[:SHORT], other.member.name.removeprefix("/")])
    return (str(address), " ".join(names)) if address else None


def environment(own_name: str, alias: str, other: Live, address: Address) -> list[str]:
    """The variables about a linked container."""
    head = alias.upper().replace("-", "_").replace(".", "_")
    variables = [f"{head}_NAME={own_name}/{alias}"]
    ports = sorted({parse_port(key) for key in (*other.member.exposed, *other.member.ports)}, key=by_protocol)
    if ports:
        variables.append(f"{head}_PORT={url(ports[0], address)}")
    for port in ports:
        variables += port_variables(head, port, address)
    return variables + env_variables(head, other.member.environment)


def by_protocol(port: Port) -> tuple[bool, int]:
    """TCP ports come first, then by number."""
    return (port.protocol != "tcp", port.number)


def url(port: Port, address: Address) -> str:
    return f"{port.protocol}://{address}:{port.number}"


def port_variables(head: str, port: Port, address: Address) -> list[str]:
    """The four variables of one port."""
    stem = f"{head}_PORT_{port.number}_{port.protocol.upper()}"
    return [
        f"{stem}={url(port, address)}",
        f"{stem}_ADDR={address}",
        f"{stem}_PORT={port.number}",
        f"{stem}_PROTO={port.protocol}",
    ]


def env_variables(head: str, variables: Sequence[str]) -> list[str]:
    """The other container's own variables, but for those every container has."""
    pairs = (variable.partition("=") for variable in variables)
    return [f"{head}_ENV_{name}={value}" for name, _, value in pairs if name not in HIDDEN]
