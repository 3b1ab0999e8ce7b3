"""What a build says of its result: statements (in-toto) beside the image, in the index that its names mean.

    --attest type=provenance   how it was made      mode=min|max, version=v1|v0.2, builder-id, reproducible, inline-only
    --attest type=sbom         what is in it        found by this engine itself

Source: buildkit docs/attestations; https://github.com/in-toto/attestation spec.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.errors import InvalidParameter, Unsupported

PREFIXES = ("attest:", "build-arg:BUILDKIT_ATTEST_")
PROVENANCE, SBOM = "provenance", "sbom"
OWN_GENERATOR = ("", "docker/buildkit-syft-scanner:stable-1")
"""Scanners that are asked for when nobody says which: ours takes their place."""
MODES = {"min": "min", "max": "max", "full": "max"}
VERSIONS = ("v1", "v0.2")
KNOWN: Mapping[str, frozenset[str]] = {
    PROVENANCE: frozenset({"type", "disabled", "mode", "version", "builder-id", "reproducible", "inline-only"}),
    SBOM: frozenset({"type", "disabled", "generator"}),
}


@dataclass(frozen=True, slots=True)
class Predicate:
    """One statement's content. ``inline_only`` is for results that have a place for it of their own: images."""

    type: str
    body: Mapping[str, Any]
    inline_only: bool = False


@dataclass(frozen=True, slots=True)
class ProvenanceWanted:
    """Provenance as asked for; with ``everything`` it tells arguments and sources too."""

    everything: bool = True
    version: str = "v1"
    builder_id: str = ""
    reproducible: bool = False
    inline_only: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The attestations of a build."""

    provenance: ProvenanceWanted | None = None
    sbom: bool = False


def wanted(options: Mapping[str, str]) -> Wanted:
    """What a frontend's options ask for. Raises InvalidParameter, Unsupported."""
    provenance, sbom = None, False
    for kind, text in _asked(options).items():
        if kind not in KNOWN:
            raise InvalidParameter(f'unknown attestation type "{kind}"')
        attributes = _attributes(kind, text)
        if attributes.get("disabled") == "true":
            continue
        if kind == PROVENANCE:
            provenance = _provenance(attributes)
        elif attributes.get("generator", "") not in OWN_GENERATOR:
            raise Unsupported(f"sbom generator {attributes['generator']}: only the engine's own scanner is supported")
        else:
            sbom = True
    return Wanted(provenance, sbom)


def _asked(options: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(prefix).lower(): value
        for prefix in reversed(PREFIXES)
        for name, value in options.items()
        if name.startswith(prefix)
    }


def _attributes(kind: str, text: str) -> dict[str, str]:
    fields = next(csv.reader([text]), []) if text else []
    pairs = {name: value for name, _, value in (field.partition("=") for field in fields)}
    if unknown := sorted(pairs.keys() - KNOWN[kind]):
        raise InvalidParameter(f"unknown attribute {unknown[0]} of attestation type {kind}")
    return pairs


def _provenance(attributes: Mapping[str, str]) -> ProvenanceWanted:
    mode, version = attributes.get("mode", "max"), attributes.get("version", VERSIONS[0])
    if mode not in MODES:
        raise InvalidParameter(f'invalid mode "{mode}"')
    if version not in VERSIONS:
        raise InvalidParameter(f"invalid provenance SLSA version: {version}")
    return ProvenanceWanted(
        everything=MODES[mode] == "max",
        version=version,
        builder_id=attributes.get("builder-id", ""),
        reproducible=attributes.get("reproducible") == "true",
        inline_only=attributes.get("inline-only") == "true",
    )
