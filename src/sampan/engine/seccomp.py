"""Seccomp profiles: Docker's JSON made into the runtime specification's filter.

A rule of Docker's format is taken or left by ``includes`` and ``excludes``: capabilities of the container, the
architecture, the kernel's version. Profiles are cached by their text and the capabilities that decide.
Source: moby profiles/seccomp.
"""

import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from sampan.api.malformed import explain
from sampan.engine.host import architecture
from sampan.engine.security import Security
from sampan.errors import InvalidParameter, Unsupported
from sampan.oci import runtime_spec as oci
from sampan.runtime.seccomp_default import default_profile

MAXIMUM_PROFILE = 1 << 20


class Condition(msgspec.Struct, rename="camel"):
    """When a rule counts."""

    arches: list[str] = []
    caps: list[str] = []
    min_kernel: str = ""


class Rule(msgspec.Struct, rename="camel"):
    """System calls and what becomes of them."""

    action: str
    names: list[str] = []
    name: str = ""
    args: list[dict[str, Any]] | None = None
    includes: Condition | None = None
    excludes: Condition | None = None
    errno_ret: int | None = None


class Architecture(msgspec.Struct, rename="camel"):
    """An architecture and those whose calls it can make too."""

    architecture: str
    sub_architectures: list[str] | None = None


class Profile(msgspec.Struct, rename="camel"):
    """A profile in Docker's format; one in the specification's format reads the same."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[Architecture] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[Rule] | None = None


def profile_of(security: Security, capabilities: list[str]) -> oci.Seccomp | None:
    """The filter of a container with these options; None is no filter. Raises InvalidParameter."""
    if security.seccomp == "unconfined":
        return None
    if not security.seccomp:
        return default_profile(frozenset(capabilities))
    return custom_profile(security.seccomp, frozenset(capabilities))


@lru_cache(maxsize=32)
def custom_profile(text: str, capabilities: frozenset[str]) -> oci.Seccomp:
    """The profile ``text``: JSON as the client sends it, or the path of a file (the daemon's own setting)."""
    if not text.lstrip().startswith("{"):
        text = read_profile(text)
    try:
        profile = msgspec.json.decode(text, type=Profile)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from None
    except msgspec.DecodeError:
        raise InvalidParameter(f"Decoding seccomp profile failed: {explain(text.encode())}") from None
    if profile.listener_path:
        raise Unsupported("seccomp profiles with a listener are not supported")
    return oci.Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=architectures_of(profile),
        flags=profile.flags or (),
        syscalls=[rule_of(rule) for rule in profile.syscalls or () if counts(rule, capabilities)],
    )


def read_profile(path: str) -> str:
    """The text of a profile's file; raises InvalidParameter."""
    try:
        with Path(path).open() as file:
            return file.read(MAXIMUM_PROFILE)
    except OSError as error:
        raise InvalidParameter(f"opening seccomp profile ({path}) failed: {error.strerror}") from None


def architectures_of(profile: Profile) -> list[str]:
    """Architectures named outright, or those of the host's line in the map."""
    if profile.architectures:
        return profile.architectures
    native = f"SCMP_ARCH_{platform.machine().upper()}"
    for line in profile.arch_map or ():
        if line.architecture == native:
            return [native, *(line.sub_architectures or ())]
    return []


def counts(rule: Rule, capabilities: frozenset[str]) -> bool:
    """Whether a rule's conditions hold here."""
    wanted, unwanted = rule.includes or Condition(), rule.excludes or Condition()
    if unwanted.arches and architecture() in unwanted.arches:
        return False
    if unwanted.caps and capabilities & set(unwanted.caps):
        return False
    if wanted.arches and architecture() not in wanted.arches:
        return False
    if not set(wanted.caps) <= capabilities:
        return False
    if wanted.min_kernel and kernel_version() < version_of(wanted.min_kernel):
        return False
    return not (unwanted.min_kernel and kernel_version() >= version_of(unwanted.min_kernel))


def kernel_version() -> tuple[int, int]:
    """Major and minor of the running kernel."""
    return version_of(os.uname().release)


def version_of(text: str) -> tuple[int, int]:
    """``6.18.5-x`` → (6, 18)."""
    major, _, rest = text.partition(".")
    minor = "".join(digit for digit in rest.partition(".")[0] if digit.isdecimal())
    return int(major), int(minor or 0)


def rule_of(rule: Rule) -> oci.SeccompSyscall:
    """A rule of the specification."""
    try:
        args = msgspec.convert(rule.args or [], list[oci.SeccompArg])
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from None
    return oci.SeccompSyscall(rule.names or [rule.name], rule.action, rule.errno_ret, args)
