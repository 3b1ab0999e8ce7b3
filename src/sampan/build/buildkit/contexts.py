"""Named contexts (``--build-context``): what they mean, and the Dockerfile as it reads with them.

    context:NAME = docker-image://REF    FROM NAME and --from=NAME mean that image
    context:NAME = local:DIR             a directory of the client's
    context:NAME = input:NAME            the result of another build of this client (bake's ``target:``)

A context takes the place of a stage of its name, and of the image that FROM would find.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.build.buildkit import messages as m
from sampan.dockerfile.instructions import Dockerfile, Stage
from sampan.dockerfile.parser import parse_instruction
from sampan.errors import Unsupported

PREFIX = "context:"
IMAGE, LOCAL, INPUT = "docker-image://", "local:", "input:"
SCRATCH = "scratch"


@dataclass(slots=True)
class NamedContexts:
    """By name: references (or IDs) of images, and directories as the session knows them."""

    images: dict[str, str] = field(default_factory=dict)
    directories: dict[str, str] = field(default_factory=dict)


def named_contexts(options: Mapping[str, str], inputs: Mapping[str, Any]) -> NamedContexts:
    """The contexts among a frontend's options. Raises Unsupported for a kind that cannot be had."""
    found = NamedContexts()
    for option, value in options.items():
        if not option.startswith(PREFIX):
            continue
        name = _plain(option.removeprefix(PREFIX).partition("::")[0])
        if value.startswith(IMAGE):
            found.images[name] = value.removeprefix(IMAGE)
        elif value.startswith(LOCAL):
            found.directories[name] = value.removeprefix(LOCAL)
        elif value.startswith(INPUT):
            found.images[name] = _result_in(inputs, value.removeprefix(INPUT))
        else:
            raise Unsupported(f"build context {name}: {value.partition(':')[0]} contexts are not supported")
    return found


def _plain(name: str) -> str:
    """``alpine:latest`` and ``alpine`` are one context."""
    return name.lower().removesuffix(":latest")


def _result_in(inputs: Mapping[str, Any], name: str) -> str:
    """The image that a definition of ours names; definitions that others made are LLB, which is not executed."""
    if name in inputs:
        for encoded in inputs[name].Def:
            identifier = m.Op.FromString(encoded).source.identifier
            if identifier.startswith(RESULT):
                return str(identifier.removeprefix(RESULT))
    raise Unsupported(f"build context {name}: LLB is not executed, only results of this builder can be inputs")


RESULT = "docker-image://sampan.result/"
"""How the result of a build is named in the definitions that clients carry from one build to another."""


def definition_of(image_id: str, digest: Callable[[bytes], str]) -> Any:
    """A definition that means an image of ours; ``digest`` hashes an operation's bytes."""
    source = m.Op(source=m.SourceOp(identifier=RESULT + image_id)).SerializeToString(deterministic=True)
    end = m.Op(inputs=[m.OpInput(digest=digest(source))]).SerializeToString(deterministic=True)
    return m.Definition(Def=[source, end], metadata={digest(source): m.OpMetadata()})


def apply_contexts(file: Dockerfile, contexts: NamedContexts) -> Dockerfile:
    """The Dockerfile with stages that contexts replace, and directories where FROM names one."""
    return replace(file, stages=tuple(_stage(stage, contexts, file.escape) for stage in file.stages))


def _stage(stage: Stage, contexts: NamedContexts, escape: str) -> Stage:
    head, name, base = stage.head, stage.head.name, _plain(stage.head.base)
    if name in contexts.images:
        return replace(stage, head=replace(head, base=contexts.images[name]), body=())
    if base in contexts.images:
        return replace(stage, head=replace(head, base=contexts.images[base]))
    directory = name if name in contexts.directories else base
    if directory not in contexts.directories:
        return stage
    copy = parse_instruction(f"COPY --from={directory} . /", escape)
    body = () if directory == name else tuple(stage.body)
    return replace(stage, head=replace(head, base=SCRATCH), body=(copy, *body))
