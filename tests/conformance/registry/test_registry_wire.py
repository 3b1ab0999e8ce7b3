"""What a pull meets on its way: busy registries, redirects, proxies, mirrors, certificates, nonsense."""

import asyncio
import datetime
import http.server
import ipaddress
import ssl
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.api.images import AuthConfig
from sampan.config import Config
from sampan.errors import DataLoss, EngineError, InvalidParameter, Unavailable
from sampan.oci.reference import Reference
from sampan.registry.client.hosts import Hosts
from sampan.registry.client.remote import Remote
from sampan.registry.client.transport import Transport

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture
async def server() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """``await server(handler)``: a web server's ``host:port``."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler, context: ssl.SSLContext | None = None) -> str:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return "{}:{}".format(*runner.addresses[0][:2])

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def pushed(ours: Any, engine: Any, layer: Any) -> Any:
    """A small image in our registry as ``library/app:latest``."""
    here = engine("pusher")
    image = here.make(f"{ours.address}/library/app:latest", layer(a=b"b" * 1000))
    await here.push(f"{ours.address}/library/app")
    return image


def remote(domain: str, config: Config | None = None, directory: Path | None = None) -> Remote:
    """The repository ``library/app`` there, asked without waiting long."""
    hosts = Hosts(config, [directory] if directory else [])
    transport = Transport(config, attempts=3, first_delay=0.01)
    return Remote(transport, hosts.of(domain), Reference(domain, "library/app"), None)


async def fetch(domain: str, config: Config | None = None, directory: Path | None = None) -> bytes:
    """The manifest ``library/app:latest`` there."""
    asked = remote(domain, config, directory)
    try:
        return (await asked.manifest("latest")).raw
    finally:
        await asked._transport.close()


# ---------------------------------------------------------------- busy, slow, elsewhere


async def test_a_busy_registry_is_asked_again_when_it_says(server: Any, pushed: Any) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.3)
    answers = [{"Retry-After": "0"}, {"Retry-After": soon.strftime("%a, %d %b %Y %H:%M:%S GMT")}]

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if answers:
            return web.Response(status=429, headers=answers.pop(0))
        return web.Response(body=pushed.manifest.raw, content_type="application/vnd.oci.image.manifest.v1+json")

    assert await fetch(await server(handle)) == pushed.manifest.raw


async def test_a_registry_that_stays_busy_is_told_so(server: Any, engine: Any) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        error = {"code": "TOOMANYREQUESTS", "message": "come back tomorrow"}
        return web.json_response({"errors": [error]}, status=429, headers={"Retry-After": "0"})

    with pytest.raises(Unavailable, match="toomanyrequests: come back tomorrow"):
        await engine(max_download_attempts=1).pull(f"{await server(handle)}/app")


async def test_a_body_that_trickles_arrives(server: Any, pushed: Any) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
        await response.prepare(request)
        for at in range(0, len(pushed.manifest.raw), 100):
            await response.write(pushed.manifest.raw[at : at + 100])
            await asyncio.sleep(0.01)
        await response.write_eof()
        return response

    assert await fetch(await server(handle)) == pushed.manifest.raw


async def asked_of(registry: Any, request: web.BaseRequest) -> bytes:
    """What the registry has there."""
    url = f"http://{registry.address}{request.raw_path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.read()


async def test_a_redirect_to_another_machine_is_followed_without_credentials(
    server: Any, ours: Any, pushed: Any, engine: Any
) -> None:
    told: list[str | None] = []

    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        told.append(request.headers.get("Authorization"))
        return web.Response(body=await asked_of(ours, request))

    other = await server(elsewhere)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        if "/blobs/" in request.path:
            return web.Response(status=307, headers={"Location": f"http://{other}{request.raw_path}"})
        kind = "application/vnd.oci.image.manifest.v1+json"
        return web.Response(body=await asked_of(ours, request), content_type=kind)

    here, address = engine(), await server(handle)
    await here.pull(f"{address}/library/app", auth=AuthConfig(username="a", password="b"))
    assert here.storage.images.resolve(f"{address}/library/app").id == pushed.id
    assert told == [None, None]


async def test_a_redirect_in_a_circle_ends(server: Any) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": request.raw_path})

    with pytest.raises(EngineError):
        await fetch(await server(handle))


# ---------------------------------------------------------------- nonsense


@pytest.mark.parametrize(
    ("body", "headers", "failure"),
    [
        (b"", {}, InvalidParameter),
        (b"{", {}, InvalidParameter),
        (b"[" * 100_000, {}, InvalidParameter),
        (b'{"schemaVersion":1}', {}, InvalidParameter),
        (b'{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}', {}, InvalidParameter),
        (b'{"schemaVersion":2}', {"Docker-Content-Digest": "sha256:" + "a" * 64}, DataLoss),
        (b" " * (9 << 20), {}, DataLoss),
    ],
)
async def test_what_is_no_manifest_is_refused_and_nothing_stays(
    server: Any, engine: Any, body: bytes, headers: dict[str, str], failure: type[EngineError]
) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, headers=headers, content_type="application/vnd.oci.image.manifest.v1+json")

    here = engine()
    with pytest.raises(failure):
        await here.pull(f"{await server(handle)}/app")
    assert here.storage.images.all() == []
    assert list(here.storage.content.digests()) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"[" * 100_000, b'{"tags":[5]}'])
async def test_what_is_no_list_of_tags_is_refused(server: Any, engine: Any, body: bytes) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body)

    with pytest.raises(EngineError, match="sent no list of tags"):
        await engine().pull(f"{await server(handle)}/app", all_tags=True)


async def test_pages_of_tags_that_lead_in_a_circle_end(server: Any) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"tags": ["a"]}, headers={"Link": '</v2/library/app/tags/list?n=1>; rel="next"'})

    asked = remote(await server(handle))
    assert await asked.tags() == ["a", "a"]
    await asked._transport.close()


# ---------------------------------------------------------------- mirrors, proxies, certificates


async def test_a_mirror_answers_for_docker_hub(ours: Any, pushed: Any, engine: Any) -> None:
    here = engine(registry_mirrors=[f"http://{ours.address}"])
    await here.pull("app")
    assert here.storage.images.resolve("docker.io/library/app:latest").id == pushed.id


@pytest.fixture
def proxy(ours: Any) -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy for ``registry.invalid``, which is ours, and what it was asked."""
    asked: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(f"CONNECT {self.path}")
            self.send_error(502)

        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(self.path.replace("registry.invalid:8080", ours.address)) as answer:
                body = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}", asked
        made.shutdown()


async def test_a_proxy_of_the_environment_is_used(
    pushed: Any, proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = proxy
    monkeypatch.setenv("http_proxy", url)
    config = Config(insecure_registries=["registry.invalid:8080"])
    hosts = Hosts(config, []).of("registry.invalid:8080")
    transport = Transport(config, attempts=1)
    transport._plain.add("registry.invalid:8080")  # as after an attempt with TLS
    found = await Remote(transport, hosts, Reference("registry.invalid:8080", "library/app"), None).manifest("latest")
    await transport.close()
    assert found.raw == pushed.manifest.raw
    assert asked == ["GET http://registry.invalid:8080/v2/library/app/manifests/latest"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, its key beside it as ``key.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "cert.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
async def secure(server: Any, certificate: Path, pushed: Any) -> str:
    """``host:port`` of a registry over TLS, with the certificate above."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=pushed.manifest.raw, content_type="application/vnd.oci.image.manifest.v1+json")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return await server(handle, context)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("ca.crt", "{certificate}"),
        ("hosts.toml", 'server = "https://{address}"\nca = "../cert.pem"'),
        ("hosts.toml", 'server = "https://{address}"\nskip_verify = true'),
        ("hosts.toml", 'server = "https://nowhere.invalid"\n[host."https://{address}"]\nca = ["../cert.pem"]'),
    ],
)
async def test_a_certificate_is_trusted_by_its_directory(
    secure: str, certificate: Path, pushed: Any, tmp_path: Path, file: str, content: str
) -> None:
    (tmp_path / "trusted.example").mkdir()
    (tmp_path / "trusted.example" / file).write_text(
        content.format(certificate=certificate.read_text(), address=secure)
    )
    if file == "ca.crt":
        (tmp_path / "trusted.example").rename(tmp_path / secure)
    domain = secure if file == "ca.crt" else "trusted.example"
    assert await fetch(domain, directory=tmp_path) == pushed.manifest.raw


async def test_an_unknown_certificate_is_refused_with_its_reason(secure: str, tmp_path: Path) -> None:
    (tmp_path / "strict.example").mkdir()
    (tmp_path / "strict.example" / "hosts.toml").write_text(f'server = "https://{secure}"')
    with pytest.raises(Unavailable, match=r"tls: failed to verify certificate: .*self.signed certificate"):
        await fetch("strict.example", directory=tmp_path)


async def test_loopback_is_spoken_to_whatever_its_certificate(secure: str, pushed: Any) -> None:
    assert await fetch(secure) == pushed.manifest.raw


def test_a_rewrite_that_is_no_pattern_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.example").mkdir()
    (tmp_path / "r.example" / "hosts.toml").write_text('[host."https://m.example".rewrite]\n"(" = "x"')
    with pytest.raises(InvalidParameter, match="invalid rewrite"):
        Hosts(directories=[tmp_path]).of("r.example")
