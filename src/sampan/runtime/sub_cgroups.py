"""Which cgroup an exec joins: the container's own, or with ``--cgroup`` one that was made below it.

--cgroup PATH                     cgroup v2, or the same path in every hierarchy of v1
--cgroup CONTROLLER,…:PATH …      v1: by controller, the others stay at the top
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from posixpath import normpath

from sampan.errors import InvalidParameter
from sampan.linux.cgroup import Cgroup
from sampan.linux.cgroup1 import Cgroup1
from sampan.linux.cgroup2 import Cgroup2

EVERY = ""
"""The key of a path that holds for all controllers."""


def read(texts: Sequence[str]) -> dict[str, str]:
    """``--cgroup`` as controller → path; raises InvalidParameter."""
    found: dict[str, str] = {}
    for text in texts:
        controllers, colon, path = text.partition(":")
        if not colon:
            controllers, path = EVERY, text
            if len(texts) != 1:
                raise InvalidParameter(f"invalid --cgroup argument: {text} (missing <controller>: prefix)")
        for controller in controllers.split(","):
            if colon and not controller:
                raise InvalidParameter(f"invalid --cgroup argument: {text} (empty <controller> prefix)")
            if controller in found:
                raise InvalidParameter(
                    f"invalid --cgroup argument(s): controller {controller} specified multiple times"
                )
            found[controller] = path
    return found


def open_to_join(
    cgroup: Cgroup | None, wanted: dict[str, str], pid: int, opened: ExitStack
) -> tuple[list[int], int | None]:
    """The v1 ``tasks`` files and the v2 directory that a process beside ``pid`` joins by; ``opened`` closes them.

    Raises InvalidParameter for a path that leads out of the container's cgroup, or is not there.
    """
    if isinstance(cgroup, Cgroup1):
        return [_open(path, os.O_WRONLY, opened) for path in _task_files(cgroup, wanted)], None
    if isinstance(cgroup, Cgroup2):
        if unknown := [name for name in wanted if name != EVERY]:
            raise InvalidParameter(f"exec --cgroup: unknown controller {unknown[0]}: cgroup v2 has one hierarchy")
        return [], _open(_directory(cgroup, wanted, pid), os.O_PATH | os.O_DIRECTORY, opened)
    return [], None


def _task_files(cgroup: Cgroup1, wanted: dict[str, str]) -> list[str]:
    """One file per hierarchy; controllers that are mounted together have one path."""
    roots = cgroup.mounted.controllers
    for controller in wanted:
        if controller != EVERY and controller not in roots:
            raise InvalidParameter(f"exec --cgroup: unknown controller {controller}")
    paths = dict.fromkeys(roots.values(), wanted.get(EVERY, ""))
    paths |= {roots[controller]: path for controller, path in wanted.items() if controller != EVERY}
    return [f"{_beneath(root + cgroup.path, path)}/tasks" for root, path in paths.items()]


def _directory(cgroup: Cgroup2, wanted: dict[str, str], pid: int) -> str:
    """A cgroup that hands controllers down admits no process: then it is that of the container's first."""
    if not wanted and cgroup.read_or("cgroup.subtree_control", ""):
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        return cgroup.root + next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
    return _beneath(cgroup.directories()[0], wanted.get(EVERY, ""))


def _beneath(directory: str, path: str) -> str:
    whole = normpath(f"{directory}/{path}")
    if whole != directory and not whole.startswith(f"{directory}/"):
        raise InvalidParameter(f"exec --cgroup: bad sub cgroup path: {path}")
    return whole


def _open(path: str, flags: int, opened: ExitStack) -> int:
    try:
        fd = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidParameter(f"adding pid to cgroup: open {path}: {(error.strerror or '').lower()}") from error
    opened.callback(os.close, fd)
    return fd
