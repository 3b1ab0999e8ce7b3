"""Operations on the container's file system, and that none of them leaves its root."""

import asyncio
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sampan.linux.mount import clone_mount, mount_detached
from sampan.runtime import plan as p
from sampan.runtime.launch import StartFailed

RDONLY = 1


@pytest.fixture
def output(box: Any, start: Any) -> Any:
    """What a shell script prints in a container that got further operations."""

    async def run(script: str, *inside: p.Operation, last: tuple[p.Operation, ...] = (), **options: Any) -> str:
        plan = box.plan(["sh", "-c", script], inside=inside, last=last, **options)
        monitor = await start(box.launch(plan=plan))
        await asyncio.wait_for(monitor.drained(), 10)
        return "".join(json.loads(line)["log"] for line in box.log.read_text().splitlines())

    return run


def bind(source: Path, target: str, kind: int = p.Kind.DIRECTORY, *changes: p.Operation) -> tuple[p.Operation, ...]:
    return (p.OpenTree(100, str(source), 1), *changes, p.Attach(100, target, kind))


async def test_a_directory_is_bound_where_there_was_none(output: Any, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("content")
    assert await output("cat /a/b/c/file", *bind(tmp_path / "volume", "/a/b/c")) == "content"


async def test_a_file_is_bound_where_there_was_none(output: Any, tmp_path: Path) -> None:
    (tmp_path / "resolv").write_text("nameserver")
    assert await output(
        "cat /etc/new/resolv.conf", *bind(tmp_path / "resolv", "/etc/new/resolv.conf", p.Kind.FILE)
    ) == ("nameserver")


async def test_a_readonly_bind_refuses_writing(output: Any, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    readonly = p.SetMount(100, RDONLY, recursive=1)
    text = await output("touch /v/x 2>&1 || true", *bind(tmp_path / "volume", "/v", p.Kind.DIRECTORY, readonly))
    assert "Read-only file system" in text


async def test_a_target_behind_a_symlink_stays_inside_the_root(output: Any, box: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("content")
    (box.root / "escape").symlink_to(outside)
    (box.root / "climb").symlink_to("../../../../../../escape2")
    text = await output(
        "cat /escape/file /climb/sub/file",
        *bind(tmp_path / "volume", "/escape"),
        *bind(tmp_path / "volume", "/climb/sub"),
    )
    assert text == "contentcontent"
    assert list(outside.iterdir()) == []
    assert (box.root / "escape2/sub").is_dir()
    assert (box.root / str(outside).lstrip("/")).is_dir()


async def test_a_dangling_symlink_gets_its_target_made(output: Any, box: Any, tmp_path: Path) -> None:
    (tmp_path / "resolv").write_text("nameserver")
    (box.root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    text = await output("cat /run/systemd/resolve/stub-resolv.conf",
                        *bind(tmp_path / "resolv", "/etc/resolv.conf", p.Kind.FILE))  # fmt: skip
    assert text == "nameserver"


async def test_a_loop_of_symlinks_fails(output: Any, box: Any, tmp_path: Path) -> None:
    (box.root / "loop").symlink_to("loop")
    with pytest.raises(StartFailed) as failure:
        await output("true", *bind(tmp_path, "/loop/x"))
    assert (failure.value.step, failure.value.errno, failure.value.object) == ("attach", errno.ELOOP, "/loop/x")


async def test_a_magic_link_is_not_followed(output: Any, tmp_path: Path) -> None:
    with pytest.raises(StartFailed) as failure:
        await output("true", *bind(tmp_path, "/proc/self/root/x"))
    assert failure.value.errno == errno.ELOOP


async def test_masked_paths_are_empty(output: Any, box: Any) -> None:
    (box.root / "secret").mkdir()
    (box.root / "secret/file").write_text("secret")
    (box.root / "other").mkdir()
    (box.root / "other/file").write_text("secret")
    (box.root / "plain").write_text("secret")
    masks = (p.Mask("/secret"), p.Mask("/other"), p.Mask("/plain"), p.Mask("/missing"), p.Mask("/plain/below"))
    assert await output("ls /secret /other; cat /plain; touch /secret/x 2>&1 | head -c 5", *masks) == (
        "/other:\n\n/secret:\ntouch"
    )


async def test_readonly_paths_refuse_writing(output: Any, box: Any) -> None:
    (box.root / "fixed").mkdir()
    text = await output(
        "touch /fixed/x 2>&1; touch /tmp/x && echo rest", p.MakeReadonly("/fixed"), p.MakeReadonly("/no")
    )
    assert "Read-only file system" in text and text.endswith("rest\n")


async def test_a_readonly_root_leaves_mounts_writable(output: Any) -> None:
    text = await output("touch /x 2>&1; touch /dev/x && echo rest", p.MakeReadonly("/"))
    assert "Read-only file system" in text and text.endswith("rest\n")


async def test_a_tmpfs_may_begin_with_what_it_covers(output: Any, box: Any) -> None:
    (box.root / "data/sub").mkdir(parents=True)
    (box.root / "data/sub/file").write_text("copied")
    (box.root / "data/sub/file").chmod(0o640)
    os.chown(box.root / "data/sub/file", 12, 34)
    (box.root / "data/link").symlink_to("sub/file")
    operations = (p.MakeMount(100, "tmpfs", "tmpfs", 0), p.CopyUp(100, "/data"), p.Attach(100, "/data"))
    assert await output(
        "cat /data/link; stat -c ' %a %u %g' /data/sub/file; echo changed >/data/link", *operations
    ) == ("copied 640 12 34\n")
    assert (box.root / "data/sub/file").read_text() == "copied"


async def test_directories_nodes_and_links_are_made(output: Any) -> None:
    operations = (
        p.MakeDirectory("/new/deep", 0o1777, 5, 6),
        p.MakeNode("/dev/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        p.MakeNode("/dev/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        p.MakeSymlink("/proc/self/fd", "/dev/fd"),
    )
    script = "stat -c '%a %u %g' /new/deep; stat -c '%a %t %T' /dev/zero; readlink /dev/fd"
    assert await output(script, *operations) == "1777 5 6\n666 1 5\n/proc/self/fd\n"


async def test_another_device_in_the_way_fails(output: Any) -> None:
    with pytest.raises(StartFailed) as failure:
        await output("true", p.MakeNode("/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 5)))
    assert (failure.value.step, failure.value.errno) == ("make_node", errno.EEXIST)


async def test_sysctls_are_written_to_procfs_only(output: Any) -> None:
    sysctl = p.WriteSysctl("net/ipv4/ip_forward", "1")
    assert await output("cat /proc/sys/net/ipv4/ip_forward", sysctl) == "1\n"


async def test_names_and_loopback_are_set(output: Any) -> None:
    last = (p.SetHostname("boxed"), p.RaiseLoopback())
    assert await output("hostname; cat /proc/net/if_inet6 | head -c 32", last=last) == "boxed\n" + "0" * 31 + "1"


async def test_a_detached_root_is_attached_and_leaves_nothing_behind(box: Any, start: Any) -> None:
    """The engine's way: the root is a mount that is in no table."""
    slots = p.Slots()
    root = clone_mount(box.root, recursive=True)
    slot = slots.give(root)
    operations = list(box.plan(["sh", "-c", "echo rooted; ls -d /bin"], slots=slots).operations)
    place = next(i for i, operation in enumerate(operations) if isinstance(operation, p.OpenTree))
    operations[place : place + 2] = [p.AttachRoot(slot, str(box.state))]
    before = Path("/proc/self/mountinfo").read_text()
    monitor = await start(box.launch(plan=p.Plan(tuple(operations), tuple(slots.fds), owned=(root,))))
    await monitor.drained()
    assert "rooted" in box.log.read_text()
    assert Path("/proc/self/mountinfo").read_text() == before


async def test_an_overlay_root_works_detached(box: Any, start: Any, tmp_path: Path) -> None:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    options = {"lowerdir": str(box.root), "upperdir": str(tmp_path / "upper"), "workdir": str(tmp_path / "work")}
    root = mount_detached("overlay", options)
    slots = p.Slots()
    slot = slots.give(root)
    operations = list(box.plan(["sh", "-c", "echo new >/file"], slots=slots).operations)
    place = next(i for i, operation in enumerate(operations) if isinstance(operation, p.OpenTree))
    operations[place : place + 2] = [p.AttachRoot(slot, str(box.state))]
    monitor = await start(box.launch(plan=p.Plan(tuple(operations), tuple(slots.fds), owned=(root,))))
    assert (await monitor.wait()).status == 0
    assert (tmp_path / "upper/file").read_text() == "new\n"
