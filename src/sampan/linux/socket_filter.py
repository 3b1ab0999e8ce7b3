"""Socket filters: a socket that is bound, so that nobody else has its port, and lets nothing in.

Source: socket(7) "SO_ATTACH_FILTER", Documentation/networking/filter.rst.
"""

import ctypes
import socket
import struct

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_RETURN = 0x06  # BPF_RET | BPF_K: how much of the packet is taken
_NOTHING = ctypes.create_string_buffer(struct.pack("=HBBI", _RETURN, 0, 0, 0), 8)
_PROGRAM = struct.pack("@HP", 1, ctypes.addressof(_NOTHING))


def shut(one: socket.socket) -> None:
    """Drop whatever arrives from now on: connections and datagrams find nobody."""
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM)


def open_up(one: socket.socket) -> None:
    """Take what arrives again; a socket that was not shut is left alone."""
    try:
        one.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except FileNotFoundError:
        return
