"""Named contexts (``--build-context``): what they mean, and the Dockerfile as it reads with them.

    context:NAME = docker-image://REF    FROM NAME and --from=NAME mean that image
    context:NAME = local:DIR             a directory of the client's
    context:NAME = git://…, http://…     a commit of a repository, or a file
    context:NAME = input:NAME            the result of another build of this client (bake's ``target:``), or a source
    context:NAME = oci-layout://STORE@DIGEST    an image that the client has in a directory

A context takes the place of a stage of its name, and of the image that FROM would find.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.build.buildkit.definition import result_in, tree_in
from sampan.build.git import is_git, parse_remote
from sampan.build.remote import is_url
from sampan.build.remote_tree import RemoteTree
from sampan.dockerfile.instructions import Dockerfile, Stage
from sampan.dockerfile.parser import parse_instruction
from sampan.errors import InvalidParameter, Unsupported

PREFIX = "context:"
IMAGE, LOCAL, INPUT, LAYOUT = "docker-image://", "local:", "input:", "oci-layout://"
DOWNLOAD = "context"
"""The name of the file in a context that is one file at a URL; BuildKit's."""
SCRATCH = "scratch"


@dataclass(slots=True)
class NamedContexts:
    """By name: references (or IDs) of images, directories as the session knows them, what lies elsewhere, and
    layouts of images as ``STORE@DIGEST``.
    """

    images: dict[str, str] = field(default_factory=dict)
    directories: dict[str, str] = field(default_factory=dict)
    trees: dict[str, RemoteTree] = field(default_factory=dict)
    layouts: dict[str, str] = field(default_factory=dict)


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
            _add_input(found, name, inputs, value.removeprefix(INPUT))
        elif value.startswith(LAYOUT):
            found.layouts[name] = value.removeprefix(LAYOUT)
        elif is_git(value):
            found.trees[name] = RemoteTree(parse_remote(value))
        elif is_url(value):
            found.trees[name] = RemoteTree(url=value, filename=DOWNLOAD)
        else:
            raise Unsupported(f"build context {name}: {value.partition(':')[0]} contexts are not supported")
    return found


def _plain(name: str) -> str:
    """``alpine:latest`` and ``alpine`` are one context."""
    return name.lower().removesuffix(":latest")


def _add_input(found: NamedContexts, name: str, inputs: Mapping[str, Any], input: str) -> None:
    """A context that a definition of the client's means. Raises Unsupported for LLB that would have to be executed."""
    if input not in inputs:
        raise InvalidParameter(f"invalid input {input} for {name}")
    image = result_in(inputs[input])
    if image is not None:
        found.images[name] = image
    else:
        found.trees[name] = tree_in(inputs[input])


def apply_contexts(file: Dockerfile, contexts: NamedContexts) -> Dockerfile:
    """The Dockerfile with stages that contexts replace, and directories where FROM names one."""
    return replace(file, stages=tuple(_stage(stage, contexts, file.escape) for stage in file.stages))


def _stage(stage: Stage, contexts: NamedContexts, escape: str) -> Stage:
    head, name, base = stage.head, stage.head.name, _plain(stage.head.base)
    if name in contexts.images:
        return replace(stage, head=replace(head, base=contexts.images[name]), body=())
    if base in contexts.images:
        return replace(stage, head=replace(head, base=contexts.images[base]))
    directories = contexts.directories.keys() | contexts.trees.keys()
    directory = name if name in directories else base
    if directory not in directories:
        return stage
    copy = parse_instruction(f"COPY --from={directory} . /", escape)
    body = () if directory == name else tuple(stage.body)
    return replace(stage, head=replace(head, base=SCRATCH), body=(copy, *body))
