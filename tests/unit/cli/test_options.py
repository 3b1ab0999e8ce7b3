"""Flags of ``run`` become the body of ContainerCreate."""

from pathlib import Path

import pytest

from sampan.cli import options
from sampan.cli.grammar import Call, Parser, UsageError


def call(*words: str) -> Call:
    return Parser(options.FLAGS, interspersed=False).parse(words)


@pytest.mark.parametrize(
    ("text", "exposed", "host"),
    [
        ("80", ["80/tcp"], [("", "")]),
        ("8080:80", ["80/tcp"], [("", "8080")]),
        ("127.0.0.1:8080:80/udp", ["80/udp"], [("127.0.0.1", "8080")]),
        ("127.0.0.1::80", ["80/tcp"], [("127.0.0.1", "")]),
        ("[::1]:8080:80", ["80/tcp"], [("::1", "8080")]),
        ("8000-8001:80-81", ["80/tcp", "81/tcp"], [("", "8000"), ("", "8001")]),
    ],
)
def test_ports(text: str, exposed: list[str], host: list[tuple[str, str]]) -> None:
    keys, bindings = options.ports([text])
    assert list(keys) == exposed
    assert [(entry["HostIp"], entry["HostPort"]) for key in exposed for entry in bindings[key]] == host


@pytest.mark.parametrize("text", ["http", "0", "70000", "8000-8002:80-81", "90-80"])
def test_a_wrong_port_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        options.ports([text])


def test_environment_takes_files_then_flags_then_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "1")
    monkeypatch.delenv("ABSENT", raising=False)
    (tmp_path / "env").write_text("# comment\nA=b\n\nMINE\n")
    given = call("--env-file", str(tmp_path / "env"), "-e", "C=d", "-e", "ABSENT", "image")
    assert options.environment(given) == ["A=b", "MINE=1", "C=d"]


@pytest.mark.parametrize(("text", "count"), [("256m", 256 << 20), ("1g", 1 << 30), ("512", 512), ("1.5k", 1536)])
def test_sizes(text: str, count: int) -> None:
    assert options.size(text) == count


def test_the_body_says_what_was_asked() -> None:
    given = call("-d", "--rm", "-m", "64m", "--cpus", "0.5", "--restart", "on-failure:3", "--entrypoint", "", "image")
    body = options.create_body(given, "image", ["true"])
    host = body["HostConfig"]
    assert (body["Image"], body["Cmd"], body["Entrypoint"], body["AttachStdout"]) == ("image", ["true"], [""], False)
    assert (host["AutoRemove"], host["Memory"], host["NanoCpus"]) == (True, 64 << 20, 500_000_000)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
