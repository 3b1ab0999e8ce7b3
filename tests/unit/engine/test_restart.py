"""Restart policies and their delays."""

import pytest

from sampan.api.host_config import RestartPolicy
from sampan.engine.restart import next_delay, should_restart, starts_with_daemon


@pytest.mark.parametrize(
    ("policy", "code", "stopped", "restarts", "again"),
    [
        ("no", 1, False, 0, False),
        ("always", 0, False, 0, True),
        ("always", 0, True, 0, False),
        ("unless-stopped", 0, False, 9, True),
        ("on-failure", 0, False, 0, False),
        ("on-failure", 1, False, 1, True),
        ("on-failure", 1, False, 2, False),
    ],
)
def test_a_policy_decides(policy: str, code: int, stopped: bool, restarts: int, again: bool) -> None:
    wanted = RestartPolicy(name=policy, maximum_retry_count=2 if policy == "on-failure" else 0)
    assert should_restart(wanted, code, stopped=stopped, restarts=restarts) is again


def test_the_delay_doubles_up_to_a_minute_and_a_long_run_resets_it() -> None:
    delays = [0.0]
    for _ in range(12):
        delays.append(next_delay(delays[-1], 0))
    assert delays[1:4] == [0.1, 0.2, 0.4]
    assert delays[-1] == 60.0
    assert next_delay(60.0, 10) == 0.1


def test_always_starts_with_the_daemon_even_when_it_was_stopped() -> None:
    assert starts_with_daemon(RestartPolicy(name="always"), 0, stopped=True, restarts=0)
    assert starts_with_daemon(RestartPolicy(name="unless-stopped"), 0, stopped=False, restarts=0)
    assert not starts_with_daemon(RestartPolicy(name="unless-stopped"), 0, stopped=True, restarts=0)
    assert not starts_with_daemon(RestartPolicy(name="no"), 1, stopped=False, restarts=0)


def test_on_failure_starts_with_the_daemon_what_failed_and_has_tries_left() -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    assert starts_with_daemon(policy, 137, stopped=False, restarts=1)
    assert not starts_with_daemon(policy, 0, stopped=False, restarts=0)
    assert not starts_with_daemon(policy, 1, stopped=False, restarts=2)
