"""Mounts that are held: nobody's end waits for them, and none stays open."""

import os
import time
from collections.abc import Callable

import pytest

from sampan.storage import held_mounts
from sampan.storage.held_mounts import HeldMounts


def pipe() -> tuple[int, Callable[[], bool]]:
    """An fd to hold, and whether it is still open: the other end of a pipe tells."""
    read, write = os.pipe2(os.O_NONBLOCK)

    def is_open() -> bool:
        try:
            os.read(read, 1)
        except BlockingIOError:
            return True
        return False

    return write, is_open


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_let_go_of_is_closed_a_moment_later_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_mounts, "QUIET", 0.05)
    held = HeldMounts()
    (one, one_open), (two, two_open) = pipe(), pipe()
    held.hold("one", one)
    held.hold("two", two)
    held.let_go("one")
    held.let_go("nobody")
    assert held.lingers("one") or not one_open()
    eventually(lambda: not one_open())
    eventually(lambda: not held.lingers("one"))
    assert two_open()
    held.close()
    assert not two_open()


def test_one_that_is_needed_again_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_mounts, "QUIET", 3600)
    held = HeldMounts()
    (one, one_open), (two, two_open) = pipe(), pipe()
    held.hold("one", one)
    held.hold("two", two)
    held.let_go("one")
    held.let_go("two")
    held.drop("one")
    assert not one_open()
    assert two_open()
    assert held.lingers("two")
    assert not held.lingers("one")
    held.close()
    assert not two_open()


def test_too_many_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_mounts, "QUIET", 3600)
    monkeypatch.setattr(held_mounts, "MOST", 3)
    held = HeldMounts()
    tells = []
    for number in range(3):
        fd, is_open = pipe()
        tells.append(is_open)
        held.hold(str(number), fd)
    for number in range(3):
        assert all(tell() for tell in tells)
        held.let_go(str(number))
    eventually(lambda: not any(tell() for tell in tells))
    held.close()
