"""COPY and ADD in a stage: where the files come from, what the step depends on, how they are placed."""

import io
import os
import posixpath
import secrets
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO

from sampan.archive.compression import decompressed
from sampan.archive.copy import unpack
from sampan.build import errors, stages
from sampan.build.context import is_tar
from sampan.build.copying import DIRECTORY, Copier, Placement, Selection, SourceMissing, clean, fingerprint, select
from sampan.build.git import Remote, check_out, is_git, parse_remote
from sampan.build.layer import layer_step, linked_step
from sampan.build.owners import resolve_owner
from sampan.build.remote import Download, fetch_all, is_url
from sampan.build.scope import Scope
from sampan.build.state import State
from sampan.build.threads import in_thread
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.changes import working_directory
from sampan.dockerfile.expand import expand
from sampan.dockerfile.ignore import Ignore
from sampan.dockerfile.match import has_wildcards
from sampan.dockerfile.modes import parse_mode
from sampan.errors import InvalidParameter
from sampan.linux.openat2 import open_in_root, open_regular


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit of a repository: fd of the wanted directory, the commit's ID, what was asked for."""

    root: int
    commit: str
    remote: Remote


@dataclass(frozen=True, slots=True)
class Sources:
    """What a step brings: files below ``root``, downloads, here-documents as (name, bytes), commits."""

    root: int
    selections: list[Selection]
    downloads: list[Download]
    inline: list[tuple[str, bytes]]
    checkouts: list["Checkout"]

    @property
    def count(self) -> int:
        return len(self.selections) + len(self.downloads) + len(self.inline) + len(self.checkouts)


async def copy_step(scope: Scope, written: ins.Copy, state: State) -> tuple[State, bool]:
    """The state after a COPY or ADD, and whether it was cached. Raises CopyFailed, InvalidParameter."""
    step = _expanded(scope, written, state)
    with ExitStack() as held:
        root = await _source_root(scope, step, held)
        placement = await _placement(scope, step, state, held)
        try:
            sources = await _sources(scope, step, root, held)
        except SourceMissing as error:
            raise errors.SourceMissing(_keyword(step), error.path.lstrip("/"), step.from_) from None
        destination = _destination(step, state, sources)
        contents = await in_thread(fingerprint, root, sources.selections, placement)
        words = [repr(placement.owner), repr(step.chmod), destination, str(step.parents), contents]
        words += step.sources if step.parents else ()  # where the pivot stands
        words += [f"unpack {step.unpack}"] if isinstance(step, ins.Add) else []
        words += [f"{download.url} {download.digest}" for download in sources.downloads]
        words += [f"{name} {data!r}" for name, data in sources.inline]
        words += [f"{c.remote.url} {c.commit} {c.remote.directory} {c.remote.keep_git_dir}" for c in sources.checkouts]
        words += [selection.path for selection in sources.selections]
        for download in sources.downloads:
            scope.build.made_from(download.url, download.digest)
        for checkout in sources.checkouts:
            scope.build.made_from(f"{checkout.remote.url}#{checkout.remote.ref}", f"sha1:{checkout.commit}")
        description = f"{_described(step)} # buildkit"

        async def work(rootfs: int) -> None:
            await in_thread(_place_all, rootfs, step, sources, placement, destination)

        make = linked_step if step.link else layer_step
        parts = (_keyword(step), *words)
        return await make(scope.build, state, parts, description, work, scope.reuse)


def _keyword(step: ins.Copy) -> str:
    return "ADD" if isinstance(step, ins.Add) else "COPY"


def _described(step: ins.Copy) -> str:
    flags = [f"--{name}={value} " for name, value in (("from", step.from_), ("chown", step.chown)) if value]
    names = [*step.sources, *(f"<<{heredoc.name}" for heredoc in step.inline)]
    return f"{_keyword(step)} {''.join(flags)}{' '.join(names)} {step.destination}"


def _expanded(scope: Scope, step: ins.Copy, state: State) -> ins.Copy:
    variables, escape = scope.variables(state), scope.escape
    return replace(
        step,
        sources=tuple(expand(source, variables, escape) for source in step.sources),
        destination=expand(step.destination, variables, escape),
        inline=tuple(
            replace(heredoc, content=expand(heredoc.text, variables, escape) if heredoc.expand else heredoc.text)
            for heredoc in step.inline
        ),
        chown=expand(step.chown, variables, escape),
        chmod=expand(step.chmod, variables, escape),
        exclude=tuple(expand(pattern, variables, escape) for pattern in step.exclude),
    )


async def _source_root(scope: Scope, step: ins.Copy, held: ExitStack) -> int:
    """The directory that sources are looked up in: the context, or what ``--from`` names."""
    if not step.from_:
        return scope.build.request.context
    return await tree_of(scope, step.from_, held)


async def tree_of(scope: Scope, name: str, held: ExitStack) -> int:
    """The file system called ``name``: an earlier stage, a named context, or an image. The fd closes with ``held``."""
    build = scope.build
    index = stages.source_stage(build.request.dockerfile, name, scope.index)
    if index is not None:
        state = await build.stage(index)
    elif name in build.request.named_contexts:
        return build.request.named_contexts[name]
    else:
        state = await build.base(name, build.request.platform)
    view = await in_thread(build.workshop.storage.snapshots.view, state.chain)
    held.callback(os.close, view)
    return view


async def _placement(scope: Scope, step: ins.Copy, state: State, held: ExitStack) -> Placement:
    owner: tuple[int, int] | None = None if step.from_ else (0, 0)
    if step.chown:
        view = await in_thread(scope.build.workshop.storage.snapshots.view, state.chain)
        held.callback(os.close, view)
        owner = resolve_owner(view, step.chown)
    return Placement(owner, parse_mode(step.chmod) if step.chmod else None, Ignore(step.exclude), step.parents)


async def _sources(scope: Scope, step: ins.Copy, root: int, held: ExitStack) -> Sources:
    local: list[str] = []
    remote: list[str] = []
    repositories: list[str] = []
    for source in step.sources:
        if isinstance(step, ins.Add) and is_git(source):
            repositories.append(source)
            continue
        (remote if isinstance(step, ins.Add) and is_url(source) else local).append(source)
    checksum = step.checksum if isinstance(step, ins.Add) else ""
    if checksum and (len(remote) + len(repositories) != 1 or local):
        raise InvalidParameter("checksum can't be specified for multiple or local sources")
    classic = scope.build.request.keep_steps
    selections = [
        found for source in local for found in await in_thread(_selected, root, source, step, classic=classic)
    ]
    if classic and not (selections or remote or repositories or step.inline):
        raise errors.CopyFailed(_keyword(step), "no source files were specified")
    downloads = await fetch_all(remote, scope.build.workshop.scratch, checksum if remote else "")
    checkouts = [await _checkout(scope, step, source, held) for source in repositories]
    inline = [(heredoc.name, heredoc.content.encode()) for heredoc in step.inline]
    return Sources(root, selections, downloads, inline, checkouts)


def _selected(root: int, source: str, step: ins.Copy, *, classic: bool) -> list[Selection]:
    """What ``source`` names; a pattern may name nothing. The classic builder wants no path to lead out."""
    if classic and not step.from_ and posixpath.normpath(source.lstrip("/")).startswith(".."):
        raise errors.CopyFailed(_keyword(step), f"forbidden path outside the build context: {source} ()")
    try:
        return select(root, source)
    except SourceMissing:
        if has_wildcards(source):
            return []
        raise


async def _checkout(scope: Scope, step: ins.Copy, source: str, held: ExitStack) -> Checkout:
    """The repository ``source`` on disk until ``held`` ends."""
    assert isinstance(step, ins.Add)
    remote = parse_remote(source)
    remote = replace(
        remote,
        commit=step.checksum or remote.commit,
        keep_git_dir=remote.keep_git_dir if step.keep_git_dir is None else step.keep_git_dir,
    )
    directory = scope.build.workshop.scratch / f"git-{secrets.token_hex(8)}"
    held.callback(shutil.rmtree, directory, ignore_errors=True)
    commit = await check_out(remote, directory)
    if not remote.keep_git_dir:
        await in_thread(shutil.rmtree, directory / ".git")
    top = os.open(directory, DIRECTORY)
    held.callback(os.close, top)
    root = open_in_root(top, clean(remote.directory) or ".", DIRECTORY)
    held.callback(os.close, root)
    return Checkout(root, commit, remote)


def _destination(step: ins.Copy, state: State, sources: Sources) -> str:
    """The destination below the root, with a slash at its end if it must be a directory."""
    wanted = step.destination
    if sources.count > 1 and not wanted.endswith(("/", "/.")) and wanted not in (".", "/"):
        raise InvalidParameter(
            f"When using {_keyword(step)} with more than one source file, the destination must be a directory "
            "and end with a /"
        )
    path = clean(working_directory(state.config, wanted))
    return path + "/" if wanted.endswith(("/", "/.")) or wanted == "." or step.parents else path


def _place_all(rootfs: int, step: ins.Copy, sources: Sources, placement: Placement, destination: str) -> None:
    if not sources.count:
        return
    target = destination.rstrip("/")
    into = destination.endswith("/") or not target or _is_directory(rootfs, target)
    try:
        with Copier(rootfs, placement) as copier:
            for selection in sources.selections:
                _place_selection(copier, rootfs, step, sources.root, selection, target, into=into)
            for checkout in sources.checkouts:
                copier.copy(checkout.root, Selection("", True), target, into=True)
            for download in sources.downloads:
                with download.path.open("rb") as file:
                    if isinstance(step, ins.Add) and step.unpack and is_tar(file):
                        _extract(rootfs, copier, file, target)
                        continue
                    path = posixpath.join(target, download.name) if into else target
                    copier.write_file(path, file, download.mtime_ns, 0o600)
            for name, data in sources.inline:
                copier.write_file(posixpath.join(target, name) if into else target, io.BytesIO(data))
    finally:
        for download in sources.downloads:
            download.path.unlink(missing_ok=True)


def _place_selection(
    copier: Copier, rootfs: int, step: ins.Copy, root: int, selection: Selection, target: str, *, into: bool
) -> None:
    if _unpacks(step, root, selection):
        with os.fdopen(open_regular(root, selection.path), "rb") as file:
            _extract(rootfs, copier, file, target)
    elif step.parents:
        copier.copy(root, selection, posixpath.join(target, _parent_below_pivot(step, selection)), into=True)
    else:
        copier.copy(root, selection, target, into=into)


def _parent_below_pivot(step: ins.Copy, selection: Selection) -> str:
    """``--parents``: the directories that are kept, those behind ``/./`` if the source has that."""
    for source in step.sources:
        before, pivot, _ = source.partition("/./")
        prefix = clean(before) if pivot else ""
        if pivot and selection.path.startswith(prefix + "/"):
            kept = selection.path[len(prefix) + 1 :]
            return kept if selection.is_directory else posixpath.dirname(kept)
    return selection.path if selection.is_directory else posixpath.dirname(selection.path)


def _is_directory(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path, os.O_PATH | os.O_DIRECTORY))
    except OSError:
        return False
    return True


def _unpacks(step: ins.Copy, root: int, selection: Selection) -> bool:
    """Whether ADD takes the source apart: a tar, compressed or not, unless ``--unpack=false``."""
    if not isinstance(step, ins.Add) or selection.is_directory or step.unpack is False:
        return False
    with os.fdopen(open_regular(root, selection.path), "rb") as file:
        return is_tar(file)


def _extract(rootfs: int, copier: Copier, file: BinaryIO, target: str) -> None:
    copier.make_directory(target)
    owner = copier.placement.owner if copier.placement.owner != (0, 0) else None
    unpack(decompressed(file), rootfs, "/" + target, owner=owner)
