"""RUN in a stage: its command line, environment and mounts, run by the executor."""

import os
import posixpath
import secrets
import stat
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field

from sampan.build.cache_mounts import cache_mount, duplicate, note_caches, private_directory, target_of
from sampan.build.copy_step import tree_of
from sampan.build.copying import Placement, clean, fingerprint, select
from sampan.build.errors import StepFailed
from sampan.build.executor import Command, StepMount
from sampan.build.layer import layer_step
from sampan.build.request import PREDEFINED, Request, Step
from sampan.build.scope import Scope
from sampan.build.state import State
from sampan.build.threads import in_thread
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.changes import DEFAULT_PATH, environment, with_shell
from sampan.dockerfile.expand import expand
from sampan.dockerfile.heredoc import parse_heredoc
from sampan.dockerfile.mounts import RunMount, parse_mount
from sampan.errors import EngineError, Forbidden, InvalidParameter, NotFound
from sampan.linux.openat2 import open_in_root

PIPES = "/dev/pipes"
SECRETS = "/run/secrets"
AGENTS = "/run/buildkit/ssh_agent."


@dataclass(slots=True)
class Prepared:
    """Mounts and variables of one RUN, made ready."""

    mounts: list[StepMount] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


async def run_step(scope: Scope, run: ins.Run, state: State, step: Step) -> tuple[State, bool]:
    """The state after a RUN, and whether it was cached. Raises StepFailed."""
    build = scope.build
    _entitled(run, build.request)
    argv, script = _command_line(run, state)
    variables = scope.variables(state)
    mounts = [parse_mount(text, lambda word: expand(word, variables, scope.escape)) for text in run.mounts]
    note_caches(scope, mounts)
    build.secrets.update(_secret_id(mount) for mount in mounts if mount.type == "secret")
    build.agents.update(_agent_id(mount) for mount in mounts if mount.type == "ssh")
    arguments = {name: value for name, value in state.arguments.items() if name not in environment(state.config)}
    words = [f"{name}={value}" for name, value in sorted(arguments.items())]
    network = run.network if run.network not in ("", "default") else build.request.network
    bound = await _bound_contents(scope, mounts)
    parts = (
        "RUN",
        *argv,
        *(script or ()),
        *bound,
        "args",
        *words,
        "mounts",
        *run.mounts,
        "network",
        network,
        run.security,
    )
    shown = f"RUN {f'|{len(words)} ' if words else ''}{' '.join([*words, *argv])} # buildkit"

    async def work(rootfs: int) -> None:
        async with AsyncExitStack() as held:
            prepared = await _prepare(scope, mounts, script, held)
            proxies = {name: value for name, value in build.request.build_args.items() if name in PREDEFINED}
            env = {"PATH": DEFAULT_PATH, **proxies, **arguments, **environment(state.config), **prepared.env}
            command = Command(
                id=secrets.token_hex(32),
                rootfs=rootfs,
                argv=argv,
                env=[f"{name}={value}" for name, value in env.items()],
                cwd=state.config.working_dir or "/",
                user=state.config.user,
                mounts=prepared.mounts,
                network=network,
                insecure=run.security == "insecure",
                extra_hosts=build.request.extra_hosts,
                limits=build.request.limits,
            )
            await build.observer.running(step, command.id)
            with _stubs_removed(rootfs, prepared.mounts):
                status = await build.workshop.executor.run(
                    command, lambda data, is_stderr: build.observer.printed(step, data, is_stderr)
                )
            if status != 0:
                raise StepFailed(argv, status)

    mapped = build.workshop.executor.mapped
    return await layer_step(build, state, parts, shown, work, scope.reuse, mapped=mapped)


def _entitled(run: ins.Run, request: Request) -> None:
    """Raises Forbidden for a step that asks for more than the build may."""
    asked = (("security.insecure", run.security == "insecure"), ("network.host", run.network == "host"))
    for name, wanted in asked:
        if wanted and name not in request.entitlements:
            raise Forbidden(f"{name} is not allowed")


def _command_line(run: ins.Run, state: State) -> tuple[list[str], tuple[str, str] | None]:
    """The argv, and name and text of a script that is to be mounted at ``/dev/pipes`` (a here-document with ``#!``)."""
    if not run.heredocs:
        return with_shell(state.config, run.command), None
    line = run.command.words[0] if run.command.words else ""
    first = run.heredocs[0]
    if parse_heredoc(line) is None:
        full = line + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in run.heredocs)
        return with_shell(state.config, ins.CommandLine((full,), shell=True)), None
    if first.text.startswith("#!"):
        return [f"{PIPES}/{first.name}"], (first.name, first.text)
    return with_shell(state.config, ins.CommandLine((first.text,), shell=True)), None


async def _prepare(
    scope: Scope, mounts: list[RunMount], script: tuple[str, str] | None, held: AsyncExitStack
) -> Prepared:
    prepared = Prepared()
    opened = held.enter_context(ExitStack())
    for mount in mounts:
        if mount.type == "tmpfs":
            prepared.mounts.append(StepMount(target_of(mount), None, mount.read_only, mount.size))
        elif mount.type == "bind":
            prepared.mounts.append(await _bind(scope, mount, opened))
        elif mount.type == "cache":
            prepared.mounts.append(await cache_mount(scope, mount, opened))
        elif mount.type == "secret":
            await _secret(scope, mount, prepared, opened)
        else:
            await _agent(scope, mount, prepared, held)
    if script is not None:
        directory = private_directory(scope.build.workshop.scratch, opened)
        path = directory / script[0]
        path.write_text(script[1])
        path.chmod(0o755)
        prepared.mounts.append(StepMount(PIPES, directory, read_only=True))
    return prepared


async def _agent(scope: Scope, mount: RunMount, prepared: Prepared, held: AsyncExitStack) -> None:
    """An ssh agent's socket, forwarded to the client; its place is told in SSH_AUTH_SOCK."""
    directory = private_directory(scope.build.workshop.private, held.enter_context(ExitStack()))
    path = directory / "agent"
    try:
        await held.enter_async_context(scope.build.request.agents.forward(_agent_id(mount), path))
    except NotFound as error:
        if mount.required:
            raise EngineError(error.message) from error  # clients would say its status in front of it
        return
    os.chown(path, mount.uid or 0, mount.gid or 0)
    path.chmod(0o600 if mount.mode is None else mount.mode)
    number = sum(other.target.startswith(AGENTS) for other in prepared.mounts)
    target = mount.target or f"{AGENTS}{number}"
    prepared.mounts.append(StepMount(target, path, read_only=True))
    prepared.env.setdefault("SSH_AUTH_SOCK", target)


async def _bound_contents(scope: Scope, mounts: list[RunMount]) -> list[str]:
    """Digests of what bind mounts show: the command depends on it."""
    digests = []
    for mount in mounts:
        if mount.type == "bind":
            with ExitStack() as opened:
                root = await _bind_root(scope, mount, opened)
                selections = await in_thread(select, root, mount.source)
                digests.append(await in_thread(fingerprint, root, selections, Placement()))
    return digests


async def _bind_root(scope: Scope, mount: RunMount, opened: ExitStack) -> int:
    return await tree_of(scope, mount.from_, opened) if mount.from_ else scope.build.request.context


async def _bind(scope: Scope, mount: RunMount, opened: ExitStack) -> StepMount:
    """A copy where it may be written to, or is another stage's and to be mapped, which overlays cannot be."""
    root, workshop = await _bind_root(scope, mount, opened), scope.build.workshop
    if not mount.read_only or (mount.from_ and workshop.executor.mapped):
        directory = private_directory(workshop.scratch, opened)
        copy = await in_thread(duplicate, root, mount.source, directory)
        return StepMount(target_of(mount), copy, mount.read_only)
    fd = open_in_root(root, clean(mount.source) or ".", os.O_PATH)
    opened.callback(os.close, fd)
    return StepMount(target_of(mount), fd, read_only=True)


def _secret_id(mount: RunMount) -> str:
    return mount.id or mount.source or posixpath.basename(mount.target)


def _agent_id(mount: RunMount) -> str:
    return mount.id or "default"


async def _secret(scope: Scope, mount: RunMount, prepared: Prepared, opened: ExitStack) -> None:
    name = _secret_id(mount)
    value = await scope.build.request.secrets.secret(name)
    if value is None:
        if mount.required:
            raise InvalidParameter(f"secret {name}: not found")
        return
    if mount.env is not None:
        prepared.env[mount.env or name] = value.decode(errors="surrogateescape")
        if not mount.target:
            return
    path = private_directory(scope.build.workshop.private, opened) / "secret"
    path.touch(mode=0o600)
    path.write_bytes(value)
    os.chown(path, mount.uid or 0, mount.gid or 0)
    path.chmod(0o400 if mount.mode is None else mount.mode)
    target = mount.target or f"{SECRETS}/{posixpath.basename(name)}"
    prepared.mounts.append(StepMount(target, path, read_only=True))


STUBS = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""What a command's surroundings are mounted on, whether the image has it or not."""


@contextmanager
def _stubs_removed(rootfs: int, mounts: list[StepMount]) -> Iterator[None]:
    """Empty files and directories that were made only to be mounted on do not stay in the layer."""
    places = [place for target in (*STUBS, *(mount.target for mount in mounts)) for place in _with_parents(target)]
    missing = [place for place in dict.fromkeys(places) if not _exists(rootfs, place)]
    try:
        yield
    finally:
        for place in sorted(missing, key=len, reverse=True):
            _remove_stub(rootfs, place)


def _with_parents(target: str) -> list[str]:
    parts = clean(target).split("/")
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _exists(rootfs: int, path: str) -> bool:
    try:
        os.close(open_in_root(rootfs, path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def _remove_stub(rootfs: int, path: str) -> None:
    parent, name = posixpath.split(path)
    try:
        above = open_in_root(rootfs, parent or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=above)
        elif status.st_size == 0:
            os.unlink(name, dir_fd=above)
    except OSError:
        return  # it is gone, or the command put something there: that stays
    finally:
        os.close(above)
