"""Why a process could not be started, in the words by which Docker's clients choose their exit status.

    the text has                     class                   exit status   what is added at the end
    permission denied,
    exec format error                CommandNotExecutable    126
    is a directory                   CommandNotExecutable    126           : permission denied
    not a directory                  CommandNotFound         127           : Are you trying to mount …
    executable file not found,
    no such file or directory, …     CommandNotFound         127
    anything else                    EngineError             128

(moby daemon/errors.go). The text itself is runc's.
"""

import errno
import os
from collections.abc import Iterable

from sampan.api.mounts import MountPoint
from sampan.errors import CommandNotExecutable, CommandNotFound, EngineError
from sampan.runtime.launch import StartFailed

START = "failed to create task for container: failed to create shim task: "
LOGGER = "failed to create task for container: failed to initialize logging driver: "
CREATE = f"{START}OCI runtime create failed: runc create failed: unable to start container process: "
IN_INIT = f"{CREATE}error during container init: "
EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "

NOT_EXECUTABLE, NOT_FOUND, UNKNOWN = 126, 127, 128

MISMATCH = (
    "Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)

MEANINGS: tuple[tuple[str, type[EngineError], str], ...] = (
    ("permission denied", CommandNotExecutable, ""),
    ("exec format error", CommandNotExecutable, ""),
    ("is a directory", CommandNotExecutable, ": permission denied"),
    ("not a directory", CommandNotFound, f": {MISMATCH}"),
    ("executable file not found", CommandNotFound, ""),
    ("no such file or directory", CommandNotFound, ""),
)


def explain_start(error: StartFailed, program: str, words: str = "", mounts: Iterable[MountPoint] = ()) -> EngineError:
    """The error of a container's start; ``words`` are those of another runtime, which say more than its status."""
    if words:
        return classified(f"{START}{words}: unknown")
    return classified(f"{IN_INIT}{reason_of(error, program, mounts)}: unknown")


def explain_exec(error: StartFailed, program: str) -> EngineError:
    """The error of an exec's start."""
    return classified(f"{EXEC}{reason_of(error, program)}: unknown")


def exit_code_of(error: EngineError) -> int:
    """The exit status that a container has which could not be started."""
    if isinstance(error, CommandNotFound):
        return NOT_FOUND
    return NOT_EXECUTABLE if isinstance(error, CommandNotExecutable) else UNKNOWN


def classified(text: str) -> EngineError:
    """The error with this text, of the class that the text means."""
    lower = text.lower()
    for words, kind, added in MEANINGS:
        if words in lower:
            return kind(text + added)
    return EngineError(text)


def reason_of(error: StartFailed, program: str, mounts: Iterable[MountPoint] = ()) -> str:
    """What went wrong, as runc says it."""
    why = os.strerror(error.errno).lower()
    if error.step == "execute":
        return f'exec: "{program}": {_of_program(program, error.errno, why)}'
    if error.step == "change_directory":
        return f'chdir to cwd ("{error.object}") set in config.json failed: {why}'
    if error.step == "attach" and error.errno == errno.EINVAL:  # move_mount(2) of a directory onto a file
        sources = {mount.destination: mount.source for mount in mounts}
        return f'error mounting "{sources.get(error.object, "")}" to rootfs at "{error.object}": not a directory'
    return error.message


def _of_program(program: str, number: int, why: str) -> str:
    if number not in (errno.ENOENT, errno.ENOTDIR):
        return why
    return f"stat {program}: {why}" if "/" in program else "executable file not found in $PATH"
