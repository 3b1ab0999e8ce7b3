"""Hooks run by the runtime itself, in its own namespaces: prestart, createRuntime, poststart, poststop.

Source: runtime-spec config.md "POSIX-platform Hooks".
"""

from collections.abc import Sequence

from sampan.errors import EngineError
from sampan.oci.runtime_spec import Hook, State, encode


def run(name: str, hooks: Sequence[Hook], state: State) -> None:
    """Run hooks in order with the state on stdin; the first that fails or takes too long raises EngineError."""
    if not hooks:
        return
    import subprocess  # seldom needed: a start without it is quicker

    for index, hook in enumerate(hooks):
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
            raise EngineError(f"error running {name} hook #{index}: {hook.path} took over {hook.timeout} s") from None
        except OSError as error:
            raise EngineError(f"error running {name} hook #{index}: {hook.path}: {error.strerror}") from error
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise EngineError(
                f"error running {name} hook #{index}: exit status {done.returncode}, stdout and stderr: {said}"
            )


def run_all(name: str, hooks: Sequence[Hook], state: State) -> list[str]:
    """Run every hook though some fail (poststop): the failures, as sentences."""
    failures = []
    for hook in hooks:
        try:
            run(name, [hook], state)
        except EngineError as error:
            failures.append(str(error))
    return failures
