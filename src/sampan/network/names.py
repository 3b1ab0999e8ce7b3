"""Who is called what: the name table of DNS, and the text of a container's hosts and resolv.conf.

On a network of the user's, a container is found by its name, its short ID, its host name and its aliases there, bare or
followed by the network's name; only those who share a network find each other. On the default bridge there is no
DNS of ours: /etc/resolv.conf is the host's, and legacy links are lines of /etc/hosts.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from sampan.linux.rtnetlink import Address

SHORT = 12
HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
SYSTEMD_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
FALLBACK = ("8.8.8.8", "8.8.4.4")

LOCALHOST = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


class ResolvConf:
    """A resolv.conf taken apart: name servers, search domains, options."""

    def __init__(
        self, nameservers: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        self.nameservers = list(nameservers)
        self.search = list(search)
        self.options = list(options)

    @classmethod
    def parse(cls, text: str) -> "ResolvConf":
        """What resolv.conf(5) makes of ``text``; of several search lines the last counts."""
        parsed = cls()
        for line in text.splitlines():
            word, *values = line.split("#")[0].split(";")[0].split() or [""]
            if word == "nameserver" and values:
                parsed.nameservers.append(values[0])
            elif word in ("search", "domain"):
                parsed.search = values
            elif word == "options":
                parsed.options += values
        return parsed

    def overridden(self, dns: Sequence[str], search: Sequence[str], options: Sequence[str]) -> "ResolvConf":
        """With what the user gave instead; a search of ``.`` is none."""
        domains = [] if list(search) == ["."] else list(search) or self.search
        return ResolvConf(list(dns) or self.nameservers, domains, list(options) or self.options)

    def without_loopback(self, *, ipv6: bool) -> "ResolvConf":
        """Without servers that only the host can reach; public ones when none is left."""
        kept = [server for server in self.nameservers if reachable(server, ipv6=ipv6)]
        return ResolvConf(kept or FALLBACK, self.search, self.options)

    def text(self) -> str:
        lines = [f"nameserver {server}" for server in self.nameservers]
        lines += [f"search {' '.join(self.search)}"] * bool(self.search)
        lines += [f"options {' '.join(self.options)}"] * bool(self.options)
        return "\n".join(lines) + "\n"


def reachable(server: str, *, ipv6: bool) -> bool:
    """Whether a container could ask ``server``."""
    try:
        address = ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return not address.is_loopback and (address.version == 4 or (ipv6 and "%" not in server))


def host_resolv_conf() -> ResolvConf:
    """The host's own; systemd-resolved's list of real servers where resolv.conf only names its stub."""
    conf = _parsed(RESOLV_CONF, _version(RESOLV_CONF))
    if conf.nameservers == ["127.0.0.53"] and SYSTEMD_RESOLVED.exists():
        conf = _parsed(SYSTEMD_RESOLVED, _version(SYSTEMD_RESOLVED))
    return conf


@lru_cache(2)
def _parsed(path: Path, version: tuple[int, ...]) -> ResolvConf:
    """A file that every start asks for, read once in each ``version``; not to be changed."""
    return ResolvConf.parse(_read(path))


def _version(path: Path) -> tuple[int, ...]:
    """What changes when the file does; () where there is none."""
    try:
        about = path.stat()
    except OSError:
        return ()
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_size


def host_hosts() -> str:
    """The host's own /etc/hosts: what containers in its namespace see."""
    return _read(HOSTS)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def hosts_text(
    own: Iterable[tuple[Address, str]], extra: Iterable[tuple[str, str]], *, ipv6_loopback: bool = True
) -> str:
    """/etc/hosts: localhost, what the user added, the container's own addresses."""
    lines = [f"{address}\t{names}" for address, names in LOCALHOST if ipv6_loopback or ":" not in address]
    lines += [f"{address}\t{names}" for address, names in extra]
    lines += [f"{address}\t{names}" for address, names in own]
    return "\n".join(lines) + "\n"


def own_names(hostname: str, domainname: str, short_id: str) -> str:
    """The names of a container's own line in /etc/hosts; a host name may hold the domain too."""
    full = ".".join(filter(None, (hostname or short_id, domainname)))
    host, dot, _ = full.partition(".")
    return f"{full} {host}" if dot else full


def dns_names(name: str, container_id: str, hostname: str, aliases: Iterable[str]) -> list[str]:
    """All names of an endpoint on a user's network, in Docker's order, each once."""
    given = [name.removeprefix("/"), *aliases, container_id[:SHORT], hostname]
    return list(dict.fromkeys(value for value in given if value))


class NameTable:
    """The names of one network: lower case, each standing for one or more endpoints."""

    def __init__(self, network: str) -> None:
        self._suffix = "." + network.lower()
        self._names: dict[str, dict[str, tuple[Address, ...]]] = {}
        self._primary: dict[Address, str] = {}
        self._owned: dict[str, list[str]] = {}

    def add(self, owner: str, names: Sequence[str], addresses: Sequence[Address]) -> None:
        """``owner`` (a container ID) answers to ``names``; the first is its name in reverse look-ups."""
        lowered = [name.lower() for name in names]
        self._owned.setdefault(owner, []).extend(lowered)
        for name in lowered:
            self._names.setdefault(name, {})[owner] = tuple(addresses)
        for address in addresses:
            self._primary[address] = names[0] + self._suffix

    def remove(self, owner: str) -> None:
        """Forget all names of ``owner``."""
        for name in dict.fromkeys(self._owned.pop(owner, ())):
            owners = self._names[name]
            for address in owners.pop(owner, ()):
                self._primary.pop(address, None)
            if not owners:
                del self._names[name]

    def resolve(self, name: str) -> list[Address] | None:
        """All addresses of ``name`` (lower case, without the final dot); None if nobody is called so."""
        owners = self._names.get(name) or self._names.get(name.removesuffix(self._suffix))
        if owners is None:
            return None
        return [address for addresses in owners.values() for address in addresses]

    def reverse(self, address: Address) -> str | None:
        """The full name of the endpoint with ``address``."""
        return self._primary.get(address)


def resolve_links(links: Iterable[str]) -> Mapping[str, str]:
    """``name:alias`` (or ``name``) of ``--link`` as alias → container."""
    found = {}
    for link in links:
        name, _, alias = link.removeprefix("/").partition(":")
        found[(alias or name).rpartition("/")[2].lower()] = name
    return found
