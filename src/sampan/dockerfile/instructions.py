"""The eighteen instructions as values. Words are as written: variables are expanded when a build runs.

FROM ARG ENV LABEL MAINTAINER COPY ADD RUN CMD ENTRYPOINT EXPOSE USER VOLUME WORKDIR STOPSIGNAL SHELL
HEALTHCHECK ONBUILD
"""

from dataclasses import dataclass

from sampan.dockerfile.heredoc import Heredoc
from sampan.dockerfile.source import Span
from sampan.dockerfile.words import Pair
from sampan.oci.image_config import Healthcheck


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instruction comes from: its keyword as written, its whole line, its place, the comments above."""

    keyword: str
    text: str
    span: Span
    comments: tuple[str, ...] = ()
    empty_continuation: bool = False


@dataclass(frozen=True, slots=True)
class Instruction:
    origin: Origin


@dataclass(frozen=True, slots=True)
class From(Instruction):
    base: str
    name: str = ""
    platform: str = ""
    name_as_written: str = ""
    as_keyword: str = ""


@dataclass(frozen=True, slots=True)
class ArgDefinition:
    """One name of ARG; ``value`` is None when it has no default."""

    key: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    definitions: tuple[ArgDefinition, ...]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    name: str


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY, and the part of ADD that is the same; ``inline`` are here-documents among the sources."""

    sources: tuple[str, ...]
    destination: str
    inline: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Add(Copy):
    """``unpack`` and ``keep_git_dir`` are None when not said."""

    keep_git_dir: bool | None = None
    checksum: str = ""
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Arguments of RUN, CMD, ENTRYPOINT: one string for the shell, or an argv (``shell`` false)."""

    words: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    command: CommandLine
    mounts: tuple[str, ...] = ()
    network: str = ""
    security: str = ""
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    command: CommandLine


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    command: CommandLine


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealthCheck(Instruction):
    check: Healthcheck


@dataclass(frozen=True, slots=True)
class OnBuild(Instruction):
    """``trigger`` is the instruction's text, kept in the image and parsed when a build starts from it."""

    trigger: str


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM and what follows until the next FROM."""

    head: From
    body: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file: its directives, the ARGs before the first FROM, its stages."""

    text: str
    directives: dict[str, str]
    escape: str
    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
