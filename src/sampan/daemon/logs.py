"""The daemon's own log: one line per record on stderr, as text or as JSON.

text   time="2026-11-23T20:00:00.000000000Z" level=info msg="API listen on /run/sampan/sampan.sock"
json   {"level":"info","msg":"API listen on /run/sampan/sampan.sock","time":"2026-11-23T20:00:00.000000000Z"}
"""

import json
import logging
import sys
import time

from sampan.config import Config

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
NAMES = {number: name for name, number in LEVELS.items()}


def stamp(seconds: float) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e9):09d}Z"


class TextFormatter(logging.Formatter):
    """key=value pairs, quoted like Go's logfmt."""

    def format(self, record: logging.LogRecord) -> str:
        message = json.dumps(message_of(self, record), ensure_ascii=False)
        return f'time="{stamp(record.created)}" level={level_of(record)} msg={message}'


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        told = {"level": level_of(record), "msg": message_of(self, record), "time": stamp(record.created)}
        return json.dumps(told, ensure_ascii=False)


def level_of(record: logging.LogRecord) -> str:
    """dockerd's name for a record's level."""
    return NAMES.get(record.levelno, "info")


def message_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The record's message with its traceback, if it carries one."""
    message = record.getMessage()
    if record.exc_info:
        message += "\n" + formatter.formatException(record.exc_info)
    return message


def configure(config: Config) -> None:
    """Send the root logger to stderr in the configured format and level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(config)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def set_level(config: Config) -> None:
    """Log what ``debug`` and ``log-level`` want to be told."""
    logging.getLogger().setLevel(logging.DEBUG if config.debug else LEVELS[config.log_level.lower() or "info"])
