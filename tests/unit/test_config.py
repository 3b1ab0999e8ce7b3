"""The daemon's settings: merging, refusing, naming what is wrong."""

import re
from pathlib import Path

import pytest

from sampan import config
from sampan.errors import InvalidParameter


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    return path


def test_flags_and_file_are_merged(tmp_path: Path) -> None:
    path = written(tmp_path, '{"mtu": 1400, "runtimes": {"a": {"path": "/a"}}}')
    loaded = config.load(path, {"bip": "10.9.0.1/24", "runtimes": {"b": {"path": "/b"}}})
    assert (loaded.mtu, loaded.bip) == (1400, "10.9.0.1/24")
    assert set(loaded.runtimes) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"data-rot": "/x"}', "data-rot"),
        ('{"mtu": "big"}', "mtu"),
        ('{"mtu": -1}', "invalid default MTU: -1"),
        ("[]", "one JSON object"),
        ("{", "invalid JSON"),
        ('{"log-level": "loud"}', "invalid logging level: loud"),
        ('{"selinux-enabled": true}', "selinux-enabled"),
        ('{"data-root": "relative"}', "data-root"),
        ('{"default-runtime": "kata"}', "kata"),
        ('{"labels": ["a=1", "a=2"]}', "conflict labels"),
        ('{"max-concurrent-downloads": -1}', "invalid max concurrent downloads: -1"),
        ('{"log-format": "yaml"}', "invalid log format: yaml"),
        ('{"exec-opts": ["isolation"]}', "must be formatted 'opt=value'"),
        ('{"bridge": "b", "bip": "10.0.0.1/24"}', "You specified -b & --bip"),
        ('{"icc": false, "iptables": false}', "You specified --iptables=false with --icc=false"),
        ('{"rootless": true}', "rootless"),
        ('{"cpu-rt-runtime": 1000}', "cpu-rt-runtime"),
        ('{"nri-opts": {"enable": true}}', "nri-opts"),
        ('{"host-gateway-ip": "1.1.1.1", "host-gateway-ips": ["1.1.1.1"]}', "must not both be specified"),
        ('{"exec-opts": ["native.cgroupdriver=systemd"]}', "native.cgroupdriver option systemd not supported"),
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
    with pytest.raises(
        InvalidParameter,
        match=r"unable to configure the Docker daemon with file .*missing.json: open .*: no such file or directory",
    ):
        config.load(tmp_path / "missing.json", {})


def test_the_socket_follows_the_exec_root() -> None:
    assert config.Config(exec_root="/run/other").listen_hosts == ["unix:///run/other/sampan.sock"]


@pytest.mark.parametrize(
    ("text", "flags", "told"),
    [
        ('{"labels": ["a=b"]}', {"labels": ["c=d"]}, r"labels: \(from flag: \[c=d\], from file: \[a=b\]\)"),
        ('{"debug": false}', {"debug": True}, r"debug: \(from flag: true, from file: false\)"),
        ('{"proxies": {"http-proxy": "a"}}', {"proxies": {"http-proxy": "b"}}, "http-proxy: .from flag: b"),
    ],
)
def test_what_is_given_twice_is_told_as_dockerd_tells_it(
    tmp_path: Path, text: str, flags: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidParameter, match=told):
        config.load(written(tmp_path, text), flags)


def test_settings_of_parts_that_are_not_here_are_accepted_and_told() -> None:
    loaded = config.load(Path("/dev/null"), {"containerd": "/run/c.sock", "containerd-namespace": "x", "mtu": 1400})
    assert list(config.without_effect(loaded)) == [
        "containerd has no effect: there is no containerd",
        "containerd-namespace has no effect: there is no containerd",
    ]


def test_a_limit_of_nothing_is_the_default(tmp_path: Path) -> None:
    loaded = config.load(written(tmp_path, '{"max-concurrent-uploads": 0, "host-gateway-ip": "1.2.3.4"}'), {})
    assert (loaded.max_concurrent_uploads, loaded.host_gateway_ips) == (5, ["1.2.3.4"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"registry-mirrors": ["ftp://m"]}, 'invalid mirror: unsupported scheme "ftp" in "ftp://m"'),
        ({"registry-mirrors": ["https://m/?a"]}, 'invalid mirror: query or fragment is not allowed in "https://m/?a"'),
        ({"registry-mirrors": ["https://u:secret@m"]}, "invalid mirror: username/password not allowed"),
        ({"dns": ["x"]}, "invalid dns: x is not an IP address"),
        ({"default-ulimits": {"nope": {"Name": "nope", "Soft": 1, "Hard": 1}}}, "invalid ulimit type: nope"),
        (
            {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 2, "Hard": 1}}},
            "nofile: ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
    ],
)
def test_values_that_nothing_could_use_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidParameter, match=re.escape(told)) as error:
        config.check(config.converted(settings))
    assert "secret" not in str(error.value)
