"""The networks that always exist: ``bridge``, ``host`` and ``none``, as the daemon's settings describe them."""

import hashlib
import secrets
import time
from ipaddress import ip_interface
from pathlib import Path

from sampan.api.networks import IPAM, IPAMConfig, NetworkSummary
from sampan.api.times import format_time
from sampan.config import AddressPool, Config
from sampan.errors import InvalidParameter
from sampan.network.options import BRIDGE, MTU

DEFAULT_DATA_ROOT = Config().data_root
MACHINE_ID = Path("/etc/machine-id")


def instance(data_root: str) -> str:
    """What tells the links and tables of daemons on one host apart: empty for the default data root."""
    return "" if data_root == DEFAULT_DATA_ROOT else hashlib.sha256(data_root.encode()).hexdigest()[:6]


def bridge_link(config: Config) -> str:
    """The name of the default bridge's link."""
    return config.bridge or f"sampan{instance(config.data_root) or 0}"


def table(config: Config) -> str:
    """The name of this daemon's firewall table."""
    suffix = instance(config.data_root)
    return f"sampan_{suffix}" if suffix else "sampan"


def unique_local_pool(config: Config) -> AddressPool:
    """The /48 of this daemon in fd00::/8, the same at every start (RFC 4193, but derived rather than random)."""
    machine = MACHINE_ID.read_bytes() if MACHINE_ID.exists() else b""
    digest = hashlib.sha256(machine + config.data_root.encode()).digest()
    prefix = bytes([0xFD]) + digest[:5]
    return AddressPool(":".join(prefix[i : i + 2].hex() for i in (0, 2, 4)) + "::/48", 64)


def bridge(config: Config, stored: NetworkSummary | None) -> NetworkSummary:
    """The default network by the settings; what they leave open is as it was ``stored``."""
    made = new("bridge", "bridge", stored)
    made.enable_ipv6 = config.ipv6
    made.options = {
        f"{BRIDGE}default_bridge": "true",
        f"{BRIDGE}enable_icc": str(config.icc).lower(),
        f"{BRIDGE}enable_ip_masquerade": str(config.ip_masq).lower(),
        f"{BRIDGE}host_binding_ipv4": config.ip,
        f"{BRIDGE}name": bridge_link(config),
        MTU: str(config.mtu or 1500),
        **config.default_network_opts.get("bridge", {}),
    }
    before = {":" in c.subnet: c for c in (stored.ipam.config or [])} if stored else {}
    pools = [pool4(config) or before.get(False)]
    if config.ipv6:
        pools.append(pool6(config) or before.get(True))
    made.ipam = IPAM(driver="default", config=[pool for pool in pools if pool])
    return made


def pool4(config: Config) -> IPAMConfig | None:
    """The pool that ``bip``, ``fixed-cidr`` and ``default-gateway`` ask for."""
    return _pool(config.bip, config.fixed_cidr, config.default_gateway, "bip")


def pool6(config: Config) -> IPAMConfig | None:
    """The pool that ``bip6``, ``fixed-cidr-v6`` and ``default-gateway-v6`` ask for."""
    return _pool(config.bip6, config.fixed_cidr_v6, config.default_gateway_v6, "bip6")


def _pool(bip: str, fixed: str, gateway: str, what: str) -> IPAMConfig | None:
    if not bip and not fixed:
        return None
    try:
        own = ip_interface(bip or fixed)
    except ValueError:
        raise InvalidParameter(f"invalid {what}: {bip or fixed!r}: expected an address with prefix length") from None
    return IPAMConfig(
        subnet=str(own.network),
        ip_range=fixed if bip else "",
        gateway=gateway or (str(own.ip) if bip else ""),
    )


def host(stored: NetworkSummary | None) -> NetworkSummary:
    """The network of containers that stay in the host's namespace."""
    return _linkless(new("host", "host", stored))


def none(stored: NetworkSummary | None) -> NetworkSummary:
    """The network of containers that only have a loopback."""
    return _linkless(new("none", "null", stored))


def _linkless(made: NetworkSummary) -> NetworkSummary:
    made.ipam = IPAM(driver="default", config=None)
    return made


def new(name: str, driver: str, stored: NetworkSummary | None) -> NetworkSummary:
    """A predefined network; ID and time of creation as ``stored``."""
    return NetworkSummary(
        name=name,
        driver=driver,
        id=stored.id if stored else secrets.token_hex(32),
        created=stored.created if stored else format_time(time.time_ns()),
    )
