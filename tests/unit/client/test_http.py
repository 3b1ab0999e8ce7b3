"""The small HTTP client: bodies by length, by chunks, none at all, and errors."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sampan.client.http import Address, Client, RequestFailed
from sampan.errors import EngineError, Unavailable


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[tuple[Client, list[bytes]]]:
    """A client of a server that gives one answer and keeps the connection open, and what it was asked."""
    asked: list[bytes] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "sock"))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)
                done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Client(Address.parse(f"unix://{path / 'sock'}")), asked
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}', {"a": 1}),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\n\r\n', {"a": 1}),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", None),
    ],
)
def test_an_answer_ends_where_its_framing_says(tmp_path: Path, answer: bytes, expected: object) -> None:
    with answering(tmp_path, answer) as (client, asked):
        assert client.post("/x y", {"k": None}, all=True, none=None) == expected
    assert asked[0].startswith(b"POST /x%20y?all=1 HTTP/1.1\r\n")
    assert asked[0].endswith(b'\r\n\r\n{"k": null}')


def test_an_error_carries_the_daemons_words_and_status(tmp_path: Path) -> None:
    body = b'{"message":"No such container: x"}'
    with (
        answering(tmp_path, b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (
            client,
            _,
        ),
        pytest.raises(RequestFailed, match="No such container: x") as failed,
    ):
        client.get("/containers/x/json")
    assert failed.value.status == 404


def test_progress_values_may_be_cut_anywhere(tmp_path: Path) -> None:
    chunks = b'5\r\n{"a":\r\n8\r\n1}\n{"b":\r\n2\r\n2}\r\n0\r\n\r\n'
    with answering(tmp_path, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks) as (client, _):
        assert list(client.request("POST", "/build").json_lines()) == [{"a": 1}, {"b": 2}]


def test_nobody_listening_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Is it running"):
        Client(Address.parse(f"unix://{tmp_path}/none")).get("/_ping")


def test_an_address_of_another_scheme_is_refused() -> None:
    with pytest.raises(EngineError, match="unable to parse docker host"):
        Address.parse("http://x")
