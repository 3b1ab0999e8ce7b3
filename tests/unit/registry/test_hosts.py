"""Which hosts answer for a registry, and how they are spoken to."""

from pathlib import Path

import pytest

from sampan.config import Config
from sampan.errors import InvalidParameter
from sampan.registry.client.hosts import Hosts


def hosts_in(root: Path, domain: str, text: str) -> Hosts:
    directory = root / domain
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(text)
    return Hosts(directories=[root])


def test_docker_hub_has_its_own_host_and_mirrors() -> None:
    hosts = Hosts(Config(registry_mirrors=["https://mirror.example/"]), directories=[])
    assert [host.url for host in hosts.of("docker.io")] == [
        "https://mirror.example/v2",
        "https://registry-1.docker.io/v2",
    ]
    assert [host.url for host in hosts.of("quay.io")] == ["https://quay.io/v2"]


@pytest.mark.parametrize(
    ("domain", "insecure"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("10.1.2.3:5000", True),
        ("10.2.2.3:5000", False),
        ("lan.example:5000", True),
        ("lan.example", False),
        ("docker.io", False),
    ],
)
def test_loopback_and_configured_registries_may_be_insecure(domain: str, insecure: bool) -> None:
    hosts = Hosts(Config(insecure_registries=["10.1.0.0/16", "lan.example:5000"]), directories=[])
    assert hosts.insecure(domain) is insecure


def test_hosts_toml_names_mirrors_and_the_server(tmp_path: Path) -> None:
    text = """
    server = "https://real.example"
    [host."https://mirror.example"]
      capabilities = ["pull", "resolve"]
      ca = ["ca.pem"]
      client = [["cert.pem", "key.pem"]]
      skip_verify = true
      [host."https://mirror.example".header]
        x-team = ["a", "b"]
    [host."http://other.example/deep"]
      override_path = true
    """
    mirror, other, server = hosts_in(tmp_path, "r.example", text).of("r.example")
    assert (mirror.url, mirror.mirror, mirror.skip_verify) == ("https://mirror.example/v2", True, True)
    assert mirror.capabilities == {"pull", "resolve"}
    assert mirror.authorities == (tmp_path / "r.example" / "ca.pem",)
    assert mirror.certificates == ((tmp_path / "r.example" / "cert.pem", tmp_path / "r.example" / "key.pem"),)
    assert mirror.headers == {"x-team": "a, b"}
    assert other.url == "http://other.example/deep"
    assert (server.url, server.mirror) == ("https://real.example/v2", False)


def test_rewrites_change_the_repository_on_a_mirror(tmp_path: Path) -> None:
    text = """
    [host."https://mirror.example".rewrite]
      "^library/(.*)" = "hub/library/$1"
    """
    mirror, own = hosts_in(tmp_path, "docker.io", text).of("docker.io")
    assert mirror.repository("library/busybox") == "hub/library/busybox"
    assert mirror.repository("me/app") == "me/app"
    assert own.repository("library/busybox") == "library/busybox"


def test_a_default_directory_serves_every_registry(tmp_path: Path) -> None:
    hosts = hosts_in(tmp_path, "_default", '[host."https://mirror.example"]')
    assert [host.url for host in hosts.of("any.example")] == ["https://mirror.example/v2", "https://any.example/v2"]


def test_certificates_beside_the_name_are_used(tmp_path: Path) -> None:
    directory = tmp_path / "r.example:5000"
    directory.mkdir()
    for name in ("ca.crt", "client.cert", "client.key"):
        (directory / name).touch()
    (own,) = Hosts(directories=[tmp_path]).of("r.example:5000")
    assert own.authorities == (directory / "ca.crt",)
    assert own.certificates == ((directory / "client.cert", directory / "client.key"),)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.example").mkdir()
    (tmp_path / "r.example" / "client.cert").touch()
    with pytest.raises(InvalidParameter, match=r"missing key client\.key for client certificate client\.cert"):
        Hosts(directories=[tmp_path]).of("r.example")


@pytest.mark.parametrize("text", ["server =", "host = 5", '[host."https://x"]\nclient = [5]'])
def test_a_malformed_hosts_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"cannot read .*hosts\.toml"):
        hosts_in(tmp_path, "r.example", text).of("r.example")


@pytest.mark.parametrize("domain", ["", "[x", "[::::]", "host:port", "host:99999", "a b", "user@host", "h/x", "h?x"])
def test_what_is_no_host_is_refused_by_name(domain: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid registry address"):
        Hosts(directories=[]).of(domain)
