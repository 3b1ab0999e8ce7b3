"""Request bodies are read as Go reads them, and nothing that a client sends breaks the reader."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api import json
from sampan.api.containers import ContainerConfig, ContainerCreateRequest, ContainerUpdateRequest
from sampan.api.exec import ExecCreateRequest
from sampan.api.networks import NetworkCreateRequest
from sampan.api.wire import Wire
from sampan.errors import InvalidParameter

TYPES: tuple[type[Wire], ...] = (
    ContainerCreateRequest,
    ContainerUpdateRequest,
    ExecCreateRequest,
    NetworkCreateRequest,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(sorted({name for type_ in TYPES for name in type_.__struct_encode_fields__}))


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(TYPES))
def test_any_json_is_understood_or_refused(document: dict[str, object], type_: type[Wire]) -> None:
    try:
        value = json.decode(msgspec.json.encode(document), type_)
    except InvalidParameter as error:
        assert error.message.startswith("invalid JSON: ")
    else:
        assert isinstance(value, type_)


@given(st.binary(max_size=60))
def test_any_bytes_are_understood_or_refused(body: bytes) -> None:
    try:
        json.decode(body, ContainerCreateRequest)
    except InvalidParameter as error:
        assert error.message


@given(
    st.sampled_from(("Image", "HostConfig", "Memory", "OomKillDisable")),
    st.sampled_from((str.upper, str.lower, str.title)),
)
def test_names_match_in_any_case(name: str, change: "type[str]") -> None:
    body = {change("HostConfig"): {change("Memory"): 7, change("BlkioDeviceReadIOps"): [{change("path"): "/d"}]}}
    request = json.decode(msgspec.json.encode(body), ContainerCreateRequest)
    assert request.host_config.memory == 7
    assert request.host_config.blkio_device_read_iops is not None
    assert request.host_config.blkio_device_read_iops[0].path == "/d"


def test_null_is_the_zero_value_everywhere() -> None:
    body = b'{"Hostname":null,"Tty":null,"HostConfig":null,"NetworkingConfig":{"EndpointsConfig":{"n":null}}}'
    request = json.decode(body, ContainerCreateRequest)
    assert (request.hostname, request.tty, request.host_config.memory) == ("", False, 0)
    assert request.networking_config.endpoints_config["n"].network_id == ""


def test_a_command_may_be_one_string() -> None:
    config = json.decode(b'{"Cmd":"a b","Entrypoint":["c","d"]}', ContainerConfig)
    assert (config.cmd, config.entrypoint) == (["a b"], ["c", "d"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b" ", "invalid JSON: EOF"),
        (b'{"Tty":', "invalid JSON: unexpected EOF"),
        (b'{"Tty":1}', "invalid JSON: json: cannot unmarshal number into Go struct field .Tty of type bool"),
        (b'{"Env":[1]}', "invalid JSON: json: cannot unmarshal number into Go struct field .Env[0] of type string"),
        (
            b'{"HostConfig":{"Ulimits":[{"Hard":"x"}]}}',
            "invalid JSON: json: cannot unmarshal string into "
            "Go struct field .HostConfig.Ulimits[0].Hard of type int64",
        ),
        (b"null null", "unexpected content after JSON"),
    ],
)
def test_the_message_names_the_field(body: bytes, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        json.decode(body, ContainerCreateRequest)
    assert caught.value.message == message


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(InvalidParameter):
        json.decode(b"[" * 100_000, ContainerCreateRequest)


@given(st.builds(ContainerConfig, hostname=st.text(), env=st.none() | st.lists(st.text()), tty=st.booleans()))
def test_what_is_written_is_read_back(config: ContainerConfig) -> None:
    assert json.decode(json.encode(config), ContainerConfig) == config
