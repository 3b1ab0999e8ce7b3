"""SLSA provenance: from what and how a build made its result, in the shape that BuildKit gives it.

    buildDefinition   what was asked for, what it was made from      runDetails   who did it, and when

Source: https://slsa.dev/spec/v1.1/provenance, https://slsa.dev/spec/v0.2/provenance; buildkit
docs/attestations/slsa-definitions.md.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sampan.api.times import format_time
from sampan.build.attestations import Predicate, ProvenanceWanted
from sampan.errors import InvalidParameter
from sampan.oci.platform import Platform, host
from sampan.oci.reference import Reference

BUILD_TYPES = {
    "v1": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
    "v0.2": "https://mobyproject.org/buildkit@v1",
}
PREDICATE_TYPES = {"v1": "https://slsa.dev/provenance/v1", "v0.2": "https://slsa.dev/provenance/v0.2"}
CONFIDENTIAL = ("build-arg:", "label:", "vcs:")
"""What options that begin so say is told with mode=max only."""
UNTOLD = ("attest:", "local-sessionid:", "sharedkey:", "build-arg:BUILDKIT_ATTEST_")
"""Options that say nothing of the result."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a build was made from: an image, a commit, a file. ``digest`` is ``algorithm:hex``."""

    uri: str
    digest: str

    def as_dependency(self) -> dict[str, Any]:
        algorithm, _, value = self.digest.partition(":")
        return {"uri": self.uri, "digest": {algorithm: value}}


@dataclass(frozen=True, slots=True)
class Told:
    """What a build knows of itself. Times in nanoseconds since 1970; names of secrets and agents, never values."""

    id: str
    options: Mapping[str, str]
    dockerfile: str
    started: int
    finished: int
    materials: Sequence[Material]
    secrets: Sequence[str] = ()
    agents: Sequence[str] = ()


def image_uri(name: str, platform: Platform) -> str:
    """``pkg:docker/busybox@latest?platform=linux%2Famd64``; an ID as it is."""
    try:
        reference = Reference.parse(name).tagged()
    except InvalidParameter:
        return name
    version = quote(reference.tag or str(reference.digest), safe="")
    return f"pkg:docker/{reference.familiar_name}@{version}?platform={quote(str(platform), safe='')}"


def provenance(told: Told, asked: ProvenanceWanted) -> Predicate:
    """The statement's content."""
    make = _first if asked.version == "v1" else _second
    return Predicate(PREDICATE_TYPES[asked.version], make(told, asked), asked.inline_only)


def _first(told: Told, asked: ProvenanceWanted) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "invocationId": told.id,
        "startedOn": format_time(told.started),
        "finishedOn": format_time(told.finished),
        "buildkit_metadata": _metadata(told, asked),
        "buildkit_completeness": {"request": asked.everything, "resolvedDependencies": False},
    }
    if asked.reproducible:
        metadata["buildkit_reproducible"] = True
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPES["v1"],
            "externalParameters": {"configSource": _config_source(told), "request": _request(told, asked)},
            "internalParameters": {"builderPlatform": str(host())},
            "resolvedDependencies": [material.as_dependency() for material in told.materials],
        },
        "runDetails": {"builder": {"id": asked.builder_id}, "metadata": metadata},
    }


def _second(told: Told, asked: ProvenanceWanted) -> dict[str, Any]:
    source = _config_source(told)
    return {
        "builder": {"id": asked.builder_id},
        "buildType": BUILD_TYPES["v0.2"],
        "materials": [material.as_dependency() for material in told.materials],
        "invocation": {
            "configSource": {"entryPoint": source.pop("path"), **source},
            "parameters": _request(told, asked),
            "environment": {"platform": str(host())},
        },
        "metadata": {
            "buildInvocationID": told.id,
            "buildStartedOn": format_time(told.started),
            "buildFinishedOn": format_time(told.finished),
            "completeness": {"parameters": asked.everything, "environment": True, "materials": False},
            "reproducible": asked.reproducible,
            "https://mobyproject.org/buildkit@v1#metadata": _metadata(told, asked),
        },
    }


def _config_source(told: Told) -> dict[str, Any]:
    source: dict[str, Any] = {"path": told.options.get("filename") or "Dockerfile"}
    context = told.options.get("context", "")
    return {"uri": context, **source} if context else source


def _request(told: Told, asked: ProvenanceWanted) -> dict[str, Any]:
    hidden = UNTOLD if asked.everything else (*UNTOLD, *CONFIDENTIAL)
    shown = {name: value for name, value in told.options.items() if not name.startswith(hidden)}
    request: dict[str, Any] = {"frontend": "dockerfile.v0", "args": shown}
    if not told.options.get("context"):
        request["locals"] = [{"name": "context"}, {"name": "dockerfile"}]
    if asked.everything:
        for name, ids in (("secrets", told.secrets), ("ssh", told.agents)):
            if ids:
                request[name] = [{"id": id, "optional": True} for id in ids]
    return request


def _metadata(told: Told, asked: ProvenanceWanted) -> dict[str, Any]:
    found: dict[str, Any] = {}
    versioned = {name.removeprefix("vcs:"): text for name, text in told.options.items() if name.startswith("vcs:")}
    if versioned:
        found["vcs"] = versioned
    if asked.everything:
        name = told.options.get("filename") or "Dockerfile"
        data = base64.b64encode(told.dockerfile.encode()).decode()
        found["source"] = {"infos": [{"filename": name, "language": "Dockerfile", "data": data}]}
    return found
