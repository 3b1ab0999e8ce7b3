"""``--call``: questions about a Dockerfile that need no build, answered as JSON in the result's metadata.

    frontend.lint      what the checks find        warnings, sources
    frontend.targets   its stages                  targets, sources
    frontend.outline   what the target takes       name, args, secrets, ssh, sources

Source: buildkit frontend/subrequests/{lint,targets,outline}.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from posixpath import basename
from typing import Any

import msgspec

from sampan.build import stages
from sampan.build.building import platform_arguments
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.checks import BuildWarning, Checked, check, choice_of
from sampan.dockerfile.expand import expand
from sampan.dockerfile.mounts import RunMount, parse_mount
from sampan.dockerfile.source import Span
from sampan.errors import Unsupported
from sampan.oci.platform import host

CHECK_ARGUMENT = "build-arg:BUILDKIT_DOCKERFILE_CHECK"
ARGUMENT = "build-arg:"
LINT = "frontend.lint"
Answer = dict[str, Any]


def answer_call(options: Mapping[str, str], file: ins.Dockerfile) -> dict[str, bytes]:
    """The metadata that answers ``requestid``. Raises Unsupported for a question that is none of these."""
    name = options["requestid"]
    if name not in CALLS:
        raise Unsupported(f"--call={name.removeprefix('frontend.')} is not supported")
    answer = CALLS[name](options, file)
    data = base64.b64encode(file.text.encode()).decode()
    described = {"filename": options.get("filename") or "Dockerfile", "language": "Dockerfile", "data": data}
    sources = [described if name == LINT else data]
    encoded = msgspec.json.encode({**answer, "sources": sources})
    failed = bool(answer.get("warnings"))
    return {"result.json": encoded, "result.statuscode": b"1" if failed else b"0", "version": b"1.0.0"}


def warnings_of(options: Mapping[str, str], file: ins.Dockerfile) -> list[BuildWarning]:
    """What the checks find, as the file or the build's argument chooses them. Raises InvalidParameter."""
    chosen = options.get(CHECK_ARGUMENT)
    return check(Checked(file), choice_of(chosen) if chosen is not None else None)


def _lint(options: Mapping[str, str], file: ins.Dockerfile) -> Answer:
    return {
        "warnings": [
            {
                "ruleName": warning.rule,
                "description": warning.description,
                "url": warning.url,
                "detail": warning.message,
                "location": _location(warning.found.span),
            }
            for warning in warnings_of(options, file)
        ]
    }


def _targets(options: Mapping[str, str], file: ins.Dockerfile) -> Answer:
    last = len(file.stages) - 1
    return {
        "targets": [
            {
                "name": stage.head.name,
                "description": described(stage.head.origin, stage.head.name),
                "default": number == last,
                "base": stage.head.base,
                "platform": stage.head.platform,
                "location": _location(stage.head.origin.span),
            }
            for number, stage in enumerate(file.stages)
        ]
    }


def _outline(options: Mapping[str, str], file: ins.Dockerfile) -> Answer:
    given = {name.removeprefix(ARGUMENT): text for name, text in options.items() if name.startswith(ARGUMENT)}
    values = stages.global_arguments(file, given, platform_arguments(host()))
    target = stages.target_index(file, options.get("target", ""))
    needed = [file.stages[index] for index in stages.needed_stages(file, target, values)]
    steps = [step for stage in needed for step in stage.body]
    head = file.stages[target].head
    declared = [*file.arguments, *(step for step in steps if isinstance(step, ins.Arg))]
    mounts = [(step, _mount(text)) for step in steps if isinstance(step, ins.Run) for text in step.mounts]
    return {
        "name": head.name,
        "description": described(head.origin, head.name),
        "args": list(_arguments(declared, given, values, file.escape)),
        "secrets": list(_shown(mounts, "secret", lambda mount: mount.id or mount.source or basename(mount.target))),
        "ssh": list(_shown(mounts, "ssh", lambda mount: mount.id or "default")),
    }


def _mount(text: str) -> RunMount:
    return parse_mount(text, lambda word: word)


def _arguments(
    declared: Iterable[ins.Arg], given: Mapping[str, str], values: Mapping[str, str], escape: str
) -> Iterator[Answer]:
    """Each name once, where it is declared first."""
    known = dict(values)
    seen: set[str] = set()
    for arg in declared:
        for definition in arg.definitions:
            key = definition.key
            own = expand(definition.value, known, escape) if definition.value is not None else known.get(key, "")
            known[key] = given.get(key, own)
            if key not in seen:
                seen.add(key)
                yield {
                    "name": key,
                    "description": described(arg.origin, key),
                    "value": known[key],
                    "location": _location(arg.origin.span),
                }


def _shown(
    mounts: Iterable[tuple[ins.Run, RunMount]], kind: str, name_of: Callable[[RunMount], str]
) -> Iterator[Answer]:
    """What RUN steps are shown of one kind, each name once."""
    seen: set[str] = set()
    for step, mount in mounts:
        name = name_of(mount)
        if mount.type == kind and name not in seen:
            seen.add(name)
            yield {"name": name, "required": mount.required, "location": _location(step.origin.span)}


def described(origin: ins.Origin, name: str) -> str:
    """What the comments above say of ``name``: ``# name …``."""
    lines = (comment.strip().lstrip("#").strip() for comment in origin.comments)
    return next((line.partition(" ")[2].strip() for line in lines if name and line.split(" ")[0] == name), "")


def _location(span: Span) -> Answer:
    return {"ranges": [{"start": {"line": span.start}, "end": {"line": span.end}}]}


CALLS: Mapping[str, Callable[[Mapping[str, str], ins.Dockerfile], Answer]] = {
    LINT: _lint,
    "frontend.targets": _targets,
    "frontend.outline": _outline,
}
