"""``run`` and ``exec``: create, attach, wait, start, and end with the program's own status."""

import contextlib
import signal
import socket
import sys
from typing import Any, BinaryIO

from sampan.cli import options, stream
from sampan.cli.connect import client
from sampan.cli.grammar import Call, Command
from sampan.cli.progress import show as show_progress
from sampan.client.http import Client, RequestFailed

CANNOT_START = 125
NOT_FOUND = 127
NOT_EXECUTABLE = 126


def run(call: Call) -> int:
    """Create a container from an image and run it, in the foreground or detached."""
    daemon = client(call)
    image, *command = call.arguments
    try:
        container = create(daemon, call, image, command)
        if call["detach"]:
            daemon.post(f"/containers/{container}/start")
            print(container)
            return 0
        return foreground(daemon, call, container)
    except RequestFailed as error:
        print(f"sampan: Error response from daemon: {error}", file=sys.stderr)
        return status_of_failure(str(error))


def status_of_failure(message: str) -> int:
    """Exit status for a container that could not start, as docker chooses it."""
    if "executable file not found" in message or "no such file or directory" in message:
        return NOT_FOUND
    return NOT_EXECUTABLE if "permission denied" in message else CANNOT_START


def create(daemon: Client, call: Call, image: str, command: list[str]) -> str:
    """Create the container, pulling the image first if it is missing (or always, or never)."""
    body = options.create_body(call, image, command)
    name = {"name": call["name"]} if call["name"] else {}
    if call["pull"] == "always":
        pull(daemon, image)
    try:
        answer = daemon.post("/containers/create", body, **name)
    except RequestFailed as error:
        if error.status != 404 or call["pull"] == "never" or "No such image" not in str(error):
            raise
        print(f"Unable to find image '{image}' locally", file=sys.stderr)
        pull(daemon, image)
        answer = daemon.post("/containers/create", body, **name)
    for warning in answer.get("Warnings") or []:
        print(f"WARNING: {warning}", file=sys.stderr)
    return str(answer["Id"])


def pull(daemon: Client, image: str) -> None:
    """Pull ``image`` and show how it goes."""
    repository, digest = image, ""
    if "@" not in image and ":" not in image.rpartition("/")[2]:
        digest = "latest"
    response = daemon.request("POST", "/images/create", {"fromImage": repository, "tag": digest or None})
    show_progress(response.json_lines(), sys.stderr)


def foreground(daemon: Client, call: Call, container: str) -> int:
    """Attach, start, copy both ways and return the container's status."""
    query = {"stream": True, "stdin": call["interactive"], "stdout": True, "stderr": True}
    sock, file = daemon.upgrade(f"/containers/{container}/attach", **query)
    condition = "removed" if call["rm"] else "next-exit"
    waiting = daemon.request("POST", f"/containers/{container}/wait", {"condition": condition})
    daemon.post(f"/containers/{container}/start")
    with signals_forwarded(daemon, container, not call["tty"]):
        join(daemon, f"/containers/{container}", call["tty"], call["interactive"], sock, file)
        return int(waiting.json()["StatusCode"])


def join(daemon: Client, path: str, terminal: bool, interactive: bool, sock: socket.socket, file: BinaryIO) -> None:
    """Copy between our stdio and a hijacked connection until the other side closes it."""

    def resize(rows: int, columns: int) -> None:
        with contextlib.suppress(RequestFailed):
            daemon.post(f"{path}/resize", h=rows, w=columns)

    with sock, file, stream.raw_terminal(terminal and interactive):
        if interactive:
            stream.send_stdin(sock)
        if terminal:
            with stream.window_changes(resize) if sys.stdout.isatty() else contextlib.nullcontext():
                stream.show_raw(file)
        else:
            stream.show_frames(file)


@contextlib.contextmanager
def signals_forwarded(daemon: Client, container: str, wanted: bool) -> Any:
    """Send SIGINT and SIGTERM that reach us to the container instead, during the block."""
    if not wanted:
        yield
        return

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(RequestFailed):
            daemon.post(f"/containers/{container}/kill", signal=number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(call: Call) -> int:
    """Run a command in a running container."""
    daemon = client(call)
    container, *command = call.arguments
    attached = not call["detach"]
    body = {
        "AttachStdin": call["interactive"] and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Tty": call["tty"],
        "Env": options.environment(call),
        "User": call["user"],
        "WorkingDir": call["workdir"],
        "Privileged": call["privileged"],
        "Cmd": command,
    }
    exec_id = daemon.post(f"/containers/{container}/exec", body)["Id"]
    if not attached:
        daemon.post(f"/exec/{exec_id}/start", {"Detach": True})
        return 0
    sock, file = daemon.upgrade(f"/exec/{exec_id}/start", {"Detach": False, "Tty": call["tty"]})
    join(daemon, f"/exec/{exec_id}", call["tty"], call["interactive"], sock, file)
    return int(daemon.get(f"/exec/{exec_id}/json")["ExitCode"] or 0)


EXEC_FLAGS = ("detach", "interactive", "tty", "env", "env-file", "user", "workdir", "privileged")

COMMANDS = {
    "run": Command(
        "run", "run [OPTIONS] IMAGE [COMMAND] [ARG...]", "Create and run a new container from an image", run,
        options.FLAGS, interspersed=False, minimum=1,
    ),
    "exec": Command(
        "exec", "exec [OPTIONS] CONTAINER COMMAND [ARG...]", "Execute a command in a running container", execute,
        tuple(flag for flag in options.FLAGS if flag.name in EXEC_FLAGS), interspersed=False, minimum=2,
    ),
}  # fmt: skip
