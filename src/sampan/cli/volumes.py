"""``volume``: the volumes that a daemon keeps; what docker's command has, and what goes beyond it.

create · ls · inspect · rm · prune                   as docker's
clone · snapshot · rename · export · import          docs/volumes.md
"""

import json
import sys

from sampan.cli import table
from sampan.cli.connect import client
from sampan.cli.containers import each
from sampan.cli.grammar import Call, Command, Flag, UsageError, parse
from sampan.cli.images import opened, pieces
from sampan.cli.options import labels
from sampan.client.http import Client


def create(call: Call) -> int:
    """Make a volume and print its name."""
    body = {
        "Name": "".join(call.arguments),
        "Driver": call["driver"],
        "DriverOpts": labels(call["opt"]),
        "Labels": labels(call["label"]),
    }
    print(client(call).post("/volumes/create", body)["Name"])
    return 0


def show(call: Call) -> int:
    """List volumes."""
    volumes = client(call).get("/volumes")["Volumes"]
    if call["quiet"]:
        print("\n".join(volume["Name"] for volume in volumes))
    else:
        table.show(("DRIVER", "VOLUME NAME"), [(volume["Driver"], volume["Name"]) for volume in volumes])
    return 0


def inspect(call: Call) -> int:
    """Print volumes as one JSON list."""
    daemon = client(call)
    print(json.dumps([daemon.get(f"/volumes/{name}") for name in call.arguments], indent=4))
    return 0


def remove(call: Call) -> int:
    """Remove volumes that no container uses."""

    def act(daemon: Client, name: str) -> None:
        daemon.request("DELETE", f"/volumes/{name}", {"force": call["force"]})

    return each(call, act)


def prune(call: Call) -> int:
    """Remove unused volumes."""
    filters = json.dumps({"all": ["true"]} if call["all"] else {})
    report = client(call).post("/volumes/prune", filters=filters)
    for name in report["VolumesDeleted"] or ():
        print(name)
    print(f"Total reclaimed space: {table.size(report['SpaceReclaimed'])}")
    return 0


def clone(call: Call) -> int:
    """Copy a volume."""
    name, to = call.arguments
    print(client(call).post(f"/volumes/{name}/clone", name=to)["Name"])
    return 0


def snapshot(call: Call) -> int:
    """Copy volumes under names that say when."""
    daemon = client(call)
    for name in call.arguments:
        print(daemon.post(f"/volumes/{name}/snapshot")["Name"])
    return 0


def rename(call: Call) -> int:
    """Give a volume another name."""
    name, to = call.arguments
    client(call).post(f"/volumes/{name}/rename", name=to)
    return 0


def export(call: Call) -> int:
    """Write a volume's content as a tar archive."""
    if not call["output"] and sys.stdout.isatty():
        raise UsageError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    response = client(call).request("GET", f"/volumes/{call.arguments[0]}/export")
    with open(call["output"], "wb") if call["output"] else sys.stdout.buffer as target:
        for chunk in response.chunks():
            target.write(chunk)
    return 0


def import_(call: Call) -> int:
    """Make a volume of a tar archive."""
    daemon = client(call)
    with opened(call["input"]) as source:
        daemon.request("POST", f"/volumes/{call.arguments[0]}/import", stream=pieces(source)).body()
    print(call.arguments[0])
    return 0


SUBCOMMANDS = (
    Command(
        "create", "volume create [OPTIONS] [VOLUME]", "Create a volume", create,
        (
            Flag("driver", "d", "string", "Volume driver"),
            Flag("opt", "o", "list", "Driver option: type, device, o, size"),
            Flag("label", "", "list", "Label of the volume"),
        ),
        maximum=1,
    ),
    Command("ls", "volume ls [OPTIONS]", "List volumes", show, (Flag("quiet", "q", "bool", "Names only"),), maximum=0),
    Command("inspect", "volume inspect VOLUME [VOLUME...]", "Show volumes in full", inspect, minimum=1),
    Command(
        "rm", "volume rm [OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes", remove,
        (Flag("force", "f", "bool", "No error for what is not there"),), minimum=1,
    ),
    Command(
        "prune", "volume prune [OPTIONS]", "Remove unused anonymous volumes", prune,
        (Flag("all", "a", "bool", "Named ones too"),), maximum=0,
    ),
    Command("clone", "volume clone VOLUME NEW", "Copy a volume", clone, minimum=2, maximum=2),
    Command("snapshot", "volume snapshot VOLUME [VOLUME...]", "Copy volumes as they are now", snapshot, minimum=1),
    Command("rename", "volume rename VOLUME NEW", "Give a volume another name", rename, minimum=2, maximum=2),
    Command(
        "export", "volume export [OPTIONS] VOLUME", "Write a volume's content as a tar archive", export,
        (Flag("output", "o", "string", "Write to a file, instead of STDOUT"),), minimum=1, maximum=1,
    ),
    Command(
        "import", "volume import [OPTIONS] VOLUME", "Make a volume of a tar archive", import_,
        (Flag("input", "i", "string", "Read from a file, instead of STDIN"),), minimum=1, maximum=1,
    ),
)  # fmt: skip


def volume(call: Call) -> int:
    """Run the subcommand that the first word names."""
    known = {command.name: command for command in SUBCOMMANDS}
    name, *rest = call.arguments
    if name not in known:
        raise UsageError(f"'{name}' is not a volume command: expected {', '.join(known)}")
    parsed = parse(known[name], rest)
    parsed.host = call.host
    return known[name].run(parsed)


COMMANDS = {
    "volume": Command(
        "volume", f"volume {'|'.join(command.name for command in SUBCOMMANDS)} …", "Manage volumes", volume,
        interspersed=False, minimum=1,
    ),
}  # fmt: skip
