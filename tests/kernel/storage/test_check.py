"""``sampan system check`` on real data roots: damage is found, told in words, and repaired or left alone."""

import shutil
from pathlib import Path

import msgspec
import pytest
from layer_tars import link, member, tar

from sampan.api.containers import ContainerConfig
from sampan.api.host_config import HostConfig
from sampan.cli.main import main
from sampan.daemon.ownership import locked
from sampan.engine.container import Record
from sampan.engine.volumes import VolumeRecord
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import DiffID
from sampan.oci.image_config import ImageConfig, RootFS
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.store import Storage

LAYER = tar([member("bin/"), member("bin/busybox", b"program", mode=0o755), link("bin/sh", "busybox")])
CONTAINER = "c" * 64


class DataRoot:
    """A data root with one unpacked image, one container on it and one volume, as a stopped daemon leaves it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with Storage.open(path) as storage:
            self.image = self.make_image(storage)
            storage.snapshots.prepare(CONTAINER, storage.images.unpack(self.image))
            self.record(storage, "container", CONTAINER, container_record())
            self.record(storage, "volume", "data", VolumeRecord(name="data"))
        self.precious = [
            path / "containers" / CONTAINER / "upper" / "kept",
            path / "volumes" / "data" / "_data" / "kept",
        ]
        for file in self.precious:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("precious")

    @staticmethod
    def record(storage: Storage, kind: str, id: str, value: msgspec.Struct) -> None:
        encoded = msgspec.json.encode(value)
        name = getattr(value, "name", None)
        storage.database.execute("INSERT INTO records VALUES (?, ?, ?, ?)", kind, id, name, encoded)

    @staticmethod
    def make_image(storage: Storage) -> Image:
        storage.content.write(LAYER)
        layer = Descriptor(media_type=types.OCI_LAYER, digest=digests.of(LAYER), size=len(LAYER))
        config = ImageConfig(architecture="amd64", os="linux", rootfs=RootFS([DiffID(digests.of(LAYER))]))
        image = storage.images.create(config, [layer])
        storage.images.tag(Reference.parse("app:1"), image.descriptor)
        return image

    def blob(self, digest: str) -> Path:
        return self.path / "content" / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def check(self, *flags: str) -> int:
        return main(["system", "check", "--data-root", str(self.path), *flags])


def container_record() -> Record:
    """What a container without any settings is written down as."""
    config, host_config = ContainerConfig(image="app:1"), HostConfig()
    return Record(id=CONTAINER, name="web", created=0, image="", config=config, host_config=host_config)


@pytest.fixture
def data_root(root: Path) -> DataRoot:
    return DataRoot(root / "data")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capsys


def test_a_sound_data_root_is_called_so_and_left_as_it_is(
    data_root: DataRoot, said: pytest.CaptureFixture[str]
) -> None:
    before = {*data_root.path.rglob("*"), data_root.path / "lock"}
    assert data_root.check() == 0
    assert said.readouterr().out == f"{data_root.path}: sound\n"
    assert set(data_root.path.rglob("*")) == before


def test_a_damaged_layer_blob_is_removed_and_the_unpacked_layer_goes_on(
    data_root: DataRoot, said: pytest.CaptureFixture[str]
) -> None:
    blob = data_root.blob(digests.of(LAYER))
    blob.write_bytes(b"x" + LAYER[1:])
    assert data_root.check() == 1
    assert f"blob {digests.of(LAYER)} is damaged: its bytes are sha256:" in said.readouterr().out
    assert blob.exists()
    assert data_root.check("--repair") == 0
    assert not blob.exists()
    assert data_root.check() == 0
    with Storage.open(data_root.path) as storage:
        assert storage.images.resolve("app:1").id == data_root.image.id


def test_an_image_whose_config_is_damaged_is_forgotten_with_its_name(
    data_root: DataRoot, said: pytest.CaptureFixture[str]
) -> None:
    data_root.blob(data_root.image.id).write_bytes(b"{}")
    assert data_root.check("--repair") == 0
    out = said.readouterr().out
    assert f"image {data_root.image.id} is not whole: its config {data_root.image.id} is missing" in out
    assert "the image name docker.io/library/app:1 leads nowhere" in out
    assert data_root.check() == 0
    with Storage.open(data_root.path) as storage:
        assert storage.images.references() == []
    assert [file.read_text() for file in data_root.precious] == ["precious"] * 2


def test_a_lost_layer_is_unpacked_again_from_its_blob(data_root: DataRoot, said: pytest.CaptureFixture[str]) -> None:
    with Storage.open(data_root.path) as storage:
        [layer] = storage.snapshots.layers()
        shutil.rmtree(storage.snapshots.path(layer.chain_id))
    assert data_root.check("--repair") == 1
    out = said.readouterr().out
    assert f"the unpacked layer {layer.chain_id} is not there" in out
    assert "container web cannot start: the layer" in out
    assert "1 need your decision" in out
    with Storage.open(data_root.path) as storage:
        storage.images.unpack(storage.images.resolve("app:1"))
    assert data_root.check() == 0


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_database_is_told_and_kept_when_another_is_made(
    data_root: DataRoot, said: pytest.CaptureFixture[str], size: int
) -> None:
    database = data_root.path / "engine.db"
    with database.open("r+b") as file:
        file.truncate(size)
    assert data_root.check() == 1
    assert "the database engine.db is damaged: " in said.readouterr().out
    assert database.stat().st_size == size
    data_root.check("--repair")
    [kept] = [path for path in (data_root.path / "lost").iterdir() if path.name.endswith("engine.db")]
    assert kept.stat().st_size == size
    assert all(file.exists() for file in data_root.precious)


def test_what_only_people_can_decide_is_told_and_not_touched(
    data_root: DataRoot, said: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data_root.path / "volumes" / "data")
    stray = data_root.path / "containers" / ("d" * 64)
    stray.mkdir()
    assert data_root.check("--repair") == 1
    out = said.readouterr().out
    assert "volume data has lost its directory" in out
    assert f"left over: {stray} belongs to no container" in out
    assert stray.exists()


def test_leftovers_are_no_damage(data_root: DataRoot, said: pytest.CaptureFixture[str]) -> None:
    (data_root.path / "tmp" / "half").write_text("x")
    (data_root.path / "snapshots" / ".new-1").mkdir()
    (data_root.path / "content" / "ingest" / "k").mkdir()
    assert data_root.check() == 0
    assert said.readouterr().out.count("left over: ") == 3
    assert data_root.check("--repair") == 0
    assert data_root.check() == 0
    assert said.readouterr().out.endswith(": sound\n")


def test_an_unreadable_record_and_the_files_of_its_container_are_set_aside(
    data_root: DataRoot, said: pytest.CaptureFixture[str]
) -> None:
    with Storage.open(data_root.path) as storage:
        storage.database.execute("UPDATE records SET value=? WHERE kind='container'", b'{"name":')
    assert data_root.check("--repair") == 0
    assert f"the record of container {CONTAINER} is unreadable" in said.readouterr().out
    [kept] = (data_root.path / "lost").rglob("upper/kept")
    assert kept.read_text() == "precious"
    assert data_root.check() == 0


def test_a_data_root_in_use_is_refused(data_root: DataRoot, said: pytest.CaptureFixture[str]) -> None:
    with locked(data_root.path / "lock"):
        assert data_root.check() == 1
    assert "a daemon is using" in said.readouterr().err


def test_another_directory_is_refused_and_left_alone(root: Path, said: pytest.CaptureFixture[str]) -> None:
    assert main(["system", "check", "--data-root", str(root)]) == 1
    assert f"{root} is not a data root" in said.readouterr().err
    assert list(root.iterdir()) == []
