"""Raw system calls that neither Python 3.11 nor glibc of every age wraps; errors carry call and object."""

import ctypes
import os
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_syscall: Callable[..., int] = _libc.syscall
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [ctypes.c_long, *[ctypes.c_void_p] * 6]  # a void pointer takes int, bytes, None, references
_UNUSED = (0,) * 6


def syscall(name: str, number: int, *arguments: int | bytes | ctypes.Structure | None, about: str = "") -> int:
    """Call ``number`` with up to six arguments: int, bytes (``char *``), structures (by reference), None (NULL).

    ``name`` and ``about`` (the object: a path, a file system) go into the message of the OSError raised on
    failure, with the kernel's errno.
    """
    given = [ctypes.byref(value) if isinstance(value, ctypes.Structure) else value for value in arguments]
    result = _syscall(number, *given, *_UNUSED[len(given) :])
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}", about or None)
    return result


def libc_call(name: str, *arguments: int | bytes | ctypes.Structure | None, about: str = "") -> int:
    """Call a libc function by name that returns -1 and errno; arguments and errors as for ``syscall``."""
    result: int = getattr(_libc, name)(*map(_argument, arguments))
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}", about or None)
    return result


def _argument(value: int | bytes | ctypes.Structure | None) -> object:
    if isinstance(value, int):
        return ctypes.c_long(value)
    if isinstance(value, bytes):
        return ctypes.c_char_p(value)
    return None if value is None else ctypes.byref(value)
