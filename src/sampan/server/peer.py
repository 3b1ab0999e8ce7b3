"""Who is at the other end of a connection, as far as the kernel or TLS vouch for it.

unix socket    uid and groups of the process that connected (SO_PEERCRED, SO_PEERGROUPS; unix(7), socket(7))
TLS            the certificate's common name, once the certificate is verified
plain TCP      nobody knows
"""

import socket
import ssl
import struct
from dataclasses import dataclass

from sampan.linux.unix_socket import peer_groups

_NO_IDENTITY = 0xFFFFFFFF


@dataclass(frozen=True)
class Peer:
    """A client. ``uid`` None is unknown; ``certificate`` is PEM, empty unless it was verified."""

    uid: int | None = None
    groups: frozenset[int] = frozenset()
    name: str = ""
    certificate: str = ""

    @property
    def trusted(self) -> bool:
        """Whether access rules leave it alone: root, or the bearer of a verified certificate."""
        return self.uid == 0 or bool(self.certificate)

    def __str__(self) -> str:
        return "a client without identity" if self.uid is None else f"user {self.uid}"


def of_socket(connected: socket.socket) -> Peer:
    """The peer of a plain connection."""
    if connected.family != socket.AF_UNIX:
        return Peer()
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    _pid, uid, gid = struct.unpack("iII", raw)
    if uid == _NO_IDENTITY:
        return Peer()
    return Peer(uid, frozenset({gid, *peer_groups(connected)}))


def of_tls(connection: ssl.SSLObject) -> Peer:
    """The peer of a TLS connection whose handshake is done; without a verified certificate it is nobody."""
    described, encoded = connection.getpeercert(), connection.getpeercert(binary_form=True)
    if not described or not encoded:
        return Peer()
    subject = dict(pair for names in described.get("subject", ()) for pair in names)  # type: ignore[misc]
    return Peer(name=str(subject.get("commonName", "")), certificate=ssl.DER_cert_to_PEM_cert(encoded))
