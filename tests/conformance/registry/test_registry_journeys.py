"""Images travel between engines and registries, ours and others', and keep their digests."""

import asyncio
import json
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from typing import Any

import aiohttp
import pytest

from sampan.api.descriptor import OCIPlatform
from sampan.api.filters import Filters
from sampan.api.images import AuthConfig
from sampan.errors import InvalidParameter, NotFound


async def skopeo_copy(*argv: str) -> None:
    """``skopeo copy`` by plain HTTP."""
    options = ("--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false")
    await run("skopeo", "copy", "--quiet", *options, *argv)


async def run(*argv: str) -> None:
    """Run a program; what it says is in the failure."""
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_an_image_pushed_and_pulled_is_the_same(registry: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    name = f"{registry.address}/team/app:1.0"
    image = here.make(name, layer(a=b"one"), layer(b=b"two"))
    pushed = await here.push(f"{registry.address}/team/app", tag="1.0")
    shorts = [one.digest[7:19] for one in image.manifest.value.layers]
    assert pushed[0] == f"The push refers to repository [{registry.address}/team/app]"
    assert pushed[1:3] == [f"{short}: Preparing" for short in shorts]
    assert sorted(pushed[3:5]) == sorted(f"{short}: Pushed" for short in shorts)
    assert pushed[5] == f"1.0: digest: {image.manifest.digest} size: {image.manifest.size}"
    pulled = await there.pull(name)
    assert pulled[0] == "1.0: Pulling from team/app"
    assert pulled[-2:] == [f"Digest: {image.manifest.digest}", f"Status: Downloaded newer image for {name}"]
    for short in shorts:
        own = [line.partition(": ")[2] for line in pulled if line.startswith(short) and "Waiting" not in line]
        assert own == ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
    again = there.storage.images.resolve(name)
    assert (again.id, again.manifest.raw) == (image.id, image.manifest.raw)
    assert again.chain_id in there.storage.snapshots


async def test_a_second_pull_and_push_move_nothing(registry: Any, engine: Any, layer: Any) -> None:
    here = engine()
    name = f"{registry.address}/app:latest"
    here.make(name, layer(a=b"one"))
    await here.push(f"{registry.address}/app", tag="latest")
    assert any(line.endswith("Layer already exists") for line in await here.push(f"{registry.address}/app"))
    pulled = await here.pull(name)
    assert pulled[-1] == f"Status: Image is up to date for {name}"
    assert sum(line.endswith("Already exists") for line in pulled) == 1


async def test_a_layer_is_mounted_from_a_repository_that_has_it(registry: Any, engine: Any, layer: Any) -> None:
    here = engine()
    image = here.make(f"{registry.address}/first", layer(a=b"one"))
    await here.push(f"{registry.address}/first")
    here.make(f"{registry.address}/second", layer(a=b"one"))
    short = image.manifest.value.layers[0].digest[7:19]
    assert f"{short}: Mounted from first" in await here.push(f"{registry.address}/second")


async def test_a_pull_by_digest_leaves_a_name_by_digest(registry: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    image = here.make(f"{registry.address}/app", layer(a=b"one"))
    await here.push(f"{registry.address}/app")
    name = f"{registry.address}/app@{image.manifest.digest}"
    pulled = await there.pull(name)
    assert pulled[0] == f"{image.manifest.digest}: Pulling from app"
    assert there.storage.images.resolve(name).id == image.id


async def test_all_tags_are_pulled_and_pushed(registry: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    for tag in ("one", "two"):
        here.make(f"{registry.address}/app:{tag}", layer(a=tag.encode()))
    await here.push(f"{registry.address}/app", all_tags=True)
    await there.pull(f"{registry.address}/app", all_tags=True)
    assert [one.tag for one, _ in there.storage.images.references() if one.tag] == ["one", "two"]
    with pytest.raises(InvalidParameter, match="tag can't be used with --all-tags/-a"):
        await there.pull(f"{registry.address}/app:one", all_tags=True)


async def test_what_is_not_there_is_said_in_dockers_words(registry: Any, engine: Any, layer: Any) -> None:
    here = engine()
    here.make(f"{registry.address}/app:1", layer(a=b"one"))
    await here.push(f"{registry.address}/app", tag="1")
    with pytest.raises(NotFound, match=r"^manifest for .*/app:2 not found: manifest unknown: manifest unknown$"):
        await here.pull(f"{registry.address}/app:2")
    with pytest.raises(NotFound, match=r"^An image does not exist locally with the tag: "):
        await here.push(f"{registry.address}/other")


async def test_an_unknown_repository_is_told_as_such(ours: Any, engine: Any) -> None:
    sentence = r"^repository .*/none not found: name unknown: "
    with pytest.raises(NotFound, match=sentence):
        await engine().pull(f"{ours.address}/none")


async def test_skopeo_copies_in_and_out(ours: Any, engine: Any, layer: Any, tmp_path: Any) -> None:
    here, there = engine("here"), engine("there")
    image = here.make(f"{ours.address}/app", layer(a=b"one"))
    await here.push(f"{ours.address}/app")
    layout = f"oci:{tmp_path}/layout:x"
    await skopeo_copy(f"docker://{ours.address}/app", layout)
    await skopeo_copy(layout, f"docker://{ours.address}/copy:2")
    await there.pull(f"{ours.address}/copy:2")
    assert there.storage.images.resolve(f"{ours.address}/copy:2").manifest.digest == image.manifest.digest


@pytest.mark.parametrize("program", ["podman", "buildah"])
@pytest.mark.parametrize("form", ["oci", "v2s2"])
async def test_podman_and_buildah_pull_and_push(ours: Any, engine: Any, layer: Any, form: str, program: str) -> None:
    here, there = engine("here"), engine("there")
    image = here.make(f"{ours.address}/app", layer(a=b"one"), layer(b=b"two"))
    await here.push(f"{ours.address}/app")
    name, copy = f"{ours.address}/app:latest", f"{ours.address}/copy:{form}"
    with tempfile.TemporaryDirectory(prefix="podman-") as root:  # podman wants a short path
        command = (program, "--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs")
        await run(*command, "pull", "-q", "--tls-verify=false", name)
        await run(*command, "tag", name, copy)
        await run(*command, "push", "-q", "--tls-verify=false", "--format", form, copy)
        await run(*command, "rmi", "-f", name, copy)
    await there.pull(copy)
    pulled = there.storage.images.resolve(copy)
    assert pulled.config.value.diff_ids == image.config.value.diff_ids
    assert form == "v2s2" or pulled.id == image.id


async def test_docker_schema_2_comes_in(ours: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    here.make(f"{ours.address}/app", layer(a=b"one"))
    await here.push(f"{ours.address}/app")
    target = f"docker://{ours.address}/app:v2s2"
    await skopeo_copy("--format", "v2s2", f"docker://{ours.address}/app", target)
    await there.pull(f"{ours.address}/app:v2s2")
    manifest = there.storage.images.resolve(f"{ours.address}/app:v2s2").manifest.value
    assert manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"


@pytest.mark.parametrize("compression", ["", "zstd"])
async def test_other_compressions_come_in(ours: Any, engine: Any, layer: Any, compression: str) -> None:
    from sampan.oci.image_config import ImageConfig, RootFS
    from sampan.oci.reference import Reference
    from sampan.storage.layers import write_layer

    here, there = engine("here"), engine("there")
    storage = here.storage
    with storage.leases.take() as lease:
        tar = layer(a=b"one")
        descriptor, diff_id = write_layer(storage.content, lease, lambda sink: sink.write(tar), compression)
        config = ImageConfig(architecture="amd64", os="linux", rootfs=RootFS([diff_id]))
        image = storage.images.create(config, [descriptor])
    storage.images.tag(Reference.parse(f"{ours.address}/app:1"), image.descriptor)
    await here.push(f"{ours.address}/app", tag="1")
    await there.pull(f"{ours.address}/app:1")
    chain = there.storage.images.resolve(f"{ours.address}/app:1").chain_id
    assert (there.storage.snapshots.path(chain) / "a").read_bytes() == b"one"


async def test_the_platform_asked_for_is_taken_from_an_index(ours: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    image = here.make(f"{ours.address}/app:amd64", layer(a=b"one"))
    await here.push(f"{ours.address}/app", tag="amd64")
    kind = "application/vnd.oci.image.index.v1+json"
    pointer = {"mediaType": image.manifest.value.media_type, "digest": image.manifest.digest}
    entry = {**pointer, "size": image.manifest.size, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    url = f"http://{ours.address}/v2/app/manifests/multi"
    async with aiohttp.ClientSession() as session:
        (await session.put(url, data=index, headers={"Content-Type": kind})).raise_for_status()
    await there.pull(f"{ours.address}/app:multi", platform=OCIPlatform(os="linux", architecture="amd64"))
    assert there.storage.images.resolve(f"{ours.address}/app:multi").id == image.id
    with pytest.raises(NotFound, match=r"^no matching manifest for linux/s390x in the manifest list entries$"):
        await there.pull(f"{ours.address}/app:multi", platform=OCIPlatform(os="linux", architecture="s390x"))
    pushed = await there.push(f"{ours.address}/app", tag="multi")
    assert pushed[-1].startswith("multi: digest: sha256:")
    found = await there.registries.distribution(f"{ours.address}/app:multi", None)
    assert (found.descriptor.media_type, found.platforms[0].architecture) == (kind, "amd64")


async def test_search_finds_what_was_pushed(ours: Any, engine: Any, layer: Any) -> None:
    here = engine()
    here.make(f"{ours.address}/team/webapp", layer(a=b"one"))
    await here.push(f"{ours.address}/team/webapp")
    found = await here.registries.search(f"{ours.address}/web", limit=0, filters=Filters(), auth=None)
    assert [one.name for one in found] == [f"{ours.address}/team/webapp"]
    starred = Filters({"stars": ["1"]})
    assert not await here.registries.search(f"{ours.address}/web", limit=0, filters=starred, auth=None)
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        await here.registries.search("x", limit=0, filters=Filters({"colour": ["red"]}), auth=None)


async def test_an_open_registry_takes_any_login(registry: Any, engine: Any) -> None:
    answer = await engine().registries.authenticate(AuthConfig(username="a", serveraddress=registry.address))
    assert answer.status == "Login Succeeded"
