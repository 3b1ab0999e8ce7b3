"""What becomes of a build's result: attestations beside it, layers in another form, layouts and trees."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest
from buildkit_client import Client, build
from grpclib.exceptions import GRPCError

from sampan.build.buildkit import messages as m

STATUS = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n\nPackage: gone\n" \
         "Status: deinstall ok config-files\nVersion: 1\n"  # fmt: skip
FILES = {
    "root/var/lib/dpkg/status": STATUS,
    "root/etc/os-release": 'ID="devuan"\n',
    "root/usr/lib/python3/dist-packages/Some_Thing-1.0.dist-info/METADATA": "Name: Some.Thing\nVersion: 1.0\n\nbody",
    "root/app/node_modules/@a/b/package.json": '{"name": "@a/b", "version": "2.0.0", "license": "MIT"}',
}
EPOCH = 1_500_000_000


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG secret_thing\nCOPY root /\n")
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def statements(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """Predicates of the image's attestations by their type."""
    answer = client.api.get(client.api.base_url + f"/v1.55/images/{name}/attestations", params={"statement": "1"})
    assert answer.status_code == 200, answer.text
    return {one["PredicateType"]: one["Statement"]["predicate"] for one in answer.json()}


async def test_provenance_tells_more_with_mode_max(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    for mode, shown in (("min", False), ("max", True)):
        options = {"attest:provenance": f"mode={mode},builder-id=me", "build-arg:secret_thing": "x"}
        await build(daemon.socket, Client(context), options, "stated")
        predicate = statements(client, "stated")["https://slsa.dev/provenance/v1"]
        request = predicate["buildDefinition"]["externalParameters"]["request"]
        assert ("build-arg:secret_thing" in request["args"]) == shown
        assert ("source" in predicate["runDetails"]["metadata"]["buildkit_metadata"]) == shown
        assert predicate["runDetails"]["builder"]["id"] == "me"
    client.images.remove("stated")


async def test_provenance_names_the_base_image(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\n")
    await build(daemon.socket, Client(context), {"attest:provenance": "version=v0.2"}, "based")
    predicate = statements(client, "based")["https://slsa.dev/provenance/v0.2"]
    assert [material["uri"] for material in predicate["materials"]] == [
        "pkg:docker/busybox@latest?platform=linux%2Famd64"
    ]
    assert client.containers.run("based", "echo runs", remove=True) == b"runs\n"
    client.images.remove("based")


async def test_a_bill_of_materials_lists_packages(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    await build(daemon.socket, Client(context), {"attest:sbom": ""}, "listed")
    document = statements(client, "listed")["https://spdx.dev/Document"]
    urls = {ref["referenceLocator"] for package in document["packages"] for ref in package.get("externalRefs", [])}
    assert urls == {"pkg:deb/devuan/bash@5.2-1?arch=amd64", "pkg:pypi/some-thing@1.0", "pkg:npm/%40a/b@2.0.0"}
    contained = [
        each["relatedSpdxElement"] for each in document["relationships"] if each["spdxElementId"] != "SPDXRef-DOCUMENT"
    ]
    assert len(contained) == len(urls)
    client.images.remove("listed")


async def test_attestations_of_the_default_kind_leave_a_local_image_alone(
    daemon: Any, client: docker.DockerClient, context: Path
) -> None:
    answer, _ = await build(daemon.socket, Client(context), {"attest:provenance": "mode=min,inline-only=true"}, "plain")
    assert answer.ExporterResponse["containerimage.digest"] == client.images.get("plain").id
    assert statements(client, "plain") == {}
    client.images.remove("plain")


async def test_statements_go_beside_files(daemon: Any, context: Path) -> None:
    taking = Client(context, takes_tree=True)
    options = {"attest:provenance": "mode=min", "attest:sbom": ""}
    await build(daemon.socket, taking, options, "", exporter=m.Exporter(Type="local"))
    assert {"provenance.json", "sbom.spdx.json", "etc/os-release"} <= taking.tree.keys()
    stated = json.loads(taking.tree["provenance.json"])
    digest = hashlib.sha256(taking.tree["etc/os-release"]).hexdigest()
    assert {"name": "etc/os-release", "digest": {"sha256": digest}} in stated["subject"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attest:colour": ""}, 'unknown attestation type "colour"'),
        ({"attest:provenance": "mode=most"}, 'invalid mode "most"'),
        ({"attest:provenance": "version=v9"}, "invalid provenance SLSA version: v9"),
        ({"attest:provenance": "colour=red"}, "unknown attribute colour of attestation type provenance"),
        ({"attest:sbom": "generator=x"}, "sbom generator x: only the engine's own scanner is supported"),
    ],
)
async def test_attestations_that_cannot_be_had_are_refused(
    daemon: Any, context: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), options, "never")
    assert caught.value.message == words


def manifest_in(archive: bytes) -> dict[str, Any]:
    """The image manifest of an OCI archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        entry = json.load(tar.extractfile("index.json"))["manifests"][0]  # type: ignore[arg-type]
        found = json.load(tar.extractfile("blobs/" + entry["digest"].replace(":", "/")))  # type: ignore[arg-type]
        assert isinstance(found, dict)
        return found


@pytest.mark.parametrize(("wanted", "suffix"), [("zstd", ".tar+zstd"), ("uncompressed", ".tar"), ("gzip", ".tar+gzip")])
async def test_layers_are_compressed_as_wanted(
    daemon: Any, client: docker.DockerClient, context: Path, wanted: str, suffix: str
) -> None:
    taking, before = Client(context), {image.id for image in client.images.list()}
    exporter = m.Exporter(Type="oci", Attrs={"compression": wanted, "force-compression": "true"})
    await build(daemon.socket, taking, {}, "", exporter=exporter)
    assert [layer["mediaType"].endswith(suffix) for layer in manifest_in(taking.received)["layers"]] == [True]
    assert {image.id for image in client.images.list()} == before


async def test_the_same_files_make_the_same_archive_at_any_time(
    daemon: Any, client: docker.DockerClient, context: Path
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY root /\nWORKDIR /made/now\n")
    options = {"build-arg:SOURCE_DATE_EPOCH": str(EPOCH), "no-cache": ""}
    exporter = m.Exporter(Type="oci", Attrs={"rewrite-timestamp": "true"})
    archives = []
    for _ in range(2):
        taking = Client(context)
        await build(daemon.socket, taking, options, "", exporter=exporter)
        archives.append(taking.received)
        client.api.prune_builds(all=True)
    assert archives[0] == archives[1]


async def test_a_layout_goes_to_a_directory_of_the_client(daemon: Any, context: Path) -> None:
    taking = Client(context)
    exporter = m.Exporter(Type="oci", Attrs={"tar": "false"})
    answer, _ = await build(daemon.socket, taking, {}, "", exporter=exporter)
    document = json.loads(taking.blobs[answer.ExporterResponse["containerimage.digest"]])
    assert {document["config"]["digest"], *(layer["digest"] for layer in document["layers"])} < taking.blobs.keys()


async def test_a_tree_is_dated_as_wanted(daemon: Any, context: Path) -> None:
    taking = Client(context)
    await build(daemon.socket, taking, {"build-arg:SOURCE_DATE_EPOCH": str(EPOCH)}, "", exporter=m.Exporter(Type="tar"))
    with tarfile.open(fileobj=io.BytesIO(taking.received)) as tar:
        assert {member.mtime for member in tar} == {EPOCH}
