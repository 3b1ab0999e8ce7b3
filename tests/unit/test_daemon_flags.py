"""The daemon's command line."""

from pathlib import Path

import pytest

from sampan import config
from sampan.daemon import flags


def test_flags_become_settings() -> None:
    given = flags.parse(
        ["-H", "unix:///a", "-H", "tcp://127.0.0.1:1", "--icc=false", "-D", "--mtu", "1400",
         "--add-runtime", "runc=/usr/sbin/runc", "--log-opt", "max-size=1m", "--label", "a=b",
         "--default-ulimit", "nofile=10:20", "--default-address-pool", "base=10.0.0.0/8,size=24",
         "--https-proxy", "http://p"]
    )  # fmt: skip
    loaded = config.load(Path("/dev/null"), given.settings)
    assert loaded.hosts == ["unix:///a", "tcp://127.0.0.1:1"]
    assert (loaded.icc, loaded.debug, loaded.mtu, loaded.labels) == (False, True, 1400, ["a=b"])
    assert loaded.runtimes["runc"].path == "/usr/sbin/runc"
    assert loaded.log_opts == {"max-size": "1m"}
    assert loaded.default_ulimits["nofile"].Hard == 20
    assert loaded.default_address_pools[0].size == 24
    assert loaded.proxies.https_proxy == "http://p"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data-rot", "/x"],
        ["--icc=perhaps"],
        ["--log-opt", "novalue"],
        ["--default-ulimit", "nofile=x"],
        ["stray"],
    ],
)
def test_a_wrong_flag_is_told_with_where_to_find_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.parse(arguments)
    assert ended.value.code == 1
    assert "See 'sampan daemon --help'." in capsys.readouterr().err


def test_a_harness_starts_this_daemon_as_it_starts_dockerd() -> None:
    given = flags.parse(
        ["--data-root", "/x", "--exec-root", "/y", "--pidfile", "/z", "--userland-proxy=false", "--containerd", "/c",
         "--containerd-namespace", "a", "--containerd-plugins-namespace", "ap", "--host", "unix:///s", "--debug",
         "--storage-driver", "overlayfs", "--experimental", "--init", "--feature", "containerd-snapshotter=false",
         "--default-network-opt", "bridge=com.docker.network.driver.mtu=1400", "--default-stop-timeout", "3",
         "--default-network-opt", "bridge=com.docker.network.bridge.name=b", "--nri-opts", "enable=false",
         "--node-generic-resource", "gpu=1", "--log-format", "json"]
    )  # fmt: skip
    loaded = config.load(Path("/dev/null"), given.settings)
    options = {"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.name": "b"}
    assert loaded.default_network_opts == {"bridge": options}
    assert (loaded.default_stop_timeout, loaded.features) == (3, {"containerd-snapshotter": False})


def test_every_key_has_a_flag_or_is_for_the_file_only() -> None:
    known = {action.dest for action in flags.make_parser("x")._actions}
    assert set(config.KEYS) - known == flags.FILE_ONLY
