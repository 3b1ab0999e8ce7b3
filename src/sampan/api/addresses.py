"""Addresses in requests, refused as dockerd's JSON decoder refuses them: before anything that is named is looked up.

10.0.0.0/24     a prefix: subnets and ranges
10.0.0.1        an address: gateways, name servers, what an endpoint asks for
"""

import re
from ipaddress import ip_address

from sampan.api.json import quote
from sampan.api.networks import EndpointIPAMConfig, EndpointSettings, IPAMConfig
from sampan.errors import InvalidParameter

MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2}", re.ASCII)


def check_address(text: str) -> None:
    """Raise InvalidParameter for what is no IP address."""
    if why := _address_error(text):
        raise InvalidParameter(f"invalid JSON: {why}")


def _address_error(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        return f"ParseAddr({quote(text)}): unable to parse IP"
    return ""


def check_prefix(text: str) -> None:
    """Raise InvalidParameter for what is no IP address with the length of its network."""
    if why := _prefix_error(text):
        raise InvalidParameter(f"invalid JSON: netip.ParsePrefix({quote(text)}): {why}")


def _prefix_error(text: str) -> str:
    address, slash, bits = text.rpartition("/")
    if not slash:
        return "no '/'"
    if why := _address_error(address):
        return why
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", bits, re.ASCII):
        return f"bad bits after slash: {quote(bits)}"
    return "prefix length out of range" if int(bits) > ip_address(address).max_prefixlen else ""


def check_mac(text: str) -> None:
    """Raise InvalidParameter for what is no MAC address."""
    if not MAC.fullmatch(text):
        raise InvalidParameter(f"invalid JSON: address {text}: invalid MAC address")


def check_pool(config: IPAMConfig) -> None:
    """Check what is given of an address pool."""
    for text in filter(None, (config.subnet, config.ip_range)):
        check_prefix(text)
    for text in filter(None, (config.gateway.partition("/")[0], *config.auxiliary_addresses.values())):
        check_address(text)


def check_endpoint(settings: EndpointSettings) -> None:
    """Check what an endpoint is asked to have."""
    asked = settings.ipam_config or EndpointIPAMConfig()
    for text in filter(None, (asked.ipv4_address, asked.ipv6_address, *(asked.link_local_ips or ()))):
        check_address(text)
    if settings.mac_address:
        check_mac(settings.mac_address)
