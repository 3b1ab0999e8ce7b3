"""Logging drivers: where a container's output goes, and that it stays readable."""

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import docker
import msgspec
import pytest
from docker.errors import APIError
from docker.models.containers import Container
from docker.types import LogConfig
from engine_daemon import wait_for

Run = Callable[..., Container]


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    """A receiver of UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield receiver


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A receiver of TCP."""
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        receiver.settimeout(5)
        yield receiver


def port(receiver: socket.socket) -> int:
    return int(receiver.getsockname()[1])


def test_syslog_gets_each_line_and_logs_reads_them_too(daemon, client: docker.DockerClient, datagrams) -> None:  # type: ignore[no-untyped-def]
    ran = daemon.cli(
        *("run", "--name", "told", "--network", "none", "--log-driver", "syslog"),
        *("--log-opt", f"syslog-address=udp://127.0.0.1:{port(datagrams)}", "--log-opt", "tag={{.Name}}"),
        *("busybox", "sh", "-c", "echo out; echo err >&2"),
    )
    assert ran.returncode == 0, ran.stderr
    got = sorted(datagrams.recv(4096) for _ in range(2))
    assert got[0].startswith(b"<27>")
    assert got[0].endswith(b": err")
    assert got[1].startswith(b"<30>")
    assert b" told[" in got[1]
    assert sorted(daemon.cli("logs", "told").stdout.split()) == [b"out"]
    shown = client.containers.get("told")
    assert shown.attrs["LogPath"] == ""
    assert shown.attrs["HostConfig"]["LogConfig"]["Type"] == "syslog"


def test_gelf_gets_the_chosen_labels(run: Run, datagrams: socket.socket) -> None:
    options = {"gelf-address": f"udp://127.0.0.1:{port(datagrams)}", "labels": "team"}
    container = run("echo hi", log_config=LogConfig(type="gelf", config=options), labels={"team": "blue"})
    message = json.loads(gzip.decompress(datagrams.recv(65536)))
    assert (message["short_message"], message["_team"], message["_container_id"]) == ("hi", "blue", container.id)


def test_fluentd_away_at_first_gets_everything_in_order(run: Run) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        options = {"fluentd-address": f"127.0.0.1:{port(reserved)}"}
        run("seq 3", log_config=LogConfig(type="fluentd", config=options)).wait()
        reserved.listen()
        reserved.settimeout(5)
        connection, _ = reserved.accept()
    with closing(connection):
        connection.settimeout(5)
        data = b""
        while block := connection.recv(65536):
            data += block
    assert [record["log"] for record in messages(data)] == ["1", "2", "3"]


def messages(data: bytes) -> list[dict[str, str]]:
    """Records of MessagePack messages that follow one another; each is an array of three."""
    return [msgspec.msgpack.decode(b"\x93" + part)[2] for part in data.split(b"\x93")[1:]]


def test_a_daemon_that_starts_again_forwards_what_was_written_meanwhile(daemon, run: Run, datagrams) -> None:  # type: ignore[no-untyped-def]
    options = {"syslog-address": f"udp://127.0.0.1:{port(datagrams)}"}
    script = "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; sleep 60"
    container = run(["sh", "-c", script], log_config=LogConfig(type="syslog", config=options))
    assert datagrams.recv(4096).endswith(b": before")
    pid = container.client.api.inspect_container(container.id)["State"]["Pid"]
    daemon.stop()
    with open(f"/proc/{pid}/root/tmp/go", "w"):
        pass
    daemon.start()
    assert datagrams.recv(4096).endswith(b": after")


@pytest.mark.parametrize(
    ("driver", "options", "told"),
    [
        ("syslog", {"syslog-facility": "nobody"}, "invalid syslog facility"),
        ("local", {"nope": "x"}, "unknown log opt 'nope' for log driver local"),
        ("json-file", {"compress": "true", "max-file": "1"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"mode": "sometimes"}, "logging mode not supported"),
        ("fluentd", {"tag": "{{.Nope}}"}, "can't evaluate field Nope in type"),
    ],
)
def test_a_wrong_option_is_refused_at_creation(run: Run, driver: str, options: dict[str, str], told: str) -> None:
    with pytest.raises(APIError, match=told):
        run("true", log_config=LogConfig(type=driver, config=options))


def test_the_local_driver_keeps_its_file_to_itself(client: docker.DockerClient, run: Run) -> None:
    container = run("echo kept", log_config=LogConfig(type="local", config={"max-size": "-1"}))
    container.wait()
    assert container.logs() == b"kept\n"
    assert client.containers.get(container.id).attrs["LogPath"] == ""
    assert {"json-file", "local", "syslog", "gelf", "fluentd", "journald"} <= set(client.info()["Plugins"]["Log"])


def test_a_follower_sees_the_lines_after_a_rotation_while_it_waits(run: Run) -> None:
    script = "for i in $(seq 30); do echo line-$i; sleep 0.03; done; sleep 60"
    container = run(["sh", "-c", script], log_config=LogConfig(type="json-file", config={"max-size": "200"}))
    seen = []
    for line in container.logs(stream=True, follow=True):
        seen.append(line)
        if line == b"line-30\n":
            break
    assert seen[-2:] == [b"line-29\n", b"line-30\n"]


def test_details_show_what_the_options_choose(daemon, run: Run) -> None:  # type: ignore[no-untyped-def]
    options = {"labels": "team", "labels-regex": "^x", "env-regex": "^A", "tag": "{{upper .Name}} {{.ID}}"}
    labels = {"team": "blue & red", "xy": "1", "other": "2"}
    for driver in ("json-file", "local"):
        config = LogConfig(type=driver, config=options)
        name = f"told-{driver}"
        container = run("echo hi", name=name, log_config=config, labels=labels, environment={"ABC": "d"})
        container.wait()
        told = f"ABC=d,tag=TOLD-{driver.upper()}+{container.short_id},team=blue+%26+red,xy=1 hi\n"
        assert daemon.cli("logs", "--details", name).stdout.decode() == told


def test_a_driver_without_a_cache_cannot_be_read(run: Run, datagrams: socket.socket) -> None:
    options = {"syslog-address": f"udp://127.0.0.1:{port(datagrams)}", "cache-disabled": "true"}
    container = run("echo sent", log_config=LogConfig(type="syslog", config=options))
    assert datagrams.recv(4096).endswith(b": sent")
    with pytest.raises(APIError, match="configured logging driver does not support reading"):
        container.logs()


@pytest.mark.parametrize("driver", ["syslog", "fluentd"])
def test_a_receiver_that_is_gone_stops_no_program_and_loses_no_line(run: Run, driver: str) -> None:
    options = {f"{driver}-address": "tcp://127.0.0.1:9", "mode": "non-blocking", "max-buffer-size": "4k"}
    container = run("seq 20000", log_config=LogConfig(type=driver, config=options))
    assert container.wait(timeout=20)["StatusCode"] == 0
    assert container.logs().split() == [b"%d" % number for number in range(1, 20001)]


def test_a_line_longer_than_16_kb_is_stored_in_parts_and_shown_whole(run: Run, client: docker.DockerClient) -> None:
    container = run(["sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo"])
    container.wait()
    assert container.logs() == b"x" * 40000 + b"\n"
    with open(client.api.inspect_container(container.id)["LogPath"]) as file:
        assert [len(json.loads(line)["log"]) for line in file] == [16384, 16384, 40000 - 2 * 16384 + 1]


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_rotated_files_are_compressed_and_read_like_the_others(daemon, run: Run, driver: str) -> None:  # type: ignore[no-untyped-def]
    options = {"max-size": "20k", "max-file": "4", "compress": "true"}
    script = "for i in $(seq 700); do echo line-$i; done; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo end"
    container = run(["sh", "-c", script], log_config=LogConfig(type=driver, config=options))
    files = daemon.root / "data" / "containers" / container.id
    wait_for(lambda: len(list(files.glob("*.gz"))) >= 2 and not list(files.glob("*.log.[0-9]")))
    followed = container.logs(stream=True, follow=True)
    first = next(followed)
    container.exec_run("touch /tmp/go")
    seen = (first + b"".join(followed)).split()
    assert seen[-1] == b"end"
    last = int(seen[0].removeprefix(b"line-"))
    assert seen[:-1] == [b"line-%d" % number for number in range(last, 701)]
    assert container.logs(tail=600).split() == seen[-600:]
    assert gzip.decompress(next(files.glob("*.log.1.gz")).read_bytes()).startswith(b'{"log":"line-')
