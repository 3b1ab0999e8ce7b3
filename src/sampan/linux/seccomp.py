"""libseccomp through ctypes: rules in, BPF out.

Source: seccomp_init(3), seccomp_rule_add(3), seccomp_attr_set(3), seccomp_export_bpf(3).
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self

from sampan.errors import Unsupported

ACT_KILL_PROCESS = 0x80000000
ACT_KILL_THREAD = 0
ACT_TRAP = 0x00030000
ACT_ERRNO = 0x00050000
ACT_NOTIFY = 0x7FC00000
ACT_TRACE = 0x7FF00000
ACT_LOG = 0x7FFC0000
ACT_ALLOW = 0x7FFF0000

COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

ATTRIBUTE_BAD_ARCHITECTURE = 2
ATTRIBUTE_NO_NEW_PRIVILEGES = 3
ATTRIBUTE_OPTIMIZE = 8
BINARY_TREE = 2
"""Value of ATTRIBUTE_OPTIMIZE: halves what a system call pays; libseccomp 2.5."""

UNKNOWN_SYSCALL = -1


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp: argument ``index`` compared with ``a`` (MASKED_EQ: masked by ``a``, with ``b``)."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


@cache
def _library() -> Any:
    """The library with its prototypes; raises Unsupported where it is not installed."""
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unsupported(f"seccomp filters need libseccomp (package libseccomp2): {error}") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Comparison),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library


def architecture(name: str) -> int:
    """Token of an architecture by libseccomp's name (``x86_64``, ``arm``); 0 for one it does not know."""
    return int(_library().seccomp_arch_resolve_name(name.encode()))


def syscall_number(name: str) -> int:
    """Number of a system call on this machine (negative if only others have it) or UNKNOWN_SYSCALL."""
    return int(_library().seccomp_syscall_resolve_name(name.encode()))


class Filter:
    """A filter under construction; use as a context manager."""

    def __init__(self, default_action: int) -> None:
        self._context = _library().seccomp_init(default_action)
        if not self._context:
            raise OSError(errno.EINVAL, "seccomp_init", hex(default_action))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _library().seccomp_release(self._context)

    def set_attribute(self, attribute: int, value: int) -> None:
        """Set an attribute; raises OSError where this libseccomp does not know it."""
        self._check(_library().seccomp_attr_set(self._context, attribute, value), "seccomp_attr_set", str(attribute))

    def add_architecture(self, token: int) -> None:
        """Filter calls made in this architecture's convention too; one that is there already is fine."""
        result = _library().seccomp_arch_add(self._context, token)
        if result != -errno.EEXIST:
            self._check(result, "seccomp_arch_add", hex(token))

    def add_rule(self, action: int, syscall: int, conditions: Sequence[Comparison] = ()) -> None:
        """Take ``action`` on the call when all conditions hold."""
        array = (Comparison * len(conditions))(*conditions)
        result = _library().seccomp_rule_add_array(self._context, action, syscall, len(conditions), array)
        self._check(result, "seccomp_rule_add", str(syscall))

    def export(self) -> bytes:
        """The program: struct sock_filter, eight bytes each."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            self._check(_library().seccomp_export_bpf(self._context, fd), "seccomp_export_bpf", "")
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)

    @staticmethod
    def _check(result: int, call: str, about: str) -> None:
        if result < 0:
            raise OSError(-result, f"{call}: {os.strerror(-result)}", about)
