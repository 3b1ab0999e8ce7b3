"""Platforms, manifests and image configs: what is understood, kept and refused."""

import json

import pytest

from sampan.errors import InvalidParameter
from sampan.oci import descriptor as types
from sampan.oci import image_config, manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest, of
from sampan.oci.document import Document
from sampan.oci.platform import Platform

DIGEST = Digest("sha256:" + "1" * 64)
CONFIG = Descriptor(media_type=types.OCI_CONFIG, digest=DIGEST, size=2)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("arm64", "linux/arm64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_a_platform_is_normalised(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux//v7", "linux/am d64"])
def test_a_malformed_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="platform specifier"):
        Platform.parse(text)


def test_a_word_that_names_no_system_or_architecture_is_refused() -> None:
    with pytest.raises(InvalidParameter, match='"foobar": unknown operating system or architecture: invalid argument'):
        Platform.parse("foobar")
    assert str(Platform.parse("windows")).startswith("windows/")
    assert str(Platform.parse("aarch64")) == "linux/arm64"


def test_a_machine_prefers_its_own_architecture_and_runs_lesser_ones() -> None:
    machine = Platform("amd64", "linux")
    assert machine.rank_on(machine) == 0
    assert Platform("386", "linux").rank_on(machine) == 1
    assert Platform("arm64", "linux").rank_on(machine) is None
    assert Platform("arm", "linux", variant="v6").rank_on(Platform("arm", "linux", variant="v7")) == 1
    assert Platform("arm", "linux", variant="v7").rank_on(Platform("arm", "linux", variant="v6")) is None


def test_a_manifest_keeps_its_bytes() -> None:
    raw = b'{ "schemaVersion":2, "config":{"mediaType":"%b","digest":"%b","size":2},"layers":null,"x":1}' % (
        types.OCI_CONFIG.encode(),
        DIGEST.encode(),
    )
    document = manifest.decode_manifest(raw)
    assert (document.raw, document.digest) == (raw, of(raw))
    assert document.value.layers == []


def test_a_new_manifest_says_what_the_specification_requires() -> None:
    written = json.loads(manifest.image_manifest(CONFIG, []).raw)
    assert written["schemaVersion"] == 2
    assert written["mediaType"] == types.OCI_MANIFEST
    assert written["layers"] == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"mediaType":"text/plain"}',
        b'{"schemaVersion":2}',
        b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:xyz","size":1}}',
        b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:%b","size":-1}}' % (b"1" * 64),
        b"[" * 10_000,
    ],
)
def test_a_malformed_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidParameter):
        manifest.decode(raw)


def test_a_manifest_of_another_type_than_declared_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="does not match"):
        manifest.decode(manifest.image_manifest(CONFIG, []).raw, types.OCI_INDEX)


def test_null_stands_for_absent_in_an_image_config() -> None:
    raw = (
        b'{"os":"linux","rootfs":{"type":"layers","diff_ids":null},'
        b'"config":{"Labels":null,"Cmd":["a"],"Healthcheck":{"Test":null,"Interval":5}}}'
    )
    config = image_config.decode(raw).value
    assert config.config.labels is None
    assert config.config.healthcheck is not None
    assert config.config.healthcheck.interval == 5
    assert config.chain_id is None


def test_an_image_config_without_root_file_system_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="invalid image config"):
        image_config.decode(b'{"os":"linux"}')


def test_a_config_written_is_read_back() -> None:
    config = image_config.ImageConfig(
        os="linux",
        os_version="1",
        config=image_config.RunConfig(env=["A=1"], on_build=["RUN x"], shell=["/bin/sh"]),
        rootfs=image_config.RootFS([image_config.DiffID(DIGEST)]),
        history=[image_config.History(created_by="x", empty_layer=True)],
    )
    encoded = Document.encode(config)
    assert image_config.decode(encoded.raw).value == config
    assert json.loads(encoded.raw)["config"] == {"Env": ["A=1"], "OnBuild": ["RUN x"], "Shell": ["/bin/sh"]}
