"""Restart policies: whether a container that ended starts again, and after how long.

    no               never                      always          ever
    on-failure[:n]   exit status not 0, n times unless-stopped  ever, but not once a user stopped it

The delay is 100 ms, doubled each time up to a minute, and back to 100 ms after a run of ten seconds.
"""

from sampan.api.host_config import RestartPolicy

FIRST_DELAY, LONGEST_DELAY, SETTLED = 0.1, 60.0, 10.0
"""Seconds."""


def should_restart(policy: RestartPolicy, exit_code: int, *, stopped: bool, restarts: int) -> bool:
    """Whether the policy wants another run after one that ended with ``exit_code``.

    ``stopped``: a user stopped or killed it. ``restarts``: how often it was restarted already.
    """
    if stopped:
        return False
    if policy.name == "on-failure":
        return exit_code != 0 and (not policy.maximum_retry_count or restarts < policy.maximum_retry_count)
    return policy.name in ("always", "unless-stopped")


def next_delay(previous: float, run_time: float) -> float:
    """Seconds to wait, after ``previous`` (0: none) and a run of ``run_time`` seconds."""
    if run_time >= SETTLED or previous == 0:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


def starts_with_daemon(policy: RestartPolicy, exit_code: int, *, stopped: bool, restarts: int) -> bool:
    """Whether a daemon that starts (after a reboot) starts the container too: ``always`` even what was stopped."""
    return policy.name == "always" or should_restart(policy, exit_code, stopped=stopped, restarts=restarts)
