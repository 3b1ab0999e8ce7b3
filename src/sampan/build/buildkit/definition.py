"""Definitions (LLB) as far as they are understood: sources, and a source taken apart; nothing is executed.

    Definition ── Def: operations in bytes, named by their digest; the last one names the result in its first input
    source  git://…      a commit of a repository        attributes git.fullurl, git.checksum, git.keepgitdir
    source  http(s)://…  a file                          attributes http.filename, http.checksum
    source  docker-image://sampan.result/ID              the result of another build of this engine
    file    copy, unpacking what it can                  what clients make of the archive at a URL

Source: buildkit solver/pb/ops.proto, solver/pb/attr.go.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError

from sampan.build.buildkit import messages as m
from sampan.build.git import parse_remote
from sampan.build.remote_tree import RemoteTree
from sampan.errors import InvalidParameter, Unsupported

RESULT = "docker-image://sampan.result/"
"""How the result of a build is named in the definitions that clients carry from one build to another."""
NOT_EXECUTED = "LLB is not executed, only Dockerfiles are built"
MOST_OPERATIONS = 64
"""More than any source that is understood here consists of."""


def definition_of(image_id: str) -> Any:
    """A definition that means an image of ours."""
    source = m.Op(source=m.SourceOp(identifier=RESULT + image_id)).SerializeToString(deterministic=True)
    end = m.Op(inputs=[m.OpInput(digest=_digest(source))]).SerializeToString(deterministic=True)
    return m.Definition(Def=[source, end], metadata={_digest(source): m.OpMetadata()})


def result_in(definition: Any) -> str | None:
    """The ID of the image that the definition means, None when it means something else."""
    for operation in _operations(definition).values():
        identifier = str(operation.source.identifier)
        if identifier.startswith(RESULT):
            return identifier.removeprefix(RESULT)
    return None


def tree_in(definition: Any) -> RemoteTree:
    """What lies elsewhere and the definition means. Raises Unsupported for all else, InvalidParameter for a bad one."""
    operations = _operations(definition)
    if not operations:
        raise InvalidParameter("the definition is empty")
    return _tree(operations, operations[_digest(definition.Def[-1])])


def _operations(definition: Any) -> dict[str, Any]:
    """The definition's operations by digest; raises InvalidParameter for what is none, or too many."""
    if len(definition.Def) > MOST_OPERATIONS:
        raise InvalidParameter(f"the definition has more than {MOST_OPERATIONS} operations")
    try:
        return {_digest(encoded): m.Op.FromString(encoded) for encoded in definition.Def}
    except DecodeError as error:
        raise InvalidParameter(f"the definition cannot be read: {error}") from None


def _tree(operations: Mapping[str, Any], operation: Any) -> RemoteTree:
    if operation.HasField("source"):
        return _source(operation.source)
    if operation.HasField("file"):
        return _taken_apart(operations, operation)
    if len(operation.inputs) != 1:
        raise Unsupported(NOT_EXECUTED)
    return _tree(operations, _named(operations, operation.inputs[0].digest))


def _named(operations: Mapping[str, Any], digest: str) -> Any:
    if digest not in operations:
        raise InvalidParameter(f"the definition has no operation {digest}")
    return operations[digest]


def _source(source: Any) -> RemoteTree:
    scheme = source.identifier.partition("://")[0]
    if scheme == "git":
        return _repository(source)
    if scheme in ("http", "https"):
        return RemoteTree(
            url=source.identifier,
            filename=source.attrs.get("http.filename", ""),
            checksum=source.attrs.get("http.checksum", ""),
        )
    raise Unsupported(f"source {scheme}: {NOT_EXECUTED}")


def _repository(source: Any) -> RemoteTree:
    address, _, fragment = source.identifier.partition("#")
    remote = parse_remote(f"{source.attrs.get('git.fullurl') or address}#{fragment}")
    keep = source.attrs.get("git.keepgitdir") == "true"
    return RemoteTree(replace(remote, commit=source.attrs.get("git.checksum", ""), keep_git_dir=keep))


def _taken_apart(operations: Mapping[str, Any], operation: Any) -> RemoteTree:
    """The one file operation that is understood: a copy of a source, unpacked."""
    if len(operation.file.actions) != 1:
        raise Unsupported(NOT_EXECUTED)
    action = operation.file.actions[0]
    if not action.HasField("copy") or not 0 <= action.secondaryInput < len(operation.inputs):
        raise Unsupported(NOT_EXECUTED)
    source = _tree(operations, _named(operations, operation.inputs[action.secondaryInput].digest))
    return replace(source, takes_apart=action.copy.attemptUnpackDockerCompatibility)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
