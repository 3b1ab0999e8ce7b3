"""Mounts as asked for: what ``--volume`` and ``--mount`` mean, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.mounts import BindOptions, Mount, TmpfsOptions, VolumeOptions
from sampan.engine.mount_points import parse_bind, parse_mount, parse_volumes_from
from sampan.errors import InvalidParameter


def test_an_absolute_source_is_a_bind() -> None:
    point = parse_bind("/tmp:/data:ro,rslave").point
    assert (point.type, point.source, point.destination, point.rw, point.propagation, point.mode) == (
        "bind", "/tmp", "/data", False, "rslave", "ro,rslave",
    )  # fmt: skip


def test_a_name_is_a_volume() -> None:
    point = parse_bind("data:/var/lib/data").point
    assert (point.type, point.name, point.destination, point.driver) == ("volume", "data", "/var/lib/data", "local")


def test_a_volume_without_a_mode_shows_one_and_a_bind_does_not() -> None:
    assert parse_bind("data:/data").point.mode == "z"
    assert parse_bind("data:/data:ro").point.mode == "ro"
    assert parse_bind("/tmp:/data").point.mode == ""
    assert parse_mount(Mount(type="volume", target="/data")).point.mode == "z"


def test_a_bare_path_is_an_anonymous_volume() -> None:
    record = parse_bind("/data/")
    assert record.anonymous
    assert record.point.destination == "/data"


@pytest.mark.parametrize(
    "raw", ["", ":/x", "/a:/b:ro:rw", "/data:rw", "/a:b", "a:/", "/a:/b:ro,rw", "/a:/b:nothing", "/a:/b/../.."]
)
def test_a_malformed_volume_is_refused(raw: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_bind(raw)


@given(st.text(alphabet="/ab.:,rowz", max_size=24))
def test_any_volume_text_is_parsed_or_refused(raw: str) -> None:
    try:
        record = parse_bind(raw)
    except InvalidParameter:
        return
    assert record.point.destination.startswith("/")
    assert record.point.destination != "/"


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Mount(type="bind", source="/tmp"), "field Target must not be empty"),
        (Mount(type="bind", target="/x"), "field Source must not be empty"),
        (Mount(type="bind", source="/no/such/place", target="/x"), "bind source path does not exist: /no/such/place"),
        (Mount(type="bind", source="tmp", target="/x"), "mount path must be absolute"),
        (Mount(type="bind", source="/tmp", target="/"), "destination can't be '/'"),
        (Mount(type="tmpfs", source="/tmp", target="/x"), "field Source must not be specified"),
        (Mount(type="tmpfs", target="/x", bind_options=BindOptions()), "field BindOptions must not be specified"),
        (Mount(type="tmpfs", target="/x", tmpfs_options=TmpfsOptions(options=[["suid"]])), "invalid option: suid"),
        (Mount(type="volume", target="/x", volume_options=VolumeOptions(subpath="a")), "using anonymous volumes"),
        (
            Mount(type="volume", source="v", target="/x", volume_options=VolumeOptions(subpath="../a")),
            "subpath must be a relative path within the volume",
        ),
        (Mount(type="nfs", source="v", target="/x"), "mount type unknown"),
        (
            Mount(type="bind", source="/tmp", target="/x", bind_options=BindOptions(propagation="up")),
            "invalid propagation mode: up",
        ),
    ],
)
def test_a_mount_without_sense_is_refused(request_: Mount, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid mount config for type") as refused:
        parse_mount(request_)
    assert sentence in refused.value.message


def test_volumes_from_may_only_make_read_only() -> None:
    assert parse_volumes_from("web") == ("web", True)
    assert parse_volumes_from("web:ro") == ("web", False)
    for text in ("", "web:rslave", "web:nocopy", "web:what"):
        with pytest.raises(InvalidParameter):
            parse_volumes_from(text)
