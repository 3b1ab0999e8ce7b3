"""Layers on the real file system: what a tar says is what a container sees, and nothing outside is touched."""

import errno
import io
import os
import stat
import struct
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from layer_tars import hard, link, listing, member, members_of, mounted, names_in, tar, unpack, viewed

from sampan.archive.changes import Change, Kind
from sampan.archive.errors import DiskFull, MalformedArchive
from sampan.errors import DataLoss
from sampan.linux import userns
from sampan.linux.idmap import IdMap, acting_as_root, text
from sampan.linux.userns import Mapped
from sampan.oci import digest as digests
from sampan.oci.digest import DiffID
from sampan.storage.snapshots import BESIDE_LAYERS
from sampan.storage.store import Storage

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def test_owners_modes_times_and_attributes_are_kept(storage: Storage) -> None:
    capable = member("bin/ping", b"x", mode=0o4755, uid=3, gid=4)
    capable[0].pax_headers = {
        "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1"),
        "SCHILY.xattr.user.note": "hello",
        "mtime": "1000000000.123456789",
    }
    chain = unpack(
        storage, tar([member("bin/", mode=0o2775, gid=7), capable, link("bin/l", "ping"), hard("bin/h", "bin/ping")])
    )
    with viewed(storage, chain) as root:
        ping = (root / "bin/ping").stat()
        assert (stat.S_IMODE(ping.st_mode), ping.st_uid, ping.st_gid) == (0o4755, 3, 4)
        assert ping.st_mtime_ns == 1_000_000_000_123_456_789
        assert ping.st_nlink == 2
        assert os.getxattr(root / "bin/ping", "security.capability") == CAPABILITY
        assert os.getxattr(root / "bin/ping", "user.note") == b"hello"
        directory = (root / "bin").stat()
        assert (stat.S_IMODE(directory.st_mode), directory.st_gid) == (0o2775, 7)
        assert directory.st_mtime_ns == 1_000_000_000 * 10**9


def test_devices_and_fifos_are_made(storage: Storage) -> None:
    null = member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    chain = unpack(storage, tar([null, member("fifo", type=tarfile.FIFOTYPE, mode=0o622)]))
    with viewed(storage, chain) as root:
        found = (root / "null").stat()
        assert stat.S_ISCHR(found.st_mode)
        assert (found.st_rdev, stat.S_IMODE(found.st_mode)) == (os.makedev(1, 3), 0o666)
        assert stat.S_ISFIFO((root / "fifo").stat().st_mode)


def test_whiteouts_delete_from_lower_layers(storage: Storage) -> None:
    base = tar(
        [member("a", b"a"), member("d/"), member("d/x", b"x"), member("o/"), member("o/x", b"x"), member("k", b"k")]
    )
    top = tar([member(".wh.a"), member(".wh.d"), member("o/"), member("o/.wh..wh..opq"), member("o/y", b"y")])
    with viewed(storage, unpack(storage, base, top)) as root:
        assert listing(root) == {"o": "/", "o/y": "y", "k": "k"}


@pytest.mark.parametrize("order", [1, -1], ids=["whiteout first", "whiteout last"])
def test_a_whiteout_spares_what_its_own_layer_has(storage: Storage, order: int) -> None:
    base = tar([member("d/"), member("d/old", b"old"), member("f", b"old")])
    added = [member("d/"), member("d/new", b"new"), member("f", b"new")]
    whiteouts = [member(".wh.d"), member(".wh.f")]
    top = tar([*whiteouts, *added] if order == 1 else [*added, *whiteouts])
    with viewed(storage, unpack(storage, base, top)) as root:
        assert listing(root) == {"d": "/", "d/new": "new", "f": "new"}


def test_files_directories_and_links_take_each_others_place(storage: Storage) -> None:
    members = [
        member("a/"), member("a/in", b"1"), member("a", b"file"),
        member("b", b"file"), member("b/"), member("b/in", b"2"),
        link("c", "/etc"), member("c/"), member("c/in", b"3"),
    ]  # fmt: skip
    with viewed(storage, unpack(storage, tar(members))) as root:
        assert listing(root) == {"a": "file", "b": "/", "b/in": "2", "c": "/", "c/in": "3"}


def test_a_directory_the_tar_does_not_list_is_as_in_the_layer_below(storage: Storage) -> None:
    base = tar([member("tmp/", mode=0o1777, uid=5)])
    with viewed(storage, unpack(storage, base, tar([member("tmp/f", b"x"), member("new/f", b"x")]))) as root:
        tmp, new = (root / "tmp").stat(), (root / "new").stat()
        assert (stat.S_IMODE(tmp.st_mode), tmp.st_uid, tmp.st_mtime) == (0o1777, 5, 1_000_000_000)
        assert (stat.S_IMODE(new.st_mode), new.st_uid) == (0o755, 0)


def test_a_hard_link_to_a_file_of_a_lower_layer_copies_it_up(storage: Storage) -> None:
    base = tar([member("d/"), member("d/f", b"data", mode=0o600, uid=9)])
    with viewed(storage, unpack(storage, base, tar([hard("d/g", "d/f")]))) as root:
        assert (root / "d/g").read_text() == "data"
        assert (root / "d/f").stat().st_ino == (root / "d/g").stat().st_ino
        assert (root / "d/g").stat().st_uid == 9


def test_a_sparse_file_stays_sparse(storage: Storage, root: Path) -> None:
    with (root / "s").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(1 << 20)
        file.write(b"middle")
    for format_ in ("gnu", "posix"):
        packed = subprocess.run(
            ["tar", "-S", f"--format={format_}", "-C", root, "-c", "s"], check=True, capture_output=True
        ).stdout
        with viewed(storage, unpack(storage, packed)) as view:
            found = (view / "s").stat()
            assert (found.st_size, found.st_blocks < 200) == (8 << 20, True)
            assert (view / "s").read_bytes() == (root / "s").read_bytes()


@pytest.mark.parametrize(
    "members",
    [
        [member("../escape", b"x")],
        [member("a/../../escape", b"x")],
        [hard("h", "../outside")],
        [hard("h", "/../../../outside")],
        [hard("h", "missing")],
        [member("x/.wh...")],
        [member("f", b"x"), member("f/below", b"x")],
        [member("n" * 300, b"x")],
        [link("l", "l"), member("l/x", b"x")],
    ],
    ids=lambda members: members[-1][0].name[:20] + "→" + members[-1][0].linkname,
)
def test_a_member_that_climbs_out_or_makes_no_sense_is_refused(storage: Storage, members: list, root: Path) -> None:
    (root / "outside").write_text("mine")
    with pytest.raises(MalformedArchive):
        unpack(storage, tar(members))
    assert names_in(root) == ["data", "outside"]
    assert (root / "outside").read_text() == "mine"
    assert not storage.snapshots.layers()


def test_links_lead_nowhere_outside(storage: Storage, root: Path) -> None:
    (root / "outside").mkdir()
    (root / "outside/f").write_text("mine")
    members = [
        link("abs", str(root / "outside")), member("abs/f", b"evil"),
        link("up", "../" * 20 + str(root).lstrip("/") + "/outside"), member("up/g", b"evil"),
        member("d/"), link("d/back", ".."), member("d/back/back", b"inside"),
        hard("stolen", "abs/f"),
    ]  # fmt: skip
    chain = unpack(storage, tar(members))
    assert listing(root / "outside") == {"f": "mine"}
    with viewed(storage, chain) as view:
        assert (view / str(root).lstrip("/") / "outside/f").read_text() == "evil"
        assert (view / "back").read_text() == "inside"
        assert (view / "stolen").read_text() == "evil"


def test_overlays_own_attributes_are_not_taken_from_a_layer(storage: Storage) -> None:
    sly = member("d/")
    sly[0].pax_headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.mine": "1"}
    chain = unpack(storage, tar([sly]))
    assert os.listxattr(storage.snapshots.path(chain) / "d") == ["trusted.mine"]


@pytest.mark.parametrize("cut", [100, 600, 1100, 70_000])
def test_a_truncated_layer_leaves_nothing(storage: Storage, root: Path, cut: int) -> None:
    layer = tar([member("d/"), member("d/f", bytes(100_000))])
    with pytest.raises(MalformedArchive, match="truncated"):
        storage.snapshots.unpack(None, DiffID(digests.of(layer)), io.BytesIO(layer[:cut]))
    assert names_in(root / "data/snapshots") == sorted(BESIDE_LAYERS)


def test_a_layer_with_another_diff_id_is_refused(storage: Storage, root: Path) -> None:
    with pytest.raises(DataLoss, match="wrong content"):
        storage.snapshots.unpack(None, digests.EMPTY_LAYER, io.BytesIO(tar([member("f")])))
    assert names_in(root / "data/snapshots") == sorted(BESIDE_LAYERS)


def test_a_full_disk_is_a_clear_error(storage: Storage, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sampan.archive.tree.os.write", full)
    with pytest.raises(DiskFull, match="big: no space left on device"):
        unpack(storage, tar([member("big", b"x" * 1000)]))
    assert names_in(root / "data/snapshots") == sorted(BESIDE_LAYERS)


def test_concurrent_callers_unpack_a_layer_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = tar([member(f"f{number}", b"x") for number in range(300)])
    fills = []
    fill = storage.snapshots._fill
    monkeypatch.setattr(storage.snapshots, "_fill", lambda *given: fills.append(1) or fill(*given))
    threads = [threading.Thread(target=unpack, args=(storage, layer)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(fills), len(storage.snapshots.layers())) == (1, 1)


def test_a_container_writes_on_its_layers(storage: Storage) -> None:
    chain = unpack(
        storage, tar([member("a", b"a"), member("d/"), member("d/x", b"x"), member("e/"), member("e/x", b"x")])
    )
    storage.snapshots.prepare("c", chain)
    with mounted(storage, "c") as root:
        (root / "a").unlink()
        (root / "d/x").write_text("changed")
        (root / "n").mkdir()
        (root / "n/f").write_text("new")
        subprocess.run(["rm", "-r", "e"], cwd=root, check=True)
        (root / "e").mkdir()
    assert storage.snapshots.changes("c") == [
        Change("/a", Kind.DELETED),
        Change("/d", Kind.MODIFIED),
        Change("/d/x", Kind.MODIFIED),
        Change("/e", Kind.MODIFIED),
        Change("/n", Kind.ADDED),
        Change("/n/f", Kind.ADDED),
    ]
    assert storage.snapshots.usage("c").size == len("changed") + len("new")


def test_a_committed_layer_shows_what_the_container_saw(storage: Storage) -> None:
    chain = unpack(
        storage, tar([member("a", b"a"), member("d/"), member("d/x", b"x"), member("o/"), member("o/x", b"x")])
    )
    storage.snapshots.prepare("c", chain)
    with mounted(storage, "c") as root:
        (root / "a").unlink()
        (root / "o/x").unlink()
        (root / "o").rmdir()
        (root / "o").mkdir()
        (root / "o/y").write_text("y")
        (root / "h1").write_text("twice")
        os.link(root / "h1", root / "h2")
        os.setxattr(root / "h1", "security.capability", CAPABILITY)
        saw = listing(root)
    one, two = io.BytesIO(), io.BytesIO()
    storage.snapshots.diff("c", one)
    storage.snapshots.diff("c", two)
    assert one.getvalue() == two.getvalue()
    assert [info.name for info in members_of(one.getvalue())] == [".wh.a", "h1", "h2", "o", "o/.wh..wh..opq", "o/y"]
    diff_id = DiffID(digests.of(one.getvalue()))
    unpacked = storage.snapshots.unpack(chain, diff_id, io.BytesIO(one.getvalue()))
    for renamed in (False, True):
        top = storage.snapshots.commit("c", diff_id) if renamed else unpacked
        with viewed(storage, top) as view:
            assert listing(view) == saw
            assert (view / "h1").stat().st_nlink == 2
            assert os.getxattr(view / "h2", "security.capability") == CAPABILITY
        storage.snapshots.remove_layer(top)


def test_a_writable_layer_becomes_a_committed_one_without_copying(storage: Storage) -> None:
    storage.snapshots.prepare("c", None)
    with mounted(storage, "c") as root:
        (root / "f").write_text("x")
    inode = (storage.snapshots.upper("c") / "f").stat().st_ino
    sink = io.BytesIO()
    storage.snapshots.diff("c", sink)
    chain = storage.snapshots.commit("c", DiffID(digests.of(sink.getvalue())))
    assert (storage.snapshots.path(chain) / "f").stat().st_ino == inode
    assert not storage.snapshots.actives()


def test_hundreds_of_layers_mount(storage: Storage) -> None:
    chain = unpack(storage, *(tar([member(f"f{number}", b"x")]) for number in range(150)))
    with viewed(storage, chain) as root:
        assert len(names_in(root)) == 150


def test_no_layers_are_an_empty_tree(storage: Storage) -> None:
    with viewed(storage, None) as root:
        assert not names_in(root)


def test_owners_on_disk_are_those_that_a_user_namespace_sees(storage: Storage) -> None:
    maps = IdMap(((0, 100_000, 65_536),), ((0, 200_000, 65_536),))
    chain = unpack(storage, tar([member("f", b"x", uid=5), member("g", b"y", uid=6)]))
    storage.snapshots.prepare("c", chain)
    namespace = userns.make(text(maps.uids), text(maps.gids))
    fd = storage.snapshots.mount("c", volatile=True, mapped=Mapped(maps, namespace))
    os.close(namespace)
    try:
        assert os.stat("f", dir_fd=fd).st_uid == 100_005
        assert os.stat(".", dir_fd=fd).st_gid == 200_000
        os.chown("f", 100_007, 200_008, dir_fd=fd)
        with acting_as_root(maps):
            os.mkdir("made", dir_fd=fd)
        with pytest.raises(OSError, match="Value too large"):
            os.mkdir("nobodys", dir_fd=fd)
        os.unlink("g", dir_fd=fd)
    finally:
        os.close(fd)
    sink = io.BytesIO()
    storage.snapshots.diff("c", sink)
    found = {info.name: (info.uid, info.gid) for info in members_of(sink.getvalue())}
    assert found == {".wh.g": (0, 0), "f": (7, 8), "made": (0, 0)}


def test_capabilities_of_files_are_those_of_the_user_namespace(storage: Storage) -> None:
    maps = IdMap(((0, 100_000, 65_536),), ((0, 100_000, 65_536),))
    chain = unpack(storage, tar([capable_member("ping")]))
    namespace = userns.make(text(maps.uids), text(maps.gids))
    fd = storage.snapshots.view(chain, mapped=Mapped(maps, namespace))
    os.close(namespace)
    try:
        version, *_, root = struct.unpack("<IIIIII", os.getxattr(f"/proc/self/fd/{fd}/ping", "security.capability"))
    finally:
        os.close(fd)
    assert (version & 0xFF000000, root) == (0x03000000, 100_000)


def capable_member(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A program with a capability."""
    capable = member(name, b"x", mode=0o755)
    capable[0].pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
    return capable


def test_a_tree_deeper_than_the_stack_is_removed(storage: Storage) -> None:
    storage.snapshots.prepare("c", None)
    directory = os.open(storage.snapshots.upper("c"), os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    storage.snapshots.remove("c")
    assert not storage.snapshots.upper("c").exists()


def test_a_removed_layer_is_deleted_by_the_purge_and_by_the_next_start(storage: Storage, root: Path) -> None:
    first, second = unpack(storage, tar([member("a", b"a")])), unpack(storage, tar([member("b", b"bb")]))
    assert storage.snapshots.remove_layer(first) == 1
    assert first not in storage.snapshots
    storage.snapshots.purge()
    assert storage.snapshots.remove_layer(second) == 2
    storage.snapshots.clean()
    assert names_in(root / "data/snapshots") == sorted(BESIDE_LAYERS)


def test_a_layer_is_unpacked_beside_the_one_below_and_registered_after_it(storage: Storage) -> None:
    lower = tar([member("d/", mode=0o700, uid=5), member("d/low", b"low"), member("e/", mode=0o711)])
    upper = tar([member("d/high", b"high"), hard("d/copy", "d/low"), member("e/f"), member("e/", mode=0o755, uid=6)])
    below, above = (DiffID(digests.of(layer)) for layer in (lower, upper))
    parent = digests.extend(None, below)
    began, complete = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert complete.wait(30)

    done: list[object] = []
    work = threading.Thread(
        target=lambda: done.append(storage.snapshots.unpack(parent, above, io.BytesIO(upper), wait))
    )
    work.start()
    assert began.wait(30)
    assert digests.extend(parent, above) not in storage.snapshots
    storage.snapshots.unpack(None, below, io.BytesIO(lower))
    complete.set()
    work.join()

    chain = digests.extend(parent, above)
    assert done == [chain]
    with viewed(storage, chain) as root:
        assert (root / "d/copy").read_bytes() == b"low"
        inherited, listed = (root / "d").stat(), (root / "e").stat()
        assert (stat.S_IMODE(inherited.st_mode), inherited.st_uid) == (0o700, 5)
        assert inherited.st_mtime_ns == 1_000_000_000 * 10**9
        assert (stat.S_IMODE(listed.st_mode), listed.st_uid) == (0o755, 6)


def test_a_layer_whose_parent_fails_leaves_nothing(storage: Storage, root: Path) -> None:
    layer = tar([member("d/f", b"x")])

    def fail() -> None:
        raise DataLoss("the layer below is damaged")

    with pytest.raises(DataLoss, match="below is damaged"):
        storage.snapshots.unpack(
            digests.extend(None, digests.EMPTY_LAYER), DiffID(digests.of(layer)), io.BytesIO(layer), fail
        )
    assert names_in(root / "data/snapshots") == sorted(BESIDE_LAYERS)
