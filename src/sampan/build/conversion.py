"""An image's layers made anew: compressed otherwise, or with no file younger than a given time.

    compression=uncompressed|gzip|zstd   of the build's own layers; force-compression=true takes the base image's too
    rewrite-timestamp=true               with SOURCE_DATE_EPOCH, of all layers and of the config's times

Other times mean other diff IDs, and so another image; another compression only another manifest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from sampan.api.times import format_time, parse_time
from sampan.archive.compression import decompressed
from sampan.archive.reader import CHUNK, Source, TarReader
from sampan.archive.stream import Sink
from sampan.archive.writer import TarWriter
from sampan.oci import descriptor as types
from sampan.oci import manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import DiffID
from sampan.oci.image_config import ImageConfig, RootFS
from sampan.storage.images import Image
from sampan.storage.layers import write_layer
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

COMPRESSIONS = {"uncompressed": "", "gzip": "gzip", "zstd": "zstd"}
_COMPRESSED_AS = {
    "": frozenset({types.OCI_LAYER, types.DOCKER_LAYER}),
    "gzip": frozenset({types.OCI_LAYER_GZIP, types.DOCKER_LAYER_GZIP}),
    "zstd": frozenset({types.OCI_LAYER_ZSTD, types.DOCKER_LAYER_ZSTD}),
}


@dataclass(frozen=True, slots=True)
class Form:
    """What layers shall be: ``compression`` None leaves it; ``epoch`` in seconds since 1970 bounds the times."""

    compression: str | None = None
    everything: bool = False
    epoch: int | None = None


def convert(storage: Storage, lease: Lease, image: Image, own: int, form: Form) -> Image:
    """The image in this form, of whose layers the last ``own`` are the build's. Blocks."""
    if form.compression is None and form.epoch is None:
        return image
    config, layers, diff_ids = image.config.value, list[Descriptor](), list[DiffID]()
    first = len(config.diff_ids) - own
    for number, (layer, diff_id) in enumerate(zip(image.manifest.value.layers, config.diff_ids, strict=True)):
        if form.epoch is None and (_is_so(layer, form) or (number < first and not form.everything)):
            made = layer, diff_id
        else:
            made = _made_anew(storage, lease, layer, form)
        layers.append(made[0])
        diff_ids.append(made[1])
    if form.epoch is None:
        return _with_layers(storage, lease, image, layers)
    config = dated(config, form.epoch)
    return storage.images.create(msgspec.structs.replace(config, rootfs=RootFS(diff_ids)), layers)


def _with_layers(storage: Storage, lease: Lease, image: Image, layers: Sequence[Descriptor]) -> Image:
    """The same image in other blobs."""
    value = image.manifest.value
    document = manifest.image_manifest(value.config, layers, value.annotations)
    lease.hold(document.digest)
    storage.content.write(document.raw)
    storage.images.register(manifest.describe(document))
    return replace(image, manifest=document)


def _is_so(layer: Descriptor, form: Form) -> bool:
    return form.compression is None or layer.media_type in _COMPRESSED_AS[form.compression]


def _made_anew(storage: Storage, lease: Lease, layer: Descriptor, form: Form) -> tuple[Descriptor, DiffID]:
    kept = next((kind for kind, known in _COMPRESSED_AS.items() if layer.media_type in known), "gzip")
    compression = kept if form.compression is None else form.compression
    with storage.content.open(layer.digest) as blob:
        source, epoch = decompressed(blob), form.epoch
        if epoch is None:
            return write_layer(storage.content, lease, lambda sink: _copy(source, sink), compression)
        return write_layer(storage.content, lease, lambda sink: _date(source, sink, epoch), compression)


def _copy(source: Source, sink: Sink) -> None:
    while data := source.read(CHUNK):
        sink.write(data)


def _date(source: Source, sink: Sink, epoch: int) -> None:
    """The tar with every time at most ``epoch``."""
    limit, writer, reader = epoch * 1_000_000_000, TarWriter(sink), TarReader(source)
    for entry in reader:
        bounded = replace(entry, mtime_ns=min(entry.mtime_ns, limit), stored=entry.size, sparse=None)
        writer.add_stream(bounded, _reader_of(reader))
    writer.finish()


def _reader_of(reader: TarReader) -> Callable[[int], bytes]:
    """The current member's content in pieces of a wanted size, its holes as zeros."""
    pieces, rest = _pieces(reader), memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal rest
        rest = rest or next(pieces, rest)
        taken, rest = rest[:size], rest[size:]
        return bytes(taken)

    return read


def _pieces(reader: TarReader) -> Iterator[memoryview]:
    position = 0
    for offset, data in reader.data():
        while position < offset:
            hole = memoryview(bytes(min(CHUNK, offset - position)))
            position += len(hole)
            yield hole
        position += len(data)
        yield data


def dated(config: ImageConfig, epoch: int) -> ImageConfig:
    """The config with no time younger than ``epoch`` (seconds)."""
    history = [msgspec.structs.replace(step, created=_bounded(step.created, epoch)) for step in config.history]
    return msgspec.structs.replace(config, created=_bounded(config.created, epoch), history=history)


def _bounded(time: str, epoch: int) -> str:
    return format_time(epoch * 1_000_000_000) if time and parse_time(time) > epoch * 1_000_000_000 else time
