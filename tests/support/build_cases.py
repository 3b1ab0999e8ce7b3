"""Cases of builds, kept as text: a Dockerfile, and what comes of it.

    === name of the case
    FROM scratch
    COPY a /
    --- options               one JSON object: more of the query of POST /build; {"only": "1"} for one builder alone
    --- expect                what comes of it with both builders
    a 640 0:0 7B @1600000000
    --- expect 2              what comes of it with BuildKit, where that differs

An outcome is the image's config (``Name: JSON``, without what every image has), then its files (``path mode owner`` …),
those that ``busybox`` has left out; or one line ``error: …``.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

MTIME = 1_600_000_000
CONFIG = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Healthcheck", "Volumes", "WorkingDir", "OnBuild", "Labels",
    "StopSignal", "Shell",
)  # fmt: skip
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE = frozenset({"bin", "etc", "tmp", "root", "data", "etc/passwd", "etc/group", "data/seed"})
STUBS = re.compile(r"\.dockerenv|(?:dev|proc|sys)(?:/.*)?|etc/(?:hosts|hostname|resolv\.conf|mtab)")
"""What an engine puts in a container that is never started."""


@dataclass
class Case:
    """One case; ``expected`` by the builder's version."""

    name: str
    dockerfile: str
    options: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> list[str]:
        only = self.options.get("only", "12")
        return list(only)


def read_cases(path: Path) -> list[Case]:
    """The cases of a file."""
    return [_case(part) for part in path.read_text().split("=== ")[1:]]


def _case(text: str) -> Case:
    name, _, rest = text.partition("\n")
    dockerfile, *sections = re.split(r"^--- ", rest, flags=re.MULTILINE)
    case = Case(name, dockerfile)
    for section in sections:
        title, _, body = section.partition("\n")
        if title == "options":
            case.options = json.loads(body)
        else:
            case.expected[title.removeprefix("expect").strip() or "12"] = body.strip("\n")
    return case


def expected_of(case: Case, version: str) -> str:
    """What comes of the case with one builder."""
    return case.expected.get(version, case.expected.get("12", ""))


def _tar(files: Mapping[str, str], mode: str) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(text), 0o604, 5, 6, MTIME + 5
            tar.addfile(entry, io.BytesIO(text.encode()))
    pack = {"": bytes, "gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress}
    packed: bytes = pack[mode](plain.getvalue())
    return packed


INNER = {"in/one": "1", "two": "22"}
CONTEXT: Mapping[str, tuple[str, int, bytes | str]] = {
    "a": ("file", 0o640, b"alpha\n"),
    "b.txt": ("file", 0o644, b"beta"),
    "with space": ("file", 0o644, b"s"),
    "run.sh": ("file", 0o755, b"#!/bin/sh\n"),
    "suid": ("file", 0o4755, b"suid"),
    "[x].cfg": ("file", 0o644, b"brackets"),
    "d": ("directory", 0o755, b""),
    "d/one": ("file", 0o644, b"1"),
    "d/.hidden": ("file", 0o600, b"h"),
    "d/skip.log": ("file", 0o644, b"log"),
    "d/keep.log": ("file", 0o644, b"kept"),
    "d/e": ("directory", 0o750, b""),
    "d/e/two": ("file", 0o644, b"22"),
    "d/e/deep": ("directory", 0o755, b""),
    "d/e/deep/three": ("file", 0o444, b"333"),
    "empty": ("directory", 0o711, b""),
    "link": ("link", 0o777, "a"),
    "dirlink": ("link", 0o777, "d"),
    "dangling": ("link", 0o777, "nowhere"),
    "d/up": ("link", 0o777, "../a"),
    "secret.key": ("file", 0o600, b"hidden"),
    "t.tar": ("file", 0o644, _tar(INNER, "")),
    "t.tgz": ("file", 0o644, _tar(INNER, "gz")),
    "t.tbz": ("file", 0o644, _tar(INNER, "bz2")),
    "t.txz": ("file", 0o644, _tar(INNER, "xz")),
    "plain.gz": ("file", 0o644, gzip.compress(b"no archive", mtime=0)),
    ".dockerignore": ("file", 0o644, b"# comment\n**/*.log\n!d/keep.log\nsecret*\n"),
}
IGNORED = frozenset({"d/skip.log", "secret.key"})
"""What a client leaves out; BuildKit's own client does, and so do docker-py and the CLI."""


def context_of(dockerfile: str) -> bytes:
    """The context of every case, with this Dockerfile."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (kind, mode, content) in {**CONTEXT, "Dockerfile": ("file", 0o644, dockerfile)}.items():
            if name in IGNORED:
                continue
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid, entry.mtime = mode, 77, 88, MTIME
            if kind == "directory":
                entry.type = tarfile.DIRTYPE
            elif kind == "link":
                entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
            data = content.encode() if isinstance(content, str) else content
            entry.size = len(data) if kind == "file" else 0
            tar.addfile(entry, io.BytesIO(data) if kind == "file" else None)
    return buffer.getvalue()


def outcome(api: docker.APIClient, case: Case, version: str) -> str:
    """Build the case and describe what came of it."""
    query = {"version": version, "networkmode": "none", **case.options}
    query.pop("only", None)
    answer = api._post(api._url("/build"), data=context_of(case.dockerfile), params=query)
    if answer.status_code != 200:
        return f"error: {answer.json()['message']}"
    lines = [json.loads(line) for line in answer.text.splitlines() if line.strip()]
    if error := next((line["error"] for line in lines if "error" in line), None):
        return f"error: {error}"
    image = [line["aux"]["ID"] for line in lines if isinstance(line.get("aux"), dict)][-1]
    return "\n".join([*_config(api.inspect_image(image)["Config"]), *_files(api, image)])


def _config(config: Mapping[str, Any]) -> Iterator[str]:
    for name in CONFIG:
        value = config.get(name)
        if name == "Env" and value:
            value = [entry for entry in value if entry != DEFAULT_PATH]
        if name == "WorkingDir" and value == "/":
            value = ""  # BuildKit says nothing for the root, or says it
        if value:
            yield f"{name}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}"


def _files(api: docker.APIClient, image: str) -> Iterator[str]:
    """Every file of the image, by name."""
    container = api.create_container(image, ["none"])["Id"]
    try:
        data = b"".join(api.export(container))
    finally:
        api.remove_container(container)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        shown = [_shown(member) for member in tar if not STUBS.fullmatch(member.name.strip("/")) and not _given(member)]
    yield from sorted(shown)


def _given(member: tarfile.TarInfo) -> bool:
    """Whether the base image has it."""
    name = member.name.strip("/")
    return name in ("bin", "etc", "tmp", "root", "data", "etc/passwd", "etc/group", "data/seed") or name.startswith(
        "bin/"
    )


def _shown(member: tarfile.TarInfo) -> str:
    parts = [member.name.strip("/") or "/", f"{member.mode & 0o7777:o}", f"{member.uid}:{member.gid}"]
    if member.issym():
        parts.append(f"-> {member.linkname}")
    elif member.islnk():
        parts.append(f"= {member.linkname}")
    elif member.isfile():
        parts.append(f"{member.size}B")
    if member.mtime in (MTIME, MTIME + 5, 0) and not member.isdir():
        parts.append("@given" if member.mtime == MTIME else "@inner" if member.mtime else "@epoch")
    return " ".join(parts)
