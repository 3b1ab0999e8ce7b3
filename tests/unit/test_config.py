"""The daemon's settings: merging, refusing, naming what is wrong."""

from pathlib import Path

import pytest

from sampan import config
from sampan.errors import InvalidParameter


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    return path


def test_flags_and_file_are_merged(tmp_path: Path) -> None:
    path = written(tmp_path, '{"mtu": 1400, "log-opts": {"max-size": "1m"}}')
    loaded = config.load(path, {"bip": "10.9.0.1/24", "log-opts": {"max-file": "2"}})
    assert (loaded.mtu, loaded.bip) == (1400, "10.9.0.1/24")
    assert loaded.log_opts == {"max-size": "1m", "max-file": "2"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"data-rot": "/x"}', "data-rot"),
        ('{"mtu": "big"}', "mtu"),
        ('{"mtu": -1}', "mtu"),
        ("[]", "one JSON object"),
        ("{", "not valid JSON"),
        ('{"log-level": "loud"}', "log-level"),
        ('{"selinux-enabled": true}', "selinux-enabled"),
        ('{"data-root": "relative"}', "data-root"),
        ('{"default-runtime": "kata"}', "kata"),
        ('{"labels": ["a=1", "a=2"]}', "conflict labels"),
        ('{"max-concurrent-downloads": 0}', "max-concurrent-downloads"),
        ('{"exec-opts": ["native.cgroupdriver=systemd"]}', "exec-opts"),
        ('{"storage-opts": ["size=1g"]}', "storage-opts"),
        ('{"init-path": "/sbin/init"}', "init-path"),
        ('{"ip6tables": false}', "ip6tables"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidParameter, match=told):
        config.load(written(tmp_path, text), {})


def test_a_setting_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="both as a flag and in the configuration file: mtu"):
        config.load(written(tmp_path, '{"mtu": 1400}'), {"mtu": 1300})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="cannot read"):
        config.load(tmp_path / "missing.json", {})


def test_the_socket_follows_the_exec_root() -> None:
    assert config.Config(exec_root="/run/other").listen_hosts == ["unix:///run/other/sampan.sock"]
