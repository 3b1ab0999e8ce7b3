"""``--call``: questions about a Dockerfile that need no build, answered as JSON in the result's metadata.

    frontend.lint      what the checks find        warnings, sources
    frontend.targets   its stages                  targets, sources
    frontend.outline   what the target takes       name, args, sources

Source: buildkit frontend/subrequests/{lint,targets,outline}.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sampan.build import stages
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.checks import BuildWarning, Checked, check, choice_of
from sampan.dockerfile.source import Span
from sampan.errors import Unsupported

CHECK_ARGUMENT = "build-arg:BUILDKIT_DOCKERFILE_CHECK"
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
                "default": number == last,
                "base": stage.head.base,
                "platform": stage.head.platform,
                "location": _location(stage.head.origin.span),
            }
            for number, stage in enumerate(file.stages)
        ]
    }


def _outline(options: Mapping[str, str], file: ins.Dockerfile) -> Answer:
    target = file.stages[stages.target_index(file, options.get("target", ""))]
    declared = [*file.arguments, *(step for step in target.body if isinstance(step, ins.Arg))]
    return {
        "name": target.head.name,
        "args": [
            {
                "name": definition.key,
                "value": options.get(f"build-arg:{definition.key}", definition.value or ""),
                "location": _location(arg.origin.span),
            }
            for arg in declared
            for definition in arg.definitions
        ],
    }


def _location(span: Span) -> Answer:
    return {"ranges": [{"start": {"line": span.start}, "end": {"line": span.end}}]}


CALLS: Mapping[str, Callable[[Mapping[str, str], ins.Dockerfile], Answer]] = {
    LINT: _lint,
    "frontend.targets": _targets,
    "frontend.outline": _outline,
}
