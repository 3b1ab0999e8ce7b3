"""The check of a data root that no daemon uses: what is damaged, in plain words, and what can be done about it.

    version ─▶ database ─▶ blobs' digests ─▶ layers' directories ─▶ images, references, build cache
                                          ─▶ writable layers, containers, volumes ─▶ leftovers

Later steps take what earlier ones found as gone: an image whose layer is damaged is found in the same run. Repairs take
what is damaged from its copy (storage.backup), or drop it. What writable layers and volumes hold is never dropped: the
files of a container whose record is lost are moved to ``lost``. Leftovers of a crash are no damage; the next start
removes them as well.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sampan.errors import EngineError, InvalidParameter
from sampan.oci import digest as digests
from sampan.oci import image_config, manifest
from sampan.oci.digest import ChainID, Digest
from sampan.storage.backup import lost_place, record_in_copy, salvage
from sampan.storage.content import ContentStore
from sampan.storage.database import Database
from sampan.storage.records import DAMAGED
from sampan.storage.snapshots import BESIDE_LAYERS, remove_path
from sampan.storage.store import FORMAT, format_of

CHUNK = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. Without ``repair`` a person has to decide; ``advice`` says what about."""

    problem: str
    advice: str
    repair: Callable[[], object] | None = None
    damage: bool = True


Types = Mapping[str, type[msgspec.Struct]]
"""What records of each kind must be readable as."""


def check(root: Path, types: Types) -> Iterator[Finding]:
    """All findings about the data root at ``root``, in an order in which they can be repaired one by one.

    Repair each before asking for the next, or none. Raises InvalidParameter for what is no data root of this format.
    """
    require_format(root)
    problem = database_problem(root / "engine.db")
    if problem:
        yield Finding(
            f"the database engine.db is damaged: {problem}",
            f"take what can be read, and the rest from engine.db.copy; the damaged file goes to {root / 'lost'}",
            partial(salvage, root),
        )
    if database_problem(root / "engine.db"):
        yield from damaged_blobs(ContentStore(root / "content"), set())
        return
    database = Database(root / "engine.db")
    try:
        yield from Check(root, database, types).findings()
    finally:
        database.close()


def require_format(root: Path) -> None:
    """Raise InvalidParameter unless ``root`` is a data root that this version knows."""
    found = format_of(root)
    if not found:
        raise InvalidParameter(f"{root} is not a data root: it has no file named version")
    if found != FORMAT:
        raise InvalidParameter(f"{root} has format {found!r}; this version knows {FORMAT!r}")


def database_problem(path: Path) -> str:
    """What is wrong with the database file; empty when nothing is."""
    if not path.exists():
        return "it does not exist"
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute("PRAGMA integrity_check(5)").fetchall()
            connection.execute("SELECT count(*) FROM records")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if rows == [("ok",)] else "; ".join(line for (line,) in rows)


def damaged_blobs(content: ContentStore, found: set[str]) -> Iterator[Finding]:
    """Blobs whose bytes are not what their name says; each is added to ``found``."""
    for digest in sorted(content.digests()):
        try:
            digests.parse(digest)
        except InvalidParameter:
            path = content.path(digest)
            yield Finding(f"{path} is not a blob", "remove the file", partial(remove_path, path), damage=False)
            continue
        actual = digest_of(content.path(digest), digests.algorithm(digest))
        if actual != digest:
            found.add(digest)
            yield Finding(
                f"blob {digest} is damaged: its bytes are {actual}",
                "remove it; images that need it are pulled again",
                partial(content.delete, digest),
            )


def digest_of(path: Path, algorithm: str) -> str:
    """Digest of a file, read piece by piece; what the disk refuses to read has none."""
    state = hashlib.new(algorithm)
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(CHUNK):
                state.update(piece)
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return digests.of_hash(state)


class Check:
    """One run over a data root whose database is sound."""

    def __init__(self, root: Path, database: Database, types: Types) -> None:
        self._root = root
        self._database = database
        self._decoders = {kind: msgspec.json.Decoder(type) for kind, type in types.items()}
        self._content = ContentStore(root / "content")
        self._damaged: set[str] = set()
        self._layers: dict[str, str | None] = {}

    def findings(self) -> Iterator[Finding]:
        """All steps, in order."""
        yield from damaged_blobs(self._content, self._damaged)
        yield from self._lost_layers()
        yield from self._broken_images()
        yield from self._dangling_references()
        yield from self._unreadable_records()
        yield from self._broken_cache()
        yield from self._broken_containers()
        yield from self._lost_volumes()
        yield from self._leftovers()

    def _has(self, digest: str) -> bool:
        return digest not in self._damaged and Digest(digest) in self._content

    # Layers.

    def _lost_layers(self) -> Iterator[Finding]:
        """Rows without files, and rows that stand on those; what stays is ``_layers``."""
        self._layers = dict(self._database.rows("SELECT chain, parent FROM layers"))
        lost = [chain for chain in self._layers if not self._directory(chain).is_dir()]
        while lost:
            chain = lost.pop()
            del self._layers[chain]
            lost += [above for above, parent in self._layers.items() if parent == chain and above not in lost]
            yield Finding(
                f"the unpacked layer {chain} is not there, or not what it stands on",
                "forget it; it is unpacked again from its blob when needed",
                partial(self._database.execute, "DELETE FROM layers WHERE chain=?", chain),
            )

    def _directory(self, chain: str) -> Path:
        return self._root / "snapshots" / digests.encoded(ChainID(chain)) / "fs"

    # Images.

    def _broken_images(self) -> Iterator[Finding]:
        for id, manifest_digest in self._database.rows("SELECT id, manifest FROM images ORDER BY id"):
            problem = self._image_problem(id, manifest_digest)
            if problem:
                yield Finding(
                    f"image {id} is not whole: {problem}",
                    "forget it and its names; pull or build it again",
                    partial(self._forget_image, id),
                )

    def _image_problem(self, id: str, manifest_digest: str) -> str:
        for what, digest in (("manifest", manifest_digest), ("config", id)):
            if not self._has(digest):
                return f"its {what} {digest} is missing"
        try:
            layers = manifest.decode_manifest(self._content.read(Digest(manifest_digest))).value.layers
            top = image_config.decode(self._content.read(Digest(id))).value.chain_id
        except EngineError as error:
            return error.message
        missing = [layer.digest for layer in layers if not self._has(layer.digest)]
        if not missing or (top is not None and top in self._layers):
            return ""
        return f"its layer {missing[0]} is missing"

    def _forget_image(self, id: str) -> None:
        with self._database.transaction():
            self._database.execute("DELETE FROM images WHERE id=?", id)
            self._database.execute("DELETE FROM image_members WHERE image=?", id)
            self._database.execute("UPDATE images SET parent=NULL WHERE parent=?", id)

    def _dangling_references(self) -> Iterator[Finding]:
        """Names that mean nothing that is here, those of images just found broken left out once repaired."""
        rows = self._database.rows("SELECT reference, target FROM image_references ORDER BY reference")
        members = {target for (target,) in self._database.rows("SELECT DISTINCT target FROM image_members")}
        for reference, target in rows:
            if target not in members or not self._has(target):
                yield Finding(
                    f"the image name {reference} leads nowhere: {target} is missing",
                    "forget the name",
                    partial(self._database.execute, "DELETE FROM image_references WHERE reference=?", reference),
                )

    # Records.

    def _unreadable_records(self) -> Iterator[Finding]:
        """Records that were set aside, and those that the next start would set aside."""
        for kind, id, value in self._database.rows("SELECT kind, id, value FROM records ORDER BY kind, id"):
            owner = kind.removeprefix(DAMAGED)
            if kind != owner or not self._is_readable(kind, value):
                yield self._unreadable(kind, owner, id)

    def _is_readable(self, kind: str, value: bytes) -> bool:
        decoder = self._decoders.get(kind)
        try:
            return (decoder.decode(value) if decoder else decoded(value)) is not None
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
            return False

    def _unreadable(self, stored: str, kind: str, id: str) -> Finding:
        copied = record_in_copy(self._root, kind, id)
        if copied is not None and self._is_readable(kind, copied[1]):
            advice, repair = (
                "take it from engine.db.copy, as it was then",
                partial(self._restore_record, kind, id, *copied),
            )
        elif kind == "volume" and (self._root / "volumes" / id / "_data").is_dir():
            value = msgspec.json.encode({"name": id})
            advice = "make a new one for its directory: driver local, no labels, no options"
            repair = partial(self._restore_record, kind, id, id, value)
        else:
            advice = f"forget it; its bytes and a container's files go to {self._root / 'lost'}"
            repair = partial(self._lose_record, stored, kind, id)
        return Finding(f"the record of {kind} {id} is unreadable", advice, repair)

    def _restore_record(self, kind: str, id: str, name: str | None, value: bytes) -> None:
        """Put a record back; where its name was given away meanwhile, a container takes another and a network goes."""
        with self._database.transaction():
            self._forget_record(kind, id)
            self._forget_record(DAMAGED + kind, id)
            taken = self._database.row("SELECT 1 FROM records WHERE kind=? AND name=?", kind, name)
            if taken and kind != "container":
                return
            if taken:
                name = f"{name}-{id[:12]}"
                value = msgspec.json.encode({**(decoded(value) or {}), "name": name})
            self._database.execute(
                "INSERT INTO records (kind, id, name, value) VALUES (?, ?, ?, ?)", kind, id, name, value
            )

    def _lose_record(self, stored: str, kind: str, id: str) -> None:
        row = self._database.row("SELECT value FROM records WHERE kind=? AND id=?", stored, id)
        value = row[0] if row else b""
        name = f"{kind}-{id.replace('/', '_')}"
        lost_place(self._root, f"{name}.json").write_bytes(value if isinstance(value, bytes) else str(value).encode())
        files = self._root / "containers" / id
        if kind == "container" and files.is_dir():
            files.rename(lost_place(self._root, name))
        with self._database.transaction():
            self._forget_record(stored, id)
            if kind == "container":
                self._database.execute("DELETE FROM actives WHERE key=?", id)

    def _forget_record(self, kind: str, id: str) -> None:
        self._database.execute("DELETE FROM records WHERE kind=? AND id=?", kind, id)

    def _records(self, kind: str) -> dict[str, dict[str, Any]]:
        rows = self._database.rows("SELECT id, value FROM records WHERE kind=? ORDER BY id", kind)
        return {id: found for id, value in rows if (found := decoded(value)) is not None}

    def _broken_cache(self) -> Iterator[Finding]:
        """Entries of the build cache that keep what is not here any more."""
        for owner, pin in self._records("pin").items():
            gone = [each for each in pin.get("digests", ()) if each not in self._layers and not self._has(each)]
            if gone:
                yield Finding(
                    f"the build cache's entry {owner} needs {gone[0]}, which is missing",
                    "forget the entry; the step is built again",
                    partial(self._forget_cache, owner),
                )

    def _forget_cache(self, owner: str) -> None:
        with self._database.transaction():
            self._forget_record("pin", owner)
            self._forget_record("build-cache", owner.rpartition("/")[2])

    # What is never touched.

    def _broken_containers(self) -> Iterator[Finding]:
        known = self._records("container")
        parents = dict(self._database.rows("SELECT key, parent FROM actives"))
        directories = names_in(self._root / "containers")
        for id, record in known.items():
            problem = self._container_problem(id, parents)
            if problem:
                yield Finding(
                    f"container {record.get('name') or id[:12]} cannot start: {problem}",
                    f"save what you need from {self._root / 'containers' / id / 'upper'}, then remove the container",
                )
        for name in sorted(directories - known.keys()):
            path = self._root / "containers" / name
            yield Finding(f"{path} belongs to no container", "look what it holds, then remove it", damage=False)

    def _container_problem(self, id: str, parents: dict[str, str | None]) -> str:
        if id not in parents:
            return "its writable layer is not written down"
        if not (self._root / "containers" / id / "upper").is_dir():
            return "its writable layer is gone"
        parent = parents[id]
        if parent is not None and parent not in self._layers:
            return f"the layer {parent} that it stands on is missing"
        return ""

    def _lost_volumes(self) -> Iterator[Finding]:
        for name, record in self._records("volume").items():
            local = record.get("driver", "local") == "local"
            path = self._root / "volumes" / name / "_data"
            if local and not path.is_dir():
                yield Finding(f"volume {name} has lost its directory {path}", "restore it, or remove the volume")

    # Leftovers.

    def _leftovers(self) -> Iterator[Finding]:
        rows = {digests.encoded(ChainID(chain)) for chain in self._layers}
        unknown = names_in(self._root / "snapshots") - rows - BESIDE_LAYERS
        paths = [self._root / "snapshots" / name for name in sorted(unknown)]
        paths += [self._root / "tmp" / name for name in sorted(names_in(self._root / "tmp"))]
        ingests = self._root / "content" / "ingest"
        paths += [ingests / name for name in sorted(names_in(ingests)) if not (ingests / name / "ref").exists()]
        for path in paths:
            yield Finding(f"{path} is left over", "remove it", partial(remove_path, path), damage=False)


def names_in(directory: Path) -> set[str]:
    """Names in a directory; none when it is not there."""
    try:
        return {path.name for path in directory.iterdir()}
    except FileNotFoundError:
        return set()


def decoded(value: bytes) -> dict[str, Any] | None:
    """A record's fields; None when they cannot be read."""
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
        return None
    return found if isinstance(found, dict) else None
