"""The drivers, their options, and the check of both: one table.

Raises InvalidParameter in Docker's words for a driver or an option that does not exist, or a value that cannot be used.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from sampan.errors import InvalidParameter, Unsupported

COMMON = frozenset({"mode", "max-buffer-size", "tag", "labels", "labels-regex", "env", "env-regex",
                    "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})  # fmt: skip

ROTATION = frozenset({"max-size", "max-file", "compress", "mode", "max-buffer-size"})

OPTIONS: Mapping[str, frozenset[str]] = {
    "json-file": ROTATION | {"tag", "labels", "labels-regex", "env", "env-regex"},
    "local": ROTATION,
    "none": frozenset(),
    "syslog": COMMON | {"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert",
                        "syslog-tls-key", "syslog-tls-skip-verify"},
    "gelf": COMMON | {"gelf-address", "gelf-compression-type", "gelf-compression-level",
                      "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"},
    "fluentd": COMMON | {"fluentd-address", "fluentd-async", "fluentd-buffer-limit", "fluentd-retry-wait",
                         "fluentd-max-retries", "fluentd-sub-second-precision", "fluentd-request-ack"},
    "journald": COMMON,
}  # fmt: skip

SIZE = re.compile(r"[0-9]+[kmgt]?b?")
FORWARDING = frozenset({"syslog", "gelf", "fluentd", "journald"})
"""Drivers that send elsewhere what the log file buffers."""

# (driver, option) → values that are understood.
CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("syslog", "syslog-format"): ("", "rfc3164", "rfc5424", "rfc5424micro"),
    ("gelf", "gelf-compression-type"): ("gzip", "zlib", "none"),
}
SCHEMES: Mapping[str, tuple[str, ...]] = {
    "syslog": ("udp", "tcp", "tcp+tls", "unix", "unixgram"),
    "gelf": ("udp", "tcp"),
    "fluentd": ("tcp", "unix"),
}
DEFAULT_PORTS = {"syslog": 514, "gelf": 12201, "fluentd": 24224}


def check(driver: str, options: Mapping[str, str]) -> None:
    """Raise InvalidParameter unless ``driver`` understands all of ``options``."""
    known = OPTIONS.get(driver)
    if known is None:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    if driver == "none":
        return
    check_mode(options)
    for name, value in options.items():
        if name not in known:
            raise InvalidParameter(f"unknown log opt '{name}' for {driver} log driver")
        choices = CHOICES.get((driver, name))
        if choices and value not in choices:
            raise InvalidParameter(f"invalid {name}: {value!r}, expected one of {', '.join(filter(None, choices))}")
        if name.endswith("-regex"):
            check_pattern(name, value)
    check_rotation(options)
    if driver in SCHEMES:
        address(driver, options)


def check_mode(options: Mapping[str, str]) -> None:
    """Raise InvalidParameter for a mode that does not exist, or a buffer without the mode that uses it."""
    mode, size = options.get("mode", ""), options.get("max-buffer-size")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    if size is not None and mode != "non-blocking":
        raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    if size is not None and not SIZE.fullmatch(size.lower()):
        raise InvalidParameter(f"error parsing option max-buffer-size: invalid size: '{size}'")


def check_rotation(options: Mapping[str, str]) -> None:
    """Raise InvalidParameter for bounds that are none; Unsupported for compression, which rotation does not do."""
    size = options.get("max-size", "-1")
    if size != "-1" and not SIZE.fullmatch(size.lower()):
        raise InvalidParameter(f"invalid size: '{size}'")
    files = options.get("max-file", "1")
    if not files.isdecimal() or int(files) < 1:
        raise InvalidParameter(f"max-file cannot be less than 1: {files}")
    if options.get("compress", "") in ("1", "true"):
        raise Unsupported("log opt 'compress' is not supported: rotated logs are kept as they were written")


def check_pattern(name: str, value: str) -> None:
    """Raise InvalidParameter unless ``value`` is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise InvalidParameter(f"invalid {name}: {error}") from None


def address(driver: str, options: Mapping[str, str]) -> tuple[str, str, int]:
    """(scheme, host or path, port) of the receiver; raises InvalidParameter for one the driver cannot reach."""
    text = options.get(f"{driver}-address", "")
    if not text and driver == "gelf":
        raise InvalidParameter("gelf-address is a required parameter")
    if not text:
        return ("unixgram", "/dev/log", 0) if driver == "syslog" else ("tcp", "127.0.0.1", DEFAULT_PORTS[driver])
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    if parts.scheme not in SCHEMES[driver]:
        raise InvalidParameter(f"{driver}: endpoint needs to be one of {', '.join(SCHEMES[driver])}: {text!r}")
    if parts.scheme.startswith("unix"):
        return parts.scheme, parts.path, 0
    try:
        port = parts.port or DEFAULT_PORTS[driver]
    except ValueError:
        raise InvalidParameter(f"invalid {driver}-address: {text!r} has no valid port") from None
    if not parts.hostname:
        raise InvalidParameter(f"invalid {driver}-address: {text!r} has no host")
    return parts.scheme, parts.hostname, port
