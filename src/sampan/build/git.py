"""Git repositories as contexts and as sources of ADD: one commit, checked out by the ``git`` program.

    https://host/repo.git            git://host/repo      git@host:repo      ssh://git@host/repo
    …#ref                            a branch, tag or commit; the default branch if there is none
    …#ref:directory                  only that directory
    …?ref= &branch= &tag= &commit= &checksum= &subdir= &keep-git-dir=     the same, by name

Nothing of the daemon's own git configuration is read, no hook runs, nobody is asked for a password.
"""

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from sampan.build.copying import DIRECTORY, clean
from sampan.build.threads import in_thread
from sampan.errors import EngineError, InvalidParameter, Unsupported
from sampan.linux.openat2 import open_in_root

PROTOCOLS = "http:https:git:ssh"
_GIT = re.compile(r"(?:git://|git@|ssh://git@|https?://[^?#]*\.git(?:[?#].*)?$)")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_QUERY = ("ref", "branch", "tag", "commit", "checksum", "subdir", "keep-git-dir")


@dataclass(frozen=True, slots=True)
class Remote:
    """What a source names; ``commit`` is what must come out, in full or its beginning."""

    url: str
    ref: str = ""
    directory: str = ""
    commit: str = ""
    keep_git_dir: bool = False


def is_git(source: str) -> bool:
    """Whether ``source`` is a repository."""
    return _GIT.match(source) is not None


def parse_remote(source: str) -> Remote:
    """Raises InvalidParameter for a reference that git would take for an option, or an unknown query."""
    address, _, fragment = source.partition("#")
    url, _, query = address.partition("?")
    named = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(named.keys() - set(_QUERY)):
        raise InvalidParameter(f"unexpected query parameter {unknown[0]} in {source}")
    ref, _, directory = fragment.partition(":")
    ref = ref or named.get("ref") or named.get("branch") or named.get("tag") or named.get("commit", "")
    if ref.startswith("-") or url.startswith("-"):
        raise InvalidParameter(f"invalid refspec: {ref}")
    return Remote(
        url,
        ref,
        directory or named.get("subdir", ""),
        named.get("checksum") or named.get("commit", ""),
        named.get("keep-git-dir", "false").lower() in ("1", "true"),
    )


async def check_out(remote: Remote, into: Path) -> str:
    """Check the commit out into the new directory ``into``; returns its ID.

    Raises Unsupported where there is no git, EngineError with git's own words.
    """
    if shutil.which("git") is None:
        raise Unsupported("sources in git need the git program, which is not installed on this host")
    into.mkdir(mode=0o755)
    await _git(into, "init", "--quiet", "--template=")
    await _git(into, "remote", "add", "origin", remote.url)
    await _fetch(into, remote.ref or "HEAD")
    await _git(into, "-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD")
    await _git(into, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    commit = (await _git(into, "rev-parse", "HEAD")).strip()
    if remote.commit and not commit.startswith(remote.commit):
        raise InvalidParameter(f"expected checksum to match {remote.commit}, got {commit}")
    return commit


async def open_commit(wanted: Remote, into: Path) -> int:
    """The fd of the directory that ``wanted`` means, checked out into the new directory ``into``.

    Raises as ``check_out``, and InvalidParameter or OSError where the commit has no such directory.
    """
    await check_out(wanted, into)
    if not wanted.keep_git_dir:
        await in_thread(shutil.rmtree, into / ".git")
    top = os.open(into, DIRECTORY)
    try:
        return open_in_root(top, clean(wanted.directory) or ".", DIRECTORY)
    finally:
        os.close(top)


async def _fetch(into: Path, ref: str) -> None:
    """One commit; everything where the server cannot give that alone."""
    try:
        await _git(into, "fetch", "--quiet", "--depth=1", "origin", ref)
    except EngineError:
        if _COMMIT.fullmatch(ref):
            await _git(into, "fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*", "--tags")
            await _git(into, "update-ref", "FETCH_HEAD", ref)
        else:
            await _git(into, "fetch", "--quiet", "origin", ref)


async def _git(directory: Path, *words: str) -> str:
    """Output of git in ``directory``; killed when the build is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *("git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true", *words),
        cwd=directory,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": PROTOCOLS,
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -F /dev/null",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise EngineError(f"failed to fetch remote: git {words[0]}: {errors.decode(errors='replace').strip()}")
    return output.decode(errors="replace")
