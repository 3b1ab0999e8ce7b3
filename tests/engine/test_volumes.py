"""Volumes end to end: the docker CLI's flags and docker-py's calls on real containers."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]


@pytest.fixture(autouse=True)
def no_volume_stays(client: docker.DockerClient) -> Iterator[None]:
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for volume in client.volumes.list():
        volume.remove()


def test_a_named_volume_outlives_its_containers(run: Run, shell: Shell, client: Any) -> None:
    one = run(volumes={"data": {"bind": "/mnt", "mode": "rw"}})
    shell(one, "echo kept > /mnt/file")
    one.remove(force=True, v=True)
    assert shell(run(volumes={"data": {"bind": "/mnt", "mode": "ro"}}), "cat /mnt/file") == "kept"
    assert [volume.name for volume in client.volumes.list()] == ["data"]


def test_an_empty_volume_takes_the_images_content_and_nocopy_does_not(daemon: Any, client: Any) -> None:
    filled = daemon.cli("run", "--rm", "-v", "filled:/data", "busybox", "cat", "/data/seed")
    assert filled.stdout == b"seed\n", filled.stderr
    empty = daemon.cli("run", "--rm", "-v", "empty:/data:nocopy", "busybox", "ls", "/data")
    assert (empty.returncode, empty.stdout) == (0, b"")


def test_an_anonymous_volume_goes_with_its_container(daemon: Any, client: Any) -> None:
    assert daemon.cli("run", "--rm", "-v", "/mnt", "busybox", "touch", "/mnt/file").returncode == 0
    assert client.volumes.list() == []


def test_a_read_only_volume_cannot_be_written(daemon: Any, client: Any) -> None:
    result = daemon.cli("run", "--rm", "-v", "data:/mnt:ro", "busybox", "touch", "/mnt/file")
    assert b"Read-only file system" in result.stderr


def test_a_subpath_shows_a_part(daemon: Any, run: Run, shell: Shell) -> None:
    shell(run(volumes={"data": {"bind": "/mnt"}}), "mkdir /mnt/part && echo x > /mnt/part/file")
    mount = "type=volume,source=data,target=/m,volume-subpath={}"
    shown = daemon.cli("run", "--rm", "--mount", mount.format("part"), "busybox", "cat", "/m/file")
    assert shown.stdout == b"x\n", shown.stderr
    beside = ("-v", "/etc:/etc-of-host:ro", "-v", "data:/whole", "--mount", mount.format("part"))
    shown = daemon.cli("run", "--rm", *beside, "busybox", "cat", "/m/file", "/whole/part/file")
    assert shown.stdout == b"x\nx\n", shown.stderr
    missing = daemon.cli("run", "--rm", "--mount", mount.format("nothing"), "busybox", "true")
    assert b"cannot access path" in missing.stderr


def test_volumes_from_shares_them(run: Run, shell: Shell) -> None:
    one = run(name="one", volumes={"data": {"bind": "/mnt"}})
    shell(one, "echo shared > /mnt/file")
    assert shell(run(volumes_from=["one"]), "cat /mnt/file") == "shared"


def test_a_volume_in_use_is_not_removed(run: Run, client: Any) -> None:
    one = run(volumes={"data": {"bind": "/mnt"}})
    with pytest.raises(APIError, match=rf"remove data: volume is in use - \[{one.id}\]") as caught:
        client.volumes.get("data").remove(force=True)
    assert caught.value.status_code == 409


def test_a_tmpfs_volume_has_its_size(daemon: Any, client: Any) -> None:
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m")
    assert daemon.cli("volume", "create", *options, "small").returncode == 0
    result = daemon.cli("run", "--rm", "-v", "small:/m", "busybox", "dd", "if=/dev/zero", "of=/m/f", "bs=1M", "count=2")
    assert b"No space left on device" in result.stderr


def test_prune_filters_labels_and_reports_space(daemon: Any, client: Any) -> None:
    client.volumes.create("named", labels={"a": "b"})
    anonymous = client.api.create_volume()["Name"]
    assert client.volumes.prune()["VolumesDeleted"] == [anonymous]
    assert client.volumes.prune({"all": ["true"], "label": ["a=c"]})["VolumesDeleted"] in (None, [])
    assert client.volumes.prune({"all": ["true"], "label": ["a=b"]})["VolumesDeleted"] == ["named"]


def test_inspect_and_system_df_know_the_volume(daemon: Any, run: Run) -> None:
    run(volumes={"data": {"bind": "/mnt"}})
    shown = json.loads(daemon.cli("volume", "inspect", "data").stdout)[0]
    assert (shown["Driver"], shown["Scope"]) == ("local", "local")
    usage = daemon.cli("system", "df", "-v", "--format", "{{json .Volumes}}")
    (entry,) = json.loads(usage.stdout)
    assert (entry["Name"], entry["Links"]) == ("data", "1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("volume", "create", "x"), "volume name is too short"),
        (("volume", "create", "a/b"), "includes invalid characters for a local volume name"),
        (("volume", "create", "-d", "nosuch", "data"), 'plugin "nosuch" not found'),
        (("volume", "create", "-o", "foo=1", "data"), 'invalid option: "foo"'),
        (("volume", "inspect", "nosuch"), "get nosuch: no such volume"),
        (("volume", "rm", "nosuch"), "get nosuch: no such volume"),
    ],
)
def test_errors_are_sentences(daemon: Any, arguments: tuple[str, ...], said: str) -> None:
    result = daemon.cli(*arguments)
    assert result.returncode != 0
    assert said in result.stderr.decode()


def test_a_bind_shows_its_files_as_other_owners(run: Run, shell: Shell, daemon: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.chown(tmp_path / "file", 1000, 1001)
    os.chown(tmp_path, 1000, 1001)
    bind = f"{tmp_path}:/m:idmap=uids=1000-0-1;gids=1001-0-1"
    shown = daemon.cli("run", "--rm", "-v", bind, "busybox", "sh", "-c", "stat -c %u:%g /m/file && touch /m/new")
    assert (shown.stdout, shown.returncode) == (b"0:0\n", 0), shown.stderr
    made = (tmp_path / "new").stat()
    assert (made.st_uid, made.st_gid) == (1000, 1001)
    refused = daemon.cli("run", "--rm", "-v", f"{tmp_path}:/m:idmap=uids=1000", "busybox", "true")
    assert b"invalid idmap range: 1000" in refused.stderr


def test_files_copied_to_and_from_a_stopped_containers_bind_have_its_owners(
    daemon: Any, client: Any, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text("x")
    for path in (tmp_path, tmp_path / "old"):
        os.chown(path, 1000, 1001)
    (source := tmp_path.with_name("source")).write_text("y")
    bind = f"{tmp_path}:/m:idmap=uids=1000-0-1;gids=1001-0-1"
    assert daemon.cli("create", "--name", "one", "-v", bind, "busybox", "true").returncode == 0
    assert daemon.cli("cp", str(source), "one:/m/new").returncode == 0
    made = (tmp_path / "new").stat()
    assert (made.st_uid, made.st_gid) == (1000, 1001)
    chunks, _ = client.containers.get("one").get_archive("/m/old")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        (member,) = tar.getmembers()
    assert (member.uid, member.gid) == (0, 0)


def test_a_volume_is_copied_renamed_and_carried(daemon: Any, run: Run, shell: Shell, client: Any) -> None:
    one = run(volumes={"data": {"bind": "/m"}})
    shell(one, "echo kept > /m/file && chown 7:8 /m/file && ln -s file /m/link")
    for words in (("clone", "data", "copy"), ("rename", "copy", "moved")):
        assert sampan(daemon, "volume", *words).returncode == 0
    archive = sampan(daemon, "volume", "export", "data").stdout
    assert sampan(daemon, "volume", "import", "there", input=archive).returncode == 0
    (taken,) = sampan(daemon, "volume", "snapshot", "data").stdout.decode().split()
    assert client.volumes.get(taken).attrs["Labels"] == {"com.sampan.volume.snapshot-of": "data"}
    for name in ("moved", "there", taken):
        two = run(volumes={name: {"bind": "/m", "mode": "ro"}})
        assert shell(two, "cat /m/link; stat -c %u:%g /m/file") == "kept\n7:8"
    assert {volume.name for volume in client.volumes.list()} == {"data", "moved", "there", taken}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("clone", "nosuch", "x2"), "get nosuch: no such volume"),
        (("clone", "data", "data"), "a volume of this name exists"),
        (("clone", "data", "a/b"), "includes invalid characters"),
        (("rename", "data", "other"), "volume is in use"),
        (("snapshot", "mounted"), "only local volumes without a mount of their own"),
        (("import", "data"), "a volume of this name exists"),
    ],
)
def test_copies_are_refused_and_leave_nothing(
    daemon: Any, run: Run, client: Any, words: tuple[str, ...], said: str
) -> None:
    run(volumes={"data": {"bind": "/m"}})
    client.volumes.create("mounted", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    result = sampan(daemon, "volume", *words, input=b"")
    assert (result.returncode, said in result.stderr.decode()) == (1, True), result.stderr
    assert {volume.name for volume in client.volumes.list()} == {"data", "mounted"}
    assert not list((daemon.root / "data" / "volumes").glob(".tmp-*"))


def sampan(daemon: Any, *words: str, input: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run our own command line."""
    command = [sys.executable, "-m", "sampan.cli.main", "-H", daemon.url, *words]
    return subprocess.run(command, input=input, capture_output=True, timeout=60, check=False)


def test_prune_leaves_volumes_with_options(client: Any) -> None:
    client.volumes.create("mounted", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    assert client.volumes.prune({"all": ["true"]})["VolumesDeleted"] == []


def test_a_quota_is_refused_where_the_file_system_has_none(daemon: Any, client: Any) -> None:
    result = daemon.cli("run", "--rm", "--storage-opt", "size=1g", "busybox", "true")
    assert b"--storage-opt is supported only for overlay over xfs with 'pquota' mount option" in result.stderr
    result = daemon.cli("volume", "create", "-o", "size=1g", "data")
    assert b"create data: quota size requested but no quota support" in result.stderr
    assert client.volumes.list() == []


def test_the_events_of_a_volume_say_where_it_was_mounted(daemon: Any, client: Any) -> None:
    since = int(time.time())
    assert daemon.cli("run", "--rm", "-v", "told:/data:ro", "busybox", "true").returncode == 0
    time.sleep(1)
    events = [
        (event["Action"], event["Actor"]["Attributes"])
        for event in client.events(since=since, until=int(time.time()), decode=True, filters={"type": "volume"})
        if event["Actor"]["ID"] == "told"
    ]
    assert [action for action, _ in events] == ["create", "mount", "unmount"]
    told = {key: value for key, value in events[1][1].items() if key != "container"}
    assert told == {"driver": "local", "destination": "/data", "read/write": "false", "propagation": ""}


def test_a_bind_of_the_data_root_lets_go_of_volumes(daemon: Any, client: Any) -> None:
    made = client.containers.create("busybox", "true", volumes={str(daemon.root): {"bind": "/m"}})
    assert [mount["Propagation"] for mount in made.attrs["Mounts"]] == ["rslave"]
    refused = daemon.cli("create", "-v", f"{daemon.root}:/m:private", "busybox", "true")
    assert b'must use either propagation mode "rslave" or "rshared"' in refused.stderr


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A mount of its own, private, with a directory ``in``."""
    subprocess.run(["mount", "-t", "tmpfs", "tests", tmp_path], check=True)
    subprocess.run(["mount", "--make-private", tmp_path], check=True)
    (tmp_path / "in").mkdir()
    yield tmp_path
    subprocess.run(["umount", "--recursive", tmp_path], check=True)


def test_later_mounts_spread_only_from_mounts_that_let_them(daemon: Any, run: Run, shell: Shell, mounted: Path) -> None:
    for asked, name in (("rslave", "shared or slave"), ("shared", "shared")):
        refused = daemon.cli("run", "--rm", "-v", f"{mounted}:/m:{asked}", "busybox", "true")
        said = f"path {mounted} is mounted on {mounted} but it is not a {name} mount"
        assert said in refused.stderr.decode()
    subprocess.run(["mount", "--make-shared", mounted], check=True)
    slave, private = (run(volumes=[f"{mounted}:/m:{mode}"]) for mode in ("rslave", "rprivate"))
    giving = run(volumes=[f"{mounted}:/m:rshared"], privileged=True)
    subprocess.run(["mount", "-t", "tmpfs", "from-host", mounted / "in"], check=True)
    assert shell(slave, "grep -c from-host /proc/mounts") == "1"
    assert private.exec_run("grep from-host /proc/mounts").exit_code == 1
    shell(giving, "mkdir /m/out && mount -t tmpfs from-container /m/out")
    assert "from-container" in Path("/proc/mounts").read_text()
    for container in (slave, private, giving):
        container.remove(force=True)


def test_every_key_of_mount_and_every_word_of_volume_is_understood(daemon: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    bind, words = f"type=bind,source={tmp_path},target", ("ro", "rw", "z", "Z", "rprivate", "private")
    mounts = [
        "type=volume,source=named,target=/a,volume-label=l=1,volume-driver=local,volume-nocopy,readonly",
        "type=volume,source=opted,target=/b,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m",
        "type=tmpfs,target=/c,tmpfs-size=1m,tmpfs-mode=1770",
        f"{bind}=/d,bind-propagation=rprivate,bind-recursive=disabled,consistency=cached",
        f"{bind}=/e,readonly,bind-recursive=readonly,bind-propagation=rprivate",
        f"{bind}=/f,readonly,bind-recursive=writable",
        f"{bind}=/g,bind-recursive=enabled",
        "type=image,source=busybox,target=/h,image-subpath=data",
    ]
    flags = [word for mount in mounts for word in ("--mount", mount)]
    flags += [word for mode in words for word in ("-v", f"{tmp_path}:/v-{mode}:{mode}")]
    flags += ["-v", "named:/w:nocopy,ro", "-v", f"{tmp_path}:/x:delegated", "-v", "/anonymous"]
    flags += ["--tmpfs", "/t:rw,size=64k,mode=700,exec,uid=1000", "--tmpfs", "/u"]
    made = daemon.cli("run", "--rm", *flags, "busybox", "sh", "-c", "grep -E ' /[a-z](-[a-zA-Z]+)? ' /proc/mounts")
    assert made.returncode == 0, made.stderr
    shown = {line.split()[1]: set(line.split()[3].split(",")) for line in made.stdout.decode().splitlines()}
    assert {point for point, options in shown.items() if "ro" in options} == {"/a", "/e", "/f", "/h", "/v-ro", "/w"}
    assert {"size=1024k", "mode=1770", "noexec"} <= shown["/c"]
    assert {"size=64k", "mode=700", "uid=1000", "nosuid"} <= shown["/t"]
    assert "noexec" not in shown["/t"]
    assert "size=1024k" in shown["/b"]


def test_anonymous_volumes_of_the_image_show_no_mode(daemon: Any, client: Any) -> None:
    made = daemon.cli("create", "-v", "/bare", "-v", "named:/named", "busybox", "true").stdout.decode().strip()
    shown = client.containers.get(made).attrs["Mounts"]
    assert {mount["Destination"]: mount["Mode"] for mount in shown} == {"/bare": "", "/named": "z"}
