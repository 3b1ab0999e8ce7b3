"""What ``--call`` answers, from the text of a Dockerfile alone."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sampan.build.buildkit.calls import answer_call
from sampan.dockerfile.parser import parse
from sampan.errors import Unsupported

TEXT = """# BASE is what it stands on
ARG BASE=alpine
# build compiles
FROM $BASE AS build
# LEVEL of optimisation
ARG LEVEL=2
ARG FLAGS=-O$LEVEL
RUN --mount=type=secret,id=token,required --mount=type=ssh make
FROM scratch AS unused
ARG NEVER
FROM scratch AS app
COPY --from=build /out /
"""


def answer(call: str, **options: str) -> Mapping[str, Any]:
    named = {name.replace("_", ":"): value for name, value in options.items()}
    found = answer_call({"requestid": f"frontend.{call}", **named}, parse(TEXT), {})
    decoded = json.loads(found["result.json"])
    assert isinstance(decoded, dict)
    return decoded


def test_the_outline_covers_the_stages_that_the_target_needs() -> None:
    outline = answer("outline", **{"build-arg_LEVEL": "3"})
    assert [(arg["name"], arg["value"], arg.get("description", "")) for arg in outline["args"]] == [
        ("BASE", "alpine", "is what it stands on"),
        ("LEVEL", "3", "of optimisation"),
        ("FLAGS", "-O3", ""),
    ]
    assert [(one["name"], one.get("required", False)) for one in outline["secrets"]] == [("token", True)]
    assert [(one["name"], one.get("required", False)) for one in outline["ssh"]] == [("default", False)]


def test_the_outline_of_another_target() -> None:
    assert [arg["name"] for arg in answer("outline", target="unused")["args"]] == ["BASE", "NEVER"]


def test_targets_say_what_comments_say_of_them() -> None:
    targets = answer("targets")["targets"]
    assert [(one["name"], one.get("default", False), one.get("description", "")) for one in targets] == [
        ("build", False, "compiles"),
        ("unused", False, ""),
        ("app", True, ""),
    ]


def test_other_questions_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"unsupported request frontend\.colour"):
        answer("colour")
