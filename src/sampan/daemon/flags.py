"""dockerd's command line → keys of ``config.Config``.

Most flags are a configuration key's own name. Those that are not (singular for a list, a short letter,
a value with its own grammar) stand in ``IRREGULAR``. Parsing yields only what was given, so that the
file and the flags can be told apart.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sampan import __version__
from sampan.config import KEYS

TRUE = {"", "1", "t", "true", "y", "yes", "on"}
FALSE = {"0", "f", "false", "n", "no", "off"}


def boolean(text: str) -> bool:
    """The value of a flag such as ``--icc=false``; raises argparse's error for anything else."""
    lowered = text.lower()
    if lowered not in TRUE | FALSE:
        raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}")
    return lowered in TRUE


def pair(text: str) -> tuple[str, str]:
    """``key=value``; raises argparse's error without an equals sign."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    return key, value


def runtime(text: str) -> tuple[str, dict[str, Any]]:
    """``name=path`` of ``--add-runtime``."""
    name, path = pair(text)
    return name, {"path": path}


def feature(text: str) -> tuple[str, bool]:
    """``name`` or ``name=true|false`` of ``--feature``."""
    name, _, value = text.partition("=")
    return name, boolean(value)


def ulimit(text: str) -> tuple[str, dict[str, Any]]:
    """``nofile=1024:2048`` of ``--default-ulimit``; the hard limit is the soft one unless given."""
    name, value = pair(text)
    soft, _, hard = value.partition(":")
    try:
        return name, {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=soft[:hard]") from None


def nested(text: str) -> tuple[str, tuple[str, str]]:
    """``bridge=com.docker.network.driver.mtu=1400`` of ``--default-network-opt``."""
    driver, option = pair(text)
    return driver, pair(option)


def nri_options(text: str) -> dict[str, Any]:
    """``enable=true,plugin-path=/x`` of ``--nri-opts``."""
    given: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        given[name] = boolean(value) if name == "enable" else value
    return given


def address_pool(text: str) -> dict[str, Any]:
    """``base=10.0.0.0/8,size=24`` of ``--default-address-pool``."""
    given = dict(pair(part) for part in text.split(","))
    if set(given) != {"base", "size"} or not given["size"].isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not base=CIDR,size=BITS")
    return {"base": given["base"], "size": int(given["size"])}


@dataclass(frozen=True)
class Flag:
    """How one configuration key is spelt on the command line."""

    names: tuple[str, ...]
    parse: Callable[[str], Any] = str
    many: str = ""  # "list", "map" or "maps" (of maps) when the flag may be repeated


IRREGULAR: dict[str, Flag] = {
    "hosts": Flag(("-H", "--host"), many="list"),
    "group": Flag(("-G", "--group")),
    "pidfile": Flag(("-p", "--pidfile")),
    "debug": Flag(("-D", "--debug"), boolean),
    "log-level": Flag(("-l", "--log-level")),
    "storage-driver": Flag(("-s", "--storage-driver")),
    "bridge": Flag(("-b", "--bridge")),
    "labels": Flag(("--label",), many="list"),
    "dns": Flag(("--dns",), many="list"),
    "dns-opts": Flag(("--dns-opt",), many="list"),
    "dns-search": Flag(("--dns-search",), many="list"),
    "exec-opts": Flag(("--exec-opt",), many="list"),
    "storage-opts": Flag(("--storage-opt",), many="list"),
    "registry-mirrors": Flag(("--registry-mirror",), many="list"),
    "insecure-registries": Flag(("--insecure-registry",), many="list"),
    "authorization-plugins": Flag(("--authorization-plugin",), many="list"),
    "cdi-spec-dirs": Flag(("--cdi-spec-dir",), many="list"),
    "host-gateway-ips": Flag(("--host-gateway-ip",), many="list"),
    "default-address-pools": Flag(("--default-address-pool",), address_pool, many="list"),
    "node-generic-resources": Flag(("--node-generic-resource",), many="list"),
    "default-network-opts": Flag(("--default-network-opt",), nested, many="maps"),
    "nri-opts": Flag(("--nri-opts",), nri_options),
    "restart": Flag(("-r", "--restart"), boolean),
    "runtimes": Flag(("--add-runtime",), runtime, many="map"),
    "log-opts": Flag(("--log-opt",), pair, many="map"),
    "features": Flag(("--feature",), feature, many="map"),
    "default-ulimits": Flag(("--default-ulimit",), ulimit, many="map"),
}
PROXIES = ("http-proxy", "https-proxy", "no-proxy")
# Settings with structure of their own are set in the file only.
FILE_ONLY = {
    "access", "proxies", "builder", "allow-nondistributable-artifacts", "deprecated-key-path",
    "swarm-raft-heartbeat-tick", "swarm-raft-election-tick",
}  # fmt: skip
BY_TYPE: dict[Any, Callable[[str], Any]] = {bool: boolean, int: int}


def flag_of(key: str) -> Flag:
    """Spelling of ``key`` on the command line."""
    return IRREGULAR.get(key) or Flag((f"--{key}",), BY_TYPE.get(KEYS[key].type, str))


@dataclass(frozen=True)
class CommandLine:
    """What was given: where the file is, whether to only check it, and the settings by key."""

    config_file: Path | None
    validate: bool
    settings: dict[str, Any]


class Parser(argparse.ArgumentParser):
    """Ends as dockerd does: with what is wrong, where to find help, and status 1."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            what = unknown.split()[0].partition("=")[0]
            message = f"unknown flag: {what}" if what.startswith("-") else f'"{self.prog}" accepts no arguments'
        self.exit(1, f"{message}\nSee '{self.prog} --help'.\n")


def make_parser(program: str) -> argparse.ArgumentParser:
    """An argparse parser that knows every flag and stores only what is given."""
    parser = Parser(
        prog=program,
        usage=f"{program} [OPTIONS]",
        description="The daemon: serves the Docker Engine API and runs containers.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--version", action="version", version=f"sampan version {__version__}")
    parser.add_argument("--config-file", type=Path, help="the configuration file (JSON)")
    parser.add_argument("--validate", action="store_true", help="check the configuration and exit")
    for key in KEYS:
        if key not in FILE_ONLY:
            add(parser, key, flag_of(key))
    for key in PROXIES:
        parser.add_argument(f"--{key}", dest=key)
    return parser


def add(parser: argparse.ArgumentParser, key: str, flag: Flag) -> None:
    """Register the flag of one key; a boolean needs no value, a repeatable one collects."""
    options: dict[str, Any] = {"dest": key, "type": flag.parse, "metavar": key.upper().replace("-", "_")}
    if flag.parse is boolean:
        options |= {"nargs": "?", "const": True}
    elif flag.many:
        options |= {"action": "append"}
    parser.add_argument(*flag.names, **options)


def collected(value: Any, many: str) -> Any:
    """What a flag was given, repeated ones together."""
    if many == "map":
        return dict(value)
    if many == "maps":
        return {name: dict(option for own, option in value if own == name) for name, _ in value}
    return value


def parse(arguments: Sequence[str], program: str = "sampan daemon") -> CommandLine:
    """Read dockerd's flags; exits with status 1 and a sentence where they are wrong."""
    given = vars(make_parser(program).parse_args(list(arguments)))
    config_file = given.pop("config_file", None)
    validate = given.pop("validate", False)
    proxies = {key: given.pop(key) for key in PROXIES if key in given}
    for key, value in given.items():
        given[key] = collected(value, IRREGULAR[key].many if key in IRREGULAR else "")
    if proxies:
        given["proxies"] = proxies
    return CommandLine(config_file, validate, given)
