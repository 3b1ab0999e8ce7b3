"""New layers made here: from a stream of files (import) or from a writable layer (commit, build).

A layer's blob is its tar, compressed with gzip unless asked otherwise; its diff ID is the digest of the tar itself.
"""

from collections.abc import Callable, Collection

from sampan.archive.compression import compressor, decompressed
from sampan.archive.entry import BLOCK
from sampan.archive.reader import CHUNK, Source
from sampan.archive.stream import CompressingSink, GatheringSink, HashingSink, Sink
from sampan.errors import EngineError
from sampan.oci import descriptor as types
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import DiffID
from sampan.storage.content import ContentStore, Ingest
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

_TYPES = {"": types.OCI_LAYER, "gzip": types.OCI_LAYER_GZIP, "zstd": types.OCI_LAYER_ZSTD}


def write_layer(
    content: ContentStore, lease: Lease, write: Callable[[Sink], None], compression: str = "gzip"
) -> tuple[Descriptor, DiffID]:
    """Store the layer tar that ``write`` writes, compressed; returns its descriptor and diff ID.

    It is settled by the manifest that names it (see ``Ingest.commit``).
    """
    with content.ingest() as ingest:
        try:
            diff_id = _write(ingest, write, compression)
            return _committed(ingest, lease, _TYPES[compression]), diff_id
        except (EngineError, OSError):
            ingest.abort()
            raise


def _write(ingest: Ingest, write: Callable[[Sink], None], compression: str) -> DiffID:
    packing = CompressingSink(compressor(compression), ingest) if compression else None
    hashing = HashingSink(packing or ingest)
    gathering = GatheringSink(hashing)
    write(gathering)
    gathering.finish()
    if packing is not None:
        packing.finish()
    return DiffID(hashing.digest)


def _committed(ingest: Ingest, lease: Lease, media_type: str) -> Descriptor:
    lease.hold(ingest.digest)
    return Descriptor(media_type=media_type, digest=ingest.commit(settle=False), size=ingest.offset)


def commit_layer(
    storage: Storage,
    lease: Lease,
    key: str,
    compression: str = "gzip",
    places: Collection[str] = (),
    *,
    settled: bool = False,
) -> tuple[Descriptor, DiffID]:
    """Store what the writable layer ``key`` holds, but for empty ``places``, as a layer blob; it stays as it is.

    ``settled`` says that nothing writes to it meanwhile.
    """

    def write(sink: Sink) -> None:
        storage.snapshots.diff(key, sink, places, settled=settled)

    return write_layer(storage.content, lease, write, compression)


def import_layer(storage: Storage, lease: Lease, source: Source) -> tuple[Descriptor, DiffID]:
    """Store a root file system's tar, compressed or not, as a layer blob."""
    return write_layer(storage.content, lease, lambda sink: _copy_tar(decompressed(source), sink))


def _copy_tar(source: Source, sink: Sink) -> None:
    size = 0
    while data := source.read(CHUNK):
        sink.write(data)
        size += len(data)
    if not size:
        sink.write(bytes(2 * BLOCK))  # nothing at all is taken for an archive of nothing
