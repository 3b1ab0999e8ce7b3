"""Kernel parameters of one interface, which were given container-wide until API 1.47.

    Sysctls {"net.ipv4.conf.eth0.forwarding": "1"}
    ─▶ DriverOpts {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=1"} of the main network

Only ``eth0`` can be moved: nobody knows which interface another name will be.
"""

import re
from collections.abc import Callable

from sampan.api import json
from sampan.api.host_config import HostConfig
from sampan.api.networks import EndpointSettings
from sampan.api.versions import Version
from sampan.errors import EngineError, InvalidParameter

OPTION = "com.docker.network.endpoint.sysctls"
OF_INTERFACE = re.compile(r"net\.([^.]*)\.([^.]*)\.(eth[^.]*)\.(.*)")


def move_to_endpoint(host: HostConfig, main: Callable[[], EndpointSettings | None], version: Version) -> str:
    """Give the parameters of ``eth0`` to the endpoint on the main network; returns a warning, "" for none to move.

    Raises EngineError for another interface, and since API 1.48 for any.
    """
    if host.network_mode == "host" or host.network_mode.startswith("container:"):
        return ""
    moved = {name: match for name in host.sysctls if (match := OF_INTERFACE.fullmatch(name))}
    for name, match in moved.items():
        _check_movable(name, match[3], version)
    endpoint = _endpoint(next(iter(moved)), main) if moved else None
    if endpoint is None:
        return ""
    settings = [f"net.{found[1]}.{found[2]}.IFNAME.{found[4]}={host.sysctls[name]}" for name, found in moved.items()]
    host.sysctls = {name: value for name, value in host.sysctls.items() if name not in moved}
    option, options = ",".join(settings), endpoint.driver_opts or {}
    own = [options[OPTION]] if OPTION in options else []
    endpoint.driver_opts = {**options, OPTION: ",".join([*settings, *own])}
    return f"Migrated sysctl {json.quote(','.join(moved))} to DriverOpts{{{json.quote(OPTION)}:{json.quote(option)}}}."


def _check_movable(name: str, interface: str, version: Version) -> None:
    if version >= (1, 48):
        raise EngineError(
            f"interface specific sysctl setting {json.quote(name)} must be supplied using driver option '{OPTION}'"
        )
    if interface != "eth0":
        raise EngineError(
            f"unable to determine network endpoint for sysctl {name}, "
            f"use driver option '{OPTION}' to set per-interface sysctls"
        )


def _endpoint(name: str, main: Callable[[], EndpointSettings | None]) -> EndpointSettings | None:
    try:
        return main()
    except InvalidParameter as error:
        raise error.within(f"unable to find a network for sysctl {name}") from error
