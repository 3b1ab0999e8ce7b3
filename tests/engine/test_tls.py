"""The API over TCP and mutual TLS as the docker CLI uses it; who is refused, and what is said to whom."""

import datetime
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from engine_daemon import IMAGE, Daemon, own_subnet, prepared

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; its own is in ``ca.pem``."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        directory.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._signed(self._name, self._key.public_key(), authority=True)
        (directory / "ca.pem").write_bytes(made)

    def _signed(self, name: x509.Name, key: Any, *, authority: bool = False, ends: datetime.timedelta = DAY) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - 2 * DAY)
        builder = builder.not_valid_after(now + ends).add_extension(local, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, directory: Path, name: str, ends: datetime.timedelta = DAY) -> Path:
        """A directory as $DOCKER_CERT_PATH names it: ca.pem, cert.pem, key.pem."""
        directory.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        (directory / "cert.pem").write_bytes(self._signed(subject, key.public_key(), ends=ends))
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (directory / "key.pem").write_bytes(key.private_bytes(*pem))
        (directory / "ca.pem").write_bytes((self.directory / "ca.pem").read_bytes())
        return directory


@pytest.fixture(scope="module")
def authority(daemon_root: Path) -> Authority:
    """Whom the daemon believes."""
    return Authority(daemon_root / "authority", "an authority")


@pytest.fixture(scope="module")
def port() -> int:
    """A port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def daemon(daemon_root: Path, authority: Authority, port: int) -> Iterator[Daemon]:
    """A daemon on TCP with mutual TLS, and on its socket."""
    files = authority.issue(daemon_root / "server", "the daemon")
    tls = ("--tlsverify", "--tlscacert", f"{files}/ca.pem", "--tlscert", f"{files}/cert.pem")
    with own_subnet() as subnet:
        where = ("-H", f"tcp://127.0.0.1:{port}", *tls, "--tlskey", f"{files}/key.pem")
        yield from prepared(Daemon(daemon_root, subnet, where))


@pytest.fixture(scope="module")
def certificates(daemon_root: Path, authority: Authority) -> Path:
    """A client's."""
    return authority.issue(daemon_root / "client", "a client")


def docker_cli(
    port: int, certificates: Path, *words: str, input: bytes | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """The docker CLI over TLS."""
    environment = {**os.environ, "DOCKER_CERT_PATH": str(certificates), "DOCKER_CONFIG": str(certificates)}
    return subprocess.run(
        ["docker", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *words],
        input=input, capture_output=True, timeout=60, check=False, env=environment,
    )  # fmt: skip


def test_the_end_of_standard_input_arrives_and_output_comes_after_it(
    daemon: Daemon, client: Any, run: Any, port: int, certificates: Path
) -> None:
    data = os.urandom(1 << 20)
    ran = docker_cli(port, certificates, "run", "-i", "--rm", "--net", "none", IMAGE, "sha256sum", input=data)
    assert (ran.returncode, ran.stderr) == (0, b"")
    box = run("sleep 600", stop_signal="SIGKILL")
    told = docker_cli(port, certificates, "exec", "-i", box.id, "sh", "-c", "cat; echo after", input=data)
    assert (told.returncode, told.stdout) == (0, data + b"after\n")
    made = client.containers.create(IMAGE, ["sh", "-c", "wc -c; echo after"], stdin_open=True, network_mode="none")
    started = docker_cli(port, certificates, "start", "-ai", made.id, input=data)
    assert (started.returncode, started.stdout) == (0, b"1048576\nafter\n")


def test_streams_and_archives_go_both_ways(
    daemon: Daemon, run: Any, port: int, certificates: Path, tmp_path: Path
) -> None:
    box = run(["sh", "-c", "echo begun; sleep 600"], stop_signal="SIGKILL")
    (tmp_path / "sent").write_bytes(os.urandom(3 << 20))
    assert docker_cli(port, certificates, "cp", f"{tmp_path}/sent", f"{box.id}:/there").returncode == 0
    assert docker_cli(port, certificates, "cp", f"{box.id}:/there", f"{tmp_path}/back").returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()
    assert docker_cli(port, certificates, "logs", box.id).stdout == b"begun\n"


def handshake(port: int, certificates: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> bytes:
    """What a client is answered who does not look at the daemon's certificate; raises ssl.SSLError if refused.

    Up to TLS 1.2 a client hears of its refusal in the handshake, later with the first answer.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    if certificates is not None:
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return connection.recv(4096)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_is_not_believed_hears_why_in_the_handshake(
    daemon: Daemon, client: Any, authority: Authority, port: int, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    stranger = Authority(tmp_path / "stranger", "another authority").issue(tmp_path / "theirs", "a client")
    expired = authority.issue(tmp_path / "expired", "a client", ends=-DAY)
    good = authority.issue(tmp_path / "good", "a client")
    assert handshake(port, good, version).startswith(b"HTTP/1.0 200")
    for certificates, why in ((stranger, "unknown ca"), (expired, "certificate expired"), (None, "")):
        with pytest.raises(ssl.SSLError) as error:
            handshake(port, certificates, version)
        assert why in str(error.value).lower().replace("_", " ")
    assert client.ping()


def test_the_cli_refuses_a_daemon_of_another_authority(daemon: Daemon, client: Any, port: int, tmp_path: Path) -> None:
    theirs = Authority(tmp_path / "stranger", "another authority").issue(tmp_path / "theirs", "a client")
    refused = docker_cli(port, theirs, "version")
    assert refused.returncode == 1
    assert b"certificate signed by unknown authority" in refused.stderr


def test_plain_http_on_the_tls_port_is_told_so_in_plain_http(daemon: Daemon, client: Any, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer == b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    refused = subprocess.run(
        ["docker", "-H", f"tcp://127.0.0.1:{port}", "ps"], capture_output=True, check=False, timeout=60
    )
    assert b"Client sent an HTTP request to an HTTPS server." in refused.stderr


def test_garbage_and_silence_end_their_own_connection_only(daemon: Daemon, client: Any, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"\x16\x03\x01\xff\xff" + os.urandom(300))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                continue
        assert client.ping()
        silent.shutdown(socket.SHUT_WR)
        while silent.recv(4096):
            continue


def test_a_daemon_that_is_killed_cuts_its_clients_and_starts_on_its_port_again(
    daemon: Daemon, port: int, certificates: Path
) -> None:
    daemon.stop(signal.SIGKILL)
    assert docker_cli(port, certificates, "ps").returncode == 1
    daemon.start()
    assert docker_cli(port, certificates, "ps").returncode == 0
