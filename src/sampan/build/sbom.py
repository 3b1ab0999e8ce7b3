"""A software bill of materials (SPDX 2.3) of a file system: the packages that its package databases speak of.

    deb      var/lib/dpkg/status, var/lib/dpkg/status.d/*     one stanza for each
    apk      lib/apk/db/installed                             one stanza for each
    pypi     *.dist-info/METADATA, *.egg-info/PKG-INFO        one file for each
    npm      node_modules/*/package.json                      one file for each

Source: https://spdx.github.io/spdx-spec/v2.3, https://github.com/package-url/purl-spec.
"""

import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import msgspec

from sampan import __version__
from sampan.api.times import format_time
from sampan.archive.walk import Found, walk
from sampan.build.attestations import Predicate

SPDX_DOCUMENT = "https://spdx.dev/Document"
SIZE_LIMIT = 64 << 20
"""Bytes of a package database that are read."""
NOT_SAID = "NOASSERTION"
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package: its kind in package URLs, its namespace (its distribution), and where it was found."""

    kind: str
    name: str
    version: str
    namespace: str = ""
    architecture: str = ""
    license: str = ""
    found_in: str = ""

    @property
    def url(self) -> str:
        """``pkg:deb/debian/bash@5.2.15-2?arch=amd64``."""
        name = "/".join(quote(part, safe="") for part in (self.namespace, *self.name.split("/")) if part)
        suffix = f"?arch={self.architecture}" if self.architecture else ""
        return f"pkg:{self.kind}/{name}@{quote(self.version, safe='')}{suffix}"


def sbom(root: int, name: str, created: int) -> Predicate:
    """The bill of the file system behind the fd ``root``; ``created`` in nanoseconds since 1970. Blocks."""
    packages = sorted(set(packages_of(root)))
    described = [_described(number, package) for number, package in enumerate(packages, 1)]
    whole = {
        "SPDXID": "SPDXRef-DocumentRoot",
        "name": name,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
    }
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://sampan.invalid/spdx/{uuid.uuid5(uuid.NAMESPACE_URL, f'{name} {packages}')}",
        "creationInfo": {
            "created": format_time(created // 1_000_000_000 * 1_000_000_000),
            "creators": ["Organization: sampan", f"Tool: sampan-{__version__}"],
        },
        "packages": [whole, *described],
        "relationships": [
            _related("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-DocumentRoot"),
            *(_related("SPDXRef-DocumentRoot", "CONTAINS", package["SPDXID"]) for package in described),
        ],
    }
    return Predicate(SPDX_DOCUMENT, document)


def _related(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


def _described(number: int, package: Package) -> dict[str, Any]:
    safe = re.sub(r"[^A-Za-z0-9.-]", "-", f"{package.kind}-{package.name}")
    return {
        "SPDXID": f"SPDXRef-Package-{safe}-{number}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": False,
        "sourceInfo": f"acquired package info from: /{package.found_in}",
        "licenseConcluded": NOT_SAID,
        "licenseDeclared": NOT_SAID,
        **({"licenseComments": package.license} if package.license else {}),
        "copyrightText": NOT_SAID,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.url}
        ],
    }


def packages_of(root: int) -> Iterator[Package]:
    """Every package that a database below ``root`` speaks of."""
    distribution, found_packages = "", list[Package]()
    for found in walk(root):
        if found.path in OS_RELEASE:
            distribution = distribution or _distribution(_text(found))
        for pattern, parse in DATABASES:
            if pattern.fullmatch(found.path):
                found_packages += parse(_text(found), found.path)
    for package in found_packages:
        yield replace(package, namespace=distribution or package.namespace) if package.namespace else package


def _distribution(text: str) -> str:
    match = re.search(r'^ID="?([a-z0-9._-]+)"?$', text, re.MULTILINE)
    return match[1] if match else ""


def _text(found: Found) -> str:
    """A file's content, empty for what is no plain file."""
    if not posixpath.basename(found.path) or found.is_directory or found.status.st_size > SIZE_LIMIT:
        return ""
    try:
        fd = os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=found.directory)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(SIZE_LIMIT).decode(errors="replace")


def _stanzas(text: str) -> Iterator[Mapping[str, str]]:
    """``Name: value`` paragraphs; lines that go on are left out."""
    for paragraph in text.split("\n\n"):
        lines = (line.partition(":") for line in paragraph.splitlines() if line and not line[0].isspace())
        yield {name: value.strip() for name, colon, value in lines if colon}


def _debian(text: str, path: str) -> Iterator[Package]:
    for stanza in _stanzas(text):
        is_here = stanza.get("Status", "install ok installed").endswith(" installed")
        if is_here and "Package" in stanza and "Version" in stanza:
            yield Package(
                "deb", stanza["Package"], stanza["Version"], "debian", stanza.get("Architecture", ""), found_in=path
            )


def _alpine(text: str, path: str) -> Iterator[Package]:
    for stanza in _stanzas(text):
        if "P" in stanza and "V" in stanza:
            licence = stanza.get("L", "")
            yield Package("apk", stanza["P"], stanza["V"], "alpine", stanza.get("A", ""), licence, path)


def _python(text: str, path: str) -> Iterator[Package]:
    head = next(_stanzas(text), {})
    if "Name" in head and "Version" in head:
        name = re.sub(r"[-_.]+", "-", head["Name"]).lower()
        yield Package("pypi", name, head["Version"], license=head.get("License", "")[:200], found_in=path)


class _NodePackage(msgspec.Struct):
    name: str = ""
    version: str = ""
    license: Any = ""


def _node(text: str, path: str) -> Iterable[Package]:
    try:
        known = msgspec.json.decode(text, type=_NodePackage)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return []
    licence = known.license if isinstance(known.license, str) else ""
    return [Package("npm", known.name, known.version, license=licence, found_in=path)] if known.version else []


DATABASES: tuple[tuple[re.Pattern[str], Callable[[str, str], Iterable[Package]]], ...] = (
    (re.compile(r"var/lib/dpkg/status(?:\.d/[^/]+)?"), _debian),
    (re.compile(r"lib/apk/db/installed"), _alpine),
    (re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)"), _python),
    (re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json"), _node),
)
