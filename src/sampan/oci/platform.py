"""Platforms: operating system, architecture and variant, in Go's words, and which of them run where.

    linux/amd64   linux/arm64   linux/arm/v7   linux/386

Source: https://github.com/opencontainers/image-spec image-index.md (platform), containerd's platform matching.
"""

import os
import re
from collections.abc import Sequence

import msgspec
from msgspec import field

from sampan.errors import InvalidParameter

_OS = {"macos": "darwin"}
_ARCHITECTURE: dict[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "powerpc64le": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
}
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_KNOWN_ARCHITECTURES = {
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle"),
    *("ppc64", "ppc64le", "riscv64", "s390x", "wasm"),
}
_KNOWN_SYSTEMS = {
    *("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd"),
    *("openbsd", "plan9", "solaris", "windows", "zos"),
}
_IMPLIED_VARIANT = {("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")}
_ALSO_RUNS: dict[str, Sequence[tuple[str, str]]] = {
    "amd64": (("386", ""),),
    "arm64": (("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
    "arm": (("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
}
"""What a machine runs besides its own architecture, best first."""


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """A platform as in an index's descriptor or an image config."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(name="os.version", default="")
    os_features: tuple[str, ...] = field(name="os.features", default=())
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """``os[/arch[/variant]]`` or a lone architecture, normalised; missing parts are the host's."""
        parts = text.split("/")
        if "*" in text:
            raise InvalidParameter(f'"{text}": wildcards not yet supported: invalid argument')
        if len(parts) > 3:
            raise InvalidParameter(f'"{text}": cannot parse platform specifier: invalid argument')
        for part in parts:
            if not _WORD.fullmatch(part):
                raise InvalidParameter(
                    f'"{part}" is an invalid component of "{text}": platform specifier component must match '
                    f'"^{_WORD.pattern}$": invalid argument'
                )
        if len(parts) > 1:
            system, architecture, variant = (*parts, "")[:3]
            return cls(architecture, system, variant=variant).normalised()
        alone = cls(architecture=parts[0], os="linux").normalised()
        if alone.architecture in _KNOWN_ARCHITECTURES:
            return alone
        found = cls(host().architecture, parts[0], variant=host().variant).normalised()
        if found.os not in _KNOWN_SYSTEMS:
            raise InvalidParameter(f'"{text}": unknown operating system or architecture: invalid argument')
        return found

    def normalised(self) -> "Platform":
        """With the names Go uses and without variants that go without saying."""
        system = self.os.lower()
        lowered = self.architecture.lower()
        architecture, implied = _ARCHITECTURE.get(lowered, (lowered, ""))
        variant = self.variant.lower() or implied
        if architecture == "arm":
            variant = variant if variant.startswith("v") else f"v{variant or 7}"
        if (architecture, variant) in _IMPLIED_VARIANT:
            variant = ""
        return Platform(architecture, _OS.get(system, system), self.os_version, self.os_features, variant)

    def rank_on(self, machine: "Platform") -> int | None:
        """How well this platform runs on ``machine``: 0 is its own, larger is worse, None is not at all."""
        mine, theirs = self.normalised(), machine.normalised()
        if mine.os != theirs.os:
            return None
        own = (theirs.architecture, theirs.variant)
        runs = [own, *(pair for pair in _ALSO_RUNS.get(theirs.architecture, ()) if _not_above(pair, own))]
        pair = (mine.architecture, mine.variant)
        return runs.index(pair) if pair in runs else None

    def matches(self, wanted: "Platform") -> bool:
        """Whether this is the platform ``wanted``, exactly (a variant not asked for may be any)."""
        mine, other = self.normalised(), wanted.normalised()
        same = (mine.os, mine.architecture) == (other.os, other.architecture)
        return same and (mine.variant == other.variant or not wanted.variant)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os or "unknown", self.architecture, self.variant)))


def host() -> Platform:
    """The platform of this machine."""
    return Platform(os.uname().machine, "linux").normalised()


def _not_above(pair: tuple[str, str], own: tuple[str, str]) -> bool:
    """A 32-bit ARM machine runs its own variant and lower ones only."""
    return own[0] != "arm" or (pair != own and pair[1] < own[1])
