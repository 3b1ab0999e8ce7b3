"""Addresses of ``-H`` and the sockets behind them."""

import os
import socket
import stat
from pathlib import Path

import pytest

from sampan.errors import EngineError, InvalidParameter
from sampan.server.sockets import Address, open_sockets, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/x.sock", Address("unix", path="/run/x.sock")),
        ("/run/x.sock", Address("unix", path="/run/x.sock")),
        ("tcp://127.0.0.1:80", Address("tcp", host="127.0.0.1", port=80)),
        ("tcp://127.0.0.1", Address("tcp", host="127.0.0.1", port=2375)),
        ("tcp://:80", Address("tcp", host="127.0.0.1", port=80)),
        ("tcp://[::1]:80", Address("tcp", host="::1", port=80)),
        ("tcp://[::1]", Address("tcp", host="::1", port=2375)),
        ("localhost:99", Address("tcp", host="localhost", port=99)),
        ("fd://", Address("fd")),
        ("fd://*", Address("fd")),
        ("fd://api", Address("fd", path="api")),
    ],
)
def test_address_is_understood(text: str, address: Address) -> None:
    assert parse_address(text) == address


def test_tls_has_its_own_port() -> None:
    assert parse_address("tcp://0.0.0.0", tls=True).port == 2376


@pytest.mark.parametrize("text", ["unix://relative", "npipe://x", "tcp://h:port", "tcp://h:70000", "ssh://h"])
def test_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid address"):
        parse_address(text)


def test_a_unix_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "api.sock"
    [listening] = open_sockets(Address("unix", path=str(path)), str(os.getgid()))
    with listening:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_socket_left_behind_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    address = Address("unix", path=str(tmp_path / "api.sock"))
    open_sockets(address)[0].close()
    [listening] = open_sockets(address)
    with listening:
        listening.listen()
        with pytest.raises(EngineError, match="another process listens there"):
            open_sockets(address)


def test_a_group_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    address = Address("unix", path=str(tmp_path / "api.sock"))
    with pytest.raises(EngineError, match="group no-such-group not found"):
        open_sockets(address, "no-such-group")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("tcp", host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(EngineError, match=r"failed to listen on tcp://127.0.0.1:\d+: Address already in use"):
            open_sockets(address)


def test_systemd_must_have_passed_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    with pytest.raises(EngineError, match="no sockets found via socket activation"):
        open_sockets(Address("fd"))
