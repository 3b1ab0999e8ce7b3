"""resolv.conf, hosts, and the table of names."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from sampan.network.names import NameTable, ResolvConf, dns_names, hosts_text, own_names, resolve_links


def test_a_resolv_conf_is_taken_apart_and_put_together() -> None:
    text = "# c\nsearch a\nnameserver 1.1.1.1 ; x\nsearch b c\noptions ndots:2\nnameserver ::1\n"
    parsed = ResolvConf.parse(text)
    assert parsed.text() == "nameserver 1.1.1.1\nnameserver ::1\nsearch b c\noptions ndots:2\n"


@given(st.text())
def test_any_text_is_some_resolv_conf(text: str) -> None:
    ResolvConf.parse(text).without_loopback(ipv6=True).text()


def test_loopback_servers_are_left_out() -> None:
    conf = ResolvConf(["127.0.0.53", "10.0.0.1", "::1", "fe80::1%eth0"])
    assert conf.without_loopback(ipv6=True).nameservers == ["10.0.0.1"]
    assert ResolvConf(["127.0.0.1"]).without_loopback(ipv6=False).nameservers == ["8.8.8.8", "8.8.4.4"]


def test_what_the_user_gives_replaces_the_hosts() -> None:
    conf = ResolvConf(["1.1.1.1"], ["a"], ["x"]).overridden(["2.2.2.2"], ["."], [])
    assert (conf.nameservers, conf.search, conf.options) == (["2.2.2.2"], [], ["x"])


def test_the_comments_say_where_the_parts_are_from() -> None:
    host = ResolvConf.parse("nameserver 127.0.0.53\nnameserver 10.0.0.1\n")
    assert host.embedded("127.0.0.11").file("internal resolver").split("been modified.\n")[1] == (
        "\nnameserver 127.0.0.11\noptions ndots:0\n\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n"
        "# ExtServers: [host(127.0.0.53) host(10.0.0.1)]\n# Overrides: []\n# Option ndots from: internal\n"
    )
    given = host.overridden(["1.1.1.1"], [], ["ndots:2"]).embedded("127.0.0.11").file("internal resolver")
    assert "ExtServers: [1.1.1.1]\n# Overrides: [nameservers options]\n# Option ndots from: override\n" in given
    alone = ResolvConf.parse("").without_loopback(ipv6=True).file("legacy")
    assert "(legacy)\n# Used default nameservers.\n# Overrides: []\n" in alone


def test_hosts_ends_with_the_containers_own_line() -> None:
    text = hosts_text([(ip_address("10.0.0.2"), own_names("web", "example.org", "x"))], [("10.0.0.9", "db")])
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert text.endswith("10.0.0.9\tdb\n10.0.0.2\tweb.example.org web\n")


def test_an_endpoint_has_each_name_once() -> None:
    assert dns_names("/web", "0123456789abcdef", "web", ["www", "web"]) == ["web", "www", "0123456789ab"]


def test_names_are_shared_and_given_back() -> None:
    table = NameTable("net")
    one, two = ip_address("10.0.0.2"), ip_address("10.0.0.3")
    table.add("1", ["a", "Pool"], [one])
    table.add("2", ["b", "pool"], [two])
    assert table.resolve("pool.net") == [one, two]
    assert table.reverse(two) == "b.net"
    table.remove("1")
    assert table.resolve("pool") == [two]
    assert table.resolve("a") is None
    assert table.reverse(one) is None


def test_links_are_aliases() -> None:
    assert resolve_links(["db:store", "/cache", "web:/app/www"]) == {"store": "db", "cache": "cache", "www": "web"}


def test_a_host_name_with_a_domain_is_listed_in_both_lengths() -> None:
    assert own_names("web.example.org", "", "x") == own_names("web", "example.org", "x") == "web.example.org web"
