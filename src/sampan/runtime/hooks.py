"""Hooks run by the runtime itself, in its own namespaces: prestart, createRuntime, poststart, poststop.

Source: runtime-spec config.md "POSIX-platform Hooks".
"""

from collections.abc import Sequence
from signal import strsignal

from sampan.errors import EngineError
from sampan.oci.runtime_spec import Hook, State, encode


def run(name: str, hooks: Sequence[Hook], state: State) -> None:
    """Run hooks in order with the state on stdin; the first that fails or takes too long raises EngineError."""
    if not hooks:
        return
    import subprocess  # seldom needed: a start without it is quicker

    for index, hook in enumerate(hooks):
        called = f"error running {name} hook #{index}"
        try:
            done = subprocess.run(
                hook.args or [hook.path],
                executable=hook.path,
                input=encode(state),
                env=None if hook.env is None else dict(entry.split("=", 1) for entry in hook.env if "=" in entry),
                timeout=hook.timeout or None,
                capture_output=True,
                cwd=state.bundle,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{called}: hook ran past specified timeout of {hook.timeout:.1f}s") from None
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise EngineError(f"{called}: fork/exec {hook.path}: {reason}") from error
        if done.returncode:
            said = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
            raise EngineError(f"{called}: {_ending(done.returncode)}, stdout: {next(said)}, stderr: {next(said)}")


def _ending(status: int) -> str:
    """``exit status 1``, ``signal: killed``."""
    return f"exit status {status}" if status > 0 else f"signal: {(strsignal(-status) or '').lower()}"


def run_all(name: str, hooks: Sequence[Hook], state: State) -> list[str]:
    """Run every hook though some fail (poststop): the failures, as sentences."""
    failures = []
    for hook in hooks:
        try:
            run(name, [hook], state)
        except EngineError as error:
            failures.append(str(error))
    return failures
