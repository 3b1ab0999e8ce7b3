"""Logging drivers: where a container's output goes, and that it stays readable."""

import gzip
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import docker
import msgspec
import pytest
from docker.errors import APIError
from docker.models.containers import Container
from docker.types import LogConfig
from engine_daemon import IMAGE, Daemon, wait_for

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
    assert got[0].endswith(b": err\n")
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


def test_fluentd_away_at_first_gets_everything_in_order_where_it_is_not_waited_for(run: Run) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        options = {"fluentd-address": f"127.0.0.1:{port(reserved)}", "fluentd-async": "true"}
        run("seq 3", log_config=LogConfig(type="fluentd", config=options)).wait()
        reserved.listen()
        reserved.settimeout(5)
        connection, _ = reserved.accept()
    with closing(connection):
        assert [record["log"] for record in messages(everything(connection))] == ["1", "2", "3"]


def everything(connection: socket.socket) -> bytes:
    """What comes until the sender ends."""
    connection.settimeout(5)
    data = b""
    while block := connection.recv(65536):
        data += block
    return data


def messages(data: bytes) -> list[dict[str, str]]:
    """Records of MessagePack messages that follow one another; each is an array of four."""
    return [msgspec.msgpack.decode(b"\x94" + part)[2] for part in data.split(b"\x94")[1:]]


def test_a_daemon_that_starts_again_forwards_what_was_written_meanwhile(daemon, run: Run, datagrams) -> None:  # type: ignore[no-untyped-def]
    options = {"syslog-address": f"udp://127.0.0.1:{port(datagrams)}"}
    script = "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; sleep 60"
    container = run(["sh", "-c", script], log_config=LogConfig(type="syslog", config=options))
    assert datagrams.recv(4096).endswith(b": before\n")
    pid = container.client.api.inspect_container(container.id)["State"]["Pid"]
    daemon.stop()
    with open(f"/proc/{pid}/root/tmp/go", "w"):
        pass
    daemon.start()
    assert datagrams.recv(4096).endswith(b": after\n")


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


@pytest.mark.parametrize(("driver", "shown"), [("local", b"\xff\xfea\n"), ("json-file", "\ufffd\ufffda\n".encode())])
def test_bytes_that_are_no_text_are_kept_where_the_driver_keeps_them(run: Run, driver: str, shown: bytes) -> None:
    container = run(["printf", r"\377\376a\n"], log_config=LogConfig(type=driver, config={"tag": "t"}))
    container.wait()
    assert container.logs() == shown


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
    assert datagrams.recv(4096).endswith(b": sent\n")
    with pytest.raises(APIError, match="configured logging driver does not support reading"):
        container.logs()


REFUSED = "connect: connection refused"
ABSENT: dict[str, tuple[str, dict[str, str], str, int]] = {
    # driver, options, why it does not start, exit status of docker run
    "fluentd": ("fluentd", {"fluentd-address": "127.0.0.1:9"}, f"dial tcp 127.0.0.1:9: {REFUSED}", 125),
    "fluentd by tls": ("fluentd", {"fluentd-address": "tls://127.0.0.1:9"}, f"dial tcp 127.0.0.1:9: {REFUSED}", 125),
    "fluentd at a path": (
        "fluentd",
        {"fluentd-address": "unix:///tmp/absent"},
        "dial unix /tmp/absent: connect: no such file or directory",
        127,
    ),
    "fluentd non-blocking": (
        "fluentd",
        {"fluentd-address": "127.0.0.1:9", "mode": "non-blocking"},
        f"dial tcp 127.0.0.1:9: {REFUSED}",
        125,
    ),
    "syslog by tcp": ("syslog", {"syslog-address": "tcp://127.0.0.1:9"}, f"dial tcp 127.0.0.1:9: {REFUSED}", 125),
    "syslog by tls": ("syslog", {"syslog-address": "tcp+tls://127.0.0.1:9"}, f"dial tcp 127.0.0.1:9: {REFUSED}", 125),
    "syslog at a file": (
        "syslog",
        {"syslog-address": "unix:///etc/passwd"},
        f"dial unix /etc/passwd: {REFUSED}",
        125,
    ),
    "syslog at a file of datagrams": (
        "syslog",
        {"syslog-address": "unixgram:///etc/passwd"},
        f"dial unixgram /etc/passwd: {REFUSED}",
        125,
    ),
    "syslog with an absent authority": (
        "syslog",
        {"syslog-address": "tcp+tls://127.0.0.1:9", "syslog-tls-ca-cert": "/tmp/absent"},
        'could not read CA certificate "/tmp/absent": open /tmp/absent: no such file or directory',
        127,
    ),
    "gelf by tcp": (
        "gelf",
        {"gelf-address": "tcp://127.0.0.1:9", "gelf-tcp-max-reconnect": "3"},
        f"gelf: cannot connect to GELF endpoint: 127.0.0.1:9 dial tcp 127.0.0.1:9: {REFUSED}",
        125,
    ),
}


@pytest.mark.parametrize("case", ABSENT)
def test_a_container_whose_receiver_is_absent_is_not_started(
    daemon: Daemon, client: docker.DockerClient, case: str
) -> None:
    driver, options, why, status = ABSENT[case]
    told = f"failed to create task for container: failed to initialize logging driver: {why}"
    given = [word for name, value in options.items() for word in ("--log-opt", f"{name}={value}")]
    ran = daemon.cli("run", "--name", "absent", "--network", "none", "--log-driver", driver, *given, IMAGE, "true")
    assert (ran.returncode, ran.stdout) == (status, b"")
    assert f"Error response from daemon: {told}" in ran.stderr.decode()
    state = client.containers.get("absent").attrs["State"]
    assert (state["Status"], state["Error"], state["Pid"]) == ("created", told, 0)
    assert state["ExitCode"] == (127 if status == 127 else 128)


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("syslog", {"syslog-address": "udp://127.0.0.1:9"}),
        ("gelf", {"gelf-address": "udp://127.0.0.1:9"}),
        ("fluentd", {"fluentd-address": "127.0.0.1:9", "fluentd-async": "true"}),
    ],
)
def test_a_receiver_that_is_not_waited_for_may_be_absent(run: Run, driver: str, options: dict[str, str]) -> None:
    container = run("echo hi", log_config=LogConfig(type=driver, config=options))
    assert container.wait(timeout=20)["StatusCode"] == 0
    assert container.logs() == b"hi\n"


@pytest.mark.parametrize("driver", ["syslog", "fluentd", "gelf"])
def test_a_receiver_that_goes_stops_no_program_and_loses_no_line(
    run: Run, listener: socket.socket, driver: str
) -> None:
    options = {f"{driver}-address": f"tcp://127.0.0.1:{port(listener)}", "mode": "non-blocking"}
    script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; seq 20000"
    container = run(["sh", "-c", script], log_config=LogConfig(type=driver, config=options | {"max-buffer-size": "4k"}))
    connection, _ = listener.accept()
    connection.close()
    listener.close()
    container.exec_run("touch /tmp/go")
    assert container.wait(timeout=20)["StatusCode"] == 0
    assert container.logs().split() == [b"%d" % number for number in range(1, 20001)]


@pytest.mark.parametrize("driver", ["syslog", "fluentd", "gelf"])
def test_a_receiver_that_takes_nothing_holds_up_neither_program_nor_removal(
    run: Run, listener: socket.socket, driver: str
) -> None:
    options = {f"{driver}-address": f"tcp://127.0.0.1:{port(listener)}"}
    line = "x" * 5000
    script = f"for i in $(seq 4000); do echo {line}; done"
    container = run(["sh", "-c", script], log_config=LogConfig(type=driver, config=options))
    connection, _ = listener.accept()
    with closing(connection):
        assert container.wait(timeout=20)["StatusCode"] == 0
        container.client.api.timeout = 8  # less than a write may take
        container.remove()
        assert container.client.ping()


@pytest.mark.parametrize(
    ("driver", "options", "end"), [("syslog", {}, b"\n"), ("gelf", {"gelf-tcp-max-reconnect": "20"}, b"\0")]
)
def test_a_receiver_that_comes_back_gets_what_was_written_meanwhile(
    run: Run, listener: socket.socket, driver: str, options: dict[str, str], end: bytes
) -> None:
    options = options | {f"{driver}-address": f"tcp://127.0.0.1:{port(listener)}"}
    script = "echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; seq 100 199"
    container = run(["sh", "-c", script], log_config=LogConfig(type=driver, config=options))
    connection, _ = listener.accept()
    with closing(connection):
        assert b"first" in connection.recv(4096)
    address = listener.getsockname()
    listener.close()
    container.exec_run("touch /tmp/go")
    container.wait()
    with socket.create_server(address) as again:
        again.settimeout(20)
        connection, _ = again.accept()
        with closing(connection):
            got = everything(connection).split(end)[:-1]
    assert len(got) == 100
    assert all(b"%d" % number in line for number, line in zip(range(100, 200), got, strict=True))


def test_what_waits_for_a_receiver_in_non_blocking_mode_outlives_the_daemon(
    daemon: Daemon, run: Run, listener: socket.socket
) -> None:
    options = {"syslog-address": f"tcp://127.0.0.1:{port(listener)}", "mode": "non-blocking"}
    script = "echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; seq 100 199; sleep 60"
    container = run(["sh", "-c", script], log_config=LogConfig(type="syslog", config=options), stop_signal="KILL")
    connection, _ = listener.accept()
    with closing(connection):
        assert b"first" in connection.recv(4096)
    address = listener.getsockname()
    listener.close()
    container.exec_run("touch /tmp/go")
    wait_for(lambda: container.logs(tail=1) == b"199\n")
    daemon.stop()
    with socket.create_server(address) as again:
        daemon.start()
        again.settimeout(20)
        connection, _ = again.accept()
        with closing(connection):
            container.stop()
            got = everything(connection).splitlines()
    assert [line[-3:] for line in got] == [b"%d" % number for number in range(100, 200)]


def test_a_restart_whose_receiver_is_absent_is_the_last(
    daemon: Daemon, run: Run, listener: socket.socket, eventually: Callable[..., None]
) -> None:
    options = {"syslog-address": f"tcp://127.0.0.1:{port(listener)}"}
    script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 3"
    container = run(
        ["sh", "-c", script],
        log_config=LogConfig(type="syslog", config=options),
        restart_policy={"Name": "always"},
    )
    listener.close()
    container.exec_run("touch /tmp/go")
    told = (
        f"failed to initialize logging driver: dial tcp 127.0.0.1:{options['syslog-address'].split(':')[2]}: {REFUSED}"
    )
    eventually(lambda: told in client_state(container)["Error"])
    assert client_state(container)["Status"] == "exited"


def client_state(container: Container) -> dict[str, object]:
    """The state as it is now."""
    container.reload()
    return dict(container.attrs["State"])


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


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_in_non_blocking_mode_a_disk_that_stands_still_stops_no_program(
    daemon: Daemon, client: docker.DockerClient, eventually: Callable[..., None], driver: str
) -> None:
    """The file is a pipe that nobody reads; what the monitor holds is there after the daemon was started again."""
    script = "seq 30000; touch /tmp/written; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last"
    options = {"mode": "non-blocking", "max-buffer-size": "100k"}
    container = client.containers.create(
        IMAGE, ["sh", "-c", script], network_mode="none", log_config=LogConfig(type=driver, config=options)
    )
    path = daemon.root / "data" / "containers" / container.id / f"{container.id}-json.log"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        container.start()
        eventually(lambda: container.exec_run("ls /tmp/written").exit_code == 0, 20)
        daemon.stop()
        assert "lines were dropped so far" in daemon.log
        daemon.start()
        data = bytearray()

        def holds(size: int, word: bytes = b"") -> bool:
            with suppress(BlockingIOError):
                data.extend(os.read(fd, 65536))
            return len(data) >= size and word in data

        eventually(lambda: holds(99_000), 20)
        container.exec_run("touch /tmp/go")
        eventually(lambda: holds(99_000, b'"last\\n"'), 20)
        container.wait()
    finally:
        os.close(fd)
    words = [json.loads(line)["log"].strip() for line in data.splitlines()]
    assert words[:1000] == [str(number) for number in range(1, 1001)]
    assert words[-1] == "last"
    assert len(data) < (100 << 10) + 70_000
    numbers = [int(word) for word in words[:-1]]
    assert numbers == sorted(set(numbers))
