"""The image service on a real store: lists, removal rules, prune, archives and commits, with Docker's words."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from layer_tars import listing, member, mounted, tar, viewed

from sampan.api.containers import ContainerConfig
from sampan.api.descriptor import OCIPlatform
from sampan.api.events import EventsOptions
from sampan.api.filters import Filters
from sampan.api.images import CommitOptions, ImageListOptions, ImageRemoveOptions, ImportOptions
from sampan.api.progress import Record
from sampan.config import Config
from sampan.engine.events import Events
from sampan.engine.image_users import CommitSource, ImageUser
from sampan.engine.images import Images
from sampan.engine.registry import Registries
from sampan.errors import Conflict, InvalidParameter, NoSuchImage
from sampan.oci import manifest
from sampan.oci.reference import Reference
from sampan.storage.store import Storage

ROOTFS = tar([member("bin/"), member("bin/sh", b"x" * 100, mode=0o755)])


class Containers:
    """Containers that exist only as uses of images."""

    def __init__(self) -> None:
        self.uses: list[ImageUser] = []
        self.source = CommitSource("c" * 64, "c", "", ContainerConfig(cmd=["sh"], env=["A=1"]))

    def image_users(self) -> Iterator[ImageUser]:
        return iter(self.uses)

    @asynccontextmanager
    async def commit_source(self, reference: str, *, pause: bool) -> AsyncIterator[CommitSource]:
        yield self.source


@pytest.fixture
def containers() -> Containers:
    return Containers()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest_asyncio.fixture
async def images(storage: Storage, containers: Containers, events: Events) -> AsyncIterator[Images]:
    registries = Registries(Config(), storage, events)
    yield Images(storage, events, containers, registries)
    await registries.close()


async def body(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


async def imported(images: Images, name: str = "", *changes: str, rootfs: bytes = ROOTFS) -> str:
    progress = Record()
    options = ImportOptions(repository=name, message="note", changes=list(changes))
    await images.import_(options, body(rootfs), progress)
    return progress.messages[-1].status


async def derived(images: Images, storage: Storage, containers: Containers, base: str, name: str = "") -> str:
    """A child image, by a commit of a container that wrote a file."""
    storage.snapshots.prepare("c", storage.images.get(base).chain_id)
    with mounted(storage, "c") as root:
        (root / "new").write_text(name or "new")
    containers.source = CommitSource("c" * 64, "c", base, containers.source.config)
    made = await images.commit(CommitOptions(container="c", repository=name, comment="why", author="me"), None)
    storage.snapshots.remove("c")
    return made


async def announced(events: Events) -> list[str]:
    return [event.action async for event in await events.subscribe(EventsOptions(since=0, until=1))] or [
        event.action for event in events._history
    ]


def user(image: str, name: str = "", *, running: bool = False) -> ImageUser:
    return ImageUser("d" * 64, image, running, name)


async def test_an_import_makes_an_image_with_its_changes(images: Images, storage: Storage, events: Events) -> None:
    id = await imported(images, "app:1", 'CMD ["sh"]', "ENV A=b", "LABEL k=v", "EXPOSE 80")
    shown = await images.inspect("app:1")
    assert (shown.id, shown.repo_tags, shown.comment, shown.os) == (id, ["app:1"], "note", "linux")
    assert shown.config is not None
    assert (shown.config.cmd, shown.config.env, shown.config.labels) == (["sh"], ["A=b"], {"k": "v"})
    assert shown.config.exposed_ports == {"80/tcp": {}}
    assert (shown.size, len(shown.root_fs.layers)) == (100, 1)
    assert shown.graph_driver is not None
    assert Path((shown.graph_driver.data or {})["UpperDir"], "bin/sh").exists()
    assert await announced(events) == ["tag", "import"]


@pytest.mark.parametrize("data", [b"garbage" * 500, ROOTFS[:700]])
async def test_what_is_no_tar_is_not_imported(images: Images, storage: Storage, data: bytes) -> None:
    with pytest.raises(InvalidParameter):
        await imported(images, "bad", rootfs=data)
    assert not await images.list(ImageListOptions(all=True))


async def test_a_bad_change_is_refused(images: Images) -> None:
    with pytest.raises(InvalidParameter):
        await imported(images, "bad", "FROM x")


async def test_lists_show_names_and_hide_intermediate_images(
    images: Images, storage: Storage, containers: Containers
) -> None:
    base = await imported(images)
    child = await derived(images, storage, containers, base, "r.io/child:1")
    assert [line.id for line in await images.list(ImageListOptions())] == [child]
    [first, second] = await images.list(ImageListOptions(all=True, shared_size=True, container_count=True))
    assert (first.id, first.parent_id, first.repo_tags) == (child, base, ["r.io/child:1"])
    assert (first.shared_size, second.shared_size, first.containers) == (100, 100, 0)
    assert (first.size, second.size) == (100 + len("r.io/child:1"), 100)


@pytest.mark.parametrize(
    ("term", "value", "found"),
    [
        ("reference", "app", {"app:1"}),
        ("reference", "app:*", {"app:1"}),
        ("reference", "r.io/*", {"r.io/x:2"}),
        ("reference", "*", {"app:1"}),
        ("reference", "docker.io/library/a[op]p", {"app:1"}),
        ("dangling", "true", {""}),
        ("dangling", "false", {"app:1", "r.io/x:2"}),
        ("label", "k=v", {"app:1"}),
        ("since", "app:1", {"r.io/x:2", ""}),
        ("before", "r.io/x:2", {"app:1"}),
        ("until", "1h", set()),
    ],
)
async def test_lists_are_filtered(images: Images, term: str, value: str, found: set[str]) -> None:
    await imported(images, "app:1", "LABEL k=v")
    await imported(images, "r.io/x:2")
    await imported(images)
    lines = await images.list(ImageListOptions(filters=Filters({term: [value]})))
    assert {name for line in lines for name in line.repo_tags or [""]} == found


async def test_an_unknown_filter_is_refused(images: Images) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter 'x'"):
        await images.list(ImageListOptions(filters=Filters({"x": ["1"]})))


async def test_a_history_names_the_images_it_went_through(
    images: Images, storage: Storage, containers: Containers
) -> None:
    base = await imported(images, "base")
    child = await derived(images, storage, containers, base, "child")
    items = await images.history("child")
    assert [(item.id, item.tags, item.size, item.comment) for item in items] == [
        (child, ["child:latest"], 5, "why"),
        (base, ["base:latest"], 100, "note"),
    ]
    assert items[0].created_by == "sh"


async def test_a_commit_is_the_container_as_an_image(images: Images, storage: Storage, containers: Containers) -> None:
    base = await imported(images, "base")
    made = await derived(images, storage, containers, base, "me/made:2")
    image = storage.images.get(made)
    with viewed(storage, storage.images.unpack(image)) as view:
        assert listing(view)["new"] == "me/made:2"
    shown = await images.inspect("me/made:2")
    assert (shown.author, shown.comment) == ("me", "why")
    assert shown.config is not None
    assert (shown.config.cmd, shown.config.env) == (["sh"], ["A=1"])


async def test_a_commit_of_nothing_adds_no_layer(images: Images, storage: Storage, containers: Containers) -> None:
    base = await imported(images, "base")
    storage.snapshots.prepare("c", storage.images.get(base).chain_id)
    containers.source = CommitSource("c" * 64, "c", base, ContainerConfig(cmd=["sh"]))
    made = await images.commit(CommitOptions(container="c", changes=['CMD ["other"]']), None)
    shown = await images.inspect(made)
    assert len(shown.root_fs.layers) == 1
    assert shown.config is not None
    assert shown.config.cmd == ["other"]


async def test_removing_the_last_name_deletes_the_image_and_its_layers(images: Images, storage: Storage) -> None:
    id = await imported(images, "app:1")
    await images.tag("app:1", "other", "")
    assert [item.untagged for item in await images.remove("app:1", ImageRemoveOptions())] == ["app:1"]
    chain = storage.images.get(id).chain_id
    items = await images.remove("other", ImageRemoveOptions())
    assert [(item.untagged, item.deleted) for item in items] == [("other:latest", ""), ("", id), ("", chain)]
    assert not list(storage.content.digests())
    with pytest.raises(NoSuchImage, match="No such image: other:latest"):
        await images.remove("other", ImageRemoveOptions())


async def test_an_image_in_several_repositories_is_not_removed_by_id(images: Images) -> None:
    id = await imported(images, "app:1")
    await images.tag("app:1", "other", "2")
    with pytest.raises(Conflict) as raised:
        await images.remove(id[7:19], ImageRemoveOptions())
    assert raised.value.message == (
        f"conflict: unable to delete {id[7:19]} (must be forced) - image is referenced in multiple repositories"
    )
    items = await images.remove(id, ImageRemoveOptions(force=True))
    assert [item.untagged for item in items if item.untagged] == ["app:1", "other:2"]


async def test_a_used_image_is_kept(images: Images, containers: Containers) -> None:
    id = await imported(images, "app:1")
    containers.uses = [user(id)]
    short = id[7:19]
    with pytest.raises(Conflict) as raised:
        await images.remove("app:1", ImageRemoveOptions())
    assert raised.value.message == (
        'conflict: unable to remove repository reference "app:1" (must force) - '
        f"container dddddddddddd is using its referenced image {short}"
    )
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container dddddddddddd"):
        await images.remove(id, ImageRemoveOptions())
    containers.uses = [user(id, running=True)]
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container"):
        await images.remove(id, ImageRemoveOptions(force=True))
    items = await images.remove("app:1", ImageRemoveOptions(force=True))
    assert [(item.untagged, item.deleted) for item in items] == [("app:1", "")]


async def test_a_parent_goes_with_its_last_child(images: Images, storage: Storage, containers: Containers) -> None:
    base = await imported(images)
    child = await derived(images, storage, containers, base, "child")
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
        await images.remove(base, ImageRemoveOptions(force=True))
    deleted = {item.deleted for item in await images.remove("child", ImageRemoveOptions())}
    assert {base, child} <= deleted


async def test_prune_takes_dangling_images_or_all_unused_ones(images: Images, containers: Containers) -> None:
    dangling, used, free = (
        await imported(images),
        await imported(images, "used", "LABEL keep=1"),
        await imported(images, "free"),
    )
    containers.uses = [user(used)]
    report = await images.prune(Filters())
    assert [item.deleted for item in report.images_deleted or () if item.deleted][:1] == [dangling]
    report = await images.prune(Filters({"dangling": ["false"], "label!": ["keep"]}))
    assert free in {item.deleted for item in report.images_deleted or ()}
    assert report.space_reclaimed > 0
    assert [line.id for line in await images.list(ImageListOptions())] == [used]
    with pytest.raises(InvalidParameter, match="invalid filter 'name'"):
        await images.prune(Filters({"name": ["x"]}))


async def test_prune_keeps_the_name_that_a_container_was_created_by(images: Images, containers: Containers) -> None:
    id = await imported(images, "app:1")
    await images.tag("app:1", "app", "2")
    await images.tag("app:1", "zoo", "3")
    containers.uses = [user(id, "app:2")]
    report = await images.prune(Filters({"dangling": ["false"]}))
    assert {item.untagged for item in report.images_deleted or ()} == {"app:1", "zoo:3"}


async def test_prune_takes_a_digest_along_with_the_last_tag(images: Images, storage: Storage) -> None:
    id = await imported(images, "app:1")
    by_tag = Reference.parse("app:1")
    target = storage.images.target(by_tag)
    assert target is not None
    by_digest = by_tag.with_digest(target.digest)
    storage.images.tag(by_digest, target)
    report = await images.prune(Filters({"dangling": ["false"]}))
    items = [(item.untagged, item.deleted) for item in report.images_deleted or ()]
    assert items[:3] == [("app:1", ""), (by_digest.familiar, ""), ("", id)]


async def test_an_archive_goes_out_and_comes_back(images: Images, storage: Storage, events: Events, root: Path) -> None:
    id = await imported(images, "app:1")
    archive = b"".join([chunk async for chunk in await images.save(["app:1"])])
    await images.remove("app:1", ImageRemoveOptions())
    progress = Record()
    await images.load(body(archive), progress, quiet=False)
    assert progress.messages[-1].stream == "Loaded image: app:1\n"
    assert progress.messages[0].status == "Loading layer"
    assert (await images.inspect("app:1")).id == id
    assert {"save", "load", "untag", "delete"} <= set(await announced(events))
    await images.remove("app:1", ImageRemoveOptions())
    with pytest.raises(NoSuchImage):
        await images.save(["app:1"])


async def test_an_image_without_name_is_loaded_by_its_id(images: Images) -> None:
    id = await imported(images)
    archive = b"".join([chunk async for chunk in await images.save([id])])
    progress = Record()
    await images.load(body(archive), progress, quiet=True)
    assert [message.stream for message in progress.messages] == [f"Loaded image ID: {id}\n"]


async def test_a_reader_who_leaves_ends_the_save(images: Images) -> None:
    rootfs = tar([member("f", os.urandom(8 << 20))])
    await imported(images, "big", rootfs=rootfs)
    stream = await images.save(["big"])
    await anext(aiter(stream))
    await stream.aclose()  # type: ignore[attr-defined]


async def test_tags_are_checked(images: Images) -> None:
    id = await imported(images)
    await images.tag(id, "app", "")
    assert (await images.inspect("app")).repo_tags == ["app:latest"]
    for repository, tag in (("App", ""), ("app", "not/one"), ("app@sha256:" + "a" * 64, "")):
        with pytest.raises(InvalidParameter):
            await images.tag(id, repository, tag)


async def test_manifests_and_usage_are_told(images: Images, containers: Containers) -> None:
    id = await imported(images, "app:1")
    containers.uses = [user(id)]
    [line] = await images.list(ImageListOptions(manifests=True))
    [summary] = line.manifests or []
    assert (summary.kind, summary.available) == ("image", True)
    assert summary.image_data is not None
    assert (summary.image_data.size.unpacked, summary.image_data.containers) == (100, ["d" * 64])
    usage = await images.usage()
    assert (usage.total_count, usage.active_count, usage.total_size, usage.reclaimable) == (1, 1, 100, 0)
    with pytest.raises(Exception, match="does not provide the specified platform"):
        await images.inspect("app:1", platform=OCIPlatform(architecture="s390x", os="linux"))


async def test_a_platform_is_removed_and_the_name_means_the_other(images: Images, storage: Storage) -> None:
    own = storage.images.get(await imported(images))
    foreign = OCIPlatform(architecture="riscv64", os="linux")
    await images.import_(ImportOptions(platform=foreign), body(ROOTFS), Record())
    [other] = [image for image in storage.images.all() if image.platform.architecture == "riscv64"]
    index = manifest.image_index([own.descriptor, other.descriptor])
    storage.content.write(index.raw)
    storage.images.register(manifest.describe(index))
    storage.images.tag(Reference.parse("multi:1"), manifest.describe(index))
    here = OCIPlatform(architecture=own.platform.architecture, os="linux")
    with pytest.raises(InvalidParameter, match="Use --force to force delete"):
        await images.remove("multi:1", ImageRemoveOptions(platforms=[here]))
    removed = await images.remove("multi:1", ImageRemoveOptions(platforms=[here], force=True))
    assert [item.deleted for item in removed][:1] == [own.manifest.digest]
    assert (await images.inspect("multi:1")).id == other.id
    assert own.id not in storage.images
    await images.remove("multi:1", ImageRemoveOptions(platforms=[foreign], force=True))
    with pytest.raises(NoSuchImage):
        await images.inspect("multi:1")
