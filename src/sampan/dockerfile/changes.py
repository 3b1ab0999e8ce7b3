"""Instructions applied to an image config, one by one: the metadata half of a build.

``docker commit --change`` and ``docker import --change`` call ``apply_changes``; builds call ``apply`` with words that
are already expanded. Nothing here touches a file system: WORKDIR sets a path, it makes no directory.
"""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from sampan.api.signals import parse_signal
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.expand import ExpansionError, expand, expand_words
from sampan.dockerfile.parser import parse_changes
from sampan.dockerfile.ports import exposed_ports
from sampan.dockerfile.source import ParseError
from sampan.dockerfile.words import Pair
from sampan.errors import InvalidParameter
from sampan.oci.image_config import RunConfig

DEFAULT_SHELL = ("/bin/sh", "-c")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHANGEABLE = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip

Applier = Callable[[RunConfig, Any], RunConfig]


def environment(config: RunConfig) -> dict[str, str]:
    """``Env`` as a mapping."""
    return {key: value for key, _, value in (entry.partition("=") for entry in config.env or ())}


def with_shell(config: RunConfig, command: ins.CommandLine) -> list[str]:
    """The argv of a command line: a shell form gets the image's shell in front."""
    shell = config.shell or DEFAULT_SHELL
    return [*shell, *(command.words or ("",))] if command.shell else list(command.words)


def working_directory(config: RunConfig, path: str) -> str:
    """``path`` as WORKDIR understands it: below the one before, unless absolute."""
    joined = posixpath.normpath(posixpath.join("/", config.working_dir, path))
    return "/" + joined.lstrip("/")


def _env(config: RunConfig, step: ins.Env) -> RunConfig:
    entries = list(config.env or ())
    for pair in step.pairs:
        place = next((i for i, entry in enumerate(entries) if entry.partition("=")[0] == pair.key), len(entries))
        entries[place : place + 1] = [f"{pair.key}={pair.value}"]
    return msgspec.structs.replace(config, env=entries)


def _label(config: RunConfig, step: ins.Label) -> RunConfig:
    labels = {**(config.labels or {}), **{pair.key: pair.value for pair in step.pairs}}
    return msgspec.structs.replace(config, labels=labels)


def _cmd(config: RunConfig, step: ins.Cmd) -> RunConfig:
    argv = with_shell(config, step.command) if step.command.words or step.command.shell else []
    return msgspec.structs.replace(config, cmd=argv, args_escaped=step.command.shell and bool(argv))


def _entrypoint(config: RunConfig, step: ins.Entrypoint) -> RunConfig:
    argv = with_shell(config, step.command) if step.command.words else []
    return msgspec.structs.replace(config, entrypoint=argv or None)


def _expose(config: RunConfig, step: ins.Expose) -> RunConfig:
    ports: dict[str, dict[str, Any]] = {port: {} for text in step.ports for port in exposed_ports(text)}
    return msgspec.structs.replace(config, exposed_ports={**(config.exposed_ports or {}), **ports})


def _volume(config: RunConfig, step: ins.Volume) -> RunConfig:
    if not all(step.paths):
        raise InvalidParameter("VOLUME specified can not be an empty string")
    volumes: dict[str, dict[str, Any]] = {path: {} for path in step.paths}
    return msgspec.structs.replace(config, volumes={**(config.volumes or {}), **volumes})


def _stop_signal(config: RunConfig, step: ins.StopSignal) -> RunConfig:
    parse_signal(step.signal)
    return msgspec.structs.replace(config, stop_signal=step.signal)


def _workdir(config: RunConfig, step: ins.Workdir) -> RunConfig:
    return msgspec.structs.replace(config, working_dir=working_directory(config, step.path))


APPLIERS: dict[type[ins.Instruction], Applier] = {
    ins.Env: _env,
    ins.Label: _label,
    ins.Cmd: _cmd,
    ins.Entrypoint: _entrypoint,
    ins.Expose: _expose,
    ins.Volume: _volume,
    ins.Workdir: _workdir,
    ins.User: lambda config, step: msgspec.structs.replace(config, user=step.user),
    ins.StopSignal: _stop_signal,
    ins.Shell: lambda config, step: msgspec.structs.replace(config, shell=list(step.words)),
    ins.HealthCheck: lambda config, step: msgspec.structs.replace(config, healthcheck=step.check),
    ins.OnBuild: lambda config, step: msgspec.structs.replace(
        config, on_build=[*(config.on_build or ()), step.trigger]
    ),
}


def apply(config: RunConfig, step: ins.Instruction, *, cmd_is_own: bool) -> RunConfig:
    """``config`` after ``step``, whose words are already expanded; instructions that are no metadata change nothing.

    An ENTRYPOINT forgets the base image's CMD, unless a CMD came before it in this stage (``cmd_is_own``).
    """
    applier = APPLIERS.get(type(step))
    applied = applier(config, step) if applier else config
    if isinstance(step, ins.Entrypoint) and not cmd_is_own:
        return msgspec.structs.replace(applied, cmd=None)
    return applied


def expanded(
    step: ins.Instruction, env: Mapping[str, str], escape: str = "\\", unset: set[str] | None = None
) -> ins.Instruction:
    """``step`` with variables replaced in the words that take them. Raises ``ExpansionError``."""

    def word(text: str) -> str:
        return expand(text, env, escape, unset)

    match step:
        case ins.Env(origin=origin, pairs=pairs) | ins.Label(origin=origin, pairs=pairs):
            made = tuple(Pair(word(pair.key), word(pair.value), pair.legacy) for pair in pairs)
            return type(step)(origin, made)
        case ins.Expose(origin=origin, ports=ports):
            return ins.Expose(origin, tuple(p for port in ports for p in expand_words(port, env, escape, unset)))
        case ins.Volume(origin=origin, paths=paths):
            return ins.Volume(origin, tuple(word(path) for path in paths))
        case ins.User(origin=origin, user=user):
            return ins.User(origin, word(user))
        case ins.Workdir(origin=origin, path=path):
            return ins.Workdir(origin, word(path))
        case ins.StopSignal(origin=origin, signal=signal):
            return ins.StopSignal(origin, word(signal))
        case _:
            return step


def apply_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """``config`` after each of ``--change``'s instructions.

    Raises ``InvalidParameter`` for what cannot be parsed and for instructions that are no metadata.
    """
    cmd_is_own = False
    for step in parse_changes(changes, CHANGEABLE):
        try:
            config = apply(config, expanded(step, environment(config)), cmd_is_own=cmd_is_own)
        except ExpansionError as error:
            raise ParseError(error.message) from error
        cmd_is_own = cmd_is_own or isinstance(step, ins.Cmd)
        if isinstance(step, ins.Cmd):
            config = msgspec.structs.replace(config, args_escaped=False)  # what only BuildKit says of its own
    return config
