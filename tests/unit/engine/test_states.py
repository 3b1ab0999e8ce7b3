"""The table of states: every cell is decided, and refusals have their sentence."""

import pytest

from sampan.engine.states import RULES, Status, check
from sampan.errors import Conflict, EngineError, NotRunning, status_of

OPERATIONS = {operation for operation, _ in RULES}


def test_every_operation_is_decided_in_every_state() -> None:
    assert {(operation, status) for operation in OPERATIONS for status in Status} == set(RULES)


def test_starting_a_running_container_changes_nothing() -> None:
    assert check("start", Status.RUNNING, "abc") is False


def test_stopping_a_stopped_container_changes_nothing() -> None:
    assert check("stop", Status.EXITED, "abc") is False


@pytest.mark.parametrize("status", [Status.CREATED, Status.EXITED, Status.DEAD])
def test_killing_what_does_not_run_says_so(status: Status) -> None:
    with pytest.raises(NotRunning, match="container abc is not running"):
        check("kill", status, "abc")


@pytest.mark.parametrize(
    ("operation", "status", "sentence"),
    [
        ("start", Status.PAUSED, "cannot start a paused container, try unpause instead"),
        ("pause", Status.PAUSED, "container abc is already paused"),
        ("exec", Status.PAUSED, "Container abc is paused, unpause the container before exec"),
        ("remove", Status.RUNNING, "container is running: stop the container before removing or force remove"),
        ("remove", Status.RESTARTING, "container is restarting: stop the container before removing or force remove"),
        ("export", Status.DEAD, "You cannot export container abc which is Dead"),
    ],
)
def test_a_refusal_has_docker_s_sentence(operation: str, status: Status, sentence: str) -> None:
    with pytest.raises(Conflict) as refused:
        check(operation, status, "abc")
    assert refused.value.message == sentence


def test_what_is_not_paused_cannot_be_thawed_for_no_reason_that_has_a_class() -> None:
    with pytest.raises(EngineError, match="Container abc is not paused") as refused:
        check("unpause", Status.RUNNING, "abc")
    assert status_of(refused.value) == 500
