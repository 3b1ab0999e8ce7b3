"""``sampan-runtime``: runc's command line on our plans. This file reads global flags, finds the command, tells errors.

    sampan-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND [flags] [arguments]

A command is a function in ``runtime/commands/``, imported when it is called: start-up is most of what a call costs.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.errors import EngineError, InvalidParameter, Unsupported
from sampan.runtime import quick_start  # noqa: F401  first: it makes the imports below cheap
from sampan.runtime.flags import Arguments, Kind, Switch, Text, parse

if TYPE_CHECKING:
    from sampan.runtime.error_log import ErrorLog
    from sampan.runtime.help import Table

Command = Callable[[Path, list[str]], int]

GLOBAL: dict[str, Kind] = {
    "root": Text,
    "log": Text,
    "log-format": Text,
    "debug": Switch,
    "systemd-cgroup": Switch,
    "rootless": Text,
    "criu": Text,
    "version": Switch,
    "help": Switch,
}
SHORT = {"v": "version", "h": "help"}

COMMANDS = {
    "create": ("create", "create a container"),
    "start": ("create", "execute the user defined process in a created container"),
    "run": ("create", "create and run a container"),
    "exec": ("exec", "execute a new process inside the container"),
    "kill": ("kill", "send a signal to the container's init process"),
    "delete": ("kill", "delete the resources held by a container"),
    "state": ("show", "output the state of a container"),
    "list": ("show", "list containers of this root"),
    "ps": ("show", "show the processes of a container"),
    "pause": ("limit", "suspend all processes inside the container"),
    "resume": ("limit", "resume all processes that have been paused"),
    "update": ("limit", "update container resource constraints"),
    "events": ("events", "display events such as OOM notifications and usage statistics"),
    "spec": ("spec", "create a new specification file"),
    "features": ("spec", "show the enabled features"),
    "checkpoint": ("spec", "not supported: refused"),
    "restore": ("spec", "not supported: refused"),
}
"""Command → module in ``runtime/commands`` (a function of the command's name; its flags in ``FLAGS``), help."""

_EXEC_FAILED = 255
"""Status of an ``exec`` that ran nothing: no program's own, or seldom (runc's choice)."""

_RESERVED = {"exec", "list"}
"""Commands whose function has a ``_`` behind its name, which is Python's own."""


def main() -> int:
    """Entry point; the exit status is the command's, 1 for an error."""
    from sampan.runtime.error_log import open_log

    log = open_log("", "text", debug=False)
    arguments = Arguments()
    try:
        arguments = parse(sys.argv[1:], GLOBAL, SHORT)
        log = open_log(arguments.text("log"), arguments.text("log-format", "text"), debug=arguments.on("debug"))
        log.debug(" ".join(arguments.words))
        return _run(arguments)
    except (EngineError, OSError) as error:
        return _tell(log, error, executing=arguments.words[:1] == ["exec"])


def _tell(log: "ErrorLog", error: Exception, *, executing: bool) -> int:
    """Tell an error; gives the status."""
    from sampan.runtime.failures import is_bare, sentence, told
    from sampan.runtime.launch import StartFailed

    said = sentence(error) if isinstance(error, StartFailed) else told(error)
    log.error(f"exec failed: {said}" if executing else said, bare=is_bare(error))
    return _EXEC_FAILED if executing else 1


def _run(arguments: Arguments) -> int:
    words = arguments.words
    if arguments.on("version"):
        return version()
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"] if words[1:] else []
    if arguments.on("help") or not words:
        return usage()
    if words[0] not in COMMANDS:
        raise InvalidParameter(f"No help topic for '{words[0]}'")
    module = import_module(f"sampan.runtime.commands.{COMMANDS[words[0]][0]}")
    if words[1:2] in (["--help"], ["-h"]):
        return usage_of(words[0], module.FLAGS.get(words[0], ({}, {})))
    if arguments.on("systemd-cgroup"):
        raise Unsupported("--systemd-cgroup: cgroups are made directly, not through systemd (use cgroupfs)")
    command: Command = getattr(module, f"{words[0]}_" if words[0] in _RESERVED else words[0])
    return command(Path(arguments.text("root", default_root())), words[1:])


def default_root() -> str:
    """``/run/sampan-runtime``, or below ``$XDG_RUNTIME_DIR`` without root."""
    base = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/run")
    return f"{base}/sampan-runtime"


def version() -> int:
    """Two lines that podman and containerd read."""
    from sampan import __version__
    from sampan.oci.runtime_spec import VERSION

    print(f"sampan-runtime version {__version__}\nspec: {VERSION}")
    return 0


def usage() -> int:
    """The commands and what they do."""
    from sampan.runtime.help import whole

    print(whole({name: summary for name, (_, summary) in COMMANDS.items()}, (GLOBAL, SHORT)))
    return 0


def usage_of(command: str, flags: "Table") -> int:
    """One command and what it takes."""
    from sampan.runtime.help import of_command

    print(of_command(command, COMMANDS[command][1], flags))
    return 0


def one_id(words: Sequence[str], command: str) -> str:
    """The container id of a command that takes nothing else; raises InvalidParameter."""
    if len(words) != 1:
        raise InvalidParameter(f'sampan-runtime: "{command}" requires exactly 1 argument(s)')
    return words[0]


def no_more(words: Sequence[str], command: str) -> None:
    """Raises InvalidParameter where a command that takes flags alone has arguments."""
    if words:
        raise InvalidParameter(f'sampan-runtime: "{command}" requires exactly 0 argument(s)')


if __name__ == "__main__":
    sys.exit(main())
