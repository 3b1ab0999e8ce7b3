"""Ports added to and taken from those that a container publishes."""

from sampan.cli.update import Bindings, added, withdrawn

WEB: Bindings = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "", "HostPort": "8081"}]}


def test_a_further_port_leaves_the_others() -> None:
    assert added(WEB, ["53:53/udp"]) == {**WEB, "53/udp": [{"HostIp": "", "HostPort": "53"}]}


def test_a_port_published_again_is_there_once() -> None:
    assert added(WEB, ["8080:80"]) == WEB


def test_a_port_is_withdrawn_with_all_its_bindings_or_one() -> None:
    assert withdrawn(WEB, ["80"]) == {}
    assert withdrawn(WEB, ["8081:80/tcp"]) == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}


def test_withdrawing_what_is_not_there_changes_nothing() -> None:
    assert withdrawn(WEB, ["81", "80/udp", "9:80"]) == WEB


def test_what_was_given_stays_as_it_was() -> None:
    bindings: Bindings = {"80/tcp": [{"HostIp": "", "HostPort": "1"}]}
    added(bindings, ["2:80"])
    withdrawn(bindings, ["80"])
    assert bindings == {"80/tcp": [{"HostIp": "", "HostPort": "1"}]}
