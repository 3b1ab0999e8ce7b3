"""Requests at random from the routes and the wire types themselves, for a daemon to answer without falling over.

A request begins sound: a route, names of things that exist, a body of the operation's type. Then some of it is
replaced by ``POISON``: values that Go, Python, JSON, HTTP or the kernel trip over. The same seed makes the same
requests.

    Fuzzer(seed).request() -> Request("container_create", b"POST /v1.55/containers/create?name=… HTTP/1.1\\r\\n…")
"""

import json
import random
import re
import types
import typing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from sampan.api.containers import ContainerConfig, ContainerCreateRequest, ContainerUpdateRequest
from sampan.api.exec import ExecCreateRequest, ExecStartRequest
from sampan.api.images import AuthConfig
from sampan.api.networks import NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest
from sampan.api.volumes import VolumeCreateRequest
from sampan.server.app import ROUTES
from sampan.server.routes import Route

BODIES: dict[str, Any] = {
    "container_create": ContainerCreateRequest,
    "container_update": ContainerUpdateRequest,
    "container_exec": ExecCreateRequest,
    "exec_start": ExecStartRequest,
    "image_commit": ContainerConfig,
    "network_create": NetworkCreateRequest,
    "network_connect": NetworkConnectRequest,
    "network_disconnect": NetworkDisconnectRequest,
    "volume_create": VolumeCreateRequest,
    "system_auth": AuthConfig,
}
"""The type of an operation's JSON body; the others take a tar, or none."""

ELSEWHERE = frozenset({"image_search", "image_push", "distribution_inspect"})
"""Operations that speak to other machines."""

REFUSED = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/plugins")
"""Paths where nothing is done, whatever is asked."""

RARE = frozenset({
    "container_prune", "container_delete", "image_delete", "image_prune", "network_prune", "network_delete",
    "volume_prune", "volume_delete", "container_rename", "volume_rename",
})  # fmt: skip
"""Operations after which others find little; one in ten is made."""

ENDLESS = frozenset({
    "container_attach", "container_attach_websocket", "container_logs", "container_stats", "container_wait",
    "exec_start", "system_events", "session", "grpc",
})  # fmt: skip
"""Operations whose answer may rightly not end, or not begin."""

CONTAINERS = ("fuzz-running", "fuzz-created")
NETWORK, VOLUME, IMAGE = "fuzz-network", "fuzz-volume", "busybox:latest"

POISON: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 1.5, 1e308, -0.0,
    float("nan"), float("inf"), "", " ", "a", "0", "-1", "a" * 5000, "\0", "a\0b", "\x1b[2J", "é",
    "\ud800", "\U0001f6a2", "../../etc", "/", "//", ".", "..", "/proc/self/fd/0", "a:b:c:d", ":", "=", "=x", "x=", "*",
    "sha256:zz", "container:", "container:nope", "container:fuzz-running", "fuzz-running", "fuzz-network", "host",
    "none", "%00", "%s%n", "{{.}}", "256.1.1.1", "::1", "fe80::%eth0", "10.0.0.0/33", "0-99999999999", "99999/tcp",
    "80-79", "1,2,", "\n", [], [None], [[]], [{}], ["a", 1], [""], {}, {"": ""}, {"a": None}, {"a": {}}, {"\0": "\0"},
)  # fmt: skip

WORDS: dict[type, tuple[Any, ...]] = {
    bool: (False, True),
    int: (0, 1, -1, 10, 64 << 20),
    float: (0.0, 0.5),
    str: ("", "a", "true", "/tmp", "busybox", "1", "fuzz-volume", "default", "json-file", "bridge", "private"),
}

QUERY = (
    "all", "limit", "size", "filters", "name", "platform", "path", "stdout", "stderr", "tail", "since", "until",
    "follow", "timestamps", "signal", "t", "h", "w", "force", "v", "link", "condition", "noOverwriteDirNonDir",
    "copyUIDGID", "repo", "tag", "comment", "author", "changes", "pause", "container", "fromSrc", "noprune",
    "digests", "dangling", "stream", "one-shot", "ps_args", "detachKeys", "logs", "verbose", "scope", "type",
    "keep-storage", "id", "dockerfile", "q", "cachefrom", "buildargs", "labels", "memory", "cpusetcpus", "shmsize",
    "networkmode", "target", "outputs", "version", "remote", "names", "manifests", "quiet", "checkpoint",
    "ignoreErrors", "reserved-space",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request and the operation it is meant for."""

    operation: str
    data: bytes

    @property
    def line(self) -> str:
        """The first line, for people."""
        return self.data.partition(b"\r\n")[0].decode(errors="replace")[:300]


class Fuzzer:
    """Makes requests; equal seeds make equal ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        routes = [route for route in ROUTES if route.operation not in ELSEWHERE and not route.path.startswith(REFUSED)]
        self._routes, self._weights = routes, [0.1 if route.operation in RARE else 1 for route in routes]

    def request(self) -> Request:
        """The next request."""
        route = self._random.choices(self._routes, self._weights)[0]
        path, query = self._path(route), self._query(route.operation)
        version = self._random.choice(("", "", "/v1.24", "/v1.40", "/v1.44", "/v1.55"))
        body, kind = self._body(route.operation)
        head = [f"{route.method} {version}{path}{query} HTTP/1.1", "Host: d", "Connection: close"]
        if body:
            head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return Request(route.operation, "\r\n".join([*head, "", ""]).encode() + body)

    def _path(self, route: Route) -> str:
        def fill(match: re.Match[str]) -> str:
            if self._random.random() < 0.15:
                return self._escaped(self._random.choice(POISON))
            noun = route.path.split("/")[1]
            return {"networks": NETWORK, "volumes": VOLUME, "images": IMAGE}.get(noun, self._random.choice(CONTAINERS))

        return re.sub(r"\{\w+\}", fill, route.path)

    def _escaped(self, value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        return quote(text.encode("utf-8", "surrogatepass"), safe="")

    def _query(self, operation: str) -> str:
        asked = {name: self._random.choice(POISON) for name in self._random.choices(QUERY, k=self._random.randrange(4))}
        if operation == "image_create":  # never from a registry
            asked["fromSrc"] = "-"
        if operation == "image_build":
            asked["remote"] = ""
        if operation in ("container_stop", "container_restart"):
            asked["t"] = 0
        if "filters" in asked and self._random.random() < 0.7:
            name = self._random.choice(
                ("label", "status", "name", "id", "since", "dangling", "type", "until", "reference")
            )
            asked["filters"] = json.dumps({name: [str(self._random.choice(POISON))]})
        return "?" + "&".join(f"{name}={self._escaped(value)}" for name, value in asked.items()) if asked else ""

    def _body(self, operation: str) -> tuple[bytes, str]:
        if operation in ("put_container_archive", "image_load", "image_build", "volume_import", "image_create"):
            return self._random.randbytes(self._random.choice((0, 1, 511, 2048))), "application/x-tar"
        if operation not in BODIES:
            return b"", ""
        value = self._value(BODIES[operation])
        if operation == "container_create" and self._random.random() < 0.95:
            value = {**value, "Image": "busybox", "Cmd": ["true"]}
        for _ in range(self._random.choice((0, 0, 1, 1, 2, 5))):
            value = self._poisoned(value)
        text = json.dumps(value).encode()
        if self._random.random() < 0.05:
            at = self._random.randrange(len(text) + 1)
            text = text[:at] + self._random.choice((b"\xff", b"\0", b"[" * 3000, b"}", b"")) + text[at + 1 :]
        return text, "application/json"

    def _value(self, hint: Any) -> Any:
        """Something of the type ``hint``; of a struct only some members."""
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            hints = typing.get_type_hints(hint)
            pairs = list(zip(hint.__struct_fields__, hint.__struct_encode_fields__, strict=True))
            chosen = self._random.sample(pairs, min(len(pairs), self._random.randrange(6)))
            return {name: self._value(hints[attribute]) for attribute, name in chosen}
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return self._value(self._random.choice([one for one in inner if one is not type(None)]))
        if origin is list:
            return [self._value(inner[0]) for _ in range(self._random.randrange(3))]
        if origin is dict:
            return {self._word(str): self._value(inner[1]) for _ in range(self._random.randrange(3))}
        return self._word(hint)

    def _word(self, hint: Any) -> Any:
        return self._random.choice(WORDS.get(hint, WORDS[str]) if isinstance(hint, type) else WORDS[str])

    def _poisoned(self, value: Any) -> Any:
        """``value`` with one place in it, however deep, replaced."""
        if isinstance(value, dict) and value and self._random.random() < 0.95:
            key = self._random.choice(list(value))
            return {**value, key: self._poisoned(value[key])}
        if isinstance(value, list) and value and self._random.random() < 0.7:
            at = self._random.randrange(len(value))
            return [*value[:at], self._poisoned(value[at]), *value[at + 1 :]]
        return self._random.choice(POISON)
