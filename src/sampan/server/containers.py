"""The container operations."""

import base64
from typing import cast, get_args

from aiohttp import web

from sampan.api import json, media_types
from sampan.api.containers import (
    AttachOptions,
    ContainerConfig,
    ContainerCreateRequest,
    ContainerUpdateRequest,
    ContainerWaitResponse,
    ListOptions,
    LogsOptions,
    PathStat,
    RemoveOptions,
    WaitCondition,
    WaitExitError,
)
from sampan.errors import EngineError, InvalidParameter, Unsupported, status_of
from sampan.server import answers, hijack
from sampan.server.answers import JSON, TAR, answer, changed, done
from sampan.server.call import Call, parse_platform
from sampan.server.compat import containers as compat
from sampan.server.compat.change import for_client
from sampan.server.routes import changes, reads


async def container_list(call: Call) -> web.StreamResponse:
    options = ListOptions(
        all=call.flag("all"), limit=call.integer("limit"), size=call.flag("size"), filters=call.container_filters()
    )
    summaries = await call.engine.containers.list(options)
    return answer(for_client(compat.SUMMARY, summaries, call.version))


CONFIGURATION = frozenset(name.lower() for name in ContainerConfig.__struct_encode_fields__)
"""Members of a request that belong to the container's configuration."""


async def container_create(call: Call) -> web.StreamResponse:
    request = await call.body(ContainerCreateRequest, required=True)
    if not (CONFIGURATION & {name.lower() for name in json.decode_value(await call.data()) or ()}):
        raise InvalidParameter("config cannot be empty in order to create a container")
    request.labels = {**(request.labels or {}), **call.labels}
    warnings = compat.adopt(request, call.version)
    platform = parse_platform(call.text("platform")) if call.since(1, 41) else None
    response = await call.engine.containers.create(request, name=call.text("name"), platform=platform)
    response.warnings = [*response.warnings, *warnings]
    return answer(response, 201)


async def container_inspect(call: Call) -> web.StreamResponse:
    inspection = await call.engine.containers.inspect(call.reference, size=call.flag("size"))
    compat.hide_removed(inspection, call.version)
    return answer(for_client(compat.INSPECTION, inspection, call.version))


async def container_top(call: Call) -> web.StreamResponse:
    return answer(await call.engine.containers.top(call.reference, call.text("ps_args") or "-ef"))


async def container_logs(call: Call) -> web.StreamResponse:
    options = LogsOptions(
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        follow=call.flag("follow"),
        timestamps=call.flag("timestamps"),
        details=call.flag("details"),
        since=call.moment("since", '"') or 0,
        until=call.moment("until", '"') or 0,
        tail=_tail(call.text("tail")),
    )
    if not options.stdout and not options.stderr:
        raise InvalidParameter("must specify at least one of 'stdout' or 'stderr'")
    options.json_stream = _log_media_type(call)
    output = await call.engine.containers.logs(call.reference, options)
    content_type = options.json_stream or compat.content_type(output.terminal, call.version)
    return await answers.stream(call, output.chunks, content_type)


def _log_media_type(call: Call) -> str:
    """The stream of JSON that a client asks for instead of the output as it is; "" if it does not."""
    if not call.since(1, 54):
        return ""
    asked, accept = call.text("format"), call.request.headers.get("Accept", "")
    if asked not in ("", "json"):
        raise InvalidParameter("unsupported log format")
    if not asked:
        return media_types.strict(accept)
    return media_types.negotiated(accept) or media_types.NDJSON


def _tail(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else -1


async def container_changes(call: Call) -> web.StreamResponse:
    return answer(await call.engine.containers.changes(call.reference) or None)


async def container_export(call: Call) -> web.StreamResponse:
    return await answers.stream(call, await call.engine.containers.export(call.reference), TAR)


async def container_stats(call: Call) -> web.StreamResponse:
    statistics = await call.engine.containers.stats(
        call.reference,
        stream=call.flag("stream", True),
        one_shot=call.since(1, 41) and call.flag("one-shot"),
    )
    return await answers.values(call, statistics, JSON, json.encode)


async def container_resize(call: Call) -> web.StreamResponse:
    await call.engine.containers.resize(call.reference, *terminal_size(call))
    return done(200)


def terminal_size(call: Call) -> tuple[int, int]:
    """Rows and columns of a resize."""
    rows, columns = _dimension(call, "h", "height"), _dimension(call, "w", "width")
    return rows, columns


MAXIMUM_DIMENSION = (1 << 32) - 1
LARGEST_DIMENSION = (1 << 16) - 1
"""What a terminal can be told (TIOCSWINSZ); more is accepted, as Docker does."""


def _dimension(call: Call, name: str, what: str) -> int:
    text = call.text(name)
    negative, digits = text.startswith("-"), text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidParameter(f"invalid resize {what} {json.quote(text)}: invalid syntax")
    if negative or int(digits) > MAXIMUM_DIMENSION:
        raise InvalidParameter(f"invalid resize {what} {json.quote(text)}: value out of range")
    return min(int(digits), LARGEST_DIMENSION)


async def container_start(call: Call) -> web.StreamResponse:
    if (call.request.content_length or 0) > 7:
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    if call.text("checkpoint"):
        raise Unsupported("checkpoints are not supported")
    return changed(await call.engine.containers.start(call.reference))


async def container_stop(call: Call) -> web.StreamResponse:
    return changed(
        await call.engine.containers.stop(call.reference, signal=_stop_signal(call), timeout=call.optional_integer("t"))
    )


async def container_restart(call: Call) -> web.StreamResponse:
    try:
        timeout = call.optional_integer("t")
    except InvalidParameter as error:
        raise EngineError(error.message) from error  # dockerd's answer is 500 here, and 400 to a stop
    await call.engine.containers.restart(call.reference, signal=_stop_signal(call), timeout=timeout)
    return done()


def _stop_signal(call: Call) -> str:
    return call.text("signal") if call.since(1, 42) else ""


async def container_kill(call: Call) -> web.StreamResponse:
    try:
        await call.engine.containers.kill(call.reference, signal=call.text("signal"))
    except EngineError as error:
        raise error.within(f"cannot kill container: {call.reference}") from error
    return done()


async def container_update(call: Call) -> web.StreamResponse:
    request = await call.body(ContainerUpdateRequest)
    compat.adopt_update(request, call.version)
    return answer(await call.engine.containers.update(call.reference, request))


async def container_rename(call: Call) -> web.StreamResponse:
    await call.engine.containers.rename(call.reference, call.text("name"))
    return done()


async def container_pause(call: Call) -> web.StreamResponse:
    await call.engine.containers.pause(call.reference)
    return done()


async def container_unpause(call: Call) -> web.StreamResponse:
    await call.engine.containers.unpause(call.reference)
    return done()


def _attach_options(call: Call) -> AttachOptions:
    return AttachOptions(
        stream=call.flag("stream"),
        logs=call.flag("logs"),
        stdin=call.flag("stdin"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        detach_keys=call.text("detachKeys"),
    )


async def container_attach(call: Call) -> web.StreamResponse:
    options = _attach_options(call)
    containers = call.engine.containers
    try:
        return await hijack.run(call, lambda accept: containers.attach(call.reference, options, accept))
    except EngineError as error:
        return hijack.refused(status_of(error), error.message)


async def container_attach_websocket(call: Call) -> web.StreamResponse:
    options = _attach_options(call)
    if not call.since(1, 42):
        options.stdin = options.stdout = options.stderr = True
    containers = call.engine.containers
    return await hijack.run_websocket(call, lambda accept: containers.attach(call.reference, options, accept))


async def container_wait(call: Call) -> web.StreamResponse:
    condition = (call.text("condition") if call.since(1, 30) else "") or "not-running"
    if condition not in get_args(WaitCondition):
        raise InvalidParameter(f'invalid condition: "{condition}"')
    result = await call.engine.containers.wait(call.reference, cast(WaitCondition, condition))
    if not call.since(1, 30):
        return answer(await result)
    response = await answers.begin(call, JSON)
    try:
        outcome = await result
    except EngineError as error:
        outcome = ContainerWaitResponse(error=WaitExitError(error.message), status_code=-1)
    if outcome.error is None or condition != "removed" or call.since(1, 34):
        await response.write(json.encode(outcome))  # an empty answer was how older clients learnt of a failed removal
    await response.write_eof()
    return response


async def container_delete(call: Call) -> web.StreamResponse:
    options = RemoveOptions(force=call.flag("force"), volumes=call.flag("v"), link=call.flag("link"))
    await call.engine.containers.remove(call.reference, options)
    return done()


def _archive_path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    return path


def _stat_header(stat: PathStat) -> str:
    return base64.b64encode(json.encode(stat).rstrip()).decode()


async def container_archive_info(call: Call) -> web.StreamResponse:
    stat = await call.engine.containers.stat_path(call.reference, _archive_path(call))
    return web.Response(headers={"X-Docker-Container-Path-Stat": _stat_header(stat)})


async def container_archive(call: Call) -> web.StreamResponse:
    archive = await call.engine.containers.get_archive(call.reference, _archive_path(call))
    header = _stat_header(archive.stat)
    return await answers.stream(call, archive.chunks, TAR, X_Docker_Container_Path_Stat=header)


async def put_container_archive(call: Call) -> web.StreamResponse:
    await call.engine.containers.put_archive(
        call.reference,
        _archive_path(call),
        call.stream(),
        no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
        copy_uid_gid=call.flag("copyUIDGID"),
    )
    return done(200)


async def container_prune(call: Call) -> web.StreamResponse:
    return answer(await call.engine.containers.prune(call.container_filters()))


async def container_checkpoint(call: Call) -> web.StreamResponse:
    raise Unsupported("checkpoints are not supported")


ROUTES = (
    reads("GET", "/containers/json", container_list),
    changes("POST", "/containers/create", container_create),
    changes("POST", "/containers/prune", container_prune),
    reads("GET", "/containers/{id}/json", container_inspect),
    reads("GET", "/containers/{id}/top", container_top),
    reads("GET", "/containers/{id}/logs", container_logs),
    reads("GET", "/containers/{id}/changes", container_changes),
    reads("GET", "/containers/{id}/export", container_export),
    reads("GET", "/containers/{id}/stats", container_stats),
    changes("POST", "/containers/{id}/resize", container_resize),
    changes("POST", "/containers/{id}/start", container_start),
    changes("POST", "/containers/{id}/stop", container_stop),
    changes("POST", "/containers/{id}/restart", container_restart),
    changes("POST", "/containers/{id}/kill", container_kill),
    changes("POST", "/containers/{id}/update", container_update),
    changes("POST", "/containers/{id}/rename", container_rename),
    changes("POST", "/containers/{id}/pause", container_pause),
    changes("POST", "/containers/{id}/unpause", container_unpause),
    changes("POST", "/containers/{id}/attach", container_attach),
    changes("GET", "/containers/{id}/attach/ws", container_attach_websocket),
    reads("POST", "/containers/{id}/wait", container_wait),
    reads("DELETE", "/containers/{id}/checkpoints/{name}", container_checkpoint),
    changes("DELETE", "/containers/{name}", container_delete),  # with ``link`` a path: web/alias
    reads("HEAD", "/containers/{id}/archive", container_archive_info),
    reads("GET", "/containers/{id}/archive", container_archive),
    changes("PUT", "/containers/{id}/archive", put_container_archive),
    reads("GET", "/containers/{id}/checkpoints", container_checkpoint),
    reads("POST", "/containers/{id}/checkpoints", container_checkpoint),
)
