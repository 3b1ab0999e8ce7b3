"""HTTP/1.1 over a connected socket, as the Engine API uses it.

One request a connection. A body is sent whole or in chunks; an answer is read whole, as a stream, or taken over
(the 101 of attach and exec). Written against RFC 9112; imports little, because every command pays for it.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, urlencode

from sampan import __version__
from sampan.errors import EngineError, Unavailable

DEFAULT_HOST = "unix:///run/sampan/sampan.sock"
MAXIMUM_LINE = 65536
CHUNK = 1 << 16
WITHOUT_BODY = (204, 304)  # RFC 9110, 6.4.1


class RequestFailed(EngineError):
    """The daemon answered with an error; carries its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Address(NamedTuple):
    """Where a daemon listens: ``unix:///path`` or ``tcp://host:port``."""

    scheme: str
    rest: str

    @classmethod
    def from_environment(cls) -> "Address":
        """$SAMPAN_HOST, else $DOCKER_HOST, else the default socket."""
        return cls.parse(os.environ.get("SAMPAN_HOST") or os.environ.get("DOCKER_HOST") or DEFAULT_HOST)

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Split an address; raises EngineError for another scheme."""
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in ("unix", "tcp"):
            raise EngineError(f"unable to parse docker host `{text}`: expected unix://PATH or tcp://HOST:PORT")
        return cls(scheme, rest)

    def connect(self) -> socket.socket:
        """A connected socket; raises Unavailable when nobody listens."""
        try:
            if self.scheme == "unix":
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                sock.connect(self.rest)
                return sock
            host, _, port = self.rest.rpartition(":")
            return socket.create_connection((host.strip("[]"), int(port)))
        except OSError as error:
            raise Unavailable(
                f"Cannot connect to the daemon at {self.scheme}://{self.rest}. Is it running? ({error.strerror})"
            ) from None


class Response(NamedTuple):
    """Status and headers of an answer, its body still to be read from ``file``."""

    status: int
    headers: dict[str, str]
    file: BinaryIO
    sock: socket.socket

    def chunks(self) -> Iterator[bytes]:
        """The body's bytes as they come, then the connection is closed."""
        with self.sock, self.file:
            if self.status in WITHOUT_BODY:
                return
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                yield from dechunked(self.file)
            else:
                length = self.headers.get("content-length")
                yield from limited(self.file, None if length is None else int(length))

    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def json(self) -> Any:
        """The whole body decoded; None when it is empty."""
        body = self.body()
        return json.loads(body) if body else None

    def json_lines(self) -> Iterator[Any]:
        """The JSON values of a progress stream as they come."""
        decoder, pending = json.JSONDecoder(), ""
        for chunk in self.chunks():
            pending += chunk.decode(errors="replace")
            while pending := pending.lstrip():
                try:
                    value, end = decoder.raw_decode(pending)
                except json.JSONDecodeError:
                    break
                yield value
                pending = pending[end:]


def limited(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """Bytes up to ``length``, or to the end of the connection."""
    while length is None or length > 0:
        data = file.read1(CHUNK if length is None else min(CHUNK, length))  # type: ignore[attr-defined]
        if not data:
            return
        length = None if length is None else length - len(data)
        yield data


def dechunked(file: BinaryIO) -> Iterator[bytes]:
    """Bytes of a chunked body (RFC 9112, 7.1); an early end is an error."""
    while True:
        size = int(file.readline(MAXIMUM_LINE).split(b";")[0] or b"-1", 16)
        if size < 0:
            raise EngineError("the daemon closed the connection in the middle of an answer")
        if size == 0:
            file.readline(MAXIMUM_LINE)
            return
        yield from limited(file, size)
        file.readline(MAXIMUM_LINE)


class Client:
    """Requests to one daemon."""

    def __init__(self, address: Address, version: str = "", headers: dict[str, str] | None = None) -> None:
        self.address = address
        self.version = version
        self.headers = headers or {"User-Agent": f"sampan/{__version__}"}

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        stream: Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send one request and read the answer's head.

        ``body`` is sent as JSON, ``stream`` as a chunked tar. Raises RequestFailed for a status of 400 or more,
        Unavailable if no daemon listens.
        """
        sock = self.address.connect()
        fields = {"Host": "docker", **self.headers, **(headers or {})}
        content = b""
        if body is not None:
            content = json.dumps(body).encode()
            fields["Content-Type"] = "application/json"
        if stream is not None:
            fields |= {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        elif method in ("POST", "PUT"):
            fields["Content-Length"] = str(len(content))
        sock.sendall(head(method, self.target(path, query), fields) + content)
        if stream is not None:
            send_chunked(sock, stream)
        response = read_head(sock)
        if response.status >= 400:
            raise failure(response)
        return response

    def get(self, path: str, **query: Any) -> Any:
        """GET ``path`` and decode the answer."""
        return self.request("GET", path, query).json()

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST ``path`` and decode the answer."""
        return self.request("POST", path, query, body).json()

    def upgrade(self, path: str, body: Any = None, **query: Any) -> tuple[socket.socket, BinaryIO]:
        """POST and take the connection over: (socket to write to, file to read from)."""
        response = self.request("POST", path, query, body, headers={"Connection": "Upgrade", "Upgrade": "tcp"})
        return response.sock, response.file

    def target(self, path: str, query: dict[str, Any] | None) -> str:
        """Request target with version prefix and query string; absent values are left out."""
        pairs = ((key, value) for key, value in (query or {}).items() if value is not None)
        given = [(key, encode(one)) for key, value in pairs for one in (value if isinstance(value, list) else [value])]
        prefix = f"/v{self.version}" if self.version else ""
        return prefix + quote(path, safe="/:@") + (f"?{urlencode(given)}" if given else "")


def encode(value: Any) -> str:
    """A query value as Docker writes it: booleans as 1/0, maps as JSON."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def head(method: str, target: str, fields: dict[str, str]) -> bytes:
    """Request line and headers."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def send_chunked(sock: socket.socket, stream: Iterable[bytes]) -> None:
    """Write a chunked body; a daemon that answers early and closes ends the sending."""
    try:
        for chunk in stream:
            if chunk:
                sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        sock.sendall(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return


def read_head(sock: socket.socket) -> Response:
    """Read status line and headers."""
    file = sock.makefile("rb")
    status = file.readline(MAXIMUM_LINE).split(None, 2)
    if len(status) < 2 or not status[1].isdigit():
        raise EngineError("the daemon closed the connection without an answer")
    headers = {}
    while line := file.readline(MAXIMUM_LINE).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Response(int(status[1]), headers, file, sock)


def failure(response: Response) -> EngineError:
    """The error of an answer: its JSON message, or its text."""
    body = response.body().decode(errors="replace").strip()
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body or f"status {response.status}"
    return RequestFailed(response.status, str(message))
