"""``inspect``, ``version``, ``info``."""

import json
import platform
import sys
from typing import Any

from sampan import __version__
from sampan.cli.connect import client
from sampan.cli.grammar import Call, Command, Flag
from sampan.client.http import Client, RequestFailed

# Where an object is looked for, in docker's order: (type, path).
KINDS = (
    ("container", "/containers/{}/json"),
    ("image", "/images/{}/json"),
    ("network", "/networks/{}"),
    ("volume", "/volumes/{}"),
)


def inspect(call: Call) -> int:
    """Print objects as one JSON list; missing ones are told on stderr."""
    daemon = client(call)
    found, status = [], 0
    for name in call.arguments:
        value = look_up(daemon, name, call["type"])
        if value is None:
            print(f"Error: No such {call['type'] or 'object'}: {name}", file=sys.stderr)
            status = 1
        else:
            found.append(value)
    print(json.dumps(found, indent=4))
    return status


def look_up(daemon: Client, name: str, kind: str) -> Any:
    """The object called ``name`` of the wanted kind (any if empty), None if there is none."""
    for this, path in KINDS:
        if kind in ("", this):
            try:
                return daemon.get(path.format(name))
            except RequestFailed as error:
                if error.status != 404:
                    raise
    return None


def version(call: Call) -> int:
    """Versions of this client and of the daemon."""
    server = client(call).get("/version")
    if call["format"] == "json":
        print(json.dumps({"Client": {"Version": __version__}, "Server": server}))
        return 0
    print(f"Client:\n Version:     {__version__}\n Python:      {platform.python_version()}\n")
    print(f"Server:\n Version:     {server['Version']}\n API version: {server['ApiVersion']}")
    print(f" Kernel:      {server['KernelVersion']}\n OS/Arch:     {server['Os']}/{server['Arch']}")
    return 0


FACTS = (
    ("Containers", "Containers"),
    ("Running", "ContainersRunning"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Runtimes", "Runtimes"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Data Root", "DockerRootDir"),
)


def info(call: Call) -> int:
    """What the daemon is and what it runs on."""
    told = client(call).get("/info")
    if call["format"] == "json":
        print(json.dumps(told))
        return 0
    for label, key in FACTS:
        value = told.get(key)
        print(f"{label}: {' '.join(value) if isinstance(value, dict) else value}")
    return 0


FORMAT = Flag("format", "", "string", "json: one object")

COMMANDS = {
    "inspect": Command(
        "inspect", "inspect [OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on objects", inspect,
        (Flag("type", "", "string", "container, image, network or volume"),), minimum=1,
    ),
    "version": Command("version", "version [OPTIONS]", "Show the version information", version, (FORMAT,), maximum=0),
    "info": Command("info", "info [OPTIONS]", "Display system-wide information", info, (FORMAT,), maximum=0),
}  # fmt: skip
