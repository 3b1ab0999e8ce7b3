"""The drivers, their options, and the check of both: tables.

Raises InvalidParameter in Docker's words for a driver or an option that does not exist, or a value that cannot be used.
What dockerd finds out only when a container starts is told when it is made, in the sentence that start would give.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sampan.api.times import parse_duration
from sampan.engine.log_drivers.values import boolean, decimal_size, number, size
from sampan.errors import InvalidParameter

Options = Mapping[str, str]

DEFAULT_BUFFER = 10**6  # moby daemon/logger/ring.go
START = "failed to initialize logging driver: "
ATTRIBUTES = frozenset({"tag", "labels", "labels-regex", "env", "env-regex"})
ROTATION = frozenset({"max-size", "max-file", "compress"})
BUILT_IN = frozenset(
    {"mode", "max-buffer-size", "cache-disabled", *(f"cache-{name}" for name in ROTATION | ATTRIBUTES)}
)

OPTIONS: Mapping[str, frozenset[str]] = {
    "json-file": ROTATION,
    "local": ROTATION,
    "none": frozenset(),
    "syslog": frozenset({"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert",
                         "syslog-tls-key", "syslog-tls-skip-verify"}),
    "gelf": frozenset({"gelf-address", "gelf-compression-type", "gelf-compression-level",
                       "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"}),
    "fluentd": frozenset({"fluentd-address", "fluentd-async", "fluentd-async-reconnect-interval",
                          "fluentd-buffer-limit", "fluentd-max-retries", "fluentd-read-timeout", "fluentd-request-ack",
                          "fluentd-retry-wait", "fluentd-sub-second-precision", "fluentd-write-timeout"}),
    "journald": frozenset(),
}  # fmt: skip

UNKNOWN: Mapping[str, str] = {
    "local": "unknown log opt '{}' for log driver local",
    "gelf": 'unknown log opt "{}" for gelf log driver',
}
FORWARDING = frozenset({"syslog", "gelf", "fluentd", "journald"})
"""Drivers that send elsewhere what the log file buffers."""

SCHEMES: Mapping[str, tuple[str, ...]] = {
    "syslog": ("udp", "tcp", "tcp+tls", "unix", "unixgram"),
    "gelf": ("udp", "tcp"),
    "fluentd": ("tcp", "tls", "unix"),
}
DEFAULT_PORTS = {"syslog": 514, "fluentd": 24224}
FACILITIES = {
    name: number
    for number, name in enumerate(
        ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
    )
} | {f"local{number}": 16 + number for number in range(8)}


def check(driver: str, options: Options) -> None:
    """Raise InvalidParameter unless ``driver`` understands all of ``options``."""
    if driver not in OPTIONS:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    if driver == "none":
        return
    check_mode(options)
    if options.get("cache-disabled"):
        boolean(options["cache-disabled"], f"invalid value for option cache-disabled: {options['cache-disabled']}")
    for name in options:
        if name not in OPTIONS[driver] | ATTRIBUTES | BUILT_IN:
            told = UNKNOWN.get(driver, f"unknown log opt '{{}}' for {driver} log driver")
            raise InvalidParameter(told.format(name))
    if driver in CHECKS:
        CHECKS[driver](options)
    for name in ("labels-regex", "env-regex"):
        check_pattern(options.get(name, ""))
    if driver in SCHEMES:
        check_bounds({name.removeprefix("cache-"): value for name, value in options.items() if "cache-" in name})


def check_mode(options: Options) -> None:
    """Raise InvalidParameter for a mode that does not exist, or a buffer without the mode that uses it."""
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" not in options:
        return
    if mode != "non-blocking":
        raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    size(options["max-buffer-size"], "error parsing option max-buffer-size: invalid size: '{}'")


def buffer_of(options: Options) -> int:
    """Bytes that may wait before lines are dropped with ``mode=non-blocking``, which waits for nothing; 0 without."""
    if options.get("mode", "") != "non-blocking":
        return 0
    return max(1, size(options["max-buffer-size"]) if options.get("max-buffer-size") else DEFAULT_BUFFER)


def check_bounds(options: Options) -> None:
    """Raise InvalidParameter for a rotation that is none (the driver ``json-file``)."""
    text = options.get("max-size", "-1")
    if text != "-1" and decimal_size(text, START + "invalid size: '{}'") <= 0:
        raise InvalidParameter(START + "max-size must be a positive number")
    files = number(options.get("max-file", "5"), START + 'strconv.Atoi: parsing "{}": invalid syntax')
    if files < 1:
        raise InvalidParameter(START + "max-file cannot be less than 1")
    text = options.get("compress", "")
    compress = bool(text) and boolean(text, START + f'strconv.ParseBool: parsing "{text}": invalid syntax')
    if compress and (files == 1 or options.get("max-size") == "-1"):
        raise InvalidParameter(START + "compress cannot be true when max-file is less than 2 or max-size is not set")


def check_local(options: Options) -> None:
    """Raise InvalidParameter for a rotation that is none, in the words of the driver ``local``."""
    text = options.get("max-size", "-1")
    if text != "-1":
        decimal_size(text, START + "invalid value for max-size: {0}: invalid size: '{0}'")
    told = START + 'invalid value for max-file: {0}: strconv.Atoi: parsing "{0}": invalid syntax'
    files = number(options.get("max-file", "5"), told)
    if files < 0:
        raise InvalidParameter(START + "max-file must not be negative")
    text = options.get("compress", "true")
    told = f'invalid boolean value for compress: strconv.ParseBool: parsing "{text}": invalid syntax'
    if boolean(text, START + told) and files <= 1:
        raise InvalidParameter(START + "compression cannot be enabled when max file count is 1")


def check_syslog(options: Options) -> None:
    """Raise InvalidParameter for an address, a facility or a format that syslog has not."""
    scheme, path, _ = address("syslog", options)
    if "syslog-address" in options and scheme.startswith("unix") and not Path(path).exists():
        raise InvalidParameter(f"stat {path}: no such file or directory")
    facility(options)
    if options.get("syslog-format", "") not in ("", "rfc3164", "rfc5424", "rfc5424micro"):
        raise InvalidParameter("Invalid syslog format")


def facility(options: Options) -> int:
    """Number of the facility (default daemon); raises InvalidParameter."""
    text = options.get("syslog-facility", "") or "daemon"
    if text in FACILITIES:
        return FACILITIES[text]
    if text.isdecimal() and int(text) < 24:
        return int(text)
    raise InvalidParameter("invalid syslog facility")


def check_gelf(options: Options) -> None:
    """Raise InvalidParameter for what the address's protocol has not, or for values out of range."""
    scheme, _, _ = address("gelf", options)
    for name, value in options.items():
        if name.startswith("gelf-compression") and scheme != "udp":
            raise InvalidParameter("compression is only supported on UDP")
        if name in GELF_VALUES and value not in GELF_VALUES[name]:
            raise InvalidParameter(f'unknown value "{value}" for log opt "{name}" for gelf log driver')
        if name.startswith("gelf-tcp") and scheme != "tcp":
            raise InvalidParameter(f'"{name}" is only valid for TCP')
        if name.startswith("gelf-tcp") and not value.isdecimal():
            raise InvalidParameter(f'"{name}" must be a positive integer')


GELF_VALUES: Mapping[str, tuple[str, ...]] = {
    "gelf-compression-type": ("gzip", "zlib", "none"),
    "gelf-compression-level": tuple(map(str, range(-1, 10))),
}


def check_fluentd(options: Options) -> None:
    """Raise InvalidParameter for values that are none."""
    address("fluentd", options)
    size(options.get("fluentd-buffer-limit", "") or "8m", "invalid size: '{}'")
    retries = options.get("fluentd-max-retries", "") or "0"
    if not retries.isdecimal():
        raise InvalidParameter(f'strconv.ParseUint: parsing "{retries}": invalid syntax')
    if int(retries) >= 1 << 31:
        raise InvalidParameter("invalid fluentd-max-retries: value out of range")
    for name in ("fluentd-async", "fluentd-sub-second-precision", "fluentd-request-ack"):
        if text := options.get(name, ""):
            boolean(text, f'strconv.ParseBool: parsing "{text}": invalid syntax')
    duration(options.get("fluentd-retry-wait", ""), 'time: invalid duration "{}"')
    check_interval("fluentd-async-reconnect-interval", options)
    for name in ("fluentd-write-timeout", "fluentd-read-timeout"):
        told = f"invalid value for {name}: value must be a duration"
        if duration(options.get(name, ""), told) < 0:
            raise InvalidParameter(f"{told} that is non-negative")


def check_interval(name: str, options: Options) -> None:
    """Raise InvalidParameter for a pause between attempts that is out of range."""
    told, text = f"invalid value for {name}: ", options.get(name, "")
    pause = duration(text, told + 'time: invalid duration "{}"')
    if pause and not 0.1 <= pause <= 10:
        raise InvalidParameter(f'{told}value ("{text}") must be between 100ms and 10s')


def duration(text: str, told: str) -> float:
    """Seconds of a duration as Go writes it; 0 for none; raises InvalidParameter with the sentence ``told``."""
    try:
        return parse_duration(text) / 1e9 if text else 0
    except (ValueError, InvalidParameter):
        raise InvalidParameter(told.format(text)) from None


CHECKS: Mapping[str, Callable[[Options], None]] = {
    "json-file": check_bounds,
    "local": check_local,
    "syslog": check_syslog,
    "gelf": check_gelf,
    "fluentd": check_fluentd,
}


def check_pattern(value: str) -> None:
    """Raise InvalidParameter unless ``value`` is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise InvalidParameter(f"{START}error parsing regexp: {error}: `{value}`") from None


def address(driver: str, options: Options) -> tuple[str, str, int]:
    """(scheme, host or path, port) of the receiver; raises InvalidParameter for one the driver cannot reach."""
    text = options.get(f"{driver}-address", "")
    if not text:
        return nowhere(driver)
    about = f"invalid fluentd-address ({text}): " if driver == "fluentd" else ""
    parts = urlsplit(text if "://" in text or driver != "fluentd" else f"tcp://{text}")
    if parts.scheme not in SCHEMES[driver]:
        known = driver != "gelf"
        raise InvalidParameter(
            f"{about}unsupported scheme: '{parts.scheme}'" if known else "gelf: endpoint needs to be TCP or UDP"
        )
    if parts.scheme.startswith("unix"):
        if not parts.path.strip("/"):
            raise InvalidParameter(f"{about}path is empty")
        return parts.scheme, parts.path, 0
    if driver == "fluentd" and parts.path:
        raise InvalidParameter(f"{about}should not contain a path element")
    try:
        port = parts.port or DEFAULT_PORTS.get(driver, 0)
    except ValueError:
        raise InvalidParameter(f"{about}invalid port in {text!r}") from None
    if driver == "gelf" and not (port and parts.hostname):
        raise InvalidParameter("gelf: please provide gelf-address as proto://host:port")
    return parts.scheme, parts.hostname or "127.0.0.1", port


def nowhere(driver: str) -> tuple[str, str, int]:
    """Where a driver sends when no address is given."""
    if driver == "gelf":
        raise InvalidParameter("gelf-address is a required parameter")
    return ("unixgram", "/dev/log", 0) if driver == "syslog" else ("tcp", "127.0.0.1", DEFAULT_PORTS[driver])
