"""The resolver's answers, without sockets."""

from ipaddress import ip_address

from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from sampan.linux.rtnetlink import Address
from sampan.network.resolver import answer, failure, reverse_address, truncated


class Table:
    def resolve(self, name: str) -> list[Address] | None:
        return {
            "web": [ip_address("10.0.0.2"), ip_address("fd00::2")],
            "many": [ip_address(f"10.0.1.{n}") for n in range(1, 250)],
        }.get(name)

    def reverse(self, address: Address) -> str | None:
        return "web.net" if str(address) in ("10.0.0.2", "fd00::2") else None


def ask(name: str, kind: str) -> list[str] | None:
    reply = answer(DNSRecord.question(name, kind), Table(), lambda addresses: None)
    return None if reply is None else [str(record.rdata) for record in reply.rr]


def test_addresses_of_the_asked_family_are_answered() -> None:
    assert ask("WEB.", "A") == ["10.0.0.2"]
    assert ask("web", "AAAA") == ["fd00::2"]


def test_a_known_name_without_such_addresses_is_no_error() -> None:
    assert ask("many", "AAAA") == []
    assert ask("web", "MX") == []
    assert ask("web", "TXT") == []


def test_what_is_unknown_or_of_another_kind_is_for_others() -> None:
    assert ask("nobody", "A") is None
    assert ask("nobody", "MX") is None
    assert ask("web.example.org", "TXT") is None
    assert ask("9.0.0.10.in-addr.arpa", "PTR") is None


def test_reverse_look_ups_of_both_families() -> None:
    assert ask("2.0.0.10.in-addr.arpa", "PTR") == ["web.net."]
    assert reverse_address("2." + "0." * 27 + "0.0.d.f.ip6.arpa") == ip_address("fd00::2")


@given(st.text(max_size=80))
def test_no_name_breaks_the_reverse_look_up(name: str) -> None:
    reverse_address(name + ".in-addr.arpa")
    reverse_address(name + ".ip6.arpa")


def test_a_long_answer_is_cut_for_datagrams_and_marked() -> None:
    reply = answer(DNSRecord.question("many"), Table())
    assert reply is not None
    packed = truncated(reply, 512)
    assert len(packed) <= 512
    parsed = DNSRecord.parse(packed)
    assert parsed.header.tc == 1
    assert len(parsed.rr) > 25
    assert len(DNSRecord.parse(truncated(reply, 65535)).rr) == 249


def test_a_failure_repeats_the_question() -> None:
    query = DNSRecord.question("web")
    parsed = DNSRecord.parse(failure(query.pack(), RCODE.SERVFAIL))
    assert (parsed.header.id, parsed.header.rcode, parsed.header.qr) == (query.header.id, RCODE.SERVFAIL, 1)
    assert QTYPE.get(parsed.q.qtype) == "A"


@given(st.binary(max_size=64))
def test_any_bytes_get_a_failure_or_nothing(data: bytes) -> None:
    reply = failure(data, RCODE.FORMERR)
    assert len(reply) in (0, 12)
