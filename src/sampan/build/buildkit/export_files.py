"""The files of a build's result, sent to its client: ``type=local`` as a tree, ``type=tar`` as a tar.

(linux_amd64/)…      what the image has, dated SOURCE_DATE_EPOCH if there is one
provenance.json, sbom.spdx.json    what attestations were asked for say of those files
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import msgspec

from sampan.archive.entry import Entry
from sampan.archive.stream import Sink
from sampan.archive.walk import Found, walk
from sampan.archive.writer import TarWriter
from sampan.build.attestations import Predicate
from sampan.build.buildkit.attributes import Export
from sampan.build.buildkit.product import files_of
from sampan.build.buildkit.sending import Tree
from sampan.build.sbom import SPDX_DOCUMENT
from sampan.build.threads import in_thread
from sampan.errors import Unsupported
from sampan.linux.openat2 import open_member
from sampan.oci.platform import Platform
from sampan.storage.store import Storage

SECOND = 1_000_000_000


async def export_tree(storage: Storage, export: Export) -> dict[str, str]:
    """Send the files as a tree. Raises EngineError."""
    split = _is_split(export)
    with ExitStack() as held:
        trees = []
        for number, image in enumerate(export.product.images):
            root = files_of(storage, image, held)
            files = await in_thread(_statements, export, number, root, split=split)
            into = _directory(image.platform) if split else ""
            trees.append(Tree(root, into, files, _epoch(export, number)))
        async with export.activity.task("copying files"):
            await export.session.send_trees(export.id, trees)
    return {}


async def export_tar(storage: Storage, export: Export) -> dict[str, str]:
    """Send the files as a tar. Raises EngineError."""
    if len(export.product.images) > 1:
        raise Unsupported("exporter 'tar': several platforms in one tar are not supported")
    with ExitStack() as held:
        root = files_of(storage, export.product.first, held)
        files = await in_thread(_statements, export, 0, root, split=True)
        epoch = _epoch(export, 0)
        async with export.activity.task("sending tarball"):
            await export.session.send_file(export.id, lambda sink: _write(sink, root, files, epoch))
    return {}


def _write(sink: Sink, root: int, files: dict[str, bytes], epoch: int | None) -> None:
    writer = TarWriter(sink)

    def dated(entry: Entry) -> Entry:
        return entry if epoch is None else replace(entry, mtime_ns=epoch * SECOND)

    for found in walk(root):
        writer.add_found(found, found.path, dated)
    for name, data in files.items():
        writer.add(dated(Entry(name)), data)
    writer.finish()


def _epoch(export: Export, number: int) -> int | None:
    return export.product.outcomes[number].epoch


def _is_split(export: Export) -> bool:
    """Whether each platform has a directory of its own: asked for, or else when there are several."""
    return export.flag("platform-split", default=len(export.product.images) > 1)


def _directory(platform: Platform) -> str:
    return str(platform).replace("/", "_")


def _statements(export: Export, number: int, root: int, *, split: bool) -> dict[str, bytes]:
    """The files that attestations become, by name."""
    predicates = export.product.predicates[number] if export.product.predicates else ()
    wanted = [predicate for predicate in predicates if not predicate.inline_only]
    if not wanted:
        return {}
    subjects = [_subject(found) for found in walk(root) if _is_file(found)]
    image = export.product.images[number]
    several = len(export.product.images) > 1 and not split
    suffix = f".{_directory(image.platform)}" if several else ""
    prefix = export.attributes.get("attestation-prefix", "")
    return {f"{prefix}{_name(one, suffix)}": _encoded(one, subjects) for one in wanted}


def _name(predicate: Predicate, suffix: str) -> str:
    return f"sbom.spdx{suffix}.json" if predicate.type == SPDX_DOCUMENT else f"provenance{suffix}.json"


def _is_file(found: Found) -> bool:
    return not found.is_directory and found.status.st_mode & 0o170000 == 0o100000


def _subject(found: Found) -> dict[str, object]:
    fd = open_member(found.directory, found.name)
    with os.fdopen(fd, "rb") as file:
        return {"name": found.path, "digest": {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}}


def _encoded(predicate: Predicate, subjects: Sequence[object]) -> bytes:
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": predicate.type,
        "subject": subjects,
        "predicate": predicate.body,
    }
    return msgspec.json.format(msgspec.json.encode(statement), indent=2)
