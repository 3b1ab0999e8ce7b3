"""Forwarding of the host: switched on for the families that networks have, and nothing lost by it.

An interface that forwards IPv6 ignores router advertisements unless ``accept_ra`` is 2, so a host that got its own
default route by one would lose it; those interfaces are told to go on listening. The host's policy for what it
forwards from elsewhere to elsewhere is left to its own firewall.

Source: Documentation/networking/ip-sysctl.rst, "accept_ra", "forwarding".
"""

from pathlib import Path

SYSCTL = Path("/proc/sys/net")
SWITCHES = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
LISTENS, LISTENS_ALWAYS = "1", "2"


def switch_on(version: int) -> None:
    """Let the host forward packets of IP ``version``, if its kernel knows of that."""
    switch = SYSCTL / SWITCHES[version]
    if not switch.exists() or switch.read_text().strip() == "1":
        return
    if version == 6:
        keep_listening()
    switch.write_text("1")


def keep_listening() -> None:
    """Interfaces that take router advertisements go on doing so when they forward."""
    for path in (SYSCTL / "ipv6/conf").glob("*/accept_ra"):
        if path.read_text().strip() == LISTENS and path.parent.name not in ("all", "default"):
            path.write_text(LISTENS_ALWAYS)
