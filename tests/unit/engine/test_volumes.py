"""The volumes service on a directory of its own: no root needed, no mount made."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sampan.api.filters import Filters
from sampan.api.volumes import VolumeCreateRequest
from sampan.engine.volumes import Volumes
from sampan.errors import Conflict, InvalidParameter, NoSuchVolume, NotFound
from sampan.storage.database import Database

CONTAINER = "c" * 64


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "engine.db")
    yield opened
    opened.close()


@pytest.fixture
def events() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def volumes(tmp_path: Path, database: Database, events: list[tuple[str, str]]) -> Volumes:
    return Volumes(tmp_path, database, lambda _type, action, id_, _attributes: events.append((action, id_)))


def request(name: str = "", **fields: object) -> VolumeCreateRequest:
    return VolumeCreateRequest(name=name, **fields)  # type: ignore[arg-type]


def entries(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def root_fd(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


async def test_a_created_volume_is_an_empty_directory_that_inspect_shows(volumes: Volumes) -> None:
    made = await volumes.create(request("data", labels={"a": "b"}))
    shown = await volumes.inspect("data")
    assert shown == made
    assert (shown.driver, shown.scope, shown.labels) == ("local", "local", {"a": "b"})
    assert entries(Path(shown.mountpoint)) == []


async def test_creating_a_volume_again_gives_the_first_one(volumes: Volumes, events: list[tuple[str, str]]) -> None:
    first = await volumes.create(request("data", labels={"a": "b"}))
    assert await volumes.create(request("data")) == first
    assert events == [("create", "data")]


async def test_the_name_of_an_anonymous_volume_is_64_hexadecimal_digits(volumes: Volumes) -> None:
    made = await volumes.create(request())
    assert len(made.name) == 64
    assert int(made.name, 16)
    assert volumes.is_anonymous(made.name)


@pytest.mark.parametrize("name", ["/etc", "..", ".hidden", "a/b", "a b", "ä1", "-x"])
async def test_a_name_that_is_no_plain_word_is_refused(volumes: Volumes, name: str) -> None:
    with pytest.raises(InvalidParameter, match="includes invalid characters for a local volume name"):
        await volumes.create(request(name))


async def test_names_of_one_and_of_300_letters_are_refused(volumes: Volumes) -> None:
    with pytest.raises(InvalidParameter, match="volume name is too short"):
        await volumes.create(request("x"))
    with pytest.raises(InvalidParameter, match="too long"):
        await volumes.create(request("x" * 300))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"foo": "1"}, 'invalid option: "foo"'), ({"type": "tmpfs"}, 'missing required option: "device"')],
)
async def test_options_that_cannot_be_mounted_are_refused(volumes: Volumes, options: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        await volumes.create(request("data", driver_opts=options))
    with pytest.raises(NoSuchVolume, match="get data: no such volume"):
        await volumes.inspect("data")


async def test_a_size_without_quota_is_refused(volumes: Volumes) -> None:
    with pytest.raises(InvalidParameter, match="create data: quota size requested but no quota support"):
        await volumes.create(request("data", driver_opts={"size": "1g"}))


async def test_an_unknown_driver_is_not_found(volumes: Volumes) -> None:
    with pytest.raises(NotFound, match='plugin "nosuch" not found'):
        await volumes.create(request("data", driver="nosuch"))


async def test_a_referenced_volume_cannot_be_removed_until_its_container_is(volumes: Volumes) -> None:
    await volumes.create(request("data"))
    volumes.reference("data", CONTAINER)
    with pytest.raises(Conflict, match=rf"^remove data: volume is in use - \[{CONTAINER}\]$"):
        await volumes.remove("data", force=True)
    volumes.dereference("data", CONTAINER)
    await volumes.remove("data", force=False)
    with pytest.raises(NoSuchVolume):
        await volumes.remove("data", force=False)
    await volumes.remove("data", force=True)


async def test_a_removed_volume_leaves_nothing_on_the_disk(volumes: Volumes, tmp_path: Path) -> None:
    made = await volumes.create(request("data"))
    (Path(made.mountpoint) / "file").write_text("x")
    await volumes.remove("data", force=False)
    assert entries(tmp_path / "volumes") == []


async def test_list_filters(volumes: Volumes) -> None:
    await volumes.create(request("web-data", labels={"tier": "web"}))
    await volumes.create(request("db-data", labels={"tier": "db"}))
    volumes.reference("db-data", CONTAINER)

    async def names(**terms: str) -> list[str]:
        return [v.name for v in (await volumes.list(Filters({k: [v] for k, v in terms.items()}))).volumes]

    assert await names(name="web") == ["web-data"]
    assert await names(label="tier=db") == ["db-data"]
    assert await names(dangling="true") == ["web-data"]
    assert await names(driver="other") == []
    with pytest.raises(InvalidParameter, match="invalid filter 'color'"):
        await names(color="red")


async def test_prune_takes_unused_anonymous_volumes_and_all_of_them_when_asked(volumes: Volumes) -> None:
    anonymous = (await volumes.create(request())).name
    for name in ("named", "used"):
        await volumes.create(request(name))
    volumes.reference("used", CONTAINER)
    assert (await volumes.prune(Filters())).volumes_deleted == [anonymous]
    assert (await volumes.prune(Filters({"all": ["true"]}))).volumes_deleted == ["named"]
    assert (await volumes.inspect("used")).name == "used"


async def test_usage_counts_bytes_and_references(volumes: Volumes) -> None:
    made = await volumes.create(request("data"))
    (Path(made.mountpoint) / "file").write_bytes(b"x" * 100_000)
    volumes.reference("data", CONTAINER)
    (shown,) = (await volumes.usage()).volumes
    assert shown.usage_data is not None
    assert shown.usage_data.ref_count == 1
    assert shown.usage_data.size >= 100_000


async def test_a_subpath_never_leads_out_of_the_volume(volumes: Volumes) -> None:
    path = Path((await volumes.create(request("data"))).mountpoint)
    (path / "inside").mkdir()
    (path / "inside" / "out").symlink_to("/etc")
    os.close(volumes.open("data", "inside"))
    for outside in ("inside/out", "../../..", "missing"):
        if outside == "../../..":
            fd = volumes.open("data", outside)
            assert Path(f"/proc/self/fd/{fd}").samefile(path)
            os.close(fd)
            continue
        with pytest.raises(NotFound, match="cannot access path"):
            volumes.open("data", outside)


def image_tree(path: Path) -> Path:
    (path / "srv" / "sub").mkdir(parents=True)
    (path / "srv").chmod(0o750)
    (path / "srv" / "file").write_text("content")
    (path / "srv" / "file").chmod(0o4711)
    (path / "srv" / "sub" / "same").hardlink_to(path / "srv" / "file")
    (path / "srv" / "link").symlink_to("/etc/passwd")
    os.mkfifo(path / "srv" / "pipe")
    with (path / "srv" / "holes").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"data")
    os.utime(path / "srv", ns=(1, 10**9))
    return path


async def test_an_empty_volume_takes_the_image_content_with_all_its_properties(
    volumes: Volumes, tmp_path: Path
) -> None:
    root = root_fd(image_tree(tmp_path / "image"))
    made = Path((await volumes.create(request("data"))).mountpoint)
    await volumes.populate(made, root, "/srv")
    os.close(root)
    assert (made / "file").read_text() == "content"
    assert (made / "file").stat().st_mode & 0o7777 == 0o4711
    assert (made / "file").samefile(made / "sub" / "same")
    assert str((made / "link").readlink()) == "/etc/passwd"
    assert (made / "pipe").is_fifo()
    assert (made / "holes").read_bytes()[1 << 19 :][:4] == b"data"
    assert (made / "holes").stat().st_blocks * 512 < 1 << 19
    assert (made.stat().st_mode & 0o7777, made.stat().st_mtime_ns) == (0o750, 10**9)


async def test_a_volume_with_content_is_not_filled(volumes: Volumes, tmp_path: Path) -> None:
    root = root_fd(image_tree(tmp_path / "image"))
    made = Path((await volumes.create(request("data"))).mountpoint)
    (made / "mine").write_text("x")
    await volumes.populate(made, root, "/srv")
    os.close(root)
    assert entries(made) == ["mine"]


async def test_a_clone_has_the_content_and_none_of_the_future_of_its_source(volumes: Volumes) -> None:
    source = Path((await volumes.create(request("data"))).mountpoint)
    (source / "file").write_text("before")
    clone = Path((await volumes.clone("data", "copy")).mountpoint)
    (source / "file").write_text("after")
    assert (clone / "file").read_text() == "before"
    with pytest.raises(Conflict, match="a volume of this name exists"):
        await volumes.clone("data", "copy")


async def test_export_and_import_carry_a_volume_across(volumes: Volumes) -> None:
    source = Path((await volumes.create(request("data"))).mountpoint)
    (source / "file").write_text("content")
    there = Path((await volumes.import_("there", await volumes.export("data"))).mountpoint)
    assert (there / "file").read_text() == "content"


async def body(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_an_import_that_fails_leaves_no_volume(volumes: Volumes, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter):
        await volumes.import_("data", body(b"this is no archive" * 100))
    with pytest.raises(NoSuchVolume):
        await volumes.inspect("data")
    assert entries(tmp_path / "volumes") == []


async def test_a_renamed_volume_keeps_its_content(volumes: Volumes) -> None:
    (Path((await volumes.create(request("old"))).mountpoint) / "file").write_text("content")
    renamed = await volumes.rename("old", "new")
    assert (Path(renamed.mountpoint) / "file").read_text() == "content"
    with pytest.raises(NoSuchVolume):
        await volumes.inspect("old")


async def test_a_restart_finds_volumes_and_sweeps_what_was_under_way(
    volumes: Volumes, tmp_path: Path, database: Database
) -> None:
    await volumes.create(request("kept"))
    gone = await volumes.create(request("gone"))
    Path(gone.mountpoint).parent.rename(tmp_path / "volumes" / ".tmp-1")
    again = Volumes(tmp_path, database, lambda *_: None)
    assert [v.name for v in (await again.list(Filters())).volumes] == ["kept"]
    assert entries(tmp_path / "volumes") == ["kept"]
