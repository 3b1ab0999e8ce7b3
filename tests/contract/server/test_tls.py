"""The API over TCP and TLS: mutual authentication, connections taken over, a client that ends its side first."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.config import AccessRule
from sampan.errors import EngineError
from sampan.server.access import Access
from sampan.server.app import OPERATIONS, make_app
from sampan.server.authorization import Authorization, Question
from sampan.server.listen import Server, tls_context
from sampan.server.sockets import parse_address

ATTACH = (
    b"POST /containers/web/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)


class Certificate(NamedTuple):
    certificate: str
    key: str


def make_certificate(directory: Path) -> Certificate:
    """A self-signed certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Certificate(str(directory / "cert.pem"), str(directory / "key.pem"))
    Path(paths.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    Path(paths.key).write_bytes(pem)
    return paths


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
async def port(engine: Any, certificate: Certificate) -> AsyncIterator[int]:
    server = Server(make_app(engine))
    context = tls_context(certificate.certificate, certificate.key, certificate.certificate)
    await server.start([parse_address("tcp://127.0.0.1:0")], tls=context)
    yield server.ports[0]
    await server.close()


def client_context(certificate: Certificate, *, shows: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate.certificate)
    if shows:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


async def test_the_api_is_served_over_mutual_tls(port: int, certificate: Certificate) -> None:
    connector = aiohttp.TCPConnector(ssl=client_context(certificate))
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(3):
            async with session.get(f"https://127.0.0.1:{port}/v1.50/containers/json") as response:
                assert response.status == 200
                assert (await response.json())[0]["Names"] == ["/web"]


async def test_a_client_without_certificate_is_refused(port: int, certificate: Certificate) -> None:
    connector = aiohttp.TCPConnector(ssl=client_context(certificate, shows=False))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"https://127.0.0.1:{port}/_ping")


async def test_plain_http_on_the_tls_port_ends_at_once(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
    assert not (await reader.read()).startswith(b"HTTP/1.1 2")
    writer.close()


class HalfClosing:
    """A TLS client that can end its side and read on, as Go's ``CloseWrite`` does."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def _pull(self) -> None:
        self.socket.sendall(self.outgoing.read())
        if data := self.socket.recv(65536):
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._pull()
        self.socket.sendall(self.outgoing.read())

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.socket.sendall(self.outgoing.read())

    def close_write(self) -> None:
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            self.socket.sendall(self.outgoing.read())

    def read_to_end(self) -> bytes:
        data = b""
        while True:
            try:
                piece = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._pull()
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return data
            if not piece:
                return data
            data += piece


def attach_and_close_early(port: int, context: ssl.SSLContext) -> bytes:
    client = HalfClosing(port, context)
    with client.socket:
        client.handshake()
        client.send(ATTACH + b"early")
        client.close_write()
        return client.read_to_end()


async def test_output_after_the_end_of_input_arrives(port: int, certificate: Certificate, engine: Any) -> None:
    engine.containers.terminal = True
    context = client_context(certificate)
    data = await asyncio.to_thread(attach_and_close_early, port, context)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED")
    assert body == b"earlybye\n"


async def test_much_data_goes_through_a_taken_connection(port: int, certificate: Certificate, engine: Any) -> None:
    engine.containers.terminal = True
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(certificate))
    writer.write(ATTACH)
    await reader.readuntil(b"\r\n\r\n")
    sent = bytes(range(256)) * 8192
    reading = asyncio.create_task(reader.readexactly(len(sent)))
    writer.write(sent)
    assert await reading == sent
    writer.close()


async def test_a_missing_certificate_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not load TLS certificate"):
        tls_context(str(tmp_path / "none"), str(tmp_path / "none"))


class Asked(Authorization):
    """A plugin that allows everything and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(["asked"])
        self.questions: list[Question] = []

    async def _ask(self, name: str, method: str, question: Question) -> None:
        self.questions.append(question)


@pytest.mark.parametrize("verified", [True, False])
async def test_a_verified_certificate_is_an_identity_and_nothing_else_is(
    engine: Any, certificate: Certificate, verified: bool
) -> None:
    asked = Asked()
    rules = Access([AccessRule(users=[1])], OPERATIONS)
    server = Server(make_app(engine, access=rules, authorization=asked))
    authority = certificate.certificate if verified else ""
    context = tls_context(certificate.certificate, certificate.key, authority)
    await server.start([parse_address("tcp://127.0.0.1:0")], tls=context)
    connector = aiohttp.TCPConnector(ssl=client_context(certificate))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://127.0.0.1:{server.ports[0]}/containers/json") as response,
    ):
        status, body = response.status, await response.text()
    await server.close()
    if verified:
        first = asked.questions[0]
        assert (status, first.user, first.user_auth_n_method) == (200, "127.0.0.1", "TLS")
        assert len(first.request_peer_certificates) == 1
    else:
        assert (status, asked.questions) == (403, [])
        assert "clients over TCP need a verified certificate" in body
