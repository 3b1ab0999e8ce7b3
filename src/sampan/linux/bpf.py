"""bpf(2): load a program and attach it to a cgroup; only what a cgroup v2 device list needs.

Source: bpf(2); include/uapi/linux/bpf.h of Linux.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

import msgspec

from sampan.linux.syscall import syscall

_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}.get(os.uname().machine, 280)

PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 8, 9, 13, 16
PROG_TYPE_CGROUP_DEVICE = 15
CGROUP_DEVICE = 6
F_ALLOW_MULTI = 2
_MOST_PROGRAMS = 64


class Instruction(msgspec.Struct, frozen=True):
    """struct bpf_insn."""

    code: int
    destination: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0

    def pack(self) -> bytes:
        """Eight bytes as the kernel reads them."""
        registers = self.destination | self.source << 4
        immediate = self.immediate & 0xFFFFFFFF
        return struct.pack("<BBhI", self.code, registers, self.offset, immediate)


def load_device_program(instructions: Iterable[Instruction]) -> int:
    """Load a cgroup device program; returns its fd. The verifier's refusal is the OSError."""
    code = b"".join(instruction.pack() for instruction in instructions)
    program = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "<IIQQIIQII",
        PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(program),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
    )
    return _bpf(PROG_LOAD, bytearray(attributes), "load device program")


def attach(cgroup: int, program: int) -> None:
    """Attach to a cgroup directory's fd, beside programs that are there."""
    _bpf(PROG_ATTACH, bytearray(struct.pack("<IIII", cgroup, program, CGROUP_DEVICE, F_ALLOW_MULTI)), "attach")


def detach(cgroup: int, program: int) -> None:
    """Take one program off a cgroup."""
    _bpf(PROG_DETACH, bytearray(struct.pack("<III", cgroup, program, CGROUP_DEVICE)), "detach")


def attached(cgroup: int) -> list[int]:
    """Fds of the device programs attached to this very cgroup; the caller closes them."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    query = bytearray(struct.pack("<IIIIQI", cgroup, CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MOST_PROGRAMS))
    _bpf(PROG_QUERY, query, "query")
    count = struct.unpack_from("<I", query, 24)[0]
    return [_bpf(PROG_GET_FD_BY_ID, bytearray(struct.pack("<I", number)), "open") for number in ids[:count]]


def _bpf(command: int, attributes: bytearray, about: str) -> int:
    """Call bpf; the kernel may write answers into ``attributes``."""
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    return syscall("bpf", _BPF, command, ctypes.addressof(buffer), len(attributes), about=about)
