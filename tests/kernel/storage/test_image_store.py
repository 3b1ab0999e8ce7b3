"""Images on the real file system: archives both ways, names, garbage, and a killed process."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest
from layer_tars import hard, link, listing, member, names_in, tar, viewed

from sampan.archive.compression import compressor
from sampan.errors import DataLoss, InvalidParameter, NoSuchImage, NotFound
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import DiffID
from sampan.oci.document import Document
from sampan.oci.image_config import History, ImageConfig, RootFS, RunConfig
from sampan.oci.platform import Platform, host
from sampan.oci.reference import Reference
from sampan.storage import save
from sampan.storage.images import Image
from sampan.storage.load import load
from sampan.storage.snapshots import BESIDE_LAYERS
from sampan.storage.store import Storage

OTHER = Platform("riscv64" if host().architecture != "riscv64" else "amd64", "linux")
ROOTFS = tar([member("bin/"), member("bin/busybox", b"program", mode=0o755), link("bin/sh", "busybox")])


def config_of(layer: bytes, platform: Platform, note: str = "") -> ImageConfig:
    return ImageConfig(
        architecture=platform.architecture,
        os="linux",
        created="2026-01-02T03:04:05Z",
        config=RunConfig(cmd=["sh"], labels={"note": note}),
        rootfs=RootFS([DiffID(digests.of(layer))]),
        history=[History(created_by="test")],
    )


def packed(layer: bytes, kind: str) -> bytes:
    if not kind:
        return layer
    packing = compressor(kind)
    return packing.compress(layer) + packing.flush()


def make(
    storage: Storage, name: str = "", kind: str = "gzip", platform: Platform | None = None, note: str = ""
) -> Image:
    """An image in the store, tagged ``name``."""
    blob = packed(ROOTFS, kind)
    media_type = {"": types.OCI_LAYER, "gzip": types.OCI_LAYER_GZIP, "zstd": types.OCI_LAYER_ZSTD}[kind]
    storage.content.write(blob)
    layer = Descriptor(media_type=media_type, digest=digests.of(blob), size=len(blob))
    image = storage.images.create(config_of(ROOTFS, platform or host(), note), [layer])
    if name:
        storage.images.tag(Reference.parse(name).tagged(), image.descriptor)
    return image


def make_index(storage: Storage, name: str) -> tuple[Image, Image]:
    """An image for this machine and one for another under one name."""
    other, own = make(storage, platform=OTHER), make(storage)
    document = manifest.image_index([other.descriptor, own.descriptor])
    storage.content.write(document.raw)
    storage.images.register(manifest.describe(document))
    storage.images.tag(Reference.parse(name).tagged(), manifest.describe(document))
    return own, other


def archive_of(storage: Storage, *names: str, platforms: tuple[Platform, ...] = ()) -> bytes:
    sink = io.BytesIO()
    save.save(storage, save.plan(storage, names, platforms), sink)
    return sink.getvalue()


def legacy(layer_name: str = "layer.tar", layer: bytes = ROOTFS, **changes: object) -> bytes:
    """A docker-archive as Docker before 25 wrote it."""
    config = Document.encode(config_of(ROOTFS, host())).raw
    item = {"Config": "config.json", "RepoTags": ["old:1"], "Layers": [layer_name], **changes}
    return tar(
        [
            member("config.json", config),
            member("x/"),
            member("x/layer.tar", layer),
            link("layer.tar", "x/layer.tar"),
            hard("hard.tar", "x/layer.tar"),
            member("manifest.json", msgspec.json.encode([item])),
        ]
    )


@pytest.mark.parametrize("kind", ["", "gzip", "zstd"])
def test_what_is_saved_is_loaded_with_the_same_digests(storage: Storage, root: Path, kind: str) -> None:
    image = make(storage, "app:1", kind)
    storage.images.tag(Reference.parse("me/app:2"), image.descriptor)
    archive = archive_of(storage, "app:1", "me/app")
    assert archive == archive_of(storage, "app:1", "me/app")
    with Storage.open(root / "second") as second:
        [loaded] = load(second, io.BytesIO(packed(archive, kind)))
        assert loaded.image.id == image.id
        assert loaded.image.manifest.digest == image.manifest.digest
        assert [reference.familiar for reference in loaded.references] == ["app:1", "me/app:2"]
        with viewed(second, loaded.image.chain_id) as view:
            assert listing(view) == {"bin": "/", "bin/busybox": "program", "bin/sh": "-> busybox"}


def test_a_saved_archive_is_docker_archive_and_oci_layout_in_one(storage: Storage) -> None:
    make(storage, "app:1")
    with tarfile.open(fileobj=io.BytesIO(archive_of(storage, "app"))) as opened:
        names = opened.getnames()
    assert [name for name in names if not name.startswith("blobs")] == [
        "index.json",
        "manifest.json",
        "oci-layout",
        "repositories",
    ]


def test_an_archive_without_manifest_json_is_an_oci_layout(storage: Storage, root: Path) -> None:
    image = make(storage, "app:1")
    sink = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive_of(storage, "app:1"))) as whole,
        tarfile.open(fileobj=sink, mode="w") as part,
    ):
        for info in whole.getmembers():
            if info.name not in ("manifest.json", "repositories"):
                part.addfile(info, whole.extractfile(info) if info.isfile() else None)
    with Storage.open(root / "second") as second:
        [loaded] = load(second, io.BytesIO(sink.getvalue()))
        assert (loaded.image.id, [str(reference) for reference in loaded.references]) == (
            image.id,
            ["docker.io/library/app:1"],
        )


@pytest.mark.parametrize("layer_name", ["x/layer.tar", "layer.tar", "hard.tar", "./x/../layer.tar"])
def test_an_old_docker_archive_is_loaded(storage: Storage, layer_name: str) -> None:
    [loaded] = load(storage, io.BytesIO(legacy(layer_name)))
    assert [reference.familiar for reference in loaded.references] == ["old:1"]
    assert storage.images.resolve("old:1").config.value.config.cmd == ["sh"]


def test_a_name_moves_to_the_loaded_image_and_says_so(storage: Storage) -> None:
    before = make(storage, "old:1", note="before")
    [loaded] = load(storage, io.BytesIO(legacy()))
    assert loaded.displaced == [(Reference.parse("old:1"), before.id)]
    assert storage.images.references_of(before.id) == []


@pytest.mark.parametrize(
    ("archive", "sentence"),
    [
        (b"", "does not contain a manifest.json"),
        (b"garbage" * 200, "invalid tar header"),
        (tar([member("f", b"x")]), "does not contain a manifest.json"),
        (tar([member("manifest.json", b"null")]), "manifest cannot be null"),
        (tar([member("manifest.json", b"{")]), "failed to decode manifest.json"),
        (legacy(Config="../../../etc/passwd"), "etc/passwd is missing"),
        (legacy("missing.tar"), "missing.tar is missing"),
        (legacy(Layers=[]), "layers length mismatch: expected 0, got 1"),
        (legacy(RepoTags=["no tag"]), "invalid reference format"),
        (legacy()[:3000], "truncated"),
        (legacy(RepoTags=["../../up:1"]), "invalid reference format"),
        (legacy(RepoTags=["untagged"]), 'invalid tag "untagged"'),
        (tar([link("manifest.json", "manifest.json")]), "does not contain a manifest.json"),
    ],
)
def test_a_bad_archive_is_refused(storage: Storage, archive: bytes, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        load(storage, io.BytesIO(archive))
    assert not storage.images.references()


def test_an_old_docker_archive_without_names_is_loaded(storage: Storage) -> None:
    [loaded] = load(storage, io.BytesIO(legacy(RepoTags=None)))
    assert loaded.references == []
    assert storage.images.references_of(loaded.image.id) == []


def test_a_layer_that_is_not_what_the_config_says_leaves_everything_as_it_was(storage: Storage) -> None:
    before = make(storage, "old:1", note="before")
    with pytest.raises(DataLoss, match="wrong content"):
        load(storage, io.BytesIO(legacy(layer=tar([member("bin/")]))))
    assert storage.images.resolve("old:1").id == before.id
    assert [image.id for image in storage.images.all()] == [before.id]


def test_a_blob_that_is_not_what_its_name_says_is_refused(storage: Storage, root: Path) -> None:
    make(storage, "app:1", "")
    archive = archive_of(storage, "app:1").replace(b"program", b"PROGRAM")
    with Storage.open(root / "second") as second, pytest.raises(Exception, match="unexpected digest"):
        load(second, io.BytesIO(archive))


def test_skopeo_reads_what_is_saved_and_its_archives_are_loaded(storage: Storage, root: Path) -> None:
    image = make(storage, "app:1", "")
    (root / "saved.tar").write_bytes(archive_of(storage, "app:1"))
    for target in (f"docker-archive:{root}/d.tar:again:1", f"oci-archive:{root}/o.tar:docker.io/library/again:2"):
        source = f"docker-archive:{root}/saved.tar:app:1"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", source, target], check=True)
    for name in ("d.tar", "o.tar"):
        with (root / name).open("rb", buffering=0) as archive:
            load(storage, archive)
    assert storage.images.resolve("again:1").id == image.id
    assert storage.images.resolve("again:2").chain_id == image.chain_id
    assert len(storage.snapshots.layers()) == 1


def test_a_name_means_the_image_of_this_machine_or_the_platform_asked_for(storage: Storage) -> None:
    own, other = make_index(storage, "multi")
    assert storage.images.resolve("multi").id == own.id
    assert storage.images.resolve("multi", OTHER).id == other.id
    assert storage.images.is_folded(other.id)
    with pytest.raises(NotFound, match="was found but does not provide the specified platform"):
        storage.images.resolve("multi", Platform("s390x", "linux"))


def test_an_index_is_saved_whole_or_for_one_platform(storage: Storage, root: Path) -> None:
    own, other = make_index(storage, "multi")
    with Storage.open(root / "whole") as whole:
        load(whole, io.BytesIO(archive_of(storage, "multi")))
        assert {image.id for image in whole.images.all()} == {own.id, other.id}
    with Storage.open(root / "part") as part:
        load(part, io.BytesIO(archive_of(storage, "multi", platforms=(OTHER,))))
        assert {image.id for image in part.images.all()} == {other.id}
    with Storage.open(root / "chosen") as chosen:
        load(chosen, io.BytesIO(archive_of(storage, "multi")), platforms=[OTHER])
        assert chosen.images.resolve("multi").id == other.id
        assert [image.id for image in chosen.images.all()] == [other.id]
        chosen.collect()
        assert own.manifest.digest not in chosen.content
        assert chosen.images.target(Reference.parse("multi:latest")) == storage.images.target(
            Reference.parse("multi:latest")
        )
    with Storage.open(root / "both") as both:
        load(both, io.BytesIO(archive_of(storage, "multi", platforms=(host(), OTHER))))
        assert both.images.resolve("multi", OTHER).id == other.id
        assert both.images.resolve("multi").id == own.id
    with pytest.raises(NotFound, match="no suitable export target"):
        archive_of(storage, "multi", platforms=(Platform("s390x", "linux"),))


def test_an_image_is_found_by_every_name_it_has(storage: Storage) -> None:
    image = make(storage, "r.io/app:1")
    by_digest = Reference.parse("r.io/app").with_digest(image.manifest.digest)
    storage.images.tag(by_digest, image.descriptor)
    encoded = digests.encoded(image.id)
    for name in (
        "r.io/app:1",
        str(by_digest),
        image.id,
        encoded,
        encoded[:5],
        f"sha256:{encoded[:7]}",
        image.manifest.digest,
    ):
        assert storage.images.resolve(name).id == image.id


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nope", "No such image: nope:latest"), ("nope:1", "No such image: nope:1"), ("f" * 64, "No such image")],
)
def test_an_unknown_name_is_refused_in_dockers_words(storage: Storage, name: str, sentence: str) -> None:
    with pytest.raises(NoSuchImage, match=sentence):
        storage.images.resolve(name)


def test_an_ambiguous_prefix_is_refused(storage: Storage) -> None:
    ids = [digests.encoded(make(storage, note=str(number)).id) for number in range(17)]
    prefix = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(InvalidParameter, match="multiple IDs found"):
        storage.images.resolve(f"sha256:{prefix}")


def test_garbage_is_what_nothing_leads_to(storage: Storage) -> None:
    image = make(storage, "app:1")
    storage.images.unpack(image)
    garbage = storage.content.write(b"garbage")
    assert storage.collect().blobs_size == len(b"garbage")
    assert garbage not in storage.content
    assert image.id in storage.content
    storage.snapshots.prepare("c", image.chain_id)
    storage.images.forget(image.id)
    collected = storage.collect()
    assert not list(storage.content.digests())
    assert collected.layers == []  # the container still stands on it
    storage.snapshots.remove("c")
    assert storage.collect().layers == [image.chain_id]


def test_a_lease_keeps_what_nothing_leads_to_yet(storage: Storage) -> None:
    with storage.leases.take() as lease:
        digest = digests.of(b"coming")
        lease.hold(digest)
        storage.content.write(b"coming")
        storage.collect()
        assert digest in storage.content
    storage.collect()
    assert digest not in storage.content


KILLED = """
import sys
from pathlib import Path
from sampan.storage.store import Storage
from sampan.storage.load import load
storage = Storage.open(Path(sys.argv[1]))
class Slow:
    def __init__(self): self.file = open(sys.argv[2], "rb", buffering=0); self.given = 0
    def read(self, size):
        data = self.file.read(65536); self.given += len(data)
        if self.given > int(sys.argv[3]): print("there", flush=True); sys.stdin.read()
        return data
load(storage, Slow())
print("done", flush=True); sys.stdin.read()
"""


@pytest.mark.parametrize("share", [0.3, 0.8, 2.0], ids=["early", "late", "acknowledged"])
def test_a_killed_load_leaves_nothing_half_made(storage: Storage, root: Path, share: float) -> None:
    big = tar([member(f"f{number}", os.urandom(20_000)) for number in range(100)])
    storage.content.write(big)
    layer = Descriptor(media_type=types.OCI_LAYER, digest=digests.of(big), size=len(big))
    image = storage.images.create(config_of(big, host()), [layer])
    storage.images.tag(Reference.parse("big:1"), image.descriptor)
    (root / "big.tar").write_bytes(archive_of(storage, "big:1"))
    at = int(share * len(big))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, root / "killed", root / "big.tar", str(at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() in (b"there\n", b"done\n")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Storage.open(root / "killed") as again:
        assert names_in(root / "killed/content/ingest") == []
        assert not [name for name in names_in(root / "killed/snapshots") if name.startswith(".new")]
        if share > 1:
            with viewed(again, again.images.resolve("big:1").chain_id) as view:
                assert len(names_in(view)) == 100
        else:
            assert not again.images.all()
        with (root / "big.tar").open("rb", buffering=0) as archive:
            [loaded] = load(again, archive)
        assert loaded.image.id == image.id


def test_opening_removes_what_a_crash_left(root: Path) -> None:
    with Storage.open(root / "data") as storage:
        image = make(storage, "app:1")
        chain = storage.images.unpack(image)
    assert chain is not None
    (root / "data/snapshots/.new-x/fs").mkdir(parents=True)
    (root / "data/snapshots" / ("0" * 64)).mkdir()
    (root / "data/tmp/left").write_text("x")
    (root / "data/content/ingest/begun").mkdir()
    with Storage.open(root / "data") as again:
        assert names_in(root / "data/snapshots") == sorted([*BESIDE_LAYERS, digests.encoded(chain)])
        assert names_in(root / "data/tmp") == []
        assert names_in(root / "data/content/ingest") == []
        assert again.images.resolve("app:1").id == image.id
    shutil.rmtree(root / "data/snapshots" / digests.encoded(chain))
    with Storage.open(root / "data") as again:
        assert chain not in again.snapshots
        again.images.unpack(again.images.resolve("app:1"))


def test_after_a_power_cut_layers_not_synced_are_unpacked_again(storage: Storage, root: Path) -> None:
    image = make(storage, "app:1")
    storage.images.unpack(image)
    storage.database.execute("UPDATE layers SET unsynced_boot='another boot'")
    storage.snapshots.clean()
    assert image.chain_id not in storage.snapshots
    assert storage.images.unpack(image) in storage.snapshots
    storage.snapshots.sync()
    assert storage.database.row("SELECT unsynced_boot FROM layers") == (None,)


def test_an_image_whose_layer_lies_about_its_content_is_not_unpacked(storage: Storage) -> None:
    other = tar([member("other")])
    storage.content.write(other)
    layer = Descriptor(media_type=types.OCI_LAYER, digest=digests.of(other), size=len(other))
    image = storage.images.create(config_of(ROOTFS, host()), [layer])
    with pytest.raises(Exception, match="wrong content"):
        storage.images.unpack(image)
    assert not storage.snapshots.layers()


def test_data_of_a_newer_format_is_refused(root: Path) -> None:
    Storage.open(root / "d").close()
    (root / "d/version").write_text("99\n")
    with pytest.raises(Exception, match="has format '99'"):
        Storage.open(root / "d")
