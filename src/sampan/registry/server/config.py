"""The registry's settings: one frozen value from a YAML or JSON file and the command line.

    root: /var/lib/sampan-registry           everything of ours, unless said otherwise below
    listen: 127.0.0.1:5000
    database: postgresql://user@host/name    SQLite in root by default
    tls: {certificate: cert.pem, key: key.pem}
    storage: {s3: {bucket: images, endpoint: https://…, redirect: true}}     files in root by default
    auth: {htpasswd: users, anonymous_pull: true, token: {issuer: registry.example}}
    proxy: {upstream: https://registry-1.docker.io}
    gc: {interval: 1h, grace: 1h, untagged: false}
    log: {level: info, access: true}

A key nobody knows is an error that names it and where it stands.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from sampan.errors import InvalidParameter

MAXIMUM_FILE_BYTES = 1 << 20
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd])")

Duration = Annotated[str, msgspec.Meta(pattern=r"^\d+[smhd]$", description="a number and s, m, h or d")]


def seconds(duration: str) -> int:
    """``90m`` → 5400."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise InvalidParameter(f"invalid duration {duration!r}: expected a number followed by s, m, h or d")
    return int(match[1]) * _UNITS[match[2]]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping in the file."""


class TLS(_Section, frozen=True):
    """PEM files to serve HTTPS with."""

    certificate: str
    key: str


class S3(_Section, frozen=True):
    """Blobs in a bucket. Empty credentials are taken from the environment, as AWS tools do."""

    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    endpoint: str = ""
    access_key: str = ""
    secret_key: str = ""
    redirect: bool = False
    redirect_lifetime: Duration = "20m"


class Storage(_Section, frozen=True):
    """Where blobs are kept: in the bucket, else in files under ``root``."""

    s3: S3 | None = None


class Token(_Section, frozen=True):
    """Our own token service at ``/token``; ``realm`` is its URL where clients see another than we do.

    ``key`` is the file of the signing key (made if it is not there), which registries that answer for each other share.
    """

    key: str = ""
    issuer: str = "sampan-registry"
    service: str = "sampan-registry"
    realm: str = ""
    lifetime: Duration = "5m"
    refresh_lifetime: Duration = "90d"


class Rule(_Section, frozen=True):
    """Users (``*`` is every authenticated one) may do ``actions`` on repositories matching a shell pattern."""

    users: tuple[str, ...]
    repositories: tuple[str, ...] = ("*",)
    actions: tuple[str, ...] = ("pull", "push", "delete")


class Auth(_Section, frozen=True):
    """Who may do what. Without ``access`` every user in ``htpasswd`` may do everything."""

    htpasswd: str
    realm: str = "sampan-registry"
    anonymous_pull: bool = False
    token: Token | None = None
    access: tuple[Rule, ...] = (Rule(users=("*",)),)


class Proxy(_Section, frozen=True):
    """Pull-through cache: what is not here is fetched from ``upstream``; pushes are refused."""

    upstream: str
    username: str = ""
    password: str = ""
    ttl: Duration = "1m"


class GC(_Section, frozen=True):
    """Collection: how often, how long unreferenced content is spared, and whether untagged manifests go."""

    interval: Duration = "1h"
    grace: Duration = "1h"
    untagged: bool = False


class Log(_Section, frozen=True):
    """What is written to standard error."""

    level: str = "info"
    access: bool = True


class Limits(_Section, frozen=True):
    """Bounds on requests: bytes of a manifest, entries of a page, bytes of a chunk at least, seconds a body stalls."""

    manifest: int = 4 << 20
    page: int = 1000
    chunk: int = 0
    patience: float = 120.0


class Config(_Section, frozen=True):
    """Everything that can be set."""

    root: str = "/var/lib/sampan-registry"
    listen: str = "127.0.0.1:5000"
    database: str = ""
    tls: TLS | None = None
    storage: Storage = Storage()
    auth: Auth | None = None
    proxy: Proxy | None = None
    gc: GC = GC()
    log: Log = Log()
    limits: Limits = Limits()
    deletion: bool = True
    sparse_indexes: bool = False
    metrics: bool = True

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of ``listen``; an empty host is every address."""
        host, colon, port = self.listen.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise InvalidParameter(f"invalid listen address {self.listen!r}: expected HOST:PORT")
        return host.strip("[]"), int(port)

    @property
    def database_url(self) -> str:
        """SQLAlchemy's URL; plain ``postgresql://`` means psycopg 3."""
        if not self.database:
            return f"sqlite:///{self.root}/registry.db"
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database)


def load(path: Path | None, flags: dict[str, Any]) -> Config:
    """The file at ``path``, if any, with ``flags`` over it; raises InvalidParameter naming what is wrong."""
    raw: Any = {}
    try:
        if path is not None:
            with path.open("rb") as file:
                raw = msgspec.yaml.decode(file.read(MAXIMUM_FILE_BYTES))
        config = msgspec.convert({**(raw or {}), **flags}, Config)
    except OSError as error:
        raise InvalidParameter(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, TypeError) as error:
        raise InvalidParameter(f"invalid registry configuration {path or ''}: {error}") from None
    return _check(config)


def _check(config: Config) -> Config:
    """Raise InvalidParameter for values that parse and cannot be meant."""
    _ = config.address
    if config.auth and config.auth.anonymous_pull and not config.auth.htpasswd:
        raise InvalidParameter("auth.htpasswd must name a file")
    if config.proxy and not config.proxy.upstream.startswith(("http://", "https://")):
        raise InvalidParameter(f"proxy.upstream must be a URL, not {config.proxy.upstream!r}")
    if config.log.level not in ("debug", "info", "warning", "error"):
        raise InvalidParameter(f"log.level must be debug, info, warning or error, not {config.log.level!r}")
    return config
