"""``sampan-runtime`` started by a user who is not root: ``spec --rootless`` runs; what cannot is told."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from sampan.runtime import cli
from sampan.runtime.program import sealed_program

USER = 4321
_MODULES = [f"sampan.runtime.commands.{name}" for name in ("create", "exec", "kill", "show", "spec")]


@pytest.fixture
def bundle(busybox_root: Path) -> Iterator[Path]:
    """A bundle that belongs to the user, where he may go."""
    directory = Path(tempfile.mkdtemp(prefix="sampan-rootless-"))
    shutil.copytree(busybox_root, directory / "rootfs", symlinks=True)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", directory], check=True)
    yield directory
    shutil.rmtree(directory)


def call(bundle: Path, *words: str) -> tuple[int, str]:
    """One command as the user; status and output. The modules are loaded before: the user may not read them."""
    for module in (*_MODULES, "sampan.runtime.failures", "sampan.linux.userns", "sampan.linux.capabilities"):
        import_module(module)
    sealed_program()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_as_user(bundle, words, theirs))
    os.close(theirs)
    with os.fdopen(ours) as output:
        said = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def _as_user(bundle: Path, words: tuple[str, ...], output: int) -> int:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.chdir(bundle)
    for fd in (1, 2):
        os.dup2(output, fd)
    os.close(output)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    printed = io.StringIO()
    sys.argv = ["sampan-runtime", "--root", str(bundle / "root"), *words]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = cli.main()
    os.write(1, printed.getvalue().encode())
    return status


def change(bundle: Path, script: str, *, user_namespace: bool = True) -> None:
    """Write the example for a user, changed to run a script."""
    (bundle / "config.json").unlink(missing_ok=True)
    assert call(bundle, "spec", "--rootless") == (0, "")
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", script]}
    if not user_namespace:
        linux = config["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
        del linux["uidMappings"], linux["gidMappings"]
    (bundle / "config.json").write_text(json.dumps(config))


def test_the_example_runs(bundle: Path) -> None:
    change(bundle, "id -u; hostname; cat /proc/self/uid_map; echo x > /dev/null; echo $$")
    status, said = call(bundle, "run", "one")
    assert (status, said.split()) == (0, ["0", "sampan", "0", str(USER), "1", "1"])


def test_a_container_goes_through_its_states(bundle: Path) -> None:
    change(bundle, "exec sleep 1000 >/dev/null 2>&1")
    # the pipe of ``call`` ends with the container, which keeps its output open until its program closes it
    assert call(bundle, "run", "--detach", "one") == (0, "")
    assert call(bundle, "exec", "one", "id", "-u") == (0, "0\n")
    assert call(bundle, "kill", "one", "KILL") == (0, "")
    while json.loads(call(bundle, "state", "one")[1])["status"] != "stopped":
        continue
    assert call(bundle, "delete", "one") == (0, "")


def test_without_a_user_namespace_it_is_refused_with_what_to_do(bundle: Path) -> None:
    change(bundle, "true", user_namespace=False)
    status, said = call(bundle, "run", "one")
    assert status == 1
    assert "rootless container requires user namespaces" in said
    assert "spec --rootless" in said
