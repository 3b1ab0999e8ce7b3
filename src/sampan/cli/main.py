"""``sampan``: finds the command, parses its words, runs it, and turns an error into words and a status.

    sampan [-H HOST] COMMAND [FLAGS] [ARGUMENTS]

Each command family is imported only when one of its commands is called.
"""

import importlib
import sys
from collections.abc import Sequence

from sampan import __version__
from sampan.cli.grammar import Command, Flag, Parser, UsageError, parse
from sampan.errors import EngineError

GLOBAL = (
    Flag("host", "H", "string", "daemon to talk to (unix:///path or tcp://host:port)"),
    Flag("version", "v", "bool", "print the version and exit"),
    Flag("help", "h", "bool", "print help and exit"),
)

# Command → (module, attribute holding its Command, one line of help).
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Create and run a new container from an image"),
    "exec": ("run", "Execute a command in a running container"),
    "ps": ("containers", "List containers"),
    "logs": ("containers", "Fetch the logs of a container"),
    "start": ("containers", "Start one or more stopped containers"),
    "stop": ("containers", "Stop one or more running containers"),
    "kill": ("containers", "Kill one or more running containers"),
    "rm": ("containers", "Remove one or more containers"),
    "update": ("update", "Change limits and published ports of one or more containers"),
    "build": ("build", "Build an image from a Dockerfile"),
    "images": ("images", "List images"),
    "load": ("images", "Load an image from a tar archive or STDIN"),
    "pull": ("images", "Download an image from a registry"),
    "push": ("images", "Upload an image to a registry"),
    "tag": ("images", "Create a tag that refers to an image"),
    "rmi": ("images", "Remove one or more images"),
    "volume": ("volumes", "Manage volumes: create, clone, snapshot, export, import, …"),
    "inspect": ("system", "Return low-level information on objects"),
    "version": ("system", "Show the version information"),
    "info": ("system", "Display system-wide information"),
}
# Commands that are whole programs of their own: (module, function taking the remaining words).
PROGRAMS: dict[str, tuple[str, str]] = {
    "daemon": ("sampan.daemon.main", "Run the daemon in the foreground"),
    "system": ("sampan.daemon.check", "Look after a data root: sampan system check, sampan system clean"),
    "registry": ("sampan.registry.server.main", "Serve a registry: sampan registry serve"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return dispatch(words)
    except UsageError as error:
        print(f"sampan: {error}\n\nRun 'sampan --help' for more information", file=sys.stderr)
        return 125 if words[:1] in (["run"], ["exec"]) else 1
    except EngineError as error:
        print(f"Error response from daemon: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


def dispatch(words: list[str]) -> int:
    """Global flags, then the command."""
    call = Parser(GLOBAL, interspersed=False).parse(words)
    if call["version"]:
        print(f"sampan version {__version__}")
        return 0
    if call["help"] or not call.arguments:
        print(usage())
        return 0
    name, *rest = call.arguments
    if name in PROGRAMS:
        return int(importlib.import_module(PROGRAMS[name][0]).main(rest, f"sampan {name}"))
    command = find(name)
    if "--help" in rest[: rest.index("--") if "--" in rest else None] and command.interspersed:
        print(help_of(command))
        return 0
    parsed = parse(command, rest)
    parsed.host = call["host"]
    return command.run(parsed)


def find(name: str) -> Command:
    """The command called ``name``; raises UsageError for an unknown one."""
    if name not in COMMANDS:
        raise UsageError(f"'{name}' is not a sampan command.")
    module = importlib.import_module(f"sampan.cli.{COMMANDS[name][0]}")
    commands: dict[str, Command] = module.COMMANDS
    return commands[name]


def usage() -> str:
    """The list of commands."""
    lines = ["Usage:  sampan [-H HOST] COMMAND", "", "Commands:"]
    told = {name: text for name, (_, text) in {**COMMANDS, **PROGRAMS}.items()}
    lines += [f"  {name:<10} {text}" for name, text in told.items()]
    return "\n".join([*lines, "", "Run 'sampan COMMAND --help' for the flags of a command."])


def help_of(command: Command) -> str:
    """Usage and flags of one command."""
    lines = [f"Usage:  sampan {command.usage}", "", command.help, "", "Options:"]
    for flag in sorted(command.flags, key=lambda flag: flag.name):
        short = f"-{flag.short}, " if flag.short else "    "
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        lines.append(f"  {short}--{flag.name + kind:<24} {flag.help}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
