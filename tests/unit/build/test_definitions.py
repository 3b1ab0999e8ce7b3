"""Definitions that clients send, and what they read of the files behind them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.build.buildkit import messages as m
from sampan.build.buildkit import references
from sampan.build.buildkit.content import ClientContent
from sampan.build.buildkit.contexts import named_contexts
from sampan.build.buildkit.definition import definition_of, result_in, tree_in
from sampan.build.git import Remote
from sampan.build.remote_tree import RemoteTree, open_tree
from sampan.errors import DataLoss, InvalidParameter, NotFound, Unsupported
from sampan.oci import digest as digests


def defined(*operations: Any) -> Any:
    """A definition of operations, each but the first with the one before as its input."""
    encoded: list[bytes] = []
    for operation in (*operations, m.Op()):
        if encoded:
            operation.inputs.append(m.OpInput(digest=str(digests.of(encoded[-1]))))
        encoded.append(operation.SerializeToString(deterministic=True))
    return m.Definition(Def=encoded)


def source(identifier: str, **attributes: str) -> Any:
    named = {name.replace("_", "."): value for name, value in attributes.items()}
    return m.Op(source=m.SourceOp(identifier=identifier, attrs=named))


def test_a_repository_is_a_commit_of_its_full_address() -> None:
    definition = defined(source("git://h/r.git#dev:sub", git_fullurl="https://h/r.git", git_keepgitdir="true"))
    assert tree_in(definition) == RemoteTree(Remote("https://h/r.git", "dev", "sub", keep_git_dir=True))


def test_a_copy_of_a_download_may_be_taken_apart() -> None:
    copy = m.FileActionCopy(src="context", dest="/", attemptUnpackDockerCompatibility=True)
    file = m.Op(file=m.FileOp(actions=[m.FileAction(input=-1, secondaryInput=0, copy=copy)]))
    definition = defined(source("http://h/a.tar", http_filename="context"), file)
    assert tree_in(definition) == RemoteTree(url="http://h/a.tar", filename="context", takes_apart=True)


def test_what_would_have_to_be_executed_is_refused() -> None:
    with pytest.raises(Unsupported, match="LLB is not executed"):
        tree_in(defined(source("docker-image://busybox")))
    with pytest.raises(Unsupported, match="LLB is not executed"):
        tree_in(defined(m.Op()))


@pytest.mark.parametrize("operations", [[], [b"\x0a\x04\x0a\x02no"]])
def test_a_definition_that_names_nothing_is_refused(operations: list[bytes]) -> None:
    with pytest.raises(InvalidParameter):
        tree_in(m.Definition(Def=operations))


@pytest.mark.parametrize(
    "definition",
    [
        m.Definition(Def=[b"\xff\xff\xff"]),
        m.Definition(Def=[m.Op(inputs=[m.OpInput(digest=f"{number}")]).SerializeToString() for number in range(65)]),
    ],
)
def test_a_definition_that_is_garbage_or_too_long_is_refused(definition: Any) -> None:
    with pytest.raises(InvalidParameter):
        tree_in(definition)


def test_a_file_operation_without_actions_is_refused() -> None:
    with pytest.raises(Unsupported, match="LLB is not executed"):
        tree_in(defined(source("http://h/a.tar"), m.Op(file=m.FileOp())))


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "."])
def test_a_download_gets_no_name_outside_its_directory(tmp_path: Path, name: str) -> None:
    async def act() -> None:
        async with open_tree(tmp_path, RemoteTree(url="http://127.0.0.1:1/a", filename=name)):
            raise AssertionError(name)

    with pytest.raises(InvalidParameter, match="invalid name"):
        asyncio.run(act())
    assert list(tmp_path.iterdir()) == []


def offered(*pieces: bytes) -> ClientContent:
    """A client's content that comes in ``pieces``, whatever is asked for."""

    left = [m.ReadContentResponse(data=piece) for piece in pieces]

    class Stream:
        async def send_message(self, message: Any, *, end: bool) -> None:
            assert end

        async def recv_message(self) -> Any:
            return left.pop(0) if left else None

    @asynccontextmanager
    async def open(*_: Any, **__: Any) -> AsyncIterator[Stream]:
        yield Stream()

    return ClientContent(SimpleNamespace(request=open), "oci:one")  # type: ignore[arg-type]


def test_what_a_client_sends_must_have_the_digest_asked_for() -> None:
    document = b"{}"
    assert asyncio.run(offered(b"{", b"}").read(digests.of(document))) == document
    with pytest.raises(DataLoss, match="has the digest"):
        asyncio.run(offered(b"{}").read(digests.of(b"other")))


def test_a_client_cannot_send_more_than_a_document_has() -> None:
    with pytest.raises(DataLoss, match="larger than announced"):
        asyncio.run(offered(*[bytes(1 << 20)] * 9).read(digests.of(b"")))


def test_a_result_is_found_in_its_definition() -> None:
    assert result_in(definition_of("sha256:abc")) == "sha256:abc"
    assert result_in(defined(source("http://h/f"))) is None


def test_named_contexts_may_lie_elsewhere() -> None:
    options = {
        "context:g": "git://h/r#x",
        "context:u": "https://h/f.txt",
        "context:o": "oci-layout://store@sha256:1",
        "context:i": "input:i",
    }
    found = named_contexts(options, {"i": defined(source("http://h/f", http_filename="f"))})
    assert found.trees == {
        "g": RemoteTree(Remote("git://h/r", "x")),
        "u": RemoteTree(url="https://h/f.txt", filename="context"),
        "i": RemoteTree(url="http://h/f", filename="f"),
    }
    assert found.layouts == {"o": "store@sha256:1"}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("content")
    (tmp_path / "d/l").symlink_to("/etc/passwd")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_files_are_read_whole_or_in_part(root: int) -> None:
    assert references.read_file(root, "d/f") == b"content"
    assert references.read_file(root, "/d/f", 3, 2) == b"te"
    assert references.stat_file(root, "d/f").size == 7
    assert [entry.path for entry in references.read_dir(root, "d", "*f")] == ["f"]


def test_nothing_outside_of_a_reference_is_read(root: int) -> None:
    for path in ("d/l", "missing", "../../etc/passwd"):
        with pytest.raises(NotFound, match="no such file or directory"):
            references.read_file(root, path)
