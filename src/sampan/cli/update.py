"""``update``: limits, restart policy, and what docker's has not: ports published and withdrawn while containers run.

--publish [IP:][HOST:]PORT[/PROTOCOL]     as with ``run``
--unpublish [HOST:]PORT[/PROTOCOL]        all bindings of the container's port, or the one at that host port
"""

from typing import Any

from sampan.cli.containers import each
from sampan.cli.grammar import Call, Command, Flag
from sampan.cli.options import port_range, ports, size, split_port
from sampan.client.http import Client

Bindings = dict[str, list[dict[str, str]]]


def update(call: Call) -> int:
    """Change what the flags name, and leave the rest."""
    body = limits(call)

    def act(daemon: Client, container: str) -> None:
        wanted = dict(body)
        if call["publish"] or call["unpublish"]:
            told = daemon.get(f"/containers/{container}/json")
            bindings = withdrawn(told["HostConfig"]["PortBindings"] or {}, call["unpublish"])
            wanted["PortBindings"] = added(bindings, call["publish"])
        daemon.post(f"/containers/{container}/update", wanted)

    return each(call, act)


def limits(call: Call) -> dict[str, Any]:
    """The part of the body that is the same for all containers."""
    body: dict[str, Any] = {}
    if call["memory"]:
        body["Memory"] = size(call["memory"])
    if call["cpus"]:
        body["NanoCpus"] = int(float(call["cpus"]) * 1e9)
    if call["pids-limit"] is not None:
        body["PidsLimit"] = call["pids-limit"]
    if call["restart"]:
        policy, _, retries = call["restart"].partition(":")
        body["RestartPolicy"] = {"Name": policy, "MaximumRetryCount": int(retries or 0)}
    return body


def added(bindings: Bindings, published: list[str]) -> Bindings:
    """``bindings`` with those of ``--publish``, each once."""
    _, asked = ports(published)
    result = {port: list(given or []) for port, given in bindings.items()}
    for port, given in asked.items():
        known = result.setdefault(port, [])
        known += [one for one in given if one not in known]
    return result


def withdrawn(bindings: Bindings, unpublished: list[str]) -> Bindings:
    """``bindings`` without those of ``--unpublish``."""
    result = {port: list(given or []) for port, given in bindings.items()}
    for text in unpublished:
        rest, _, protocol = text.partition("/")
        _, host, container = split_port(rest)
        first, last = port_range(container, text)
        for number in range(first, last + 1):
            port = f"{number}/{protocol or 'tcp'}"
            result[port] = [one for one in result.get(port, []) if host and one["HostPort"] != host]
    return {port: given for port, given in result.items() if given}


COMMANDS = {
    "update": Command(
        "update", "update [OPTIONS] CONTAINER [CONTAINER...]",
        "Change limits and published ports of one or more containers", update,
        (
            Flag("publish", "p", "list", "Publish a port, also of a running container"),
            Flag("unpublish", "", "list", "Withdraw a published port: [HOST:]PORT[/PROTOCOL]"),
            Flag("memory", "m", "string", "Memory limit"),
            Flag("cpus", "", "string", "Number of CPUs"),
            Flag("pids-limit", "", "int", "Tune container pids limit (-1 for unlimited)"),
            Flag("restart", "", "string", "Restart policy to apply when a container exits"),
        ),
        minimum=1,
    ),
}  # fmt: skip
