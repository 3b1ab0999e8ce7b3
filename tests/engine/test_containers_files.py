"""Files of containers: cp both ways, export, diff, commit, volumes and binds."""

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]


def archive(**files: bytes) -> bytes:
    """A tar of small files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def names(chunks: Any) -> list[str]:
    """Names in a tar stream."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        return sorted(tar.getnames())


@pytest.mark.parametrize("running", [True, False])
def test_files_go_in_and_out(client: docker.DockerClient, run: Run, running: bool) -> None:
    container = run() if running else client.containers.create("busybox", "true", network_mode="none")
    assert container.put_archive("/tmp", archive(a=b"one", b=b"two"))
    chunks, stat = container.get_archive("/tmp/a")
    assert (names(chunks), stat["name"], stat["size"]) == (["a"], "a", 3)
    with pytest.raises(NotFound, match="Could not find the file /nowhere in container"):
        container.get_archive("/nowhere")


@pytest.mark.parametrize("running", [True, False])
def test_a_link_to_the_outside_leads_nowhere(
    client: docker.DockerClient, run: Run, running: bool, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, f"/../../../../../../..{tmp_path}"
        tar.addfile(member)
    container = run() if running else client.containers.create("busybox", "true", network_mode="none")
    container.put_archive("/", raw.getvalue())
    with pytest.raises(APIError):
        container.get_archive("/link/secret")
    with pytest.raises(APIError):
        container.put_archive("/link", archive(planted=b"x"))
    assert not (tmp_path / "planted").exists()


def test_an_archive_that_climbs_out_is_refused(run: Run, tmp_path: Path) -> None:
    container = run()
    hostile = archive(**{f"../../../../../../../../{tmp_path}/planted": b"x"})
    try:
        container.put_archive("/tmp", hostile)
    except APIError as error:
        assert error.status_code in (400, 403, 500)
    assert not (tmp_path / "planted").exists()


def test_diff_and_export_show_what_was_written(run: Run) -> None:
    container = run("sh -c 'echo x > /tmp/new; rm /data/seed'")
    container.wait()
    changes = {(each["Path"], each["Kind"]) for each in container.diff()}
    assert {("/tmp/new", 1), ("/data/seed", 2)} <= changes
    listed = names(container.export())
    assert "tmp/new" in listed
    assert "data/seed" not in listed


def test_what_a_start_leaves_is_no_change(client: docker.DockerClient, run: Run) -> None:
    container = run("sh -c 'test -e /.dockerenv && test -L /etc/mtab'")
    assert container.wait()["StatusCode"] == 0
    assert not container.diff()
    image = container.commit()
    assert len(image.attrs["RootFS"]["Layers"]) == len(client.images.get("busybox").attrs["RootFS"]["Layers"])
    client.images.remove(image.id)


def test_what_the_engine_gives_may_be_removed_and_its_directories_written_to(run: Run) -> None:
    container = run("sh -c 'rm /.dockerenv && rm /etc/mtab && echo x > /etc/new'")
    assert container.wait()["StatusCode"] == 0
    assert [each["Path"] for each in container.diff()] == ["/etc", "/etc/new"]
    assert not {".dockerenv", "etc/mtab"} & set(names(container.export()))
    container.start()
    assert container.wait()["StatusCode"] == 1  # they stay removed


def test_a_commit_of_a_running_container_is_told_with_its_pause(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60", init=True)
    since = container.attrs["Created"]
    image = container.commit()
    told = client.events(since=since, until=int(time.time()) + 1, filters={"container": container.id}, decode=True)
    actions = [each["Action"] for each in told]
    assert {"pause", "commit", "unpause"} <= set(actions)
    assert actions.index("pause") < actions.index("unpause")
    client.images.remove(image.id)


def test_a_commit_is_one_event_that_names_both(client: docker.DockerClient, run: Run) -> None:
    container = run()
    since = container.attrs["Created"]
    image = container.commit()
    told = client.events(since=since, until=int(time.time()) + 1, filters={"event": "commit"}, decode=True)
    found = [each["Actor"]["Attributes"] for each in told if each["Actor"]["ID"] == container.id]
    assert [(each["name"], each["imageID"]) for each in found] == [(container.name, image.id)]
    client.images.remove(image.id)


def test_a_whole_running_container_can_be_copied_out(run: Run) -> None:
    chunks, _ = run().get_archive("/")
    found = names(chunks)
    assert "/proc" in found or "proc" in found
    assert not [name for name in found if "/proc/" in name or name.startswith("proc/")]


def test_files_go_to_a_volume_whose_place_the_image_lacks(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "true", network_mode="none", volumes=["/not/there"])
    assert container.put_archive("/not/there", archive(a=b"one"))
    chunks, _ = container.get_archive("/not/there/a")
    assert names(chunks) == ["a"]


def test_a_file_bound_where_the_image_has_none_is_there_before_the_start(
    client: docker.DockerClient, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("bound")
    binds = [f"{tmp_path}/file:/made/file:ro"]
    container = client.containers.create("busybox", "true", network_mode="none", volumes=binds)
    chunks, _ = container.get_archive("/made/file")
    assert names(chunks) == ["file"]
    container.start()
    assert container.wait()["StatusCode"] == 0


def test_what_is_put_as_the_user_is_the_users_before_the_start(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "stat -c %u:%g /tmp/a", network_mode="none", user="1:2")
    url = client.api._url("/containers/{0}/archive", container.id)
    put = client.api._put(url, params={"path": "/tmp", "copyUIDGID": "1"}, data=archive(a=b"one"))
    assert put.status_code == 200
    container.start()
    container.wait()
    assert container.logs() == b"1:2\n"


@pytest.mark.parametrize("part", ["name", "id", "short_id"])
def test_a_missing_file_is_told_with_the_container_as_it_was_called(client: docker.DockerClient, part: str) -> None:
    called = getattr(client.containers.create("busybox", "true", network_mode="none", name="whose"), part)
    with pytest.raises(NotFound, match=f'in container {called}"'):
        client.api.get_archive(called, "/nowhere")


def test_a_commit_becomes_an_image(client: docker.DockerClient, run: Run) -> None:
    container = run("sh -c 'echo made > /made; sleep 60'")
    image = container.commit("committed", tag="v1", changes=['CMD ["cat", "/made"]', "ENV X=1"], author="me")
    made = client.containers.create("committed:v1", network_mode="none")
    made.start()
    made.wait()
    assert made.logs() == b"made\n"
    assert "X=1" in image.attrs["Config"]["Env"]
    made.remove()
    client.images.remove("committed:v1", force=True)


def test_a_volume_is_filled_from_the_image_and_kept(client: docker.DockerClient, run: Run, shell: Shell) -> None:
    container = run("sleep 60", volumes=["filled:/data"])
    assert shell(container, "cat /data/seed") == "seed"
    shell(container, "echo kept > /data/kept")
    container.remove(force=True)
    second = run("sleep 60", volumes=["filled:/data:ro"])
    assert shell(second, "cat /data/kept") == "kept"
    assert second.exec_run("touch /data/x").exit_code != 0
    with pytest.raises(APIError) as refused:
        client.volumes.get("filled").remove()
    assert refused.value.status_code == 409
    second.remove(force=True)
    client.volumes.get("filled").remove()


def test_anonymous_volumes_go_with_rm_v(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60", volumes=["/scratch"])
    (mount,) = client.api.inspect_container(container.id)["Mounts"]
    assert len(mount["Name"]) == 64
    container.remove(force=True, v=True)
    with pytest.raises(NotFound):
        client.volumes.get(mount["Name"])


def test_volumes_from_shares_them(run: Run, shell: Shell) -> None:
    donor = run("sleep 60", volumes=["/shared"], name="donor")
    shell(donor, "echo x > /shared/file")
    other = run("sleep 60", volumes_from=["donor:ro"])
    assert shell(other, "cat /shared/file") == "x"
    assert other.exec_run("touch /shared/no").exit_code != 0


def test_binds_are_made_and_read_only_ones_refuse(run: Run, shell: Shell, tmp_path: Path) -> None:
    container = run("sleep 60", volumes=[f"{tmp_path}/made:/rw", f"{tmp_path}:/ro:ro"])
    shell(container, "echo x > /rw/file")
    assert (tmp_path / "made/file").read_text() == "x\n"
    assert container.exec_run("touch /ro/no").exit_code != 0


def test_tmpfs_and_read_only_root(run: Run, shell: Shell) -> None:
    container = run("sleep 60", read_only=True, tmpfs={"/scratch": "size=1m,mode=1777"})
    assert container.exec_run("touch /no").exit_code != 0
    shell(container, "touch /scratch/yes")
    assert "size=1024k" in shell(container, "grep /scratch /proc/mounts")


def test_a_read_only_root_takes_copies_into_its_writable_volumes_alone(client: docker.DockerClient, run: Run) -> None:
    binds = {"kept": {"bind": "/kept", "mode": "rw"}, "sealed": {"bind": "/sealed", "mode": "ro"}}
    container = run("sleep 60", read_only=True, volumes=binds)
    assert container.put_archive("/kept", archive(a=b"one"))
    for place, said in (("/tmp", "container rootfs is marked read-only"), ("/sealed", "mounted volume is marked")):
        with pytest.raises(APIError, match=said) as refused:
            container.put_archive(place, archive(a=b"one"))
        assert refused.value.status_code == 400
    container.remove(force=True)
    for name in binds:
        client.volumes.get(name).remove()
