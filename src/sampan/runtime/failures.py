"""Why a process did not start, in the words that callers of an OCI runtime look for.

Engines show the last error of the log, and some read it: a program that is not there is a status of 127 to podman.
"""

import errno
from os import strerror

from sampan.runtime.launch import StartFailed


def sentence(error: StartFailed) -> str:
    """The whole sentence."""
    reason = strerror(error.errno).lower()
    match error.step:
        case "execute":
            return f"exec {error.object}: {reason}"
        case "find_program":
            return f"unable to start container process: error during container init: {_search(error, reason)}"
        case "change_directory":
            failed = f'chdir to cwd ("{error.object}") set in config.json failed: {reason}'
            return f"unable to start container process: error during container init: {failed}"
        case "attach" if error.errno == errno.EINVAL:  # move_mount(2) of a directory onto a file, or the contrary
            failed = f'error mounting to rootfs at "{error.object}": not a directory'
            return f"unable to start container process: error during container init: {failed}"
        case "set_scheduler" if error.errno == errno.EPERM:
            return f"set_scheduler: {reason} (process scheduler can't be used together with AllowedCPUs)"
        case _:
            return str(error)


def told(error: Exception) -> str:
    """Any other error; the kernel's with the file it is of, as runc tells them."""
    if not isinstance(error, OSError) or error.strerror is None or error.errno is None:
        return str(error)
    reason = error.strerror.lower() if error.strerror == strerror(error.errno) else error.strerror
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _search(error: StartFailed, reason: str) -> str:
    name = error.object
    if error.errno != errno.ENOENT:
        return f'exec: "{name}": {reason}'
    if "/" in name:
        return f'exec: "{name}": stat {name}: {reason}'
    return f'exec: "{name}": executable file not found in $PATH'


def is_bare(error: Exception) -> bool:
    """Whether it is told as the program's own output would be: there was no more but the execve itself."""
    return isinstance(error, StartFailed) and error.step == "execute"
