"""The environment of a container's processes.

    defaults (PATH, HOSTNAME, TERM with a terminal, HOME) < variables of legacy links < the container's own < exec's own

A variable without ``=`` takes the earlier one away.
"""

from collections.abc import Iterable

from sampan.api.containers import ContainerConfig

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment_of(
    config: ContainerConfig, home: str, links: Iterable[str] = (), more: Iterable[str] = (), *, terminal: bool
) -> list[str]:
    """All variables, ``NAME=value`` each."""
    defaults = [PATH, f"HOSTNAME={host_name(config)}"]
    if terminal:
        defaults.append("TERM=xterm")
    merged: dict[str, str] = {}
    for variable in (*defaults, *links, *(config.env or ()), *more):
        name, equals, value = variable.partition("=")
        if equals:
            merged[name] = value
        else:
            merged.pop(name, None)
    merged.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in merged.items()]


def host_name(config: ContainerConfig) -> str:
    """Host name with the domain, if there is one."""
    return f"{config.hostname}.{config.domainname}" if config.domainname else config.hostname
