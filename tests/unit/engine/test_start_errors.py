"""Why a start failed: the words, and the exit status that clients make of them."""

import errno

import pytest

from sampan.api.mounts import MountPoint
from sampan.engine.start_errors import CREATE, EXEC, IN_INIT, MISMATCH, exit_code_of, explain_exec, explain_start
from sampan.errors import status_of
from sampan.runtime.launch import StartFailed


@pytest.mark.parametrize(
    ("failure", "program", "reason", "exit_code"),
    [
        (("execute", errno.ENOENT, ""), "x", 'exec: "x": executable file not found in $PATH: unknown', 127),
        (("execute", errno.ENOENT, ""), "/x", 'exec: "/x": stat /x: no such file or directory: unknown', 127),
        (("execute", errno.EACCES, ""), "/x", 'exec: "/x": permission denied: unknown', 126),
        (("execute", errno.EISDIR, ""), "/etc", 'exec: "/etc": is a directory: unknown: permission denied', 126),
        (("execute", errno.ENOEXEC, ""), "/x", 'exec: "/x": exec format error: unknown', 126),
        (
            ("attach", errno.EINVAL, "/etc/passwd"),
            "true",
            f'error mounting "/etc" to rootfs at "/etc/passwd": not a directory: unknown: {MISMATCH}',
            127,
        ),
        (
            ("write_sysctl", errno.ENOENT, "net/ipv4/nosuch"),
            "true",
            "open sysctl net.ipv4.nosuch file: no such file or directory: unknown",
            127,
        ),
    ],
)
def test_a_start_fails_in_runcs_words(failure: tuple[str, int, str], program: str, reason: str, exit_code: int) -> None:
    mounts = [MountPoint(type="bind", source="/etc", destination="/etc/passwd")]
    error = explain_start(StartFailed(*failure), program, mounts=mounts)
    assert (error.message, exit_code_of(error), status_of(error)) == (IN_INIT + reason, exit_code, 400)


def test_what_no_client_looks_for_is_the_servers_own_error() -> None:
    error = explain_start(StartFailed("write_sysctl", errno.EINVAL, "kernel/msgmax"), "true")
    assert error.message == f"{IN_INIT}failed to write sysctl kernel.msgmax: invalid argument: unknown"
    assert (exit_code_of(error), status_of(error)) == (128, 500)


def test_an_exec_and_another_runtime_say_what_they_were_about() -> None:
    missing = StartFailed("execute", errno.ENOENT, "")
    told = explain_exec(missing, "x").message
    assert told == f'{EXEC}exec: "x": executable file not found in $PATH: unknown'
    words = 'OCI runtime create failed: runc create failed: unable to start container process: exec: "x": not found'
    assert explain_start(missing, "x", words).message == f'{CREATE}exec: "x": not found: unknown'
