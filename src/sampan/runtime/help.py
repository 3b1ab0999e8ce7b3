"""What ``--help`` says: of the whole command line, and of each command with the flags it takes.

The flags are those of the command's own table (``FLAGS`` in its module); here stands what each means, once for all
commands that have it.
"""

from collections.abc import Iterator, Mapping

from sampan.runtime.flags import Kind, Switch, Texts

Table = tuple[Mapping[str, Kind], Mapping[str, str]]
"""A command's flags, and other spellings of them."""

_PROGRAM = "sampan-runtime"

_ARGUMENTS = {
    "exec": "<container-id> <command> [arguments...] | --process FILE <container-id>",
    "features": "",
    "kill": "<container-id> [signal]",
    "list": "",
    "ps": "<container-id> [options of ps(1)]",
    "spec": "",
}
_ONE_CONTAINER = "<container-id>"

GLOBAL_MEANINGS = {
    "root": "directory of the containers' state",
    "log": "file that errors and warnings are written to besides stderr",
    "log-format": 'format of the log, "text" or "json"',
    "debug": "log what is done, too",
    "systemd-cgroup": "refused: cgroups are made directly, not through systemd",
    "rootless": "accepted for callers of runc; without root it follows from who calls",
    "criu": "accepted for callers of runc; there is no checkpoint",
    "version": "print the version and that of the specification",
    "help": "show this",
}

MEANINGS = {
    "additional-gids": "a further group of the process, as a number",
    "all": "signal every process of the container's cgroup",
    "apparmor": "AppArmor profile of the process",
    "blkio-weight": "weight of block I/O, 10 to 1000",
    "bundle": "directory of config.json and the root file system (default: the current one)",
    "cap": "a capability added to those of the container",
    "cgroup": "existing cgroup below the container's, as [controllers:]path",
    "console-socket": "unix socket that is sent the terminal's master",
    "cpu-burst": "CPU time in microseconds that may be saved up for a burst",
    "cpu-idle": "1 for the idle class of the CPU's scheduler, 0 for the usual one",
    "cpu-period": "period of the CPU quota in microseconds",
    "cpu-quota": "CPU time in microseconds in each period; -1 for no limit",
    "cpu-rt-period": "period of the real-time limit in microseconds",
    "cpu-rt-runtime": "real-time CPU time in microseconds in each period",
    "cpu-share": "relative weight of CPU time, 1024 by default",
    "cpuset-cpus": "CPUs that may be used, as 0-2,5",
    "cpuset-mems": "memory nodes that may be used, as 0-1",
    "cwd": "directory the process starts in",
    "detach": "return when the process runs",
    "env": "a variable of the process's environment, as NAME=value",
    "force": "end a container that runs; none at all is no error",
    "format": 'format of the output, "table" or "json"',
    "ignore-paused": "run in a paused container too, once it is resumed",
    "interval": "time between two statistics, as 5s or 1m30s (default: 5s)",
    "keep": "do not delete the container when it ends",
    "kernel-memory": "ignored, with a warning: kernels have no such limit now",
    "kernel-memory-tcp": "ignored, with a warning",
    "l3-cache-schema": "refused: Intel RDT is not supported",
    "mem-bw-schema": "refused: Intel RDT is not supported",
    "memory": "limit of memory in bytes, or as 64m; -1 for none",
    "memory-reservation": "memory that is left to the container first, in bytes",
    "memory-swap": "limit of memory and swap together, in bytes; -1 for none",
    "no-new-keyring": "keep the caller's session keyring",
    "no-new-privs": "let the process gain no privileges by programs it executes",
    "no-pivot": "change the root by chroot, for roots that are on the initial ram disk",
    "no-subreaper": "accepted for callers of runc, without effect",
    "pid-file": "file the process id is written to",
    "pidfd-socket": "unix socket that is sent a pidfd of the process",
    "pids-limit": "limit of tasks; -1 for none",
    "preserve-fds": "number of descriptors, from 3 on, that the process inherits",
    "process": "file with the process as JSON, in place of command and flags",
    "process-label": "SELinux label of the process",
    "quiet": "show ids only",
    "resources": "file with the limits as JSON, in place of all other flags; - for stdin",
    "rootless": "for a user who is not root",
    "stats": "show the statistics once",
    "tty": "give the process a terminal",
    "user": "user of the process, as uid[:gid] in numbers",
}


def whole(commands: Mapping[str, str], flags: Table) -> str:
    """The commands, with what each does, and the global flags."""
    lines = [f"   {name:12}{summary}" for name, summary in commands.items()]
    usage = f"{_PROGRAM} [global options] command [options] [arguments...]"
    return _page(_PROGRAM, "Open Container Initiative runtime", usage, ("COMMANDS:", *lines), flags, GLOBAL_MEANINGS)


def of_command(name: str, summary: str, flags: Table) -> str:
    """One command: its arguments and its flags."""
    arguments = _ARGUMENTS.get(name, _ONE_CONTAINER)
    usage = f"{_PROGRAM} {name} [options] {arguments}".rstrip()
    return _page(f"{_PROGRAM} {name}", summary, usage, (), flags, MEANINGS)


def _page(
    title: str, summary: str, usage: str, middle: tuple[str, ...], flags: Table, meanings: Mapping[str, str]
) -> str:
    head = ("NAME:", f"   {title} - {summary}", "", "USAGE:", f"   {usage}", "")
    parted = (*middle, "") if middle else ()
    return "\n".join((*head, *parted, "OPTIONS:", *_options(flags, meanings)))


def _options(flags: Table, meanings: Mapping[str, str]) -> Iterator[str]:
    table, spellings = flags
    shown = {name: _spelled(name, kind, spellings) for name, kind in table.items()}
    shown.setdefault("help", "--help, -h")
    width = max(map(len, shown.values())) + 2
    for name, spelled in shown.items():
        meaning = meanings.get(name, GLOBAL_MEANINGS.get(name, ""))
        more = " (may be repeated)" if table.get(name) is Texts else ""
        yield f"   {spelled:{width}}{meaning}{more}"


def _spelled(name: str, kind: Kind, spellings: Mapping[str, str]) -> str:
    value = "" if kind is Switch else " value"
    others = [other for other, meant in spellings.items() if meant == name]
    return ", ".join([f"--{name}{value}", *(f"{'-' if len(other) == 1 else '--'}{other}{value}" for other in others)])
