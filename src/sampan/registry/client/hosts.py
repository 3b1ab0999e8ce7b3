"""Which machines answer for a registry: its own host, mirrors, how each is spoken to.

    /etc/docker/certs.d/<host[:port]>/hosts.toml     as containerd and Docker read it, and [host."…".rewrite]
                                     /ca.crt, *.cert + *.key     Docker's older way
    registry-mirrors, insecure-registries            of the daemon's configuration

    server = "https://registry-1.docker.io"
    [host."https://mirror.example"]
      capabilities = ["pull", "resolve"]
      ca = "mirror.pem"
      [host."https://mirror.example".rewrite]
        "^library/(.*)" = "hub/library/$1"

Hosts are tried in order; the registry itself is last. A host on 127.0.0.0/8, ::1 or ``localhost`` may speak plain HTTP.
Source: https://github.com/containerd/containerd docs/hosts.md; Docker's documentation "Verify repository client with
certificates".
"""

import ipaddress
import re
import ssl
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sampan.config import Config
from sampan.errors import InvalidParameter
from sampan.oci.reference import DEFAULT_DOMAIN

DEFAULT_HOST = "registry-1.docker.io"
INDEX_SERVER = "index.docker.io"
CERTIFICATE_DIRECTORIES = (Path("/etc/sampan/certs.d"), Path("/etc/docker/certs.d"))
_ALL = frozenset({"pull", "resolve", "push"})
_READ = frozenset({"pull", "resolve"})


@dataclass(frozen=True)
class Host:
    """One place to ask. ``url`` ends with the API's root (``…/v2``); ``plain_http`` allows falling back to HTTP."""

    url: str
    capabilities: frozenset[str] = _ALL
    mirror: bool = False
    plain_http: bool = False
    skip_verify: bool = False
    authorities: tuple[Path, ...] = ()
    certificates: tuple[tuple[Path, Path | None], ...] = ()
    headers: dict[str, str] = field(default_factory=dict, hash=False)
    rewrites: tuple[tuple[str, str], ...] = ()

    def repository(self, path: str) -> str:
        """The repository's name on this host: the first rewrite whose pattern matches."""
        for pattern, replacement in self.rewrites:
            if re.search(pattern, path):
                return re.sub(pattern, re.sub(r"\$(\d)", r"\\\1", replacement), path, count=1)
        return path

    def tls(self) -> ssl.SSLContext:
        """How to trust it; raises InvalidParameter for files that cannot be used."""
        context = ssl.create_default_context()
        try:
            for authority in self.authorities:
                context.load_verify_locations(authority)
            for certificate, key in self.certificates:
                context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidParameter(f"cannot use the certificates for {self.url}: {error}") from None
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Hosts:
    """Answers which hosts to ask for a registry's domain."""

    def __init__(self, config: Config | None = None, directories: Sequence[Path] = CERTIFICATE_DIRECTORIES) -> None:
        config = config or Config()
        self._mirrors = config.registry_mirrors
        self._insecure = config.insecure_registries
        self._directories = directories

    def of(self, domain: str) -> list[Host]:
        """Hosts in the order to try them; raises InvalidParameter for what is no host, or a malformed hosts.toml."""
        check_domain(domain)
        directory = self._directory(domain)
        own = self._own(domain, directory)
        if directory is not None and (directory / "hosts.toml").exists():
            return _read_hosts(directory / "hosts.toml", own)
        if domain == DEFAULT_DOMAIN:
            return [*(self._mirror(url) for url in self._mirrors), own]
        return [own]

    def _directory(self, domain: str) -> Path | None:
        names = (domain, "_default")
        found = (root / name for root in self._directories for name in names if (root / name).is_dir())
        return next(found, None)

    def _own(self, domain: str, directory: Path | None) -> Host:
        """The registry itself, with the certificates beside its name."""
        host = DEFAULT_HOST if domain == DEFAULT_DOMAIN else domain
        insecure = self.insecure(domain)
        authorities = tuple(sorted(directory.glob("*.crt"))) if directory else ()
        certificates = tuple(_pair(path) for path in sorted(directory.glob("*.cert"))) if directory else ()
        return Host(
            f"https://{host}/v2",
            plain_http=insecure,
            skip_verify=insecure,
            authorities=authorities,
            certificates=certificates,
        )

    def _mirror(self, url: str) -> Host:
        root = url.rstrip("/")
        insecure = self.insecure(root.partition("://")[2].partition("/")[0])
        return Host(f"{root}/v2", _READ, mirror=True, plain_http=insecure, skip_verify=insecure)

    def insecure(self, domain: str) -> bool:
        """Whether the domain (``host[:port]``) may be spoken to without verified TLS."""
        if domain in self._insecure:
            return True
        host = domain.rpartition(":")[0] if re.search(r":\d+$", domain) else domain
        if host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in _networks(self._insecure))


def check_domain(domain: str) -> None:
    """Raises InvalidParameter unless ``domain`` is HOST[:PORT]."""
    try:
        parts = urlsplit(f"//{domain}")
        whole = parts.netloc == domain and parts.hostname and "@" not in domain and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not domain.isprintable() or " " in domain:
        raise InvalidParameter(f"invalid registry address {domain!r}: expected HOST[:PORT]")


def _networks(entries: Iterable[str]) -> Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for entry in entries:
        if "/" in entry:
            try:
                yield ipaddress.ip_network(entry, strict=False)
            except ValueError:
                raise InvalidParameter(f"insecure registry {entry} is not valid: invalid CIDR address") from None


def _pair(certificate: Path) -> tuple[Path, Path]:
    key = certificate.with_suffix(".key")
    if not key.exists():
        raise InvalidParameter(
            f"missing key {key.name} for client certificate {certificate.name}. CA certificates must use the "
            "extension .crt"
        )
    return certificate, key


def _read_hosts(path: Path, own: Host) -> list[Host]:
    try:
        content = tomllib.loads(path.read_text())
        hosts = [_read_host(url, table, path.parent) for url, table in content.get("host", {}).items()]
    except (OSError, tomllib.TOMLDecodeError, AttributeError, TypeError, KeyError) as error:
        raise InvalidParameter(f"cannot read {path}: {error}") from None
    server = content.get("server")
    last = _read_host(server, content, path.parent, mirror=False) if server else own
    return [*hosts, last]


def _read_host(url: str, table: dict[str, Any], base: Path, *, mirror: bool = True) -> Host:
    """One ``[host."url"]`` table; paths are relative to the file."""
    root = (url if "://" in url else f"https://{url}").rstrip("/")
    if not table.get("override_path") and not root.endswith("/v2"):
        root = f"{root}/v2"
    return Host(
        root,
        frozenset(table.get("capabilities") or _ALL),
        mirror=mirror,
        skip_verify=bool(table.get("skip_verify", False)),
        authorities=tuple(base / one for one in _listed(table.get("ca"))),
        certificates=tuple(_certificate(one, base) for one in _listed(table.get("client"))),
        headers={name: ", ".join(_listed(value)) for name, value in table.get("header", {}).items()},
        rewrites=tuple((_pattern(one), other) for one, other in table.get("rewrite", {}).items()),
    )


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise InvalidParameter(f"invalid rewrite {text!r}: {error}") from None
    return text


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _certificate(entry: Any, base: Path) -> tuple[Path, Path | None]:
    names = _listed(entry)
    return base / names[0], (base / names[1] if len(names) > 1 and names[1] else None)
