"""``--call``: questions about a Dockerfile that need no build, answered as JSON in the result's metadata.

    frontend.lint      what the checks find        warnings, sources
    frontend.targets   its stages                  targets, sources
    frontend.outline   what the target takes       name, args, secrets, ssh, sources

Source: buildkit frontend/subrequests/{lint,targets,outline}.
"""

import base64
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from posixpath import basename
from typing import Any

import msgspec

from sampan.build import stages
from sampan.build.building import platform_arguments
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.changes import environment
from sampan.dockerfile.checks import BuildWarning, Checked, check, choice_of
from sampan.dockerfile.expand import ExpansionError, expand
from sampan.dockerfile.mounts import RunMount, parse_mount
from sampan.dockerfile.source import ParseError, Span
from sampan.errors import EngineError, Unsupported
from sampan.oci.platform import host
from sampan.storage.images import Images

CHECK_ARGUMENT = "build-arg:BUILDKIT_DOCKERFILE_CHECK"
ARGUMENT = "build-arg:"
LINT = "frontend.lint"
Answer = dict[str, Any]
Bases = Mapping[str, Collection[str]]


def answer_call(options: Mapping[str, str], file: ins.Dockerfile, bases: Bases) -> dict[str, bytes]:
    """The metadata that answers ``requestid``. Raises Unsupported for a question that is none of these."""
    name = options["requestid"]
    if name not in CALLS:
        raise Unsupported(f"unsupported request {name}")
    answer = CALLS[name](options, file, bases)
    data = base64.b64encode(file.text.encode()).decode()
    described = {"filename": options.get("filename") or "Dockerfile", "language": "Dockerfile", "data": data}
    sources = [described if name == LINT else data]
    encoded = msgspec.json.format(msgspec.json.encode({**answer, "sources": sources}), indent=2)
    failed = bool(answer.get("warnings"))
    return {"result.json": encoded, "result.statuscode": b"1" if failed else b"0", "version": b"1.0.0"}


def warnings_of(options: Mapping[str, str], file: ins.Dockerfile, bases: Bases) -> list[BuildWarning]:
    """What the checks find, as the file or the build's argument chooses them. Raises InvalidParameter."""
    chosen = options.get(CHECK_ARGUMENT)
    return check(Checked(file, bases), choice_of(chosen) if chosen is not None else None)


def bases_in(images: Images, options: Mapping[str, str], file: ins.Dockerfile) -> Bases:
    """Names in the environment of each base image that is here, by what FROM calls it."""
    values = stages.global_arguments(file, _given(options), platform_arguments(host()))
    bases = {}
    for stage in file.stages:
        with suppress(EngineError, ParseError, ExpansionError):
            image = images.resolve(stages.base_name(file, stage.head, values))
            bases[stage.head.base] = environment(image.config.value.config).keys()
    return bases


def _given(options: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(ARGUMENT): text for name, text in options.items() if name.startswith(ARGUMENT)}


def _told(answer: Answer) -> Answer:
    """Without what is empty: it goes without saying."""
    return {name: value for name, value in answer.items() if value}


def _lint(options: Mapping[str, str], file: ins.Dockerfile, bases: Bases) -> Answer:
    return {
        "warnings": [
            {
                "ruleName": warning.rule,
                "description": warning.description,
                "url": warning.url,
                "detail": warning.message,
                "location": _location(warning.found.span),
            }
            for warning in warnings_of(options, file, bases)
        ]
    }


def _targets(options: Mapping[str, str], file: ins.Dockerfile, bases: Bases) -> Answer:
    last = len(file.stages) - 1
    return {
        "targets": [
            _told(
                {
                    "name": stage.head.name,
                    "default": number == last,
                    "description": described(stage.head.origin, stage.head.name),
                    "base": stage.head.base,
                    "platform": stage.head.platform,
                    "location": _location(stage.head.origin.span),
                }
            )
            for number, stage in enumerate(file.stages)
        ]
    }


def _outline(options: Mapping[str, str], file: ins.Dockerfile, bases: Bases) -> Answer:
    given = _given(options)
    values = stages.global_arguments(file, given, platform_arguments(host()))
    target = stages.target_index(file, options.get("target", ""))
    needed = [file.stages[index] for index in stages.needed_stages(file, target, values)]
    steps = [step for stage in needed for step in stage.body]
    head = file.stages[target].head
    declared = [*file.arguments, *(step for step in steps if isinstance(step, ins.Arg))]
    mounts = [(step, _mount(text)) for step in steps if isinstance(step, ins.Run) for text in step.mounts]
    return _told(
        {
            "name": head.name,
            "description": described(head.origin, head.name),
            "args": list(_arguments(declared, given, values, file.escape)),
            "secrets": list(_shown(mounts, "secret", lambda mount: mount.id or mount.source or basename(mount.target))),
            "ssh": list(_shown(mounts, "ssh", lambda mount: mount.id or "default")),
        }
    )


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
                about = {"description": described(arg.origin, key), "value": known[key]}
                yield {"name": key, **_told(about), "location": _location(arg.origin.span)}


def _shown(
    mounts: Iterable[tuple[ins.Run, RunMount]], kind: str, name_of: Callable[[RunMount], str]
) -> Iterator[Answer]:
    """What RUN steps are shown of one kind, each name once."""
    seen: set[str] = set()
    for step, mount in mounts:
        name = name_of(mount)
        if mount.type == kind and name not in seen:
            seen.add(name)
            yield _told({"name": name, "required": mount.required, "location": _location(step.origin.span)})


def described(origin: ins.Origin, name: str) -> str:
    """What the comments above say of ``name``: ``# name …``."""
    lines = (comment.strip().lstrip("#").strip() for comment in origin.comments)
    return next((line.partition(" ")[2].strip() for line in lines if name and line.split(" ")[0] == name), "")


def _location(span: Span) -> Answer:
    return {"ranges": [{"start": {"line": span.start}, "end": {"line": span.end}}]}


CALLS: Mapping[str, Callable[[Mapping[str, str], ins.Dockerfile, Bases], Answer]] = {
    LINT: _lint,
    "frontend.targets": _targets,
    "frontend.outline": _outline,
}
