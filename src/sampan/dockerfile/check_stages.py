"""Build checks of how stages and instructions are written: casing, names, forms. See ``checks``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sampan.dockerfile import instructions as ins
from sampan.dockerfile.source import Span

RESERVED = ("context", "scratch")
ONCE: dict[type[ins.Instruction], str] = {ins.Cmd: "CMD", ins.Entrypoint: "ENTRYPOINT", ins.HealthCheck: "HEALTHCHECK"}


@dataclass(frozen=True, slots=True)
class Found:
    """One finding: on which lines, and what about them."""

    span: Span
    message: str


def instructions(file: ins.Dockerfile) -> Iterator[ins.Instruction]:
    """Every instruction in the file's order."""
    yield from file.arguments
    for stage in file.stages:
        yield stage.head
        yield from stage.body


def _heads(condition: Callable[[ins.From], str]) -> Callable[[ins.Dockerfile], Iterator[Found]]:
    """Findings on FROM lines: ``condition`` gives the sentence, empty for none."""

    def find(file: ins.Dockerfile) -> Iterator[Found]:
        for stage in file.stages:
            if sentence := condition(stage.head):
                yield Found(stage.head.origin.span, sentence)

    return find


def _casing(head: ins.From) -> str:
    changed = head.name_as_written != head.name
    return f"Stage name '{head.name_as_written}' should be lowercase" if changed else ""


def _as(head: ins.From) -> str:
    word, keyword = head.as_keyword, head.origin.keyword
    if not word or (word.islower() and keyword.islower()) or (word.isupper() and keyword.isupper()):
        return ""
    return f"'{word}' and '{keyword}' keywords' casing do not match"


def _reserved(head: ins.From) -> str:
    if head.name not in RESERVED:
        return ""
    return f'Stage name should not use the same name as reserved stage "{head.name}"'


def _redundant(head: ins.From) -> str:
    if head.platform not in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
        return ""
    return f"Setting platform to predefined {head.platform} in FROM is redundant as this is the default behavior"


def _constant(head: ins.From) -> str:
    """A stage may be for one platform if its name says so."""
    if not head.platform or "$" in head.platform or any(part in head.name for part in head.platform.split("/") if part):
        return ""
    return f'FROM --platform flag should not use constant value "{head.platform}"'


stage_name_casing = _heads(_casing)
from_as_casing = _heads(_as)
reserved_stage_name = _heads(_reserved)
redundant_platform = _heads(_redundant)
constant_platform = _heads(_constant)


def duplicate_stage_name(file: ins.Dockerfile) -> Iterator[Found]:
    """A name that an earlier stage has."""
    names: set[str] = set()
    for stage in file.stages:
        if stage.head.name and stage.head.name in names:
            yield Found(
                stage.head.origin.span, f'Duplicate stage name "{stage.head.name}", stage names should be unique'
            )
        names.add(stage.head.name)


def empty_continuation(file: ins.Dockerfile) -> Iterator[Found]:
    """A backslash with nothing on the next line."""
    for step in instructions(file):
        if step.origin.empty_continuation:
            end = step.origin.span.end
            yield Found(Span(end, end), "Empty continuation line")


def instruction_casing(file: ins.Dockerfile) -> Iterator[Found]:
    """Keywords that are not written as most others."""
    words = [step.origin.keyword for step in instructions(file)]
    lower = sum(word.islower() for word in words) > sum(word.isupper() for word in words)
    wanted = "lowercase" if lower else "uppercase"
    for step in instructions(file):
        word = step.origin.keyword
        if not (word.islower() if lower else word.isupper()):
            yield Found(step.origin.span, f"Command '{word}' should match the case of the command majority ({wanted})")


def json_arguments(file: ins.Dockerfile) -> Iterator[Found]:
    """CMD and ENTRYPOINT in shell form, unless the stage chose its shell."""
    for stage in file.stages:
        if any(isinstance(step, ins.Shell) for step in stage.body):
            continue
        for step in stage.body:
            if isinstance(step, ins.Cmd | ins.Entrypoint) and step.command.shell and step.command.words:
                yield Found(
                    step.origin.span,
                    f"JSON arguments recommended for {ONCE[type(step)]} to prevent unintended behavior related to "
                    "OS signals",
                )


def maintainer(file: ins.Dockerfile) -> Iterator[Found]:
    """MAINTAINER at all."""
    for step in instructions(file):
        if isinstance(step, ins.Maintainer):
            yield Found(step.origin.span, "Maintainer instruction is deprecated in favor of using label")


def relative_workdir(file: ins.Dockerfile) -> Iterator[Found]:
    """A relative WORKDIR before any absolute one of the stage and the stages below it."""
    absolute: dict[str, bool] = {}
    for stage in file.stages:
        known = absolute.get(stage.head.base.lower(), False)
        for step in stage.body:
            if not isinstance(step, ins.Workdir):
                continue
            if not known and not step.path.startswith(("/", "$")):
                yield Found(
                    step.origin.span,
                    f'Relative workdir "{step.path}" can have unexpected results if the base image changes',
                )
            known = known or step.path.startswith("/")
        absolute[stage.head.name] = known


def multiple_instructions(file: ins.Dockerfile) -> Iterator[Found]:
    """CMD, ENTRYPOINT, HEALTHCHECK that a later one of the stage makes void."""
    for stage in file.stages:
        seen: dict[type[ins.Instruction], Span] = {}
        for step in stage.body:
            kind = type(step)
            if kind not in ONCE:
                continue
            if kind in seen:
                yield Found(
                    seen[kind],
                    f"Multiple {ONCE[kind]} instructions should not be used in the same stage because only the last "
                    "one will be used",
                )
            seen[kind] = step.origin.span


def legacy_pairs(file: ins.Dockerfile) -> Iterator[Found]:
    """``ENV key value``."""
    for step in instructions(file):
        if isinstance(step, ins.Env | ins.Label) and any(pair.legacy for pair in step.pairs):
            word = step.origin.keyword.upper()
            yield Found(
                step.origin.span, f'"{word} key=value" should be used instead of legacy "{word} key value" format'
            )


def _ports(file: ins.Dockerfile) -> Iterator[tuple[ins.Expose, str]]:
    for step in instructions(file):
        if isinstance(step, ins.Expose):
            yield from ((step, port) for port in step.ports if "$" not in port)


def expose_casing(file: ins.Dockerfile) -> Iterator[Found]:
    """``80/TCP``."""
    for step, port in _ports(file):
        protocol = port.partition("/")[2]
        if protocol != protocol.lower():
            yield Found(step.origin.span, f"Defined protocol '{port}' in EXPOSE instruction should be lowercase")


def expose_format(file: ins.Dockerfile) -> Iterator[Found]:
    """``127.0.0.1:80:80``."""
    for step, port in _ports(file):
        if ":" in port:
            yield Found(
                step.origin.span,
                f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'",
            )


def definition_description(file: ins.Dockerfile) -> Iterator[Found]:
    """A comment above FROM or ARG that does not begin with the name it should describe."""
    for step in instructions(file):
        names = _defined(step)
        comments = step.origin.comments
        if names and comments and not any(comment.startswith(f"{name} ") for comment in comments for name in names):
            shown = names[0] if len(names) == 1 else "<arg_key>"
            word = step.origin.keyword.upper()
            yield Found(step.origin.span, f"Comment for {word} should follow the format: `# {shown} <description>`")


def _defined(step: ins.Instruction) -> list[str]:
    if isinstance(step, ins.From):
        return [step.name] if step.name else []
    return [definition.key for definition in step.definitions] if isinstance(step, ins.Arg) else []
