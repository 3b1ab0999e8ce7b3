"""``ps``, ``logs``, ``start``, ``stop``, ``kill``, ``rm``."""

import sys
from collections.abc import Callable
from typing import Any

from sampan.cli import stream, table
from sampan.cli.connect import client
from sampan.cli.grammar import Call, Command, Flag
from sampan.client.http import Client
from sampan.errors import EngineError

HEADER = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")


def ps(call: Call) -> int:
    """List containers: running ones, or all."""
    filters: dict[str, list[str]] = {}
    for text in call["filter"]:
        key, _, value = text.partition("=")
        filters.setdefault(key, []).append(value)
    listed = client(call).get("/containers/json", all=call["all"], filters=filters or None)
    if call["quiet"]:
        print(*(one["Id"][:12] for one in listed), sep="\n" if listed else "", end="\n" if listed else "")
    elif call["format"] == "json":
        table.show_json(listed)
    else:
        table.show(HEADER, [row(one) for one in listed])
    return 0


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """Cells of one container."""
    command = one["Command"] if len(one["Command"]) <= 20 else one["Command"][:19] + "…"
    names = ",".join(name.lstrip("/") for name in one["Names"])
    ports = ", ".join(port(entry) for entry in one["Ports"] or [])
    return one["Id"][:12], one["Image"], f'"{command}"', table.age(one["Created"]), one["Status"], ports, names


def port(entry: dict[str, Any]) -> str:
    """``0.0.0.0:80->8080/tcp`` or ``8080/tcp``."""
    inside = f"{entry['PrivatePort']}/{entry['Type']}"
    return f"{entry.get('IP', '')}:{entry['PublicPort']}->{inside}" if entry.get("PublicPort") else inside


def logs(call: Call) -> int:
    """Print a container's log, and go on while it runs with ``--follow``."""
    daemon = client(call)
    container = call.arguments[0]
    query = {
        "stdout": True,
        "stderr": True,
        "follow": call["follow"],
        "timestamps": call["timestamps"],
        "tail": call["tail"] or "all",
        "since": call["since"] or None,
        "until": call["until"] or None,
    }
    terminal = daemon.get(f"/containers/{container}/json")["Config"]["Tty"]
    response = daemon.request("GET", f"/containers/{container}/logs", query)
    stream.show_chunks(response.chunks(), multiplexed=not terminal)
    return 0


def each(call: Call, act: Callable[[Client, str], Any]) -> int:
    """Do one thing to every container named; print its name, or the error, and go on."""
    daemon = client(call)
    status = 0
    for container in call.arguments:
        try:
            act(daemon, container)
            print(container)
        except EngineError as error:
            print(f"Error response from daemon: {error}", file=sys.stderr)
            status = 1
    return status


def start(call: Call) -> int:
    """Start stopped containers."""
    return each(call, lambda daemon, container: daemon.post(f"/containers/{container}/start"))


def stop(call: Call) -> int:
    """Stop running containers: the stop signal, then SIGKILL after the timeout."""
    query = {"t": call["timeout"], "signal": call["signal"] or None}
    return each(call, lambda daemon, container: daemon.post(f"/containers/{container}/stop", **query))


def kill(call: Call) -> int:
    """Send a signal to running containers."""
    signal = call["signal"] or None
    return each(call, lambda daemon, container: daemon.post(f"/containers/{container}/kill", signal=signal))


def remove(call: Call) -> int:
    """Remove containers."""
    query = {"force": call["force"], "v": call["volumes"]}
    return each(call, lambda daemon, container: daemon.request("DELETE", f"/containers/{container}", query).body())


def command(name: str, usage: str, text: str, act: Callable[[Call], int], *flags: Flag) -> Command:
    """A command that takes one or more containers."""
    return Command(name, usage, text, act, flags, minimum=1)


SIGNAL = Flag("signal", "s", "string", "Signal to send to the container")

COMMANDS = {
    "ps": Command(
        "ps", "ps [OPTIONS]", "List containers", ps,
        (
            Flag("all", "a", "bool", "Show all containers (default shows just running)"),
            Flag("quiet", "q", "bool", "Only display container IDs"),
            Flag("filter", "f", "list", "Filter output based on conditions provided"),
            Flag("format", "", "string", "json: one object a line"),
        ),
        maximum=0,
    ),
    "logs": Command(
        "logs", "logs [OPTIONS] CONTAINER", "Fetch the logs of a container", logs,
        (
            Flag("follow", "f", "bool", "Follow log output"),
            Flag("timestamps", "t", "bool", "Show timestamps"),
            Flag("tail", "n", "string", "Number of lines to show from the end of the logs"),
            Flag("since", "", "string", "Show logs since timestamp or relative time"),
            Flag("until", "", "string", "Show logs before a timestamp or relative time"),
        ),
        minimum=1, maximum=1,
    ),
    "start": command("start", "start CONTAINER [CONTAINER...]", "Start stopped containers", start),
    "stop": command(
        "stop", "stop [OPTIONS] CONTAINER [CONTAINER...]", "Stop running containers", stop, SIGNAL,
        Flag("timeout", "t", "int", "Seconds to wait before killing the container"),
    ),
    "kill": command("kill", "kill [OPTIONS] CONTAINER [CONTAINER...]", "Kill running containers", kill, SIGNAL),
    "rm": command(
        "rm", "rm [OPTIONS] CONTAINER [CONTAINER...]", "Remove containers", remove,
        Flag("force", "f", "bool", "Force the removal of a running container (uses SIGKILL)"),
        Flag("volumes", "v", "bool", "Remove anonymous volumes associated with the container"),
    ),
}  # fmt: skip
