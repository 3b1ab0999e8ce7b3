"""The line of a step without files in the image's history, as BuildKit writes it: values as Go prints them.

    EXPOSE [80/tcp 81/tcp]        CMD ["a" "b"]        SHELL [/bin/sh -c]
    HEALTHCHECK {Test:[CMD-SHELL true] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}

Source: buildkit frontend/dockerfile/dockerfile2llb, commitToHistory.
"""

from collections.abc import Iterable

from sampan.api.json import quote
from sampan.api.times import format_duration
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.changes import with_shell
from sampan.dockerfile.ports import exposed_ports
from sampan.oci.image_config import Healthcheck, RunConfig


def describe(step: ins.Instruction, config: RunConfig) -> str:
    """The step's line; ``config`` is what came before it."""
    keyword = step.origin.keyword.upper()
    match step:
        case ins.Env(pairs=pairs) | ins.Label(pairs=pairs):
            return f"{keyword} {' '.join(f'{pair.key}={pair.value}' for pair in pairs)}"
        case ins.Cmd(command=command) | ins.Entrypoint(command=command):
            words = with_shell(config, command) if command.words else []
            return f"{keyword} {listed(map(quote, words))}"
        case ins.Expose(ports=ports):
            return f"EXPOSE {listed(port for text in ports for port in exposed_ports(text))}"
        case ins.User(user=user):
            return f"USER {user}"
        case ins.Volume(paths=paths):
            return f"VOLUME {listed(paths)}"
        case ins.StopSignal(signal=signal):
            return f"STOPSIGNAL {signal}"
        case ins.Shell(words=words):
            return f"SHELL {listed(words)}"
        case ins.HealthCheck(check=check):
            return f"HEALTHCHECK {_check(check)}"
        case _:
            return step.origin.text


def listed(words: Iterable[str]) -> str:
    """A list as Go prints it."""
    return f"[{' '.join(words)}]"


def _check(check: Healthcheck) -> str:
    times = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    shown = " ".join(f"{name}:{format_duration(value)}" for name, value in times.items())
    return f"{{Test:{listed(check.test or ())} {shown} Retries:{check.retries}}}"
