"""Logical lines to instructions: a table of forms, and a function for each form.

``parse`` reads a whole Dockerfile, ``parse_instruction`` one instruction (ONBUILD triggers), ``parse_changes`` those of
``--change``. None raises anything but ``ParseError``.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sampan.dockerfile import instructions as ins
from sampan.dockerfile.duration import parse_duration
from sampan.dockerfile.expand import ExpansionError
from sampan.dockerfile.flags import Flags, Kind
from sampan.dockerfile.heredoc import Heredoc, parse_heredoc
from sampan.dockerfile.lexer import Lexer, Line, split_line
from sampan.dockerfile.mounts import check_mount
from sampan.dockerfile.source import ParseError, Span, parse_error_on
from sampan.dockerfile.suggest import suggestion
from sampan.dockerfile.words import json_array, pairs, split_blanks, split_quoted
from sampan.oci.image_config import Healthcheck

STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
SIZE_LIMIT = 1 << 24
"""Largest Dockerfile read, in characters."""

_COPY_FLAGS = {
    "chown": Kind.STRING,
    "chmod": Kind.STRING,
    "link": Kind.BOOL,
    "exclude": Kind.STRINGS,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One line on its way to an instruction."""

    line: Line
    flags: Flags
    escape: str
    origin: ins.Origin

    @property
    def keyword(self) -> str:
        return self.line.keyword.upper()

    @property
    def rest(self) -> str:
        return self.line.rest


@dataclass(frozen=True, slots=True)
class Form:
    """How one instruction is read."""

    read: Callable[[Request], ins.Instruction]
    flags: Mapping[str, Kind] = field(default_factory=dict)


def _at_least_one(request: Request) -> ParseError:
    return ParseError(f"{request.keyword} requires at least one argument")


def _only_argument(request: Request) -> str:
    if not request.rest:
        raise ParseError(f"{request.keyword} requires exactly one argument")
    return request.rest


def _list(request: Request) -> tuple[str, ...]:
    """A JSON array, or words between blanks."""
    array = json_array(request.rest)
    return array if array is not None else tuple(split_blanks(request.rest))


def _command(request: Request) -> ins.CommandLine:
    array = json_array(request.rest)
    if array is not None:
        return ins.CommandLine(array, shell=False)
    return ins.CommandLine((request.rest,) if request.rest else (), shell=True)


def _from(request: Request) -> ins.From:
    words = split_blanks(request.rest)
    if len(words) == 1:
        return ins.From(request.origin, words[0], platform=request.flags.string("platform"))
    if len(words) != 3 or words[1].lower() != "as":
        raise ParseError("FROM requires either one or three arguments")
    name = words[2].lower()
    if not STAGE_NAME.fullmatch(name):
        raise ParseError(
            f'invalid name for build stage: "{words[2]}", name can\'t start with a number or contain symbols'
        )
    return ins.From(request.origin, words[0], name, request.flags.string("platform"), words[2], words[1])


def _arg(request: Request) -> ins.Arg:
    words = split_quoted(request.rest, request.escape)
    if not words:
        raise _at_least_one(request)
    definitions = []
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise ParseError("ARG names can not be blank")
        definitions.append(ins.ArgDefinition(key, value if equals else None))
    return ins.Arg(request.origin, tuple(definitions))


def _pairs(kind: type[ins.Env] | type[ins.Label]) -> Callable[[Request], ins.Instruction]:
    def read(request: Request) -> ins.Instruction:
        found = pairs(request.rest, request.keyword, request.escape)
        if not found:
            raise _at_least_one(request)
        if not all(pair.key for pair in found):
            raise ParseError(f"{request.keyword} names can not be blank")
        return kind(request.origin, found)

    return read


@dataclass(frozen=True, slots=True)
class _Operands:
    sources: tuple[str, ...]
    inline: tuple[Heredoc, ...]
    destination: str


def _operands(request: Request) -> _Operands:
    words = _list(request)
    if len(words) < 2:
        raise ParseError(
            f"{request.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    *sources, destination = words
    if _is_heredoc(destination):
        raise ParseError(f"{request.keyword} cannot accept a heredoc as a destination")
    plain = tuple(word for word in sources if not _is_heredoc(word))
    return _Operands(plain, request.line.heredocs, destination)


def _is_heredoc(word: str) -> bool:
    try:
        return parse_heredoc(word) is not None
    except ExpansionError:
        return False


def _copy(request: Request) -> ins.Copy:
    operands, flags = _operands(request), request.flags
    return ins.Copy(
        request.origin,
        operands.sources,
        operands.destination,
        operands.inline,
        from_=flags.string("from"),
        chown=flags.string("chown"),
        chmod=flags.string("chmod"),
        link=flags.true("link"),
        parents=flags.true("parents"),
        exclude=flags.strings("exclude"),
    )


def _add(request: Request) -> ins.Add:
    operands, flags = _operands(request), request.flags
    return ins.Add(
        request.origin,
        operands.sources,
        operands.destination,
        operands.inline,
        chown=flags.string("chown"),
        chmod=flags.string("chmod"),
        link=flags.true("link"),
        exclude=flags.strings("exclude"),
        keep_git_dir=flags.given("keep-git-dir"),
        checksum=flags.string("checksum"),
        unpack=flags.given("unpack"),
    )


def _run(request: Request) -> ins.Run:
    flags = request.flags
    for mount in flags.strings("mount"):
        check_mount(mount)
    _one_of("network", flags.string("network"), ("", "default", "none", "host"))
    _one_of("security", flags.string("security"), ("", "sandbox", "insecure"))
    return ins.Run(
        request.origin,
        _command(request),
        flags.strings("mount"),
        flags.string("network"),
        flags.string("security"),
        request.line.heredocs,
    )


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        kind = "network mode" if flag == "network" else "security mode"
        raise ParseError(f'{kind} "{value}" is not valid{suggestion(value, allowed)}')


def _volume(request: Request) -> ins.Volume:
    paths = tuple(path.strip() for path in _list(request))
    if not paths:
        raise _at_least_one(request)
    if not all(paths):
        raise ParseError("VOLUME specified can not be an empty string")
    return ins.Volume(request.origin, paths)


def _expose(request: Request) -> ins.Expose:
    if not request.rest:
        raise _at_least_one(request)
    return ins.Expose(request.origin, tuple(sorted(split_blanks(request.rest))))


def _shell(request: Request) -> ins.Shell:
    words = json_array(request.rest)
    if not request.rest or words == ():
        raise _at_least_one(request)
    if words is None:
        raise ParseError("SHELL requires the arguments to be in JSON form")
    return ins.Shell(request.origin, words)


def _healthcheck(request: Request) -> ins.HealthCheck:
    if not request.rest:
        raise _at_least_one(request)
    kind, _, tail = re.sub(r"\s", " ", request.rest, count=1).partition(" ")
    tail = tail.strip()
    if kind.upper() == "NONE":
        if tail:
            raise ParseError("HEALTHCHECK NONE takes no arguments")
        return ins.HealthCheck(request.origin, Healthcheck(test=["NONE"]))
    if kind.upper() != "CMD":
        raise ParseError(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    array = json_array(tail)
    if not tail or array == ():
        raise ParseError("Missing command after HEALTHCHECK CMD")
    check = Healthcheck(
        test=["CMD-SHELL", tail] if array is None else ["CMD", *array],
        interval=_interval(request.flags, "interval"),
        timeout=_interval(request.flags, "timeout"),
        start_period=_interval(request.flags, "start-period"),
        start_interval=_interval(request.flags, "start-interval"),
        retries=_retries(request.flags.string("retries")),
    )
    return ins.HealthCheck(request.origin, check)


def _interval(flags: Flags, name: str) -> int:
    """A duration in nanoseconds: nothing, zero, or at least a millisecond."""
    text = flags.string(name)
    if not text:
        return 0
    duration = parse_duration(text)
    if duration != 0 and duration < 1_000_000:
        raise ParseError(f'Interval "{name}" cannot be less than 1ms')
    return duration


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or not -(1 << 31) <= int(text) < 1 << 31:
        raise ParseError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ParseError(f"--retries cannot be negative ({int(text)})")
    return int(text)


def _onbuild(request: Request) -> ins.OnBuild:
    if not request.rest:
        raise _at_least_one(request)
    keyword = split_line(request.rest, request.escape)[0].upper()
    if keyword == "ONBUILD":
        raise ParseError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise ParseError(f"{keyword} isn't allowed as an ONBUILD trigger")
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in request.line.heredocs)
    trigger = re.sub(r"(?i)^\s*ONBUILD\s*", "", request.line.text) + bodies
    return ins.OnBuild(request.origin, trigger)


FORMS: dict[str, Form] = {
    "FROM": Form(_from, {"platform": Kind.STRING}),
    "ARG": Form(_arg),
    "ENV": Form(_pairs(ins.Env)),
    "LABEL": Form(_pairs(ins.Label)),
    "MAINTAINER": Form(lambda request: ins.Maintainer(request.origin, _only_argument(request))),
    "COPY": Form(_copy, {**_COPY_FLAGS, "from": Kind.STRING, "parents": Kind.BOOL}),
    "ADD": Form(_add, {**_COPY_FLAGS, "keep-git-dir": Kind.BOOL, "checksum": Kind.STRING, "unpack": Kind.BOOL}),
    "RUN": Form(_run, {"mount": Kind.STRINGS, "network": Kind.STRING, "security": Kind.STRING}),
    "CMD": Form(lambda request: ins.Cmd(request.origin, _command(request))),
    "ENTRYPOINT": Form(lambda request: ins.Entrypoint(request.origin, _command(request))),
    "EXPOSE": Form(_expose),
    "USER": Form(lambda request: ins.User(request.origin, _only_argument(request))),
    "VOLUME": Form(_volume),
    "WORKDIR": Form(lambda request: ins.Workdir(request.origin, _only_argument(request))),
    "STOPSIGNAL": Form(lambda request: ins.StopSignal(request.origin, _only_argument(request))),
    "SHELL": Form(_shell),
    "HEALTHCHECK": Form(
        _healthcheck,
        dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), Kind.STRING),
    ),
    "ONBUILD": Form(_onbuild),
}


def _instruction(line: Line, escape: str) -> ins.Instruction:
    origin = ins.Origin(line.keyword, line.text.strip(), line.span, line.comments, line.empty_continuation)
    form = FORMS.get(line.keyword.upper())
    try:
        if form is None:
            hint = suggestion(line.keyword, FORMS, case_sensitive=False)
            raise ParseError(f"unknown instruction: {line.keyword}{hint}")
        return form.read(Request(line, Flags(line.flags, form.flags), escape, origin))
    except (ParseError, ExpansionError) as error:
        raise parse_error_on(line.span, error.message) from None


def parse(text: str) -> ins.Dockerfile:
    """A whole Dockerfile. Raises ``ParseError``."""
    if len(text) > SIZE_LIMIT:
        raise ParseError(f"dockerfile larger than {SIZE_LIMIT} characters")
    lexer = Lexer(text)
    arguments: list[ins.Arg] = []
    stages: list[tuple[ins.From, list[ins.Instruction]]] = []
    for line in lexer.lines():
        instruction = _instruction(line, lexer.escape)
        if isinstance(instruction, ins.From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, ins.Arg):
            arguments.append(instruction)
        else:
            raise ParseError("no build stage in current context", line.span)
    if not stages:
        reason = "dockerfile contains no stages to build" if arguments else "file with no instructions"
        raise ParseError(reason, Span(1, 1))
    made = tuple(ins.Stage(head, tuple(body)) for head, body in stages)
    return ins.Dockerfile(text, lexer.directives, lexer.escape, tuple(arguments), made)


def parse_instruction(text: str, escape: str = "\\") -> ins.Instruction:
    """One instruction with its here-documents, as in ONBUILD. Raises ``ParseError``."""
    lines = list(Lexer(text, escape=escape).lines())
    if not lines:
        raise ParseError("file with no instructions", Span(1, 1))
    if len(lines) > 1:
        raise ParseError(f"expected one instruction, found {len(lines)}", lines[1].span)
    return _instruction(lines[0], escape)


def parse_changes(changes: Sequence[str], allowed: Collection[str]) -> list[ins.Instruction]:
    """What ``--change`` gives, a Dockerfile without stages made of ``allowed`` instructions. Raises ``ParseError``."""
    lexer = Lexer("\n".join(changes))
    made = []
    for line in lexer.lines():
        if line.keyword.upper() not in allowed:
            raise ParseError(f"{line.keyword} is not a valid change command")
        made.append(_instruction(line, lexer.escape))
    return made
